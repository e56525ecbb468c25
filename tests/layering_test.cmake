# cmake -DROOT=<repository> -P tests/layering_test.cmake
# Who may include whom, read from the sources. What the link targets already refuse is here too, so
# that the rules stand in one place and a violation is answered with its rule.

# Fails for each line in `folder` that matches `pattern`, except in the files that follow.
function(forbid folder pattern rule)
  file(GLOB_RECURSE files ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cpp)
  foreach(allowed IN LISTS ARGN)
    list(REMOVE_ITEM files ${ROOT}/${allowed})
  endforeach()
  foreach(file IN LISTS files)
    file(STRINGS ${file} hits REGEX "${pattern}")
    if(hits)
      list(JOIN hits "\n  " hits)
      message(SEND_ERROR "${file}: ${rule}\n  ${hits}")
    endif()
  endforeach()
endfunction()

set(include "^ *# *include +<fovea/")

forbid(core/kernels "${include}(core/[a-z_]+[.]h|core/ops|nn|optim)" "kernels know no tensors")
forbid(core "${include}(nn|optim)/" "core knows no layers")
forbid(nn "${include}(core/kernels|optim)/" "a layer that wants a kernel lacks an op")
forbid(optim "${include}(core/kernels|nn)/" "an optimizer takes tensors, not modules")
forbid(examples "${include}core/kernels/" "a program that wants a kernel lacks an op")

foreach(room IN ITEMS core nn optim)
  forbid(${room} "${include}(examples|tests|bench|fovea[.]h)" "the library knows none of its users")
  forbid(${room} "^ *# *include +\"" "write the whole path: #include <fovea/...>")
endforeach()
foreach(room IN ITEMS examples tests bench)
  forbid(${room} "^ *# *include +\".*/" "with quotes only from the same folder; else <fovea/...>")
endforeach()
foreach(room IN ITEMS core/ops nn optim examples)
  forbid(${room} "^ *# *include +<(cblas|omp)[.]h>" "only kernels know BLAS and threads")
endforeach()
foreach(room IN ITEMS core nn optim examples tests bench)
  forbid(${room} "^ *# *pragma +omp +.*parallel" "parallel_for is the one way to use threads"
         core/kernels/parallel.cpp)
endforeach()
