#include <fovea/optim/interrupt.h>
#include <fovea/tests/support/compare.h>

#include <csignal>
#include <functional>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::optim;

namespace {

// The wait status of a process that runs `body` and then exits with its result.
int status_of(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

void pause_for(long milliseconds) {
  const timespec time{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  nanosleep(&time, nullptr);
}

}  // namespace

TEST_CASE("interrupt: each signal is recorded while a guard exists, and then cleared") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CAPTURE(signal);
    const auto before = std::signal(signal, SIG_DFL);
    {
      const InterruptGuard guard;
      CHECK(interrupt_signal() == 0);
      check_interrupt();
      std::raise(signal);
      CHECK(interrupt_signal() == signal);
      CHECK(test::message_of<Interrupted>([] { check_interrupt(); }) ==
            "interrupt: ended by signal " + std::to_string(signal));
    }
    CHECK(interrupt_signal() == 0);
    check_interrupt();
    const int status = status_of([&] { return std::raise(signal); });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == signal);
    std::signal(signal, before);
  }
}

TEST_CASE("interrupt: a second signal ends the program, also one of another kind") {
  for (const int second : {SIGINT, SIGTERM, SIGHUP}) {
    const int status = status_of([&] {
      const InterruptGuard guard;
      std::raise(SIGTERM);
      std::raise(SIGTERM);  // timeout(1) sends it twice: counted once
      pause_for(150);
      std::raise(second);
      return 7;
    });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == second);
  }
}

TEST_CASE("interrupt: a signal that is ignored stays ignored") {
  const int status = status_of([] {
    std::signal(SIGHUP, SIG_IGN);  // as nohup does
    {
      const InterruptGuard guard;
      std::raise(SIGHUP);
      if (interrupt_signal() != 0) return 1;
      std::raise(SIGTERM);
      if (interrupt_signal() != SIGTERM) return 2;
    }
    std::raise(SIGHUP);
    return 0;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("interrupt: a nested guard and a disabled guard change nothing") {
  const auto before = std::signal(SIGTERM, SIG_DFL);
  {
    const InterruptGuard outer;
    {
      const InterruptGuard inner, off(false);
      std::raise(SIGTERM);
    }
    CHECK(interrupt_signal() == SIGTERM);
  }
  CHECK(interrupt_signal() == 0);
  std::signal(SIGTERM, before);
}

TEST_CASE("interrupt: guards of two threads restore the handler") {
  const auto before = std::signal(SIGTERM, SIG_DFL);
  const auto make_guards = [] {
    for (int i = 0; i < 5000; ++i) const InterruptGuard guard;
  };
  std::thread other(make_guards);
  make_guards();
  other.join();
  const bool restored = std::signal(SIGTERM, before) == SIG_DFL;
  CHECK(restored);
}
