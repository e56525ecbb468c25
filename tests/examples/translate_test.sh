#!/bin/sh
# translate_test.sh PROGRAM: uses examples/translate as users do, with trainings of about a second.
set -eu

program=$1
. "$(dirname "$0")/support.sh"

train_on_dates() {
  works --max-seconds 1 --log log.csv --json figures.json --profile trace.json
  has_profile trace.json
  contains messages 'validation exact_match'
  contains messages 'wrote attention.svg'
  contains messages 'wrote curve.svg'
  contains messages 'wrote dates.safetensors'
  contains output 'test exact_match'
  [ "$(grep -c '→.*-.*-' output)" -ge 10 ] || fail 'fewer than ten translations'
  contains output 'Attention weights (rows'
  contains attention.svg '</svg>'
  contains curve.svg '</svg>'
  contains log.csv 'epoch,step,seconds,loss'
  for figure in exact_match loss parameters seconds tokens_per_second threads; do
    contains figures.json "\"$figure\": "
  done
}

# Blank lines, emoji, invalid UTF-8, Windows line ends, no newline at the end.
one_output_per_line() {
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
  same_file output chosen.txt  # a translation does not depend on the position of the line
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

evaluation_of_a_loaded_model() {
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
  refuses 2 '--heatmap: not with --attention none' --attention none --heatmap map.svg
  rm -f attention.svg
  works --attention none --max-seconds 0.5
  [ ! -e attention.svg ] || fail 'attention.svg of a model without attention'
  ! grep -q 'Attention weights (rows' output || fail 'shows attention of a model that has none'
  refuses 1 'without attention' --load dates-none.safetensors --text a --heatmap map.svg
  refuses 1 'without attention' --load dates-none.safetensors --text a --report map.html
  refuses 1 '--keep-unknown: ' --load dates-none.safetensors --text a --keep-unknown
  refuses 1 '--length-penalty: only with a --beam above 1' --load dates-none.safetensors --text a \
    --length-penalty 2
}

# A file of version "fovea translate 1": attention is true or false, and the model is recurrent.
older_files() {
  without_checksums <dates-none.safetensors >unchecked.st
  LC_ALL=C sed 's/fovea translate 2/fovea translate 1/; s/\\"none\\"/false   /' \
    <unchecked.st >older.st
  ! cmp -s older.st unchecked.st || fail 'the file was not changed to version 1'
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

every_mechanism_learns() {
  for name in none additive dot general concat scaled-dot local-m local-p location hard multihead; do
    works --smoke --attention $name
  done
  works --smoke --coverage --coverage-loss 0.1 --input-feeding
}

# The options of the decoder are saved in its file.
decoders_of_other_kinds() {
  works --coverage --coverage-loss 0.1 --input-feeding --max-seconds 0.5 --json covered.json
  contains covered.json '"coverage": true'
  contains covered.json '"input_feeding": true'
  contains messages 'additive attention, coverage, input feeding'
  works --load dates-coverage-feeding.safetensors --text '3 may 1979' --beam 3
  works --attention multihead --heads 2 --max-seconds 0.5 --report heads.html
  works --load dates-multihead.safetensors --text '3 may 1979' --heatmap heads.svg
  contains heads.svg '</svg>'
  refuses 1 'attention_dim = 64: must be a multiple of num_heads = 5' --attention multihead --heads 5
  refuses 2 '--coverage: only with --attention additive' --coverage --attention dot
  refuses 2 '--attention-weights: not with --attention none' --attention none --attention-weights entmax15
  refuses 2 '--coverage-loss: not with --attention none' --attention none --coverage-loss 1
  refuses 2 '--align: not with --attention none' --attention none --align links.txt
  refuses 2 '--heads: only with --model transformer and --attention multihead' --heads 2
  refuses 2 '--input-feeding, --coverage-loss: only with --model rnn' --model transformer \
    --input-feeding --coverage-loss 1
  refuses 2 '--guided-alignment' --guided-weight 1
  refuses 2 '--coverage, --guided-alignment: only without --load' --load dates.safetensors --coverage \
    --guided-alignment in.txt
}

several_models_at_once() {
  works --load dates.safetensors --text '3 may 1979' --text '5 june 1999' --beam 4 --n-best 2
  cut -f 1,3 output >alone.txt
  works --load dates.safetensors --load dates.safetensors --text '3 may 1979' \
    --text '5 june 1999' --beam 4 --n-best 2
  cut -f 1,3 output >twice.txt
  same_file alone.txt twice.txt
  works --load dates.safetensors --load dates-multihead.safetensors \
    --load dates-none.safetensors --text '3 may 1979' --json three.json --heatmap three.svg \
    --align three.txt
  contains three.json '"models": 3'
  contains three.svg '</svg>'
  has_lines three.txt 1
  refuses 2 '--report: only with one --load' --load dates.safetensors \
    --load dates-multihead.safetensors --text a --report x.html
}

# Ctrl-C and a resumed run give the same file as an uninterrupted run.
interrupted_and_resumed() {
  works --epochs 1 --save whole.st --seed 3
  interrupt --epochs 1 --save "it's.st" --seed 3
  contains messages "--epochs 1 --save 'it'\\''s.st' --seed 3 --resume"
  command=$(tail -n 1 messages)
  eval "$command" >output 2>messages || fail 'the resume command'
  same_file whole.st "it's.st"
  refuses 1 'belongs to another training: its options: seed is 3 in the file, 4 in this run' --epochs 1 \
    --save "it's.st" --seed 4 --resume
  refuses 1 'never.st.last' --save never.st --resume
}

resume_with_another_best_model() {
  interrupt --epochs 1 --save mine.st --seed 3
  works --epochs 1 --save other.st --seed 3 --lr 1e-3
  cp other.st mine.st
  refuses 1 'it is not a model from the training in mine.st.last' --epochs 1 --save mine.st \
    --seed 3 --resume
  printf '\377' | write_bytes mine.st.last 100
  refuses 1 'mine.st.last: the checksum of ' --epochs 1 --save mine.st --seed 3 --resume
}

errors() {
  refuses 1 'nowhere.st: No such file' --load nowhere.st --text a
  refuses 1 'in.txt: must be a model written by translate' --load in.txt --text a
  refuses 1 'is a checkpoint for --resume' --load dates.safetensors.last --text a
  refuses 1 'nowhere.txt: No such file' --load dates.safetensors --input nowhere.txt
  refuses 1 '--data nowhere: directory does not exist' --data nowhere
  mkdir half
  refuses 1 'train.de or train.lc.norm.tok.de is missing in half' --data half
  : >half/train.de
  : >half/train.en
  refuses 1 'half/train.de and half/train.en are empty' --data half
  rm half/train.en
  echo a >half/train.de
  refuses 1 'half/train.en: No such file' --data half
  printf 'a\nb\n' >half/train.en
  refuses 1 'half/train.en' --data half
  refuses 2 '--n-best 3: must be at most --beam 2' --n-best 3 --beam 2
  refuses 2 '--epochs, --lr, --save: only without --load' --load dates.safetensors --save other.st \
    --epochs 3 --lr 1e-3
  refuses 2 '--heads: only with --model transformer' --heads 4
  refuses 2 '--attention, --hidden: only with --model rnn' --model transformer --hidden 3 --attention dot
  refuses 2 '--bpe-merges: only with --data' --bpe-merges 10
  for option in --save --log --curve --heatmap --report --json --profile; do
    refuses 1 "$option: nofolder/x: directory nofolder does not exist" $option nofolder/x
  done
  refuses 1 '--output: half: must be a file, is a directory' --load dates.safetensors --input in.txt --output half
  refuses 2 'was not expected' --nonsense
  works --help
  contains output '--n-best'
}

# One of each kind; all options and values are tested in translate_options_test.
numeric_options() {
  refuses 2 "--seed: '-1': must be an integer, 0 to 18446744073709551615" --seed -1
  refuses 2 "--seed: '18446744073709551616': must be" --seed 18446744073709551616
  refuses 2 "--epochs: '1e3': must be an integer" --epochs 1e3
  refuses 2 "--lr: 'nan': must be a number, above 0" --lr nan
  refuses 2 "--length-penalty: 'inf': must be" --length-penalty=inf
  refuses 2 "--beam: '1000000000': must be an integer, 1 to 1000" --load x --text a --beam 1000000000
  refuses 2 "--threads: '100000': must be" --threads 100000
  refuses 2 "--memory-limit: '99999999T': must be" --memory-limit 99999999T
  works --help
  contains output '--dropout P'
  contains output '(0 to 0.9)'
  contains output '--guided-weight X=0.5'
}

hostile_models_are_refused() {
  refuses 1 'load: /dev/zero: must be a regular file' --load /dev/zero --text a
  without_checksums <dates.safetensors >unchecked.st
  for change in 's/\\"hidden_size\\":64/\\"hidden_size\\":99/' \
    's/\\"embed_dim\\":32/\\"embed_dim\\":-1/' 's/\\"dropout\\":0.0/\\"dropout\\":1e9/'; do
    LC_ALL=C sed "$change" <unchecked.st >hostile.st
    ! cmp -s hostile.st unchecked.st || fail "nothing was changed by $change"
    refuses 1 'hostile.st: ' --load hostile.st --text a
  done
}

# A translation does not depend on the other lines, such as blank lines and a very long line.
lines_are_independent() {
  printf '3 may 1979\n\n12 november 2001\n' >short.txt
  works --load dates.safetensors --input short.txt --output short.out --beam 3
  awk 'BEGIN { for (i = 0; i < 3000; ++i) printf "3 may 1979 "; print "" }' >long.txt
  cat short.txt long.txt short.txt >both.txt
  works --load dates.safetensors --input both.txt --output both.out --beam 3 --max-length 100
  contains messages 'line 4 has more tokens than --max-length 100'
  sed -n '1,3p' both.out >first.out
  sed -n '5,7p' both.out >last.out
  same_file short.out first.out
  same_file short.out last.out
  [ "$(sed -n 4p both.out | wc -m)" -le 101 ] || fail 'more than 100 characters'
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
  works --load de-en.safetensors --text eins --json lines.json  # only lines: no evaluation
  contains lines.json '"parameters": '
  lacks lines.json '"bleu"'
  lacks output 'test bleu'
  refuses 1 'model for dates' --load dates.safetensors --data text
}

ensembles_share_their_vocabularies() {
  works --data text --embed 8 --hidden 16 --epochs 1 --max-vocab 6 --save few.st
  works --load few.st --load few.st --data text
  refuses 1 'few.st: vocabularies of ' --load de-en.safetensors \
    --load few.st --text a
  refuses 1 'de-en.safetensors: task = de-en: must be dates' \
    --load dates.safetensors --load de-en.safetensors --text a
}

# The lines are independent; blank lines remain; nothing is translated.
forced_decoding() {
  printf 'eins zwei .\n\ndrei\nvier vier eins .\n' >de.txt
  printf 'one two .\n\nthree\n\n' >en.txt
  works --load de-en.safetensors --input de.txt --target-text en.txt --align links.txt \
    --align-weights weights.jsonl
  [ ! -s output ] || fail 'translated instead of aligning'
  has_lines links.txt 4
  has_lines weights.jsonl 4
  sed -n 1p links.txt | grep -qE '^[0-2]-0 [0-2]-1 [0-2]-2$' || fail "links $(sed -n 1p links.txt)"
  sed -n '2p;4p' links.txt >blank.txt
  same_file blank.txt two_blank.txt
  sed -n 1p weights.jsonl | grep -q '"source":\["eins","zwei",".","<eos>"\]' || fail 'the weights'
  for line in 1 3; do
    sed -n ${line}p de.txt >one.de
    sed -n ${line}p en.txt >one.en
    sed -n ${line}p links.txt >wanted.txt
    works --load de-en.safetensors --input one.de --target-text one.en --align one.txt
    same_file one.txt wanted.txt
  done
  works --load de-en.safetensors --input de.txt --output found.txt --align found.links
  has_lines found.txt 4
  has_lines found.links 4  # of its own translations
  works --load de-en.safetensors --data text --align test.links
  has_lines test.links 20
  refuses 1 '--target-text: one.en has 1 lines: must have 4, the number of lines of --input' --load de-en.safetensors \
    --input de.txt --target-text one.en --align x
  refuses 2 '--target-text' --load de-en.safetensors --target-text en.txt --align x
  refuses 2 '--target-text: only with --align' --load de-en.safetensors --input de.txt \
    --target-text en.txt
  refuses 2 '--target-text' --load de-en.safetensors --input de.txt --target-text en.txt \
    --align x --output y
  refuses 1 'no weights to align with' --load dates-none.safetensors --text a --align x
}

# Source word i is aligned with target word i: trained with guided alignment, then checked.
guided_alignment() {
  for split in train test; do
    awk '{ line = ""; for (i = 0; i < NF; ++i) line = line " " i "-" i; print substr(line, 2) }' \
      text/$split.de >$split.links
  done
  guided='--data text --embed 16 --hidden 32 --dropout 0 --epochs 3 --lr 1e-2 --batch 16'
  works $guided --guided-alignment train.links --guided-weight 1 --align guided.links \
    --save guided.st
  tr ' ' '\n' <test.links >wanted.txt
  tr ' ' '\n' <guided.links | paste wanted.txt - >both.txt
  right=$(awk '$1 == $2' both.txt | wc -l) all=$(wc -l <wanted.txt)
  [ $((10 * right)) -ge $((9 * all)) ] || fail "$right of $all links are correct"
  contains guided.st 'guided_weight'
  refuses 1 'belongs to another training: its options: guided_weight' $guided --save guided.st --resume \
    --guided-alignment train.links --guided-weight 2
  sed '$d' train.links >short.links
  refuses 1 'short.links:400: line is missing: must have 400 lines' $guided \
    --guided-alignment short.links
  echo '0-0' | cat train.links - >long.links
  refuses 1 'long.links:401: extra line' $guided --guided-alignment long.links
  sed '3s/.*/0-0 99-1/' train.links >far.links
  refuses 1 'far.links:3: link 99-1: must be below ' $guided --guided-alignment far.links
  for word in 1 1- -1-1 1-x 1-1-1 1:1; do
    sed "7s/.*/$word/" train.links >odd.links
    refuses 1 "odd.links:7: " $guided --guided-alignment odd.links
  done
  refuses 1 'nowhere.links: No such file' $guided --guided-alignment nowhere.links
  [ -f guided.st ] || fail 'a training with an error renamed the earlier model'
}

tiny='--model transformer --data text --embed 32 --layers 1 --heads 2 --ffn 64 --batch-tokens 128
  --lr 1e-2 --warmup 30 --average 1 --bpe-merges 12'

# BPE merges, shared by both languages, are saved in the model.
train_a_transformer() {
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
  works --load de-en-transformer.safetensors --data text --align all.links
  contains output 'test bleu'
  has_lines all.links 20
}

# The learning rate does not depend on the number of epochs: 1 epoch, resumed for 1, equals 2.
resume_a_transformer() {
  works $tiny --epochs 2 --save whole.st
  works $tiny --epochs 1 --save part.st
  works $tiny --epochs 2 --save part.st --resume
  same_file whole.st part.st
}

earlier_model_is_renamed() {
  works $tiny --epochs 1 --save part.st
  contains messages 'part.st of an earlier training to'
  same_file whole.st part.st.old
  [ -f part.st.last.old ] || fail 'no part.st.last.old'
}

bpe_codes_from_a_file() {
  printf '#version: 0.2\ne i\nei n\nein s</w>\nt w\n' >codes
  works --data text --bpe codes --embed 16 --hidden 32 --epochs 1 --save pieces.st
  rm codes
  works --load pieces.st --text 'eins zwei' --heatmap pieces.svg
  contains pieces.svg 'eins'
  contains pieces.svg 'z@@'
  printf 'e i\n' >codes
  refuses 1 "codes:1: 'e i': must be '#version: 0.2'" --data text --bpe codes
  refuses 2 '--bpe-merges: only without --bpe' --data text --bpe codes --bpe-merges 5
}

memory_forecast() {
  mkdir untouched
  cd untouched
  works --dry-run --model transformer
  for line in 'decoder.layers' 'optimizer state' 'saved for the backward' 'available memory'; do
    contains output "$line"
  done
  lacks messages 'training pairs'
  for model in '--hidden 65536' '--model transformer --embed 65536 --ffn 65536' \
    '--attention multihead --hidden 65536 --heads 16'; do
    # shellcheck disable=SC2086
    stays_below 150000 --dry-run --memory-limit 900TB $model
    contains output 'optimizer state'
  done
  refuses 1 'but --memory-limit is 1.00 MB' --memory-limit 1MB
  contains messages 'Settings that need less memory:'
  contains messages '--batch 1 '
  contains messages 'still too large'
  contains messages '--recompute '
  refuses 1 '--batch 32 ' --memory-limit 9MB
  lacks messages '--batch 16 '
  refuses 1 'but --memory-limit is 1.00 MB' --memory-limit 1MB --dry-run
  contains output 'saved for the backward'
  refuses 2 "--memory-limit: 'much': must be a number of bytes" --memory-limit much
  refuses 2 '--dry-run: only without --load' --load dates.safetensors --dry-run
  rm output messages
  [ -z "$(ls)" ] || fail "left behind: $(ls)"
  cd ..
}

train_on_dates
memory_forecast
one_output_per_line
several_translations_have_scores
evaluation_of_a_loaded_model
without_attention
older_files
other_mechanisms
every_mechanism_learns
decoders_of_other_kinds
several_models_at_once
interrupted_and_resumed
signals_save --epochs 1 --seed 3
trainings_share_a_name --epochs 1
resume_with_another_best_model
damaged_models_are_refused dates.safetensors --text '3 may 1979'
errors
numeric_options
hostile_models_are_refused
lines_are_independent
parallel_text_is_learned
ensembles_share_their_vocabularies
forced_decoding
guided_alignment
train_a_transformer
resume_a_transformer
earlier_model_is_renamed
bpe_codes_from_a_file
