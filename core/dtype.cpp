#include <fovea/core/dtype.h>

namespace fovea::detail {

void wrong_dtype(std::string_view op, std::string_view needed, DType got) {
  if (got == DType::undefined) state_error(op, "a tensor is undefined");
  dtype_error(op, "needs {}, and got {}", needed, name_of(got));
}

}  // namespace fovea::detail
