// Buffers a stream of bytes, such as byte tokens, and writes complete UTF-8 characters.
#pragma once

#include <functional>
#include <string>

namespace fovea::nn::data {

/// Passes its input on as soon as a character is complete; an invalid byte becomes U+FFFD. The
/// output is always valid UTF-8, and valid text is passed on unchanged.
class Utf8Writer {
 public:
  explicit Utf8Writer(std::function<void(const std::string&)> out) : out_(std::move(out)) {}
  void write(const std::string& bytes);
  void finish();  ///< writes the remaining incomplete bytes as U+FFFD

 private:
  std::function<void(const std::string&)> out_;
  std::string waiting_;
};

}  // namespace fovea::nn::data
