#include <fovea/core/error.h>
#include <fovea/core/file_lock.h>
#include <fovea/core/files.h>
#include <fovea/tests/support/compare.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("fovea_lock_test_" + std::to_string(::getpid()));
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
};

}  // namespace

TEST_CASE("file lock: a second one is an error with the process that holds the first") {
  const Folder folder;
  const fs::path path = folder.path / "model";
  {
    const FileLock lock("train", path);
    CHECK(read_file(folder.path / ".fovea-model.lock") == std::to_string(::getpid()) + "\n");
    CHECK(message_of<StateError>([&] { FileLock("train", path); }) ==
          "train: " + path.string() + " is in use by process " + std::to_string(::getpid()) +
              ": must end first");
    const FileLock other("train", folder.path / "other");
  }
  CHECK(fs::is_empty(folder.path));
  const FileLock again("train", path);
}

TEST_CASE("file lock: the same file under another name, and a lock that was moved") {
  const Folder folder;
  write_file_atomically(folder.path / "model", "x");
  fs::create_symlink("model", folder.path / "link");
  std::optional<FileLock> lock(std::in_place, "train", folder.path / "link");
  CHECK_THROWS_AS(FileLock("train", folder.path / "model"), StateError);
  CHECK_THROWS_AS(FileLock("train", folder.path / "." / "model"), StateError);
  std::optional<FileLock> moved(std::move(*lock));
  lock.reset();
  CHECK_THROWS_AS(FileLock("train", folder.path / "model"), StateError);
  moved.reset();
  const FileLock free("train", folder.path / "model");
}

TEST_CASE("file lock: a killed process leaves no lock") {
  const Folder folder;
  const fs::path path = folder.path / "model";
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FileLock lock("train", path);
    if (::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(0);
  }
  char x;
  REQUIRE(::read(ready[0], &x, 1) == 1);
  CHECK(message_of<StateError>([&] { FileLock("train", path); }).find(std::to_string(child)) !=
        std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(fs::exists(folder.path / ".fovea-model.lock"));
  {
    const FileLock lock("train", path);
    CHECK(read_file(folder.path / ".fovea-model.lock") == std::to_string(::getpid()) + "\n");
  }
  CHECK(fs::is_empty(folder.path));
}

TEST_CASE("file lock: the error names a missing directory") {
  CHECK(message_of<Error>([] { FileLock("train", "/nowhere/model"); }) ==
        "train: /nowhere/model: No such file or directory");
}

TEST_CASE("file lock: names as long as the file system allows have separate locks") {
  const Folder folder;
  const fs::path model = folder.path / std::string(250, 'm');
  const FileLock lock("train", model), last("train", model.string() + ".last");
  CHECK(lock_path("train", model) != lock_path("train", model.string() + ".last"));
  CHECK_THROWS_AS(FileLock("train", model), StateError);
}

TEST_CASE("file lock: a file of that name that is not a lock file is an error and stays") {
  const Folder folder;
  const fs::path path = folder.path / "model", name = folder.path / ".fovea-model.lock";
  const std::string message =
      "train: " + name.string() + " is not a lock file: must be empty or hold a process id";
  for (const char* text : {"a user's notes\n", "12", "\n", "12\n13\n", "12 \n"}) {
    CAPTURE(text);
    write_file_atomically(name, text);
    CHECK(message_of<StateError>([&] { FileLock("train", path); }) == message);
    CHECK(read_file(name) == text);
  }
  fs::remove(name);
  write_file_atomically(folder.path / "notes", "");
  fs::create_symlink("notes", name);
  CHECK(message_of<StateError>([&] { FileLock("train", path); }) == message);
  CHECK(fs::is_symlink(name));
  CHECK(read_file(folder.path / "notes") == "");
  fs::remove(name);
  fs::create_directory(name);
  CHECK(message_of<StateError>([&] { FileLock("train", path); }) == message);
}

TEST_CASE("file lock: a user's NAME.lock stays as it is") {
  const Folder folder;
  write_file_atomically(folder.path / "model.lock", "notes");
  { const FileLock lock("train", folder.path / "model"); }
  CHECK(read_file(folder.path / "model.lock") == "notes");
}

TEST_CASE("file lock: the file of a killed process is taken over, for every length of its id") {
  const Folder folder;
  for (const char* text : {"", "1\n", "4194304\n"}) {
    write_file_atomically(folder.path / ".fovea-model.lock", text);
    const FileLock lock("train", folder.path / "model");
    CHECK(read_file(folder.path / ".fovea-model.lock") == std::to_string(::getpid()) + "\n");
  }
}

TEST_CASE("file lock: a forked child does not remove its parent's lock") {
  const Folder folder;
  std::optional<FileLock> lock(std::in_place, "train", folder.path / "model");
  const pid_t child = ::fork();
  if (child == 0) {
    lock.reset();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  CHECK(fs::exists(folder.path / ".fovea-model.lock"));
  CHECK_THROWS_AS(FileLock("train", folder.path / "model"), StateError);
  lock.reset();
  CHECK(fs::is_empty(folder.path));
}
