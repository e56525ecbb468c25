#!/bin/sh
# coverage.sh: line coverage of the library's readers by unit tests and fuzz corpora, with
# clang's source-based coverage. Prints a table; fails below 95 %. The programs' readers and
# optim/trainer_state.cpp are not measured.
set -eu
cd "$(dirname "$0")/../.."
build=build/coverage least=95
readers='core/safetensors.cpp core/state.cpp core/files.cpp nn/data/text.cpp nn/data/gzip.cpp
nn/data/utf8.cpp nn/data/utf8_writer.cpp nn/data/vocab.cpp nn/data/bpe.cpp nn/data/bpe_learn.cpp
nn/data/pieces.cpp'
tests='safetensors_test state_test files_test text_test utf8_test utf8_writer_test vocab_test bpe_test
pieces_test safetensors_fuzz text_fuzz gzip_fuzz vocab_fuzz bpe_fuzz pieces_fuzz'

cmake --preset coverage
cmake --build --preset coverage --target $tests
rm -rf "$build/profiles"
objects=
for test in $tests; do
  case $test in
    *_fuzz) program=$build/tests/fuzz/$test input=tests/fuzz/corpus/${test%_fuzz} ;;
    *) program=$build/tests/$test input= ;;
  esac
  code=0
  LLVM_PROFILE_FILE=$build/profiles/$test.profraw "$program" $input >"$build/$test.log" 2>&1 || code=$?
  [ $code = 0 ] || [ $code = 77 ] || {  # 77: a part was skipped, for want of data
    cat "$build/$test.log"
    exit 1
  }
  objects="$objects -object $program"
done

# llvm-profdata and llvm-cov of the same version as clang, because the format differs.
version=$(clang++ --version | sed -n 's/.*clang version \([0-9]*\).*/\1/p')
llvm() {
  tool=$1
  shift
  if command -v "$tool-$version" >/dev/null; then "$tool-$version" "$@"; else "$tool" "$@"; fi
}
llvm llvm-profdata merge -sparse "$build"/profiles/*.profraw -o "$build/all.profdata"
llvm llvm-cov report ${objects#* -object } -instr-profile="$build/all.profdata" \
  >"$build/report.txt"
# Columns: file, regions, missed, cover, functions, missed, executed, lines, missed, cover.
awk -v least=$least -v readers="$readers" '
  BEGIN { count = split(readers, reader) }
  { for (i = 1; i <= count; ++i)
      if (substr("/" $1, length($1) + 1 - length(reader[i])) == "/" reader[i]) {
        printf "%-28s %5d lines %4d missed %7s\n", reader[i], $8, $9, $10
        lines += $8
        missed += $9
        ++found
      } }
  END { covered = lines ? 100 * (lines - missed) / lines : 0
    printf "%-28s %5d lines %4d missed %6.2f%%\n", "all", lines, missed, covered
    if (found < count) print "readers without a figure: " count - found
    if (covered < least) print "below " least " %"
    exit found < count || covered < least }' "$build/report.txt"
