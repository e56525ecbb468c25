#include <fovea/core/error.h>
#include <fovea/examples/support/program.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <unistd.h>

namespace support {
namespace {

const char* program = "";
bool fails = false;

// A descriptor that is closed at the start would be given to the first file that is opened, and
// what is printed would go into that file. Opened the wrong way round, its use stays an error.
void keep_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      static_cast<void>(::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY));
}

// What is wrong with standard output, or nullptr.
const char* output_failure() {
  errno = 0;
  std::cout.flush();
  const bool failed = std::fflush(stdout) != 0;
  const int error = errno;
  if (!failed && std::cout && std::ferror(stdout) == 0) {
    // Some file systems report a failed write only when the file is closed.
    const int copy = ::dup(STDOUT_FILENO);
    if (copy < 0 || ::close(copy) == 0) return nullptr;
    return std::strerror(errno);
  }
  return error != 0 ? std::strerror(error) : "an earlier write failed";
}

extern "C" void check_output_at_exit() {
  const char* failure = output_failure();
  if (failure != nullptr) std::cerr << program << ": standard output: " << failure << std::endl;
  if (failure != nullptr || fails) std::_Exit(1);  // std::exit()'s code cannot be changed any more
}

}  // namespace

int run_program(const char* name, const std::function<int()>& body) {
  program = name;
  keep_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write(), and reported
  if (std::atexit(check_output_at_exit) != 0) std::cerr << name << ": atexit failed\n";
  try {
    return body();
  } catch (const std::exception& error) {
    std::cout.flush();  // what was printed comes before the error
    std::cerr << name << ": " << error.what() << '\n';
    return 1;
  }
}

void check_standard_output() {
  if (std::cout.flush() && std::ferror(stdout) == 0) return;
  const char* failure = output_failure();
  fovea::raise<fovea::Error>("standard output", "{}", failure == nullptr ? "failed" : failure);
}

void fail_at_end() { fails = true; }

}  // namespace support
