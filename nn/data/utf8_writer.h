// Text that comes in pieces, such as tokens of bytes, as whole UTF-8 characters.
#pragma once

#include <functional>
#include <string>

namespace fovea::nn::data {

/// Hands on what it is given as soon as a character is complete; a byte that is part of none
/// becomes U+FFFD. So what comes out is always valid UTF-8, and of valid text nothing is lost.
class Utf8Writer {
 public:
  explicit Utf8Writer(std::function<void(const std::string&)> out) : out_(std::move(out)) {}
  void write(const std::string& bytes);
  void finish();  ///< what is left is no character

 private:
  std::function<void(const std::string&)> out_;
  std::string waiting_;
};

}  // namespace fovea::nn::data
