// A library for LD_PRELOAD: counts the system calls on files of the working directory, and makes
// one of them fail or kills the process at that call. The programs under test are unchanged.
//
//   FOVEA_FAULT=KIND:N      the fault and the call, from 1; see kinds below
//   FOVEA_FAULT_TRACE=FILE  appends the name of each call to FILE, one per line
//
// Internal calls of the C library (stdio) are not intercepted: the tests are for core/files.
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

enum class Kind {
  none,
  no_space,   // ENOSPC, once
  full_disk,  // ENOSPC from then on, for all calls that need space
  io_error,   // EIO, once
  interrupt,  // EINTR, once
  shorter,    // only half of the bytes are read or written
  before,     // SIGKILL instead of the call
  middle,     // ... after half of the bytes are written
  after,      // ... after the call
};

constexpr const char* names[] = {"none",    "no_space", "full_disk", "io_error", "interrupt",
                                 "shorter", "before",   "middle",    "after"};

struct Plan {
  Kind kind = Kind::none;
  long call = 0;
  int trace = -1;
  char folder[PATH_MAX] = {};
};

const Plan& plan() {
  static const Plan made = [] {
    Plan p;
    if (const char* text = std::getenv("FOVEA_FAULT"))
      for (int i = 0; i < 9; ++i)
        if (const std::size_t n = std::strlen(names[i]);
            std::strncmp(text, names[i], n) == 0 && text[n] == ':') {
          p.kind = static_cast<Kind>(i);
          p.call = std::atol(text + n + 1);
        }
    if (const char* path = std::getenv("FOVEA_FAULT_TRACE"))
      p.trace = static_cast<int>(
          syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    if (::getcwd(p.folder, sizeof p.folder) == nullptr) std::abort();
    return p;
  }();
  return made;
}

std::atomic<long> calls = 0;
std::atomic<bool> watched[1024];

bool is_watched(int fd) { return fd >= 0 && fd < 1024 && watched[fd]; }

// A relative path, or a path in the working directory.
bool is_watched(const char* path) {
  const Plan& p = plan();
  return path[0] != '/' || std::strncmp(path, p.folder, std::strlen(p.folder)) == 0;
}

[[noreturn]] void die() {
  ::raise(SIGKILL);
  std::abort();
}

// Whether this call must fail.
struct Call {
  bool faulty = false, later = false;

  Call(const char* name, bool counts) {
    if (!counts) return;
    const Plan& p = plan();
    if (p.trace >= 0) {
      char line[32];
      const int size = std::snprintf(line, sizeof line, "%s\n", name);
      syscall(SYS_write, p.trace, line, size);
    }
    const long number = ++calls;
    faulty = number == p.call;
    later = number > p.call && p.call > 0;
    if (faulty && p.kind == Kind::before) die();
  }

  // The errno value of the fault, if it has one.
  int error(bool needs_space, bool interruptible) const {
    const Kind kind = plan().kind;
    if (kind == Kind::full_disk && (faulty || later) && needs_space) return ENOSPC;
    if (!faulty) return 0;
    if (kind == Kind::no_space && needs_space) return ENOSPC;
    if (kind == Kind::io_error) return EIO;
    return kind == Kind::interrupt && interruptible ? EINTR : 0;
  }
  bool is(Kind kind) const { return faulty && plan().kind == kind; }

  template <class T>
  T done(T result) const {
    const int saved = errno;
    if (is(Kind::after)) die();
    errno = saved;
    return result;
  }
};

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

int failed(int error) {
  errno = error;
  return -1;
}

int open_watched(const char* path, int flags, mode_t mode) {
  const bool counts = is_watched(path);
  const Call call((flags & O_CREAT) != 0 ? "create" : "open", counts);
  if (const int error = call.error((flags & O_CREAT) != 0, true)) return failed(error);
  static const auto real = next<int (*)(const char*, int, ...)>("open");
  const int fd = real(path, flags, mode);
  if (fd >= 0 && fd < 1024) watched[fd] = counts;
  return call.done(fd);
}

}  // namespace

#define FOVEA_INTERPOSE extern "C" __attribute__((visibility("default")))

FOVEA_INTERPOSE int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const auto mode = static_cast<mode_t>(va_arg(rest, int));
  va_end(rest);
  return open_watched(path, flags, mode);
}

FOVEA_INTERPOSE int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const auto mode = static_cast<mode_t>(va_arg(rest, int));
  va_end(rest);
  return open_watched(path, flags, mode);
}

FOVEA_INTERPOSE ssize_t read(int fd, void* bytes, size_t size) {
  const Call call("read", is_watched(fd));
  if (const int error = call.error(false, true)) return failed(error);
  static const auto real = next<ssize_t (*)(int, void*, size_t)>("read");
  return call.done(real(fd, bytes, call.is(Kind::shorter) && size > 1 ? size / 2 : size));
}

FOVEA_INTERPOSE ssize_t write(int fd, const void* bytes, size_t size) {
  const Call call("write", is_watched(fd));
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  if (const int error = call.error(true, true)) return failed(error);
  const bool half = call.is(Kind::shorter) || call.is(Kind::middle);
  const ssize_t written = real(fd, bytes, half && size > 1 ? size / 2 : size);
  if (call.is(Kind::middle)) die();
  return call.done(written);
}

FOVEA_INTERPOSE int fsync(int fd) {
  const Call call("fsync", is_watched(fd));
  if (const int error = call.error(true, true)) return failed(error);
  static const auto real = next<int (*)(int)>("fsync");
  return call.done(real(fd));
}

FOVEA_INTERPOSE int fchmod(int fd, mode_t mode) {
  const Call call("fchmod", is_watched(fd));
  if (const int error = call.error(false, true)) return failed(error);
  static const auto real = next<int (*)(int, mode_t)>("fchmod");
  return call.done(real(fd, mode));
}

FOVEA_INTERPOSE int flock(int fd, int operation) {
  const Call call("flock", is_watched(fd));
  if (const int error = call.error(false, true)) return failed(error);
  static const auto real = next<int (*)(int, int)>("flock");
  return call.done(real(fd, operation));
}

FOVEA_INTERPOSE int rename(const char* from, const char* to) noexcept {
  const Call call("rename", is_watched(to));
  if (const int error = call.error(true, true)) return failed(error);
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  return call.done(real(from, to));
}

FOVEA_INTERPOSE int unlink(const char* path) noexcept {
  const Call call("unlink", is_watched(path));
  if (const int error = call.error(false, false)) return failed(error);
  static const auto real = next<int (*)(const char*)>("unlink");
  return call.done(real(path));
}

FOVEA_INTERPOSE int close(int fd) {
  const Call call("close", is_watched(fd));
  if (fd >= 0 && fd < 1024) watched[fd] = false;
  static const auto real = next<int (*)(int)>("close");
  const int result = call.done(real(fd));
  if (const int error = call.error(false, true)) return failed(error);
  return result;
}

FOVEA_INTERPOSE int fstat(int fd, struct stat* info) noexcept {
  const Call call("fstat", is_watched(fd));
  if (const int error = call.error(false, false)) return failed(error);
  static const auto real = next<int (*)(int, struct stat*)>("fstat");
  return call.done(real(fd, info));
}

FOVEA_INTERPOSE int lstat(const char* path, struct stat* info) noexcept {
  const Call call("lstat", is_watched(path));
  if (const int error = call.error(false, false)) return failed(error);
  static const auto real = next<int (*)(const char*, struct stat*)>("lstat");
  return call.done(real(path, info));
}
