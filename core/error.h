// Errors: one base class, one form of message, and the path of the module that was running.
//
// Message:  op: what is wrong: the sizes: the rule, in translate.decoder.layers.1.self_attn
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/core.h>

namespace fovea {

/// Base of all exceptions that fovea throws. The library never prints and never exits.
class Error : public std::exception {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

class ShapeError : public Error {  ///< sizes that do not fit together
  using Error::Error;
};
class IndexError : public Error {  ///< an axis, index or class out of range
  using Error::Error;
};
class DTypeError : public Error {  ///< an element type that the op does not take
  using Error::Error;
};
class ValueError : public Error {  ///< an argument outside its range
  using Error::Error;
};
class StateError : public Error {  ///< a call that the object's state does not allow
  using Error::Error;
};
class FormatError : public Error {  ///< a malformed file or text
  using Error::Error;
};
class NonFiniteError : public Error {  ///< the first NaN or infinity, see TraceNonFinite
  using Error::Error;
};

/// The path of the module whose operator() is running, for error messages, graph drawings and
/// traces. Scopes nest; the innermost path is the current one. `path` must outlive every graph that
/// is recorded inside the scope: Module interns its paths.
class ModuleTrail {
 public:
  explicit ModuleTrail(const std::string* path) : outer_(current_) { current_ = path; }
  ~ModuleTrail() { current_ = outer_; }
  ModuleTrail(const ModuleTrail&) = delete;
  ModuleTrail& operator=(const ModuleTrail&) = delete;

  static const std::string* current() { return current_; }

 private:
  static inline thread_local constinit const std::string* current_ = nullptr;
  const std::string* outer_;
};

namespace detail {
/// "op: " + formatted text + ", in <module>" when a module is running.
std::string error_message(std::string_view op, fmt::string_view format, fmt::format_args args);
}  // namespace detail

/// Throws E with the message form above; `format` is {fmt} syntax, checked at compile time.
template <class E, class... Args>
[[noreturn]] void raise(std::string_view op, fmt::format_string<Args...> format, Args&&... args) {
  throw E(detail::error_message(op, format, fmt::make_format_args(args...)));
}

template <class... Args>
[[noreturn]] void shape_error(std::string_view op, fmt::format_string<Args...> f, Args&&... args) {
  raise<ShapeError>(op, f, std::forward<Args>(args)...);
}
template <class... Args>
[[noreturn]] void index_error(std::string_view op, fmt::format_string<Args...> f, Args&&... args) {
  raise<IndexError>(op, f, std::forward<Args>(args)...);
}
template <class... Args>
[[noreturn]] void dtype_error(std::string_view op, fmt::format_string<Args...> f, Args&&... args) {
  raise<DTypeError>(op, f, std::forward<Args>(args)...);
}
template <class... Args>
[[noreturn]] void value_error(std::string_view op, fmt::format_string<Args...> f, Args&&... args) {
  raise<ValueError>(op, f, std::forward<Args>(args)...);
}
template <class... Args>
[[noreturn]] void state_error(std::string_view op, fmt::format_string<Args...> f, Args&&... args) {
  raise<StateError>(op, f, std::forward<Args>(args)...);
}
template <class... Args>
[[noreturn]] void format_error(std::string_view op, fmt::format_string<Args...> f, Args&&... args) {
  raise<FormatError>(op, f, std::forward<Args>(args)...);
}

}  // namespace fovea
