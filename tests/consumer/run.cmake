# cmake -DWORK=.. -DGENERATOR=.. -DCOMPILER=.. -DLAUNCHER=.. (-DBUILD=.. | -DSOURCE=..) -P run.cmake
# Builds the consumer beside this file in the emptied folder WORK and runs it: against what
# `cmake --install BUILD` puts into WORK, or with the sources in SOURCE as a part of it.
file(REMOVE_RECURSE ${WORK})
if(BUILD)
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix
                  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  set(where -DCMAKE_PREFIX_PATH=${WORK}/prefix)
else()
  # All of fovea is compiled once more, here as fast as can be.
  set(where -DFOVEA_SOURCE_DIR=${SOURCE} -DCMAKE_CXX_FLAGS=-O0 -DFOVEA_KERNEL_OPTIMIZATION=-O0)
endif()

execute_process(COMMAND ${CMAKE_COMMAND} -G ${GENERATOR} -S ${CMAKE_CURRENT_LIST_DIR}
                        -B ${WORK}/build -DCMAKE_CXX_COMPILER=${COMPILER}
                        -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} ${where}
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build --target consumer
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/build/consumer COMMAND_ERROR_IS_FATAL ANY)
