#!/bin/sh
# sentiment_test.sh PROGRAM: uses examples/sentiment as users do, with trainings of about a second.
set -eu

program=$1
. "$(dirname "$0")/support.sh"

figure() { sed -n "s/^ *\"$2\": \([0-9.]*\),*\$/\1/p" "$1"; }

# at_least FILE FIGURE BOUND: the value exists, is a number and at least BOUND.
at_least() {
  figure "$1" "$2" | awk -v bound="$3" '{ ok = $1 + 0 >= bound } END { exit !ok }' ||
    fail "$1: $2 is '$(figure "$1" "$2")', below $3"
}

train_on_reviews() {
  works --log log.csv --json figures.json --curve curve.svg --report page.html --profile trace.json
  has_profile trace.json
  contains messages 'reviews: 352 training sentences'
  contains messages 'validation accuracy'
  contains messages 'wrote reviews-bow.safetensors'
  contains output 'test accuracy'
  contains output 'Probability of a positive review'
  [ "$(grep -c '^[01][.][0-9][0-9]  ' output)" = 10 ] || fail 'not ten predictions'
  ! grep -q "$(printf '\033')" output || fail 'colors without a terminal'
  contains curve.svg '</svg>'
  contains page.html '</html>'
  contains log.csv 'epoch,step,seconds,loss'
  contains figures.json '"sentences": 96'
  for figure in accuracy loss parameters seconds tokens_per_second threads seed; do
    contains figures.json "\"$figure\": "
  done
  at_least figures.json accuracy 65  # guessing gives 50
}

every_model_learns() {
  for model in bilstm+additive bigru+additive selfattention transformer; do
    works --model $model --epochs 20 --json $model.json --report $model.html
    at_least $model.json accuracy 55
    contains $model.html '</html>'
    contains $model.json "\"model\": \"$model\""
  done
  contains messages 'wrote reviews-transformer.safetensors'
  for model in bow selfattention transformer; do
    works --model $model --pooling attention --epochs 30 --save attention.st
    works --load attention.st --text 'a fine cast' --report attention.html
    contains attention.html 'pooling'
  done
}

# Every encoder, direction, + and pooling at least once: trained, reported and loaded.
combinations_of_parts() {
  few='--embed 24 --epochs 16 --dropout 0.1 --average 0.9 --save parts.st'
  small="$few --hidden 24"
  for model in rnn gru bilstm; do
    for pooling in last mean max attention; do combination $model $pooling; done
  done
  combination transformer max
  for model in lstm+additive gru+dot birnn+dot; do combination $model attention; done
  for pooling in last mean max attention; do combination bigru+selfattention $pooling; done
  contains parts.html 'self_attention.attention'
  works --model bilstm $small --json usual.json
  contains usual.json '"pooling": "last"'
  works --model lstm+selfattention $small --json usual.json
  contains usual.json '"pooling": "attention"'
  small=$few
  for model in bow selfattention; do combination $model max; done
  models='must be bow, selfattention, transformer, or rnn, gru, lstm, '
  refuses 2 "--model: 'lstm+foo': $models" --model lstm+foo
  refuses 2 "--model: 'bow+dot': $models" --model bow+dot
  refuses 2 '--pooling: mean: must be attention for lstm+additive' --model lstm+additive \
    --pooling mean
  refuses 2 '--pooling: last: must be mean, max or attention for transformer' --model transformer --pooling last
  refuses 2 "--pooling: 'median': must be last" --pooling median
  for option in --hidden --layers; do
    refuses 2 "$option: only with recurrent models and transformer" --model selfattention $option 2
  done
  refuses 2 '--heads: only with selfattention, +selfattention and transformer' --model bilstm --heads 2
}

combination() {
  works --model $1 --pooling $2 $small --json parts.json --report parts.html
  contains messages "model: $1, pooling: $2"
  contains parts.json "\"model\": \"$1\""
  contains parts.json "\"pooling\": \"$2\""
  at_least parts.json accuracy 50
  works --load parts.st --json loaded.json
  [ "$(figure parts.json loss)" = "$(figure loaded.json loss)" ] || fail "$1, $2: different loss"
}

# In files of version 1 "lstm+additive" is bidirectional.
earlier_files_load() {
  works --model bilstm+additive --epochs 2 --save now.st --json now.json
  without_checksums <now.st >unchecked.st
  LC_ALL=C sed 's/fovea sentiment 2/fovea sentiment 1/
    s/\\"bilstm+additive\\"/\\"lstm+additive\\"  /' unchecked.st >earlier.st
  ! cmp -s unchecked.st earlier.st || fail 'the file was not changed to version 1'
  works --load earlier.st --json earlier.json
  contains earlier.json '"model": "bilstm+additive"'
  [ "$(figure now.json loss)" = "$(figure earlier.json loss)" ] || fail 'different loss'
  LC_ALL=C sed 's/fovea sentiment 2/fovea sentiment 3/' unchecked.st >later.st
  refuses 1 "kind = 'fovea sentiment 3': must be" --load later.st
}

# Blank lines, emoji, invalid UTF-8, Windows line ends, no newline at the end.
one_output_per_line() {
  printf 'A fine cast.\n\n  \n\360\237\230\200 \377\376\nIt drags.\r\nnot bad at all' >in.txt
  works --load reviews-bow.safetensors --input in.txt --output out.txt
  has_lines out.txt 6
  grep -c -x '[01][.][0-9][0-9][0-9][0-9]' out.txt | grep -qx 6 || fail 'not six probabilities'
  works --load reviews-bow.safetensors --input - <in.txt
  same_file output out.txt
  : >empty.txt
  works --load reviews-bow.safetensors --input empty.txt --output none.txt
  has_lines none.txt 0
  head -c 70000 /dev/zero | tr "\0" a >long.txt
  refuses 1 'a text of 70000 bytes: must have at most 65536' --load reviews-bow.safetensors --input long.txt
  works --load reviews-bow.safetensors --text "It isn't a well-made film..." --text ''
  sed -n 's/\[[^]]*\]//g; 1s/^[0-9.]*  //p' output | grep -qx "it is n't a well made film ..." ||
    fail "tokenized as '$(sed -n 1p output)'"
  cp output once.txt
  works --load reviews-bow.safetensors --text "it is n't a well made film ..." --text ''
  same_file output once.txt  # tokenized text does not change
}

contributions_of_words() {
  works --load reviews-bow.safetensors --text 'The ending is superb.' --text 'It is a chore.'
  sed -n 1p output | grep -q 'superb\[+' || fail 'superb does not contribute to positive'
  sed -n 2p output | grep -q 'chore\[-' || fail 'chore does not contribute to negative'
  works --load reviews-bow.safetensors --text 'Superb & <dull>' --report escaped.html
  lacks escaped.html '<dull>'
}

evaluation_of_a_loaded_model() {
  works --load reviews-bow.safetensors --json loaded.json
  for name in accuracy loss parameters; do
    [ "$(figure figures.json $name)" = "$(figure loaded.json $name)" ] || fail "different $name"
  done
}

# Ctrl-C and a resumed run give the same file as an uninterrupted run.
interrupted_and_resumed() {
  set -- --model transformer --epochs 120 --seed 3
  works "$@" --save whole.st
  interrupt "$@" --save "it's.st"
  contains messages "--seed 3 --save 'it'\\''s.st' --resume"
  command=$(tail -n 1 messages)
  eval "$command" >output 2>messages || fail 'the resume command'
  same_file whole.st "it's.st"
  refuses 1 'belongs to another training' --model transformer --epochs 120 --seed 4 --save "it's.st" \
    --resume
  refuses 1 'never.st.last' --save never.st --resume
}

same_result_with_threads() {
  for n in 1 2; do
    works --model selfattention --epochs 10 --threads $n --save threads$n.st
  done
  same_file threads1.st threads2.st
}

errors() {
  refuses 1 'nowhere.st: No such file' --load nowhere.st --text a
  refuses 1 'in.txt' --load in.txt --text a
  refuses 1 'is a checkpoint for --resume' --load reviews-bow.safetensors.last --text a
  refuses 1 'nowhere.txt: No such file' --load reviews-bow.safetensors --input nowhere.txt
  refuses 1 'train.tsv: No such file' --data nowhere
  refuses 1 '--report: nowhere/page.html: directory nowhere does not exist' --report nowhere/page.html
  refuses 1 '--save: .: must be a file, is a directory' --save .
  refuses 2 '--output' --output out.txt
  refuses 2 '--epochs, --seed: only without --load' --load reviews-bow.safetensors --seed 1 --epochs 2
  refuses 2 '--save: only without --load' --load reviews-bow.safetensors --save other.st
  refuses 2 '--model: only without --load' --load reviews-bow.safetensors --model bow
  refuses 2 '--phrases: only with --data' --phrases
  refuses 2 'was not expected' --nonsense
  refuses 2 "--seed: '-1': must be an integer" --seed -1
  refuses 2 "--dropout: 'nan': must be a number, 0 to 0.9" --dropout nan
  refuses 2 "--max-seconds: 'inf': must be" --max-seconds inf
  refuses 1 'load: /dev/zero: must be a regular file' --load /dev/zero --text a
  works --help
  contains output '--pooling'
}

train_on_files() {
  mkdir sst
  for word in good great fine; do printf 'a %s film\t1\nno %s film\t0\n' $word $word; done >sst/few
  cat sst/few sst/few sst/few sst/few >sst/train.tsv
  refuses 1 'sst/dev.tsv: No such file' --data sst
  cp sst/few sst/dev.tsv
  works --data sst --epochs 40 --batch 4 --lr 1e-2 --save sst.st --json sst.json
  contains messages 'sst2: 24 training sentences'
  contains output 'dev accuracy 100.00'
  refuses 1 'or --data' --load sst.st
  works --load sst.st --data sst
  contains output 'dev accuracy 100.00'
  printf 'an odd film\t0\n' | gzip >sst/train_phrases.tsv.gz
  works --data sst --phrases --epochs 1
  contains messages 'sst2: 25 training sentences'
  contains messages 'wrote sst2-bow.safetensors'
  printf 'fine\t1\nno label\n' >sst/dev.tsv
  refuses 1 "dev.tsv:2: 'no label': must be SENTENCE<TAB>LABEL" --data sst
  printf 'fine\t2\n' >sst/dev.tsv
  refuses 1 'dev.tsv:1: ' --data sst
  printf ' \t1\n' >sst/dev.tsv
  refuses 1 'dev.tsv:1: sentence is empty' --data sst
  : >sst/dev.tsv
  refuses 1 'dev.tsv is empty' --data sst
  printf 'no gzip' >sst/train_phrases.tsv.gz
  refuses 1 'train_phrases.tsv.gz: incorrect header check' --data sst --phrases
}

memory_forecast() {
  works --dry-run --model bilstm+additive
  for line in 'optimizer state' 'saved for the backward' 'available memory'; do
    contains output "$line"
  done
  for model in '--model bilstm+additive --hidden 65536' '--model transformer --embed 65536' \
    '--model bigru --embed 65536 --hidden 65536'; do
    # shellcheck disable=SC2086
    stays_below 150000 --dry-run --memory-limit 900TB $model
    contains output 'optimizer state'
  done
  refuses 1 'but --memory-limit is 200 kB' --memory-limit 200kB
  contains messages '--batch 1 '
  contains messages '--embed '
  refuses 1 '--hidden ' --memory-limit 200kB --model bigru
  contains messages '--recompute '
  refuses 2 '--recompute: only with recurrent models' --recompute
}

train_on_reviews
memory_forecast
every_model_learns
combinations_of_parts
earlier_files_load
one_output_per_line
contributions_of_words
evaluation_of_a_loaded_model
interrupted_and_resumed
signals_save --model transformer --epochs 120 --seed 3
trainings_share_a_name --model transformer --epochs 120
damaged_models_are_refused reviews-bow.safetensors --text 'a fine cast'
same_result_with_threads
errors
train_on_files
