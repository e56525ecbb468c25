# cmake -DNM=<nm> -DOBJECTS=a.o,b.o -P tests/isa_symbols_test.cmake
# An object compiled for one instruction set may define no weak symbol: the linker keeps one copy of
# such a function for the whole program, and if it is the AVX-512 one, older processors crash.
string(REPLACE "," ";" objects "${OBJECTS}")
foreach(object IN LISTS objects)
  execute_process(COMMAND ${NM} --demangle --defined-only ${object} OUTPUT_VARIABLE symbols
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  if(weak)
    list(JOIN weak "\n  " weak)
    message(SEND_ERROR "${object}: defines weak symbols\n  ${weak}")
  endif()
endforeach()
