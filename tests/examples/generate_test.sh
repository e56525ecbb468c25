#!/bin/sh
# generate_test.sh PROGRAM: uses examples/generate as its readers do, on trainings of a second.
# generate_test.sh PROGRAM stories: what needs the weights in $FOVEA_DATA/checkpoints.
set -eu

program=$1
. "$(dirname "$0")/support.sh"

# Three lines again and again, one of them with letters of two bytes.
write_text() {
  i=0
  while [ $i -lt 200 ]; do
    printf 'abcabcabc\nx\303\244y \303\244\303\266\303\274\n0123456789\n'
    i=$((i + 1))
  done >text.txt
}

what_training_takes_is_told_before() {
  works --dry-run
  for line in 'layers.1' 'optimizer state' 'saved for the backward' 'room here'; do
    contains output "$line"
  done
  stays_below 150000 --dry-run --memory-limit 900TB --width 65536 --context 1024
  contains output 'optimizer state'
  refuses 1 'and --memory-limit is 20.0 MB: it must fit' --memory-limit 20MB --save refused.st
  contains messages '--context '
  [ ! -e refused.st ] || fail 'a refused training wrote refused.st'
}

a_text_is_learned_and_kept() {
  write_text
  works --text text.txt --steps 200 --context 32 --window 16 --width 32 --tokens 60 \
    --temperature 0 --prompt 012 --save model.st --json figures.json --report looks.html \
    --profile trace.json
  has_profile trace.json
  contains messages 'tokens/s'
  contains messages 'validation loss'
  contains output '0123456789'
  for figure in text tokens tokens_per_second parameters loss seconds steps seed threads; do
    contains figures.json "\"$figure\": "
  done
  contains looks.html '</html>'
  cp output said.txt
  works --load model.st --temperature 0 --prompt 012 --tokens 60 --profile tokens.json
  same_file output said.txt
  contains tokens.json '"ph":"X"'
  contains messages '20 steps of'
  works --load model.st --temperature 0 --tokens 300  # more than the context: the cache is a ring
  [ "$(wc -m <output)" -ge 300 ] || fail 'not 300 characters'
  iconv -f UTF-8 -t UTF-8 output >/dev/null || fail 'what it said is no UTF-8'
}

one_step_is_a_training() {
  works --text text.txt --steps 1 --context 32 --tokens 5 --profile short.json
  contains messages 'after 1 steps'
  contains messages '1 steps were made, and the first 5 are not watched'
  [ ! -e short.json ] || fail 'a trace of nothing'
}

an_interrupted_training_is_kept() {
  interrupt --text text.txt --steps 20000 --context 16 --width 8 --heads 1 --batch 2 --save stop.st
  contains messages 'wrote stop.st'
  contains messages 'interrupted after step'
  works --load stop.st --tokens 5
  refuses 1 'is for --resume' --load stop.st.last
  refuses 1 'is of another training: its training: ' --text text.txt --steps 300 --context 16 \
    --width 8 --heads 1 --batch 2 --save stop.st --resume
  mv stop.st ours.st
  for other in model.st text.txt; do
    cp $other stop.st
    refuses 1 'stop.st' --text text.txt --steps 20000 --context 16 --width 8 --heads 1 --batch 2 \
      --save stop.st --resume
    same_file $other stop.st
  done
  mv ours.st stop.st
  refuses 2 '--resume: only with --save' --text text.txt --resume
  refuses 2 '--resume: only without --load' --load stop.st --resume
}

seeds_and_sampling() {
  works --load model.st --seed 1 --temperature 1.5 --top-p 1 --tokens 200
  cp output first.txt
  works --load model.st --seed 1 --temperature 1.5 --top-p 1 --tokens 200
  same_file output first.txt
  works --load model.st --seed 2 --temperature 1.5 --top-p 1 --tokens 200
  ! cmp -s output first.txt || fail 'another seed says the same'
  works --load model.st --temperature 0 --tokens 40
  cp output greedy.txt
  works --load model.st --top-k 1 --tokens 40 --seed 7
  same_file output greedy.txt
  works --load model.st --prompt "$(printf '\360\237\230\200 \377')" --tokens 5  # of no alphabet
  contains output "$(printf '\360\237\230\200 \357\277\275')"
}

what_is_wrong_is_named() {
  refuses 1 'nowhere.st: No such file' --load nowhere.st
  refuses 1 'text.txt' --load text.txt
  refuses 1 'neither nowhere nor nowhere/checkpoints has stories260K.safetensors' --data nowhere
  printf 'short' >short.txt
  refuses 1 'characters: rows have' --text short.txt
  refuses 2 'must be an even multiple' --width 30 --heads 4
  refuses 2 '--text: only without --load' --load model.st --text text.txt
  refuses 2 '--check: only with --data' --check
  refuses 2 '--steps: only without --load' --load model.st --steps 5
  for option in --save --json --report; do  # before the training, not after it
    refuses 1 "$option: nofolder/x: there is no folder nofolder" $option nofolder/x
  done
  refuses 2 'top-p' --top-p 0
  refuses 2 '--prompt: only without --check' --data nowhere --check --prompt a
  refuses 2 '--top-k: only with a --temperature above 0' --load model.st --temperature 0 --top-k 3
  refuses 2 "--temperature: 'nan': must be a number, 0 to 1000" --temperature nan
  refuses 2 "--tokens: '9223372036854775807': must be" --tokens 9223372036854775807
  refuses 2 "--tokens: '-5': must be" --tokens -5
  refuses 1 'load: /dev/zero: must be a regular file' --load /dev/zero
  refuses 2 'was not expected' --nonsense
  works --help
  contains output '--temperature'
}

other_peoples_weights() {
  if [ -z "${FOVEA_DATA:-}" ] || [ ! -e "$FOVEA_DATA/checkpoints/stories260K.safetensors" ]; then
    echo 'SKIPPED: $FOVEA_DATA/checkpoints/stories260K.safetensors is not there'
    exit 0
  fi
  works --data "$FOVEA_DATA" --check
  contains output '64 greedy tokens equal'
  works --data "$FOVEA_DATA/checkpoints" --prompt 'Once upon a time' --tokens 40 --temperature 0 \
    --report story.html
  contains output 'Once upon a time, there was a little girl named Lily.'
  contains story.html 'self_attn'
  # A check that cannot fail is none: one changed logit, one changed token.
  mkdir changed
  cp "$FOVEA_DATA"/checkpoints/stories260K.* "$FOVEA_DATA"/checkpoints/tok512.bin changed
  chmod u+w changed/*
  sed -i '/^logits 3 /s/ [^ ]*$/ 9/' changed/stories260K.reference.txt
  refuses 1 'logits differ by' --data changed --check
  sed '/^greedy_tokens/s/[0-9]*$/7/' "$FOVEA_DATA"/checkpoints/stories260K.reference.txt \
    >changed/stories260K.reference.txt
  refuses 1 'greedy tokens are not those' --data changed --check
  head -c 1000 "$FOVEA_DATA"/checkpoints/tok512.bin >changed/tok512.bin
  refuses 1 'tok512.bin: piece' --data changed
}

if [ "${2:-}" = stories ]; then
  other_peoples_weights
else
  what_training_takes_is_told_before
  a_text_is_learned_and_kept
  one_step_is_a_training
  an_interrupted_training_is_kept
  small='--text text.txt --steps 2000 --context 16 --width 8 --heads 1 --batch 2 --dropout 0.1
    --tokens 5'
  signals_save $small
  trainings_share_a_name $small
  damaged_models_are_refused model.st --tokens 5
  seeds_and_sampling
  what_is_wrong_is_named
fi
