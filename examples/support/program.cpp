#include <fovea/core/error.h>
#include <fovea/examples/support/program.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <streambuf>
#include <unistd.h>

namespace support {
namespace {

const char* program = "";
bool fails = false;

// If a descriptor is closed at the start, the first opened file would get it, and output would go
// to that file. /dev/null is opened in the wrong direction, so that using it stays an error.
void keep_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      static_cast<void>(::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY));
}

// Buffer of std::cout that keeps errno of the first failed write.
class OutputBuffer : public std::streambuf {
 public:
  OutputBuffer() { setp(bytes_, bytes_ + sizeof bytes_); }
  int error() const { return error_; }  ///< errno of the first failed write, or 0

 protected:
  int sync() override {
    const char* from = pbase();
    while (error_ == 0 && from < pptr()) {
      const ssize_t written = ::write(STDOUT_FILENO, from, static_cast<std::size_t>(pptr() - from));
      if (written >= 0) from += written;
      if (written < 0 && errno != EINTR) error_ = errno;
    }
    setp(bytes_, bytes_ + sizeof bytes_);
    return error_ == 0 ? 0 : -1;
  }
  int_type overflow(int_type c) override {
    if (sync() != 0) return traits_type::eof();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }

 private:
  char bytes_[1 << 14];
  int error_ = 0;
};

// Never destroyed: std::cout flushes it even after the destructors of static objects.
OutputBuffer& output_buffer() {
  static OutputBuffer& buffer = *new OutputBuffer;
  return buffer;
}

void use_output_buffer() {
  std::cout.rdbuf(&output_buffer());
  if (::isatty(STDOUT_FILENO) == 1) std::cout << std::unitbuf;
}

// errno of the error of standard output, or 0.
int output_failure() {
  errno = 0;
  std::cout.flush();
  if (output_buffer().error() != 0) return output_buffer().error();
  if (std::fflush(stdout) != 0) return errno;
  if (std::ferror(stdout) != 0) return EIO;
  // Some file systems report a failed write only when the file is closed.
  const int copy = ::dup(STDOUT_FILENO);
  return copy < 0 || ::close(copy) == 0 ? 0 : errno;
}

extern "C" void check_output_at_exit() {
  const int failure = output_failure();
  if (failure != 0)
    std::cerr << program << ": standard output: " << std::strerror(failure) << std::endl;
  if (failure != 0 || fails) std::_Exit(1);  // std::exit() can no longer change the exit code
}

}  // namespace

int run_program(const char* name, const std::function<int()>& body) {
  program = name;
  keep_standard_descriptors();
  use_output_buffer();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is then an error of write(), which is reported
  if (std::atexit(check_output_at_exit) != 0) std::cerr << name << ": atexit failed\n";
  try {
    return body();
  } catch (const std::exception& error) {
    std::cout.flush();  // output before the error message
    std::cerr << name << ": " << error.what() << '\n';
    return 1;
  }
}

void check_standard_output() {
  std::cout.flush();
  if (const int error = output_buffer().error(); error != 0)
    fovea::raise<fovea::Error>("standard output", "{}", std::strerror(error));
}

void fail_at_end() { fails = true; }

}  // namespace support
