#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/storage.h>
#include <fovea/tests/support/compare.h>

#include <atomic>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
namespace fs = std::filesystem;

namespace {

// A directory per test case, removed at its end.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("fovea_files_test_" + std::to_string(::getpid()));
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }

  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
  }
};

}  // namespace

TEST_CASE("files: reading returns exactly the written bytes") {
  const Folder folder;
  const fs::path path = folder.path / "file";
  for (const std::string& bytes : {std::string(), std::string("a\0b\r\n\xff", 6),
                                   std::string(4096, 'x'), std::string(100001, 'y')}) {
    write_file_atomically(path, bytes);
    CHECK(read_file(path) == bytes);
    CHECK(folder.entries() == 1);
  }
}

TEST_CASE("files: a name without a directory is in the working directory") {
  const Folder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path);
  write_file_atomically("plain", "text");
  CHECK(read_file("plain") == "text");
  fs::current_path(before);
}

TEST_CASE("files: a new file has ordinary permissions, a replaced one keeps its own") {
  const Folder folder;
  const mode_t mask = ::umask(022);
  write_file_atomically(folder.path / "new", "x");
  ::umask(mask);
  CHECK((fs::status(folder.path / "new").permissions() & fs::perms::mask) ==
        static_cast<fs::perms>(0644));
  fs::permissions(folder.path / "new", static_cast<fs::perms>(0600));
  write_file_atomically(folder.path / "new", "y");
  CHECK((fs::status(folder.path / "new").permissions() & fs::perms::mask) ==
        static_cast<fs::perms>(0600));
}

TEST_CASE("files: errors name the path and the reason") {
  const Folder folder;
  const fs::path missing = folder.path / "none" / "file";
  CHECK(message_of<Error>([&] { read_file(missing); }) ==
        "read_file: " + missing.string() + ": No such file or directory");
  CHECK(message_of<Error>([&] { write_file_atomically(missing, "new"); }) ==
        "write_file_atomically: " + missing.string() + ": No such file or directory");
  CHECK(message_of<Error>([&] { read_file(folder.path); }) ==
        "read_file: " + folder.path.string() + ": Is a directory");
}

TEST_CASE("files: errors for devices without an end and for files larger than the memory") {
  const Folder folder;
  for (const std::string device : {"/dev/zero", "/dev/urandom", "/dev/full"})
    CHECK(message_of<Error>([&] { read_file(device); }) ==
          "read_file: " + device + " is a device: must be a file, a pipe or a terminal");
  fs::create_symlink("/dev/zero", folder.path / "link");
  CHECK_THROWS_AS(read_file(folder.path / "link"), Error);
  CHECK(read_file("/dev/null") == "");
  CHECK(read_file("/proc/self/stat") != "");  // without a size

  const fs::path sparse = folder.path / "sparse";
  write_file_atomically(sparse, "x");
  fs::resize_file(sparse, system_memory() + 1);
  CHECK(message_of<Error>([&] { read_file(sparse); }) ==
        "read_file: " + sparse.string() + ": size = " + std::to_string(system_memory() + 1) +
            " bytes: must be at most " + std::to_string(system_memory()));
}

TEST_CASE("files: a failed write leaves no temporary file and keeps the old content") {
  const Folder folder;
  fs::create_directory(folder.path / "taken");
  write_file_atomically(folder.path / "taken" / "inside", "x");
  CHECK(message_of<Error>([&] {
          write_file_atomically(folder.path / "taken", "new");
        }).find("Is a directory") != std::string::npos);
  CHECK(folder.entries() == 1);
  CHECK(read_file(folder.path / "taken" / "inside") == "x");
}

TEST_CASE("files: renaming a file") {
  const Folder folder;
  write_file_atomically(folder.path / "a", "x");
  write_file_atomically(folder.path / "b", "y");
  rename_file(folder.path / "a", folder.path / "b");
  CHECK(read_file(folder.path / "b") == "x");
  CHECK(folder.entries() == 1);
  CHECK(message_of<Error>([&] { rename_file(folder.path / "a", folder.path / "c"); }) ==
        "rename_file: " + (folder.path / "a").string() + ": No such file or directory");
}

TEST_CASE("files: symbolic links stay, devices are written to and not replaced") {
  const Folder folder;
  write_file_atomically(folder.path / "target", "old");
  fs::create_symlink("target", folder.path / "link");
  write_file_atomically(folder.path / "link", "new");
  CHECK(fs::is_symlink(folder.path / "link"));
  CHECK(read_file(folder.path / "target") == "new");
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  const int reader = ::open((folder.path / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_file_atomically(folder.path / "pipe", "through");
  char got[16] = {};
  CHECK(::read(reader, got, sizeof got) == 7);
  CHECK(std::string(got) == "through");
  ::close(reader);
  CHECK(fs::is_fifo(folder.path / "pipe"));
  write_file_atomically("/dev/null", "nothing");
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("files: a name may be as long as the file system allows") {
  const Folder folder;
  for (const std::size_t length : {100, 101, 236, 237, 250, 255}) {
    const fs::path path = folder.path / std::string(length, 'n');
    check_writable(path);
    write_file_atomically(path, "text");
    CHECK(read_file(path) == "text");
    fs::remove(path);
  }
  CHECK(folder.entries() == 0);
  const fs::path path = folder.path / std::string(256, 'n');
  for (const auto& write : {+[](const fs::path& p) { write_file_atomically(p, "text"); },
                            +[](const fs::path& p) { check_writable(p); }})
    CHECK(message_of<Error>([&] { write(path); }).find("File name too long") != std::string::npos);
}

TEST_CASE("files: an open descriptor is written to, after its content") {
  const Folder folder;
  const fs::path path = folder.path / "appended";
  write_file_atomically(path, "old ");
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND);
  REQUIRE(fd >= 0);
  const std::string name = std::to_string(fd);
  fs::create_symlink("/dev/fd/" + name, folder.path / "link");
  write_file_atomically("/dev/fd/" + name, "a");
  write_file_atomically("/proc/self/fd/" + name, "b");
  write_file_atomically("/proc/" + std::to_string(::getpid()) + "/fd/" + name, "c");
  write_file_atomically(folder.path / "link", "d");
  CHECK(read_file(path) == "old abcd");
  CHECK(OutputTarget("/dev/fd/" + name).same_file(OutputTarget(path)));
  ::close(fd);
  CHECK(message_of<Error>([&] { check_writable("/dev/fd/" + name); }).find("Bad file descriptor") !=
        std::string::npos);
  // Not opened again: two outputs to one stream follow each other, as on a pipe.
  const int other = ::open(path.c_str(), O_WRONLY | O_TRUNC);
  REQUIRE(other >= 0);
  write_file_atomically("/dev/fd/" + std::to_string(other), "first ");
  write_file_atomically("/dev/fd/" + std::to_string(other), "second");
  ::close(other);
  CHECK(read_file(path) == "first second");
  const int reader = ::open(path.c_str(), O_RDONLY);
  CHECK_THROWS_AS(check_writable("/dev/fd/" + std::to_string(reader)), Error);
  ::close(reader);
}

TEST_CASE("files: a growing text: a file contains all of it, a pipe receives each part once") {
  const Folder folder;
  GrowingText file(folder.path / "file");
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  const int reader = ::open((folder.path / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  std::string read;
  {
    GrowingText pipe(folder.path / "pipe");
    for (const char* all : {"a\n", "a\nb\n", "a\nb\n", "a\nb\nc\n"}) {
      file.write(all);
      CHECK(read_file(folder.path / "file") == all);
      pipe.write(all);
      char got[16] = {};
      while (::read(reader, got, 1) == 1) read += got;
      CHECK(read == all);
    }
    char more = 0;
    CHECK(::read(reader, &more, 1) == -1);  // EAGAIN: the writer still exists
  }
  char more = 0;
  CHECK(::read(reader, &more, 1) == 0);
  ::close(reader);
  const int fd = ::open((folder.path / "file").c_str(), O_WRONLY | O_APPEND);
  REQUIRE(fd >= 0);
  GrowingText appended("/dev/fd/" + std::to_string(fd));
  appended.write("d");
  appended.write("de");
  ::close(fd);
  CHECK(read_file(folder.path / "file") == "a\nb\nc\nde");
}

TEST_CASE("files: a pipe's descriptor is written to") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  check_writable("/dev/fd/" + std::to_string(ends[1]));
  write_file_atomically("/dev/fd/" + std::to_string(ends[1]), "through");
  ::close(ends[1]);
  CHECK(read_file("/dev/fd/" + std::to_string(ends[0])) == "through");
  ::close(ends[0]);
}

TEST_CASE("files: check_writable detects errors in advance") {
  const Folder folder;
  fs::create_directory(folder.path / "folder");
  fs::create_symlink("loop", folder.path / "loop");
  fs::create_symlink("nowhere/file", folder.path / "dangling");
  write_file_atomically(folder.path / "read_only", "old");
  fs::permissions(folder.path / "read_only", static_cast<fs::perms>(0444));
  fs::create_symlink("read_only", folder.path / "link");
  const std::size_t entries = folder.entries();
  const std::pair<const char*, const char*> cases[] = {
      {"folder", "Is a directory"},          {"loop", "symbolic links"},
      {"dangling", "No such file"},          {"none/file", "No such file"},
      {"read_only", "Permission denied"},    {"link", "Permission denied"},
      {"read_only/file", "Not a directory"},
  };
  for (const auto& [first, second] : cases) {
    const std::string name = first, reason = second;  // clang 14 captures no structured binding
    CAPTURE(name);
    CHECK(message_of<Error>([&] { check_writable(folder.path / name); }).find(reason) !=
          std::string::npos);
    CHECK(message_of<Error>([&] {
            write_file_atomically(folder.path / name, "new");
          }).find(reason) != std::string::npos);
  }
  CHECK(read_file(folder.path / "read_only") == "old");
  check_writable(folder.path / "new");
  CHECK(folder.entries() == entries);
}

TEST_CASE("files: one file is recognized under all of its names") {
  const Folder folder;
  fs::create_directory(folder.path / "sub");
  write_file_atomically(folder.path / "a", "x");
  fs::create_symlink("a", folder.path / "symbolic");
  fs::create_hard_link(folder.path / "a", folder.path / "hard");
  fs::create_symlink("later", folder.path / "dangling");
  const auto same = [&](const char* a, const char* b) {
    return OutputTarget(folder.path / a).same_file(OutputTarget(folder.path / b));
  };
  for (const char* name : {"a", "./a", "sub/../a", "symbolic", "hard"}) {
    CAPTURE(name);
    CHECK(same("a", name));
    CHECK(same(name, "a"));
  }
  CHECK(same("later", "dangling"));
  CHECK(same("later", "sub/../later"));
  CHECK_FALSE(same("a", "later"));
  CHECK_FALSE(same("later", "sub/later"));
  CHECK_FALSE(same("later", "latest"));
}

TEST_CASE("files: temporary files of killed processes are removed, those of live processes stay") {
  const Folder folder;
  const fs::path path = folder.path / "model.st";
  const auto leave = [&](const char* name) {
    const int fd = ::open((folder.path / name).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    REQUIRE(fd >= 0);
    return fd;
  };
  const int alive = leave(".fovea-model.st-alive1");
  REQUIRE(::flock(alive, LOCK_EX) == 0);
  ::close(leave(".fovea-other.st-killed"));
  ::close(leave(".fovea-model.st-and-more"));  // not of this name
  for (const auto& write : {+[](const fs::path& p) { check_writable(p); },
                            +[](const fs::path& p) { write_file_atomically(p, "x"); }}) {
    ::close(leave(".fovea-model.st-killed"));
    ::close(leave(".fovea-model.st-again1"));
    write(path);
    CHECK_FALSE(fs::exists(folder.path / ".fovea-model.st-killed"));
    CHECK_FALSE(fs::exists(folder.path / ".fovea-model.st-again1"));
    CHECK(fs::exists(folder.path / ".fovea-model.st-alive1"));
    CHECK(fs::exists(folder.path / ".fovea-other.st-killed"));
    CHECK(fs::exists(folder.path / ".fovea-model.st-and-more"));
  }
  ::close(alive);
  check_writable(path);
  CHECK_FALSE(fs::exists(folder.path / ".fovea-model.st-alive1"));
}

TEST_CASE("files: the umask of the process never changes, not even temporarily") {
  const Folder folder;
  const mode_t before = ::umask(077);
  std::atomic<bool> ended = false;
  std::thread writer([&] {
    for (int i = 0; i < 200; ++i) {
      const fs::path path = folder.path / std::to_string(i);
      write_file_atomically(path, "x");
    }
    ended = true;
  });
  int others = 0, open_to_others = 0;
  while (!ended) {
    const fs::path path = folder.path / "mine";
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666);
    struct stat info = {};
    if (fd >= 0 && ::fstat(fd, &info) == 0) open_to_others += (info.st_mode & 077) != 0;
    ::close(fd);
    ::unlink(path.c_str());
    ++others;
  }
  writer.join();
  ::umask(before);
  CHECK(others > 0);
  CHECK(open_to_others == 0);
  CHECK((fs::status(folder.path / "7").permissions() & fs::perms::mask) ==
        static_cast<fs::perms>(0600));
}

TEST_CASE("files: after concurrent writes the file contains exactly one of the texts") {
  const Folder folder;
  const fs::path path = folder.path / "file";
  std::vector<std::thread> writers;
  for (const char c : {'a', 'b', 'c'})
    writers.emplace_back([&, c] {
      for (int i = 0; i < 30; ++i) write_file_atomically(path, std::string(10000, c));
    });
  for (std::thread& writer : writers) writer.join();
  const std::string text = read_file(path);
  CHECK(text == std::string(10000, text.front()));
  CHECK(folder.entries() == 1);
}
