# cmake -DROOT=<repository> -P tests/format_test.cmake
# Every source is as clang-format leaves it.
find_program(CLANG_FORMAT clang-format)
find_program(GIT git)
if(NOT CLANG_FORMAT OR NOT GIT)
  message("SKIPPED: clang-format or git is not installed")
  return()
endif()

execute_process(COMMAND ${GIT} ls-files --cached --others --exclude-standard *.h *.cpp
                WORKING_DIRECTORY ${ROOT} OUTPUT_VARIABLE files RESULT_VARIABLE failed
                OUTPUT_STRIP_TRAILING_WHITESPACE)
if(failed)
  message("SKIPPED: ${ROOT} is not a git repository")
  return()
endif()
string(REPLACE "\n" ";" files "${files}")
execute_process(COMMAND ${CLANG_FORMAT} --dry-run -Werror ${files}
                WORKING_DIRECTORY ${ROOT} RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "clang-format -i FILE puts it right")
endif()
