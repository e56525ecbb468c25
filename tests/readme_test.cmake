# cmake -DREADME=<README.md> -DSOURCE=<main.cpp> -DPROGRAM=<its executable> -P readme_test.cmake
# The program in the README is the one that is built here, and prints what the README says.
file(READ ${README} readme)
file(READ ${SOURCE} source)
string(FIND "${readme}" "```cpp\n${source}```" code_at)
if(code_at EQUAL -1)
  message(SEND_ERROR "${README} does not contain ${SOURCE} as it is")
endif()
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(FIND "${readme}" "```\n${output}```" output_at)
if(output_at EQUAL -1)
  message(SEND_ERROR "${README} does not contain what the program prints:\n${output}")
endif()
