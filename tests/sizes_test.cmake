# cmake -DROOT=<repository> -P tests/sizes_test.cmake
# Sizes from outside go through core/sizes.h. Products of one tensor's sizes need no check: its shape
# went through Dims::numel(). Products of two options need none: check_sizes() bounds each.

# Fails for each line of core/, core/ops/, nn/ and optim/ that matches, except in the files after it.
function(forbid_lines pattern rule)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/core/*.h ${ROOT}/core/*.cpp ${ROOT}/nn/*.h
       ${ROOT}/nn/*.cpp ${ROOT}/optim/*.h ${ROOT}/optim/*.cpp)
  list(FILTER files EXCLUDE REGEX "^core/kernels/")  # kernels get sizes of tensors that exist
  list(REMOVE_ITEM files ${ARGN} "")
  foreach(file IN LISTS files)
    file(STRINGS ${ROOT}/${file} hits REGEX "${pattern}")
    if(hits)
      list(JOIN hits "\n  " hits)
      message(SEND_ERROR "${file}: ${rule}\n  ${hits}")
    endif()
  endforeach()
endfunction()

forbid_lines("[*]= *[a-z_.()]*(shape|sizes?|dim)[^a-z]"
             "a product over sizes is Dims::numel()"
             core/tensor.cpp core/shape.h                                  # the checks themselves
             core/ops/index.cpp core/ops/layout.cpp core/ops/matmul.cpp    # axes of one tensor
             core/ops/reduce.cpp)
forbid_lines("__builtin_[a-z]+_overflow" "checked_add(), checked_sub() and checked_mul() do that"
             core/sizes.h core/shape.h core/tensor.cpp
             core/safetensors.cpp)                                         # its error names the file
forbid_lines("(vector<[^>]*>|reserve|resize|assign)[( a-z_]*[(]static_cast<std::size_t>[(][^)]* [*+] "
             "a container of a computed size is a checked_vector()"
             nn/inspect/curve_terminal.cpp)                                # of two constants

# A module whose options hold sizes checks them by name.
file(GLOB_RECURSE headers RELATIVE ${ROOT} ${ROOT}/nn/*.h)
foreach(header IN LISTS headers)
  file(READ ${ROOT}/${header} text)
  string(REGEX MATCHALL "struct [A-Za-z]*Options {[^}]*}" structs "${text}")
  if(NOT structs MATCHES "std::int64_t [a-z_]+(dim|size|width|heads|layers|features|embeddings|len|vocab)[ ;]"
     OR header STREQUAL "nn/attention/make.h"  # each mechanism checks its own
     OR header MATCHES "^nn/data/")  # its options are bounds, not sizes
    continue()
  endif()
  string(REGEX REPLACE "[.]h$" ".cpp" source ${header})
  file(READ ${ROOT}/${source} text)
  # score.h is where those of hard.h and luong.h go
  if(NOT text MATCHES "check_sizes[(]|check_widths[(]|checked_range[(]|scores[(][{]o[.]score")
    message(SEND_ERROR "${source}: the sizes among the options of ${header} need check_sizes()")
  endif()
endforeach()
