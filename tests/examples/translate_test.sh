#!/bin/sh
# translate_test.sh PROGRAM: uses examples/translate as its readers do, on trainings of a second.
set -eu

program=$1
. "$(dirname "$0")/support.sh"

dates_are_learned() {
  works --max-seconds 1 --log log.csv --json figures.json
  contains messages 'validation exact_match'
  contains messages 'wrote attention.svg'
  contains messages 'wrote curve.svg'
  contains messages 'wrote dates.safetensors'
  contains output 'test exact_match'
  [ "$(grep -c '→.*-.*-' output)" -ge 10 ] || fail 'fewer than ten translations'
  contains output 'Where it looked'
  contains attention.svg '</svg>'
  contains curve.svg '</svg>'
  contains log.csv 'epoch,step,seconds,loss'
  for figure in exact_match loss parameters seconds tokens_per_second threads; do
    contains figures.json "\"$figure\": "
  done
}

# Blank lines, emoji, bytes that are no UTF-8, Windows' line ends, no line end at the end.
lines_stay_lines() {
  printf '3 may 1979\n\n  \n\360\237\230\200 \377\376\n5 june 1999\r\n7 july 2007' >in.txt
  works --load dates.safetensors --input in.txt --output out.txt
  has_lines out.txt 6
  sed -n '2p;3p' out.txt >blank.txt
  printf '\n\n' >two_blank.txt
  same_file blank.txt two_blank.txt
  works --load dates.safetensors --input - <in.txt
  same_file output out.txt
  works --load dates.safetensors --text '3 may 1979' --text '' --text '5 june 1999'
  sed -n '1p;2p;5p' out.txt >chosen.txt
  same_file output chosen.txt  # the same line gives the same translation, wherever it stands
  : >empty.txt
  works --load dates.safetensors --input empty.txt --output none.txt
  has_lines none.txt 0
}

several_translations_have_scores() {
  works --load dates.safetensors --text '3 may 1979' --n-best 3
  has_lines output 3
  cut -f 2 output | sort -g -r -c || fail 'not the best first'
  cut -f 3 output | sort -u | wc -l | grep -q 3 || fail 'not three different ones'
}

a_loaded_model_is_measured_on_the_same_dates() {
  works --load dates.safetensors --json loaded.json
  for figure in exact_match loss parameters; do
    grep "\"$figure\"" figures.json >trained.txt
    grep "\"$figure\"" loaded.json >loaded.txt
    same_file trained.txt loaded.txt
  done
  works --load dates.safetensors --text '3 may 1979' --heatmap may.svg
  contains may.svg '3 may 1979'
}

without_attention() {
  refuses 2 'draw attention' --attention none --heatmap map.svg
  rm -f attention.svg
  works --attention none --max-seconds 0.5
  [ ! -e attention.svg ] || fail 'attention.svg of a model without attention'
  ! grep -q 'Where it looked' output || fail 'shows attention of a model that has none'
  refuses 1 'without attention' --load dates-none.safetensors --text a --heatmap map.svg
  refuses 1 'without attention' --load dates-none.safetensors --text a --report map.html
}

# A file as "fovea translate 1" was: attention is true or false, and there is one kind of model.
older_files_are_read() {
  LC_ALL=C sed 's/fovea translate 2/fovea translate 1/; s/\\"none\\"/false   /' \
    <dates-none.safetensors >older.st
  ! cmp -s older.st dates-none.safetensors || fail 'the file was not made older'
  works --load older.st --text '3 may 1979'
  cp output older.txt
  works --load dates-none.safetensors --text '3 may 1979'
  same_file output older.txt
}

other_mechanisms() {
  works --attention dot --attention-weights sparsemax --max-seconds 0.3 --json dot.json
  contains dot.json '"attention": "dot"'
  contains messages 'rnn with dot attention'
  works --load dates-dot.safetensors --text '3 may 1979' --report dot.html
  contains dot.html '</html>'
  refuses 2 '--attention' --attention nonsense
}

# Ctrl-C in the middle, and going on, gives the file of a run at one go.
interrupted_and_resumed() {
  works --epochs 1 --save whole.st --seed 3
  interrupt --epochs 1 --save "it's.st" --seed 3
  contains messages "--epochs 1 --save 'it'\\''s.st' --seed 3 --resume"
  command=$(tail -n 1 messages)
  eval "$command" >output 2>messages || fail 'the command to go on'
  same_file whole.st "it's.st"
  refuses 1 'is of another training: its options: seed is 3 in it, 4 here' --epochs 1 \
    --save "it's.st" --seed 4 --resume
  refuses 1 'never.st.last' --save never.st --resume
}

wrong_files_are_named() {
  refuses 1 'nowhere.st: No such file' --load nowhere.st --text a
  refuses 1 'in.txt is no model that translate wrote' --load in.txt --text a
  refuses 1 'is for --resume' --load dates.safetensors.last --text a
  refuses 1 'nowhere.txt: No such file' --load dates.safetensors --input nowhere.txt
  refuses 1 '--data nowhere: there is no such folder' --data nowhere
  mkdir half
  refuses 1 'neither train.de nor train.lc.norm.tok.de is in half' --data half
  : >half/train.de
  : >half/train.en
  refuses 1 'half/train.de and half/train.en are empty' --data half
  rm half/train.en
  echo a >half/train.de
  refuses 1 'half/train.en: No such file' --data half
  printf 'a\nb\n' >half/train.en
  refuses 1 'half/train.en' --data half
  refuses 2 '--n-best 3 needs a --beam' --n-best 3 --beam 2
  refuses 2 '--epochs, --lr, --save: of training' --load dates.safetensors --save other.st \
    --epochs 3 --lr 1e-3
  refuses 2 '--heads: for --model transformer' --heads 4
  refuses 2 '--attention, --hidden: for --model rnn' --model transformer --hidden 3 --attention dot
  refuses 2 '--bpe and --bpe-merges: dates are spelled by characters' --bpe-merges 10
  for option in --save --log --curve --heatmap --report --json; do
    refuses 1 "$option: nofolder/x: there is no folder nofolder" $option nofolder/x
  done
  refuses 1 '--output: half is a folder' --load dates.safetensors --input in.txt --output half
  refuses 2 'was not expected' --nonsense
  works --help
  contains output '--n-best'
}

# A language of four words, each with one translation.
write_text() {
  awk -v lines="$2" 'BEGIN {
    split("eins zwei drei vier", de); split("one two three four", en)
    srand('"$3"')
    for (i = 0; i < lines; ++i) {
      s = t = ""
      for (n = 4 + int(4 * rand()); n > 0; --n) {
        w = 1 + int(4 * rand()); s = s de[w] " "; t = t en[w] " "
      }
      print s "." >("text/'"$1"'.de"); print t "." >("text/'"$1"'.en")
    }
  }'
}

parallel_text_is_learned() {
  mkdir text
  write_text train 400 1
  write_text val 20 2
  write_text test 20 3
  works --data text --embed 16 --hidden 32 --dropout 0 --epochs 8 --lr 1e-2 --batch 16 \
    --json bleu.json
  contains messages 'validation bleu'
  for figure in bleu loss parameters seconds tokens_per_second threads; do
    contains bleu.json "\"$figure\": "
  done
  contains attention.svg 'one'
  works --load de-en.safetensors --text 'vier drei zwei .' --text 'eins unbekannt .'
  sed -n 1p output | grep -qx 'four three two .' || fail "learned '$(sed -n 1p output)'"
  works --load de-en.safetensors --data text
  contains output 'test bleu'
  refuses 1 'or --data' --load de-en.safetensors
  refuses 1 '(--json holds what is measured)' --load de-en.safetensors --text a --json x.json
  refuses 1 'translates dates' --load dates.safetensors --data text
}

tiny='--model transformer --data text --embed 32 --layers 1 --heads 2 --ffn 64 --batch-tokens 128
  --lr 1e-2 --warmup 30 --average 1 --bpe-merges 12'

# Pieces of words, shared by both languages, are kept in the model.
a_transformer_learns_too() {
  works $tiny --dropout 0 --epochs 10 --json bleu.json --report all.html
  contains messages 'a transformer of'
  contains bleu.json '"model": "transformer"'
  for layer in encoder.layers.0.self_attn decoder.layers.0.self_attn multihead_attn; do
    contains all.html "$layer"
  done
  contains attention.svg '@@'
  works --load de-en-transformer.safetensors --text 'vier drei zwei .' --text ' ' --heatmap map.svg
  printf 'four three two .\n\n' >wanted.txt
  same_file output wanted.txt
  contains map.svg '</svg>'
  works --load de-en-transformer.safetensors --data text
  contains output 'test bleu'
}

# The rate does not depend on where training ends: one epoch and another are two epochs.
a_transformer_goes_on() {
  works $tiny --epochs 2 --save whole.st
  works $tiny --epochs 1 --save part.st
  works $tiny --epochs 2 --save part.st --resume
  same_file whole.st part.st
}

a_new_training_keeps_the_earlier_model() {
  works $tiny --epochs 1 --save part.st
  contains messages 'part.st of an earlier training is now'
  same_file whole.st part.st.old
  [ -f part.st.last.old ] || fail 'no part.st.last.old'
}

merges_come_from_a_file() {
  printf '#version: 0.2\ne i\nei n\nein s</w>\nt w\n' >codes
  works --data text --bpe codes --embed 16 --hidden 32 --epochs 1 --save pieces.st
  rm codes
  works --load pieces.st --text 'eins zwei' --heatmap pieces.svg
  contains pieces.svg 'eins'
  contains pieces.svg 'z@@'
  printf 'e i\n' >codes
  refuses 1 "codes:1: 'e i' where '#version: 0.2' must stand" --data text --bpe codes
  refuses 2 'excludes' --data text --bpe codes --bpe-merges 5
}

dates_are_learned
lines_stay_lines
several_translations_have_scores
a_loaded_model_is_measured_on_the_same_dates
without_attention
older_files_are_read
other_mechanisms
interrupted_and_resumed
wrong_files_are_named
parallel_text_is_learned
a_transformer_learns_too
a_transformer_goes_on
a_new_training_keeps_the_earlier_model
merges_come_from_a_file
