#!/bin/sh
# generate_test.sh PROGRAM: uses examples/generate as users do, with trainings of about a second.
# generate_test.sh PROGRAM stories: tests with the weights in $FOVEA_DATA/checkpoints.
set -eu

program=$1
. "$(dirname "$0")/support.sh"

# Three repeated lines, one of them with two-byte characters.
write_text() {
  i=0
  while [ $i -lt 200 ]; do
    printf 'abcabcabc\nx\303\244y \303\244\303\266\303\274\n0123456789\n'
    i=$((i + 1))
  done >text.txt
}

memory_forecast() {
  works --dry-run
  for line in 'layers.1' 'optimizer state' 'saved for the backward' 'available memory'; do
    contains output "$line"
  done
  stays_below 150000 --dry-run --memory-limit 900TB --width 65536 --context 1024
  contains output 'optimizer state'
  refuses 1 'but --memory-limit is 20.0 MB' --memory-limit 20MB --save refused.st
  contains messages '--context '
  [ ! -e refused.st ] || fail 'a training with an error wrote refused.st'
}

train_save_and_load() {
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
  iconv -f UTF-8 -t UTF-8 output >/dev/null || fail 'the output is not valid UTF-8'
}

training_of_one_step() {
  works --text text.txt --steps 1 --context 32 --tokens 5 --profile short.json
  contains messages 'after 1 steps'
  contains messages '1 steps were run, and the first 5 are not profiled'
  [ ! -e short.json ] || fail 'a trace without steps'
}

interrupted_training() {
  interrupt --text text.txt --steps 20000 --context 16 --width 8 --heads 1 --batch 2 --save stop.st
  contains messages 'wrote stop.st'
  contains messages 'interrupted after step'
  works --load stop.st --tokens 5
  refuses 1 'is a checkpoint for --resume' --load stop.st.last
  refuses 1 'belongs to another training: its training: ' --text text.txt --steps 300 --context 16 \
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
  ! cmp -s output first.txt || fail 'another seed gives the same text'
  works --load model.st --temperature 0 --tokens 40
  cp output greedy.txt
  works --load model.st --top-k 1 --tokens 40 --seed 7
  same_file output greedy.txt
  works --load model.st --prompt "$(printf '\360\237\230\200 \377')" --tokens 5  # not in the vocabulary
  contains output "$(printf '\360\237\230\200 \357\277\275')"
}

errors() {
  refuses 1 'nowhere.st: No such file' --load nowhere.st
  refuses 1 'text.txt' --load text.txt
  refuses 1 'stories260K.safetensors is missing in nowhere and in nowhere/checkpoints' --data nowhere
  printf 'short' >short.txt
  refuses 1 'characters: must have at least' --text short.txt
  refuses 2 'must be an even multiple' --width 30 --heads 4
  refuses 2 '--text: only without --load' --load model.st --text text.txt
  refuses 2 '--check: only with --data' --check
  refuses 2 '--steps: only without --load' --load model.st --steps 5
  for option in --save --json --report; do  # before the training, not after it
    refuses 1 "$option: nofolder/x: directory nofolder does not exist" $option nofolder/x
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

stories260k_weights() {
  if [ -z "${FOVEA_DATA:-}" ] || [ ! -e "$FOVEA_DATA/checkpoints/stories260K.safetensors" ]; then
    echo 'SKIPPED: $FOVEA_DATA/checkpoints/stories260K.safetensors is missing'
    exit 0
  fi
  works --data "$FOVEA_DATA" --check
  contains output '64 greedy tokens equal'
  works --data "$FOVEA_DATA/checkpoints" --prompt 'Once upon a time' --tokens 40 --temperature 0 \
    --report story.html
  contains output 'Once upon a time, there was a little girl named Lily.'
  contains story.html 'self_attn'
  # The check must fail for one changed logit and for one changed token.
  mkdir changed
  cp "$FOVEA_DATA"/checkpoints/stories260K.* "$FOVEA_DATA"/checkpoints/tok512.bin changed
  chmod u+w changed/*
  sed -i '/^logits 3 /s/ [^ ]*$/ 9/' changed/stories260K.reference.txt
  refuses 1 'logits differ by' --data changed --check
  sed '/^greedy_tokens/s/[0-9]*$/7/' "$FOVEA_DATA"/checkpoints/stories260K.reference.txt \
    >changed/stories260K.reference.txt
  refuses 1 'greedy tokens differ' --data changed --check
  head -c 1000 "$FOVEA_DATA"/checkpoints/tok512.bin >changed/tok512.bin
  refuses 1 'tok512.bin: piece' --data changed
}

if [ "${2:-}" = stories ]; then
  stories260k_weights
else
  memory_forecast
  train_save_and_load
  training_of_one_step
  interrupted_training
  small='--text text.txt --steps 2000 --context 16 --width 8 --heads 1 --batch 2 --dropout 0.1
    --tokens 5'
  signals_save $small
  trainings_share_a_name $small
  damaged_models_are_refused model.st --tokens 5
  seeds_and_sampling
  errors
fi
