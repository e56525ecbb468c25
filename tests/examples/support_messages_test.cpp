// Messages about files, on a terminal.
#include <fovea/examples/support/training.h>
#include <fovea/tests/support/thread_bits.h>

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <unistd.h>

#include <doctest/doctest.h>

namespace {

// The text that f writes to std::cerr while standard error is a terminal.
template <class F>
std::string on_terminal(const F& f) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY), before = ::dup(STDERR_FILENO);
  REQUIRE(terminal >= 0);
  std::ostringstream text;
  std::streambuf* buffer = std::cerr.rdbuf(text.rdbuf());
  ::dup2(terminal, STDERR_FILENO);
  f();
  ::dup2(before, STDERR_FILENO);
  std::cerr.rdbuf(buffer);
  ::close(before);
  ::close(terminal);
  return text.str();
}

}  // namespace

TEST_CASE("messages: file names print no control characters to a terminal") {
  const std::string name = "a\033[2Jb";
  CHECK(on_terminal([&] { support::print_written(name, "it"); }) == "wrote a␛[2Jb: it\n");
  const std::string text =
      on_terminal([&] { support::print_resume_command(3, name, "program --save " + name); });
  CHECK(text ==
        "\ninterrupted after step 3; saved to a␛[2Jb. To resume:\n  program --save "
        "a␛[2Jb\n");
  const fovea::test::Folder folder("fovea-messages");
  const auto model = folder / name;
  std::ofstream(model) << "model";
  const std::string renamed = on_terminal([&] { support::rename_earlier(model, ""); });
  CHECK(renamed.find("a␛[2Jb.old\n") != std::string::npos);
  CHECK(renamed.find('\033') == std::string::npos);
}
