# cmake -DCOMPILER=... -DINCLUDES=a,b -DSNIPPET=... -P mask_compile_test.cmake
# Wherever attention takes a Mask, a bool tensor must not compile: it does not say whether true is
# kept or dropped. Each line is compiled with a Mask as well, so that the test cannot pass because of
# another error.
string(REPLACE "," ";-I" flags "-I${INCLUDES}")
foreach(line RANGE 1 7)
  foreach(kind IN ITEMS MASK NAKED)
    execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${flags} -D${kind} -DLINE=${line}
                            ${SNIPPET}
                    RESULT_VARIABLE result ERROR_VARIABLE errors)
    if(kind STREQUAL MASK AND NOT result EQUAL 0)
      message(SEND_ERROR "line ${line} does not compile with a Mask:\n${errors}")
    elseif(kind STREQUAL NAKED AND result EQUAL 0)
      message(SEND_ERROR "line ${line} compiles with a bool tensor for a Mask")
    endif()
  endforeach()
endforeach()
