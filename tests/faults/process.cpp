#include "process.h"

#include <fovea/core/files.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

// In the child: settings that exec() keeps.
[[noreturn]] void become(const std::filesystem::path& folder, const Command& command,
                         const std::string& messages) {
  for (const auto& [name, value] : command.environment) ::setenv(name.c_str(), value.c_str(), 1);
  const int out = ::open("/dev/null", O_WRONLY);
  const int err = ::open(messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (::chdir(folder.c_str()) != 0 || ::dup2(out, STDOUT_FILENO) < 0 ||
      ::dup2(err, STDERR_FILENO) < 0)
    ::_exit(126);
  std::vector<char*> words;
  for (const std::string& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execv(words[0], words.data());
  ::_exit(127);
}

}  // namespace

Outcome run_in(const std::filesystem::path& folder, const Command& command) {
  const std::string messages = folder.string() + ".messages";
  const auto start = Clock::now();
  const pid_t child = ::fork();
  if (child == 0) become(folder, command, messages);
  if (child < 0) throw std::runtime_error("fork failed");
  if (command.kill_after) {
    std::this_thread::sleep_for(std::chrono::duration<double>(*command.kill_after));
    ::kill(child, SIGKILL);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid failed");
  Outcome outcome{.messages = fovea::read_file(messages),
                  .seconds = std::chrono::duration<double>(Clock::now() - start).count()};
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}
