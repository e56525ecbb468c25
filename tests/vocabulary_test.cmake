# cmake -DROOT=<repository> -P tests/vocabulary_test.cmake
# Words that must not return to public headers, error messages and help texts: CONTRIBUTING.md,
# "Glossary". Prints file:line: word: reason. Only words that have no other meaning here are listed.

# Extended regular expressions in lower case, each followed by its reason.
set(words
    "numbers_of" "without_graph(), values, elements"
    "loops_left_out|loops? left out" "dry run"
    "rehears(al|als|e|es|ed)" "dry run"
    "twins?" "reference implementation, peer in bench"
    "dear|dearer|dearest" "expensive"
    "so many" "n, that number"
    "lets? go|letting go" "free, release"
    "taught|teach|teaches" "trained, train"
    "(is|are|be|was) told" "takes, receives"
    "look at|looks at|looked at|looking at" "attend, read"
    "houses?" "architecture, directories"
    "behind" "after, below, underlying"
    "in earnest" "in a real run"
    "as ever" "as usual"
    "coloure?d?|colours|neighbours?|behaviours?|(optim|normal|initial|general)is(e|es|ed|er|ers|ation)"
    "American spelling")

set(before "(^|[^a-z0-9_])")
set(after "([^a-z0-9_]|$)")
set(any)
list(LENGTH words count)
math(EXPR last "${count} - 1")
foreach(i RANGE 0 ${last} 2)
  list(GET words ${i} word)
  list(APPEND any "${word}")
endforeach()
list(JOIN any "|" any)

set(hits 0)
function(check_line file number text)
  foreach(i RANGE 0 ${last} 2)
    list(GET words ${i} word)
    if("${text}" MATCHES "${before}(${word})${after}")
      set(found "${CMAKE_MATCH_2}")
      math(EXPR j "${i} + 1")
      list(GET words ${j} reason)
      message("${file}:${number}: ${found}: ${reason}")
      math(EXPR hits "${hits} + 1")
    endif()
  endforeach()
  set(hits ${hits} PARENT_SCOPE)
endfunction()

# literals: check only what is between double quotes.
function(check_files literals)
  foreach(file IN LISTS ARGN)
    file(READ ${ROOT}/${file} text)
    string(TOLOWER "${text}" text)
    if(NOT "${text}" MATCHES "${before}(${any})${after}")
      continue()
    endif()
    string(REGEX REPLACE "[][;\\]" " " text "${text}")  # characters that lists treat specially
    string(REPLACE "\n" ";" lines "${text}")
    set(number 0)
    foreach(line IN LISTS lines)
      math(EXPR number "${number} + 1")
      if(NOT "${line}" MATCHES "${before}(${any})${after}")
        continue()
      endif()
      if(literals)
        string(REGEX REPLACE "//.*" "" line "${line}")
        string(REGEX MATCHALL "\"[^\"]*\"" line "${line}")
      endif()
      check_line(${file} ${number} "${line}")
    endforeach()
  endforeach()
  set(hits ${hits} PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE headers RELATIVE ${ROOT} ${ROOT}/core/*.h ${ROOT}/nn/*.h ${ROOT}/optim/*.h)
list(FILTER headers EXCLUDE REGEX "^core/kernels/|_detail[.]h$")  # as CMakeLists.txt installs them
check_files(FALSE ${headers})

file(GLOB_RECURSE sources RELATIVE ${ROOT} ${ROOT}/core/*.cpp ${ROOT}/nn/*.cpp ${ROOT}/optim/*.cpp
     ${ROOT}/examples/*.cpp ${ROOT}/bench/length/*.cpp)
list(FILTER sources EXCLUDE REGEX "sentiment/reviews|generate/grammar")  # English sentences as data
check_files(TRUE ${sources})

if(hits GREATER 0)
  message(FATAL_ERROR "${hits} words that CONTRIBUTING.md replaces by others")
endif()
