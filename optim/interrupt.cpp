#include <fovea/optim/interrupt.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <mutex>

namespace fovea::optim {
namespace {

constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP};

std::atomic<int> noted = 0;
std::atomic<std::int64_t> noted_at = 0;  // milliseconds
static_assert(std::atomic<int>::is_always_lock_free &&
              std::atomic<std::int64_t>::is_always_lock_free);  // else no handler may use them

std::mutex guards_mutex;  // protects the two variables below
int guards = 0;           // number of existing guards
struct sigaction before[std::size(signals)];

std::int64_t milliseconds_now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

extern "C" void note_signal(int signal) {
  constexpr std::int64_t same_request = 100;
  const int saved = errno;
  int none = 0;
  if (noted.load() == 0) noted_at = milliseconds_now();
  if (!noted.compare_exchange_strong(none, signal) &&
      milliseconds_now() - noted_at.load() > same_request) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  errno = saved;
}

}  // namespace

InterruptGuard::InterruptGuard(bool on) : on_(on) {
  if (!on_) return;
  const std::lock_guard lock(guards_mutex);
  if (guards++ > 0) return;
  noted = 0;
  for (std::size_t i = 0; i < std::size(signals); ++i) {
    sigaction(signals[i], nullptr, &before[i]);
    if (before[i].sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;  // interrupted reads and writes continue
    sigemptyset(&action.sa_mask);
    sigaction(signals[i], &action, nullptr);
  }
}

InterruptGuard::~InterruptGuard() {
  if (!on_) return;
  const std::lock_guard lock(guards_mutex);
  if (--guards > 0) return;
  for (std::size_t i = 0; i < std::size(signals); ++i)
    if (before[i].sa_handler != SIG_IGN) sigaction(signals[i], &before[i], nullptr);
  noted = 0;
}

int interrupt_signal() { return noted; }

void check_interrupt() {
  if (const int signal = interrupt_signal())
    raise<Interrupted>("interrupt", "ended by signal {}", signal);
}

}  // namespace fovea::optim
