#!/bin/sh
# output_test.sh TRANSLATE SENTIMENT GENERATE EXAMPLE... [LENGTH]: standard output and input that
# fail, and outputs that are not regular files. All tests use one temporary directory.
set -eu
translate=$1 sentiment=$2 generate=$3
program=$translate
. "$(dirname "$0")/support.sh"

# fails TEXT COMMAND...: exits with code 1 and a message that contains the text.
fails() {
  text=$1
  shift
  code=0
  "$@" 2>messages || code=$?
  [ "$code" = 1 ] || fail "exit code $code, not 1, of: $*"
  contains messages "$text"
}

# output_is_checked COMMAND...: with a full disk, a closed descriptor and a pipe without a reader.
output_is_checked() {
  name=$(basename "$1")
  fails "$name: standard output: No space left on device" "$@" >/dev/full
  fails "$name: standard output: Bad file descriptor" "$@" >&-
  [ -p pipe ] || mkfifo pipe
  exec 4<>pipe 5>pipe 4<&-
  fails "$name: standard output: Broken pipe" "$@" >&5
  exec 5>&-
}

every_program_checks_its_output() {
  for any; do
    output_is_checked "$any" --help
    case $(basename "$any") in
      0*) output_is_checked "$any" ;;
      length) output_is_checked "$any" --min-length 16 --max-length 16 --modes forward ;;
    esac
  done
  output_is_checked "$translate" --load dates.st --text '3 may 1979'
  output_is_checked "$translate" --load dates.st --input lines.txt
  output_is_checked "$translate" --dry-run
  output_is_checked "$sentiment" --load bow.st --text 'not bad'
  output_is_checked "$sentiment" --load bow.st --input lines.txt
  output_is_checked "$generate" --load letters.st --tokens 20
}

# No file opened later becomes standard output: files have only their own contents.
closed_output() {
  "$translate" --load dates.st --text '3 may 1979' --json sound.json >output
  fails 'Bad file descriptor' "$translate" --load dates.st --text '3 may 1979' \
    --json closed.json >&-
  same_file sound.json closed.json
  "$translate" --load dates.st --input lines.txt --output a.txt <&- >&- 2>&-
  "$translate" --load dates.st --input lines.txt --output b.txt
  same_file a.txt b.txt
}

# Generation ends when standard output cannot be written.
generation_ends_on_output_error() {
  fails 'standard output: No space left' "$generate" --load letters.st --tokens 100000000 >/dev/full
}

input_is_checked() {
  mkdir -p folder
  for any in "$translate --load dates.st" "$sentiment --load bow.st"; do
    fails 'standard input: Is a directory' $any --input - <folder
    fails 'standard input: Bad file descriptor' $any --input - <&-
    fails 'folder: Is a directory' $any --input folder
    fails 'No such file' $any --input nowhere
  done
  fails 'folder: Is a directory' "$translate" --load dates.st --input lines.txt \
    --target-text folder --align links.txt
  fails 'folder: Is a directory' "$generate" --text folder
  fails '/dev/zero is a device' "$generate" --text /dev/zero
  fails '/dev/zero is a device' "$sentiment" --load bow.st --input /dev/zero
  fails '/dev/zero is a device' "$translate" --load dates.st --input lines.txt \
    --target-text /dev/zero --align links.txt
  fails 'folder: must be a regular file' "$translate" --load folder --text a
}

# Each option once to a pipe, to an appended file and to a device.
outputs_to_streams() {
  for given in "$translate --load dates.st --input lines.txt --output" \
    "$translate --load dates.st --text a --json" \
    "$translate --load dates.st --text a --heatmap" \
    "$translate --load dates.st --text a --report" \
    "$translate --load dates.st --text a --align" \
    "$translate --load dates.st --text a --align-weights" \
    "$sentiment --load bow.st --input lines.txt --output" \
    "$sentiment --load bow.st --text good --report"; do
    rm -f plain
    $given plain >output 2>messages || fail "$given plain"
    echo before >appended
    $given /dev/fd/3 3>>appended >output 2>messages || fail "$given /dev/fd/3"
    { echo before; cat plain; } >wanted
    same_file wanted appended
    rm -f pipe
    mkfifo pipe
    cat pipe >read &
    $given pipe >output 2>messages || fail "$given pipe"
    wait $!
    same_file plain read
    [ -p pipe ] || fail "$given pipe: no longer a pipe"
    echo before >appended
    $given /dev/stdout >>appended 2>messages || fail "$given /dev/stdout"
    [ "$(head -n 1 appended)" = before ] || fail "$given /dev/stdout >>appended"
    $given /dev/null >output 2>messages || fail "$given /dev/null"
    [ -c /dev/null ] || fail "$given /dev/null"
    fails 'No space left on device' $given /dev/full >output
    fails 'Bad file descriptor' $given /dev/fd/9 >output
  done
  rm -f pipe
}

# refused_before_training TEXT COMMAND...
refused_before_training() {
  fails "$@" >output
  lacks messages 'epoch'
  lacks messages 'parameters'
}

outputs_are_distinct_files() {
  train="$translate --epochs 1"
  echo old >old.txt
  ln -s old.txt link
  ln old.txt hard
  ln -s new.txt dangling
  mkdir -p sub
  for pair in 'old.txt ./old.txt' 'old.txt link' 'hard old.txt' 'new.txt new.txt' \
    'new.txt sub/../new.txt' 'dangling new.txt'; do
    set -- $pair
    refused_before_training 'must be another file' $train --log $1 --json $2
    refused_before_training 'must be another file' $train --curve $1 --heatmap $2
    refused_before_training 'must be another file' "$sentiment" --report $1 --curve $2
    refused_before_training 'must be another file' "$generate" --json $1 --report $2
  done
  for option in --log --json --curve --heatmap --report --profile --align; do
    refused_before_training "$option: m.st is also the file of --save" $train --save m.st $option m.st
    refused_before_training "$option: ./m.st.last is also the file of the checkpoint of --save" $train \
      --save m.st $option ./m.st.last
  done
  echo model >m.st
  refused_before_training 'the earlier file of --save' $train --save m.st --log m.st.old
  echo older >m.st.old
  ln -s m.st linked.st
  for any in "$train" "$sentiment --epochs 1" "$generate --steps 1"; do
    for name in m.st linked.st; do
      refused_before_training 'the earlier file of --save' $any --save $name --json m.st.old.2
    done
  done
  ln -s nowhere m.st.old.2
  refused_before_training 'the earlier file of --save' $train --save m.st --log m.st.old.3
  [ "$(cat m.st)" = model ] || fail 'a training with an error renamed the earlier model'
  rm m.st.old m.st.old.2 linked.st
  refused_before_training 'the lock of --save' $train --save m.st --log .fovea-m.st.lock
  refused_before_training 'the lock of the checkpoint' $train --save m.st --json ./.fovea-m.st.last.lock
  refused_before_training 'the file of standard output' $train --log output
  fails '--json: dates.st.last is also the file of the checkpoint of --load' "$translate" \
    --load dates.st --text a --json dates.st.last
  fails '--output: bow.st.last is also the file of the checkpoint of --load' "$sentiment" \
    --load bow.st --input lines.txt --output bow.st.last
  fails '--json: letters.st.last is also the file of the checkpoint of --load' "$generate" \
    --load letters.st --json letters.st.last
  mkdir -p weights/checkpoints
  for name in stories260K.safetensors tok512.bin stories260K.reference.txt; do
    for folder in weights weights/checkpoints; do
      echo a >$folder/$name
      fails "--json: ./$folder/$name is also the file of --data" "$generate" --data weights \
        --json ./$folder/$name
    done
  done
  cp lines.txt in.txt
  fails '--output: ./in.txt is also the file of --input' "$translate" --load dates.st --input in.txt \
    --output ./in.txt
  fails '--json: dates.st is also the file of --load' "$translate" --load dates.st --text a \
    --json dates.st
  fails '--output: in.txt is also the file of --input (/proc/self/fd/0)' "$sentiment" --load bow.st --input - \
    --output in.txt <in.txt
  refused_before_training '--json: in.txt is also the file of --text' "$generate" --text in.txt \
    --json in.txt
  same_file lines.txt in.txt
  for language in de en; do
    for split in train val test; do echo a >sub/$split.$language; done
  done
  refused_before_training '--log: sub/val.en is also the file of --data' $train --data sub --log sub/val.en
  [ "$(cat old.txt)" = old ] || fail 'old.txt was changed'
  rm -f old.txt link hard dangling m.st
}

unwritable_outputs() {
  train="$translate --epochs 1"
  for length in 237 250 255 256; do
    name=$(printf "%0${length}d" 0)
    case $length in
      237) $train --max-seconds 0.1 --save $name --log l$name.csv >output 2>messages ||
        fail "a name of $length bytes" ;;
      250) $train --max-seconds 0.1 --save $name --curve c${name#0} >output 2>messages ||
        fail "a name of $length bytes" ;;
      255) refused_before_training 'File name too long' $train --save $name ;; # FILE.last
      256) refused_before_training 'File name too long' $train --log $name ;;
    esac
  done
  mkdir -p m.st.last sub
  refused_before_training 'm.st.last: must be a file, is a directory' $train --save m.st
  rmdir m.st.last
  echo last >m.st.last
  chmod 444 m.st.last
  refused_before_training 'm.st.last: Permission denied' $train --save m.st
  rm -f m.st.last
  ln -s nowhere/last m.st.last
  refused_before_training 'm.st.last: No such file' $train --save m.st
  rm m.st.last
  echo log >log.csv
  chmod 444 log.csv
  for any in "$translate" "$sentiment"; do
    refused_before_training 'log.csv: Permission denied' "$any" --log log.csv
    refused_before_training 'must be a regular file' "$any" --save /dev/null
    refused_before_training 'must be a regular file' "$any" --save /dev/stdout
  done
  [ "$(cat log.csv)" = log ] || fail 'a read-only file was changed'
  rm -f log.csv
}

json_is_utf8() {
  "$generate" --load letters.st --prompt "$(printf 'a\377b')" --json bytes.json >output 2>messages ||
    fail 'a prompt that is not UTF-8'
  contains bytes.json '"prompt": "a�b"'
  refused_before_training 'must be valid UTF-8' "$translate" --data sub --source "$(printf '\377')" ||
    fail 'a language that is not UTF-8'
  printf 'ab\377' >bytes.txt
  refused_before_training 'bytes.txt: byte 3' "$generate" --text bytes.txt
}

printf '3 may 1979\nnot bad\n' >lines.txt
"$translate" --max-seconds 0.2 --save dates.st --curve c.svg --heatmap h.svg >output 2>messages
"$sentiment" --epochs 1 --save bow.st >output 2>messages
"$generate" --steps 5 --save letters.st --tokens 5 >output 2>messages

every_program_checks_its_output "$@"
closed_output
generation_ends_on_output_error
input_is_checked
outputs_to_streams
outputs_are_distinct_files
unwritable_outputs
json_is_utf8
