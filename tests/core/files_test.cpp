#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/tests/support/compare.h>

#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
namespace fs = std::filesystem;

namespace {

// A folder of its own for every test case, removed at its end.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("fovea_files_test_" + std::to_string(::getpid()));
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }

  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
  }
};

}  // namespace

TEST_CASE("files: what was written is read, byte for byte") {
  const Folder folder;
  const fs::path path = folder.path / "file";
  for (const std::string& bytes : {std::string(), std::string("a\0b\r\n\xff", 6),
                                   std::string(4096, 'x'), std::string(100001, 'y')}) {
    write_file_atomically(path, bytes);
    CHECK(read_file(path) == bytes);
    CHECK(folder.entries() == 1);
  }
}

TEST_CASE("files: a name without a folder means the working folder") {
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

TEST_CASE("files: a failed write leaves nothing behind and the old content in place") {
  const Folder folder;
  fs::create_directory(folder.path / "taken");
  write_file_atomically(folder.path / "taken" / "inside", "x");
  CHECK(message_of<Error>([&] {
          write_file_atomically(folder.path / "taken", "new");
        }).find("Is a directory") != std::string::npos);
  CHECK(folder.entries() == 1);
  CHECK(read_file(folder.path / "taken" / "inside") == "x");
}

TEST_CASE("files: links stay, devices are written to and not replaced") {
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
