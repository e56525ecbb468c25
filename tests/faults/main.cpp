// Runs a training of one of the programs repeatedly, each time with another fault, and checks that
// every file is complete, that the program reported the failure, and that the next run gives the
// results of an undisturbed run: same model, same checkpoint, same log, no temporary file.
//
//   faults PROGRAM PATH INJECTION [--stride N] [--kills N] [--seed N]
//
// PROGRAM translate, sentiment or generate, PATH its binary, INJECTION the library of injection.cpp
// --stride N  every N-th of all (call, fault) pairs [1: all]
// --kills N   SIGKILL at N random times [0], also of resumed runs
#include <fovea/core/files.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <random>
#include <sstream>
#include <unistd.h>

#include "process.h"
#include "subject.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace fs = std::filesystem;

namespace {

struct Options {
  std::string program, path, injection;
  int stride = 1, kills = 0, seed = 1;
};

// The possible faults of a call, see injection.cpp.
std::vector<std::string> faults_of(const std::string& call) {
  if (call == "fstat" || call == "lstat") return {"io_error", "before"};
  std::vector<std::string> faults{"io_error", "before", "after"};
  const auto add = [&](std::initializer_list<const char*> calls, const char* fault) {
    if (std::find(calls.begin(), calls.end(), call) != calls.end()) faults.push_back(fault);
  };
  add({"create", "write", "fsync", "rename"}, "no_space");
  add({"create", "write"}, "full_disk");
  add({"create", "open", "read", "write", "fsync", "fchmod", "flock", "rename", "close"},
      "interrupt");
  add({"read", "write"}, "shorter");
  add({"write"}, "middle");
  return faults;
}

// Whether a run may succeed although this call fails. Not the calls that write a file: create,
// write, fsync, fchmod, rename.
bool may_be_tolerated(const std::string& call) {
  constexpr const char* calls[] = {"open", "read", "flock", "unlink", "close", "fstat", "lstat"};
  return std::find(std::begin(calls), std::end(calls), call) != std::end(calls);
}

const char* message_of(const std::string& fault) {
  if (fault == "no_space" || fault == "full_disk") return "No space left on device";
  if (fault == "io_error") return "Input/output error";
  return nullptr;
}

class Harness {
 public:
  explicit Harness(const Options& options)
      : subject_(subject_named(options.program)), options_(options) {
    const fs::path base = fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    work_ = base / fmt::format("fovea_faults_{}_{}", options.program, ::getpid());
    folder_ = work_ / "run";
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
  }
  ~Harness() { fs::remove_all(work_); }
  Harness(const Harness&) = delete;
  Harness& operator=(const Harness&) = delete;

  int operator()() {
    const std::vector<std::string> calls = undisturbed();
    int faults = 0, pair = 0;
    for (std::size_t call = 0; call < calls.size(); ++call)
      for (const std::string& fault : faults_of(calls[call]))
        if (pair++ % options_.stride == 0) inject(fault, call + 1, calls[call]), ++faults;
    inject_folder_sync(calls), ++faults;
    std::mt19937 random(static_cast<unsigned>(options_.seed));
    int kills = 0;
    while (kills < options_.kills) kills += kill_at_random(random);
    fmt::print("{}: {} calls, {} faults, {} kills, {} errors\n", subject_.name, calls.size(),
               faults, kills, wrong_);
    return wrong_ == 0 ? 0 : 1;
  }

 private:
  Command command(bool resume = false) const {
    Command made{.words = {options_.path}};
    made.words.insert(made.words.end(), subject_.arguments.begin(), subject_.arguments.end());
    if (resume) made.words.push_back("--resume");
    return made;
  }

  Command injected(const std::string& fault) const {
    Command made = command();
    made.environment = {{"LD_PRELOAD", options_.injection}, {"FOVEA_FAULT", fault}};
    return made;
  }

  // Records the reference results and the list of calls.
  std::vector<std::string> undisturbed() {
    prepare(subject_, folder_);
    Outcome plain = run_in(folder_, command());
    if (plain.exit_code != 0)
      throw std::runtime_error("the undisturbed run fails: " + plain.messages);
    expected_ = results(subject_, folder_);
    seconds_ = plain.seconds;
    prepare(subject_, folder_);
    const fs::path trace = work_ / "trace";
    Command traced = injected("none:0");
    traced.environment["FOVEA_FAULT_TRACE"] = trace;
    if (run_in(folder_, traced).exit_code != 0) throw std::runtime_error("the traced run fails");
    if (results(subject_, folder_) != expected_) throw std::runtime_error("two runs differ");
    std::istringstream lines(fovea::read_file(trace));
    std::vector<std::string> calls;
    for (std::string line; std::getline(lines, line);) calls.push_back(line);
    if (calls.size() < 50) throw std::runtime_error("the injection recorded too few calls");
    return calls;
  }

  void inject(const std::string& fault, std::size_t number, const std::string& call) {
    const std::string what = fmt::format("{}:{} ({})", fault, number, call);
    prepare(subject_, folder_);
    const Outcome outcome = run_in(folder_, injected(fmt::format("{}:{}", fault, number)));
    check_end(what, fault, call, outcome);
    check_files(what);
    finish(what);
  }

  // Independent of the stride: the fsync of the directory after a rename.
  void inject_folder_sync(const std::vector<std::string>& calls) {
    const auto renamed = std::find(calls.begin(), calls.end(), "rename");
    const auto sync = std::find(renamed, calls.end(), "fsync");
    if (sync == calls.end()) throw std::runtime_error("no directory is synced after a rename");
    inject("io_error", static_cast<std::size_t>(sync - calls.begin()) + 1, *sync);
  }

  void check_end(const std::string& what, const std::string& fault, const std::string& call,
                 const Outcome& outcome) {
    const bool kills = fault == "before" || fault == "middle" || fault == "after";
    const char* message = message_of(fault);
    if (kills) {
      if (outcome.signal != SIGKILL) wrong(what, "was not killed", outcome);
    } else if (outcome.exit_code == 0) {
      if (message != nullptr && !may_be_tolerated(call)) wrong(what, "error was ignored", outcome);
      if (results(subject_, folder_) != expected_)
        wrong(what, "exit code 0, but different files", outcome);
    } else if (message == nullptr || outcome.exit_code != 1) {
      wrong(what, "must continue", outcome);
    } else if (outcome.messages.find(message) == std::string::npos) {
      wrong(what, "message without the reason", outcome);
    }
  }

  void check_files(const std::string& what) {
    if (const std::string broken = what_is_broken(subject_, folder_); !broken.empty())
      wrong(what, broken, {});
    // An incomplete file must not be readable by other users.
    if (what.ends_with("(write)") || what.ends_with("(fsync)"))
      for (const std::string& name : temporary_files(folder_))
        if (const fs::path path = folder_ / name;
            !name.ends_with(".lock") && fs::file_size(path) > 0)
          if ((fs::status(path).permissions() & static_cast<fs::perms>(077)) != fs::perms::none)
            wrong(what, "other users can read " + name, {});
  }

  bool can_resume() const {
    const fs::path last = folder_ / last_name;
    return subject_.resumes && fs::exists(last) && fovea::read_file(last) != old_text(last_name);
  }

  // The next run of a user.
  void finish(const std::string& what) {
    const Outcome outcome = run_in(folder_, command(can_resume()));
    if (outcome.exit_code != 0) return wrong(what, "the next run fails", outcome);
    const auto found = results(subject_, folder_);
    for (const auto& [name, text] : expected_)
      if (!found.contains(name) || found.at(name) != text)
        wrong(what, "after the next run " + name + " differs", outcome);
    for (const std::string& name : temporary_files(folder_))
      wrong(what, "the next run left " + name, outcome);
  }

  // Kills a run, with probability 1/2 also the resumed run, and so on. Returns the number of kills:
  // a run that ended before its time is not counted.
  int kill_at_random(std::mt19937& random) {
    std::uniform_real_distribution<double> moment(0, 1.1 * seconds_);
    prepare(subject_, folder_);
    int runs = 0, kills = 0;
    std::string what = "killed after";
    do {
      Command killed = command(runs > 0 && can_resume());
      killed.kill_after = moment(random);
      what += fmt::format(" {:.4f}", *killed.kill_after);
      const Outcome outcome = run_in(folder_, killed);
      if (outcome.signal != SIGKILL && outcome.exit_code != 0) wrong(what, "fails", outcome);
      if (runs++ == 0) check_files(what);
      kills += outcome.signal == SIGKILL;
    } while (random() % 2 == 0);
    finish(what);
    return kills;
  }

  void wrong(const std::string& what, const std::string& problem, const Outcome& outcome) {
    ++wrong_;
    fmt::print("{}: {}: {}\n{}", subject_.name, what, problem, outcome.messages);
    if (wrong_ == 20) throw std::runtime_error("too many errors");
  }

  Subject subject_;
  Options options_;
  fs::path work_, folder_;
  std::map<std::string, std::string> expected_;
  double seconds_ = 0;
  int wrong_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Trains with injected file faults, and checks that no file is lost."};
  app.add_option("program", o.program)->required();
  app.add_option("path", o.path)->required();
  app.add_option("injection", o.injection)->required();
  app.add_option("--stride", o.stride)->check(CLI::Range(1, 1'000'000));
  app.add_option("--kills", o.kills)->check(CLI::Range(0, 1'000'000));
  app.add_option("--seed", o.seed);
  CLI11_PARSE(app, argc, argv);
  try {
    return Harness(o)();
  } catch (const std::exception& error) {
    std::cerr << "faults: " << error.what() << '\n';
    return 1;
  }
}
