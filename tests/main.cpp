#include <fovea/tests/support/skip.h>

#include <iostream>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

namespace fovea::test {
namespace {

constexpr int skipped_exit_code = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt
bool any_skipped = false;

}  // namespace

void skip(std::string_view reason) {
  any_skipped = true;
  std::cout << "SKIPPED: " << reason << '\n';
}

}  // namespace fovea::test

int main(int argc, char** argv) {
  const int exit_code = doctest::Context(argc, argv).run();
  if (exit_code == 0 && fovea::test::any_skipped) return fovea::test::skipped_exit_code;
  return exit_code;
}
