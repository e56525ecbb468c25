#include <fovea/nn/attention/attention.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <vector>

namespace fovea::nn {
namespace {

struct Watch {
  const Attention* layer;
  AttentionObserver* observer;
  std::thread::id thread;
};

// Global rather than a member of the layers, which stay const while several threads use them.
struct Watches {
  std::mutex mutex;
  std::vector<Watch> all;
  std::atomic<std::size_t> count{0};  // 0: no thread needs the mutex
};

Watches& watches() {
  static auto* instance = new Watches;  // never destroyed: a static model may outlive it
  return *instance;
}

// Locked across fork(): otherwise the child could inherit a lock held by a missing thread.
// Registered before main(): another thread may be in fork() when it is first used.
void unlock_watches() { watches().mutex.unlock(); }
[[maybe_unused]] const int watches_locked_across_fork =
    pthread_atfork([] { watches().mutex.lock(); }, unlock_watches, unlock_watches);

template <class Which>
void erase_watches(const Which& which) {
  Watches& w = watches();
  if (w.count == 0) return;
  const std::lock_guard lock(w.mutex);
  std::erase_if(w.all, which);
  w.count = w.all.size();
}

std::vector<AttentionObserver*> observers_of(const Attention* layer) {
  Watches& w = watches();
  std::vector<AttentionObserver*> observers;
  if (w.count == 0) return observers;
  const std::lock_guard lock(w.mutex);
  for (const Watch& watch : w.all)
    if (watch.layer == layer && watch.thread == std::this_thread::get_id())
      observers.push_back(watch.observer);
  return observers;
}

}  // namespace

Attention::~Attention() {
  erase_watches([this](const Watch& watch) { return watch.layer == this; });
}

void Attention::watch(AttentionObserver& observer) {
  Watches& w = watches();
  const std::lock_guard lock(w.mutex);
  w.all.push_back({this, &observer, std::this_thread::get_id()});
  w.count = w.all.size();
}

void Attention::unwatch(AttentionObserver& observer) {
  erase_watches(
      [&](const Watch& watch) { return watch.layer == this && watch.observer == &observer; });
}

void Attention::unwatch_all(AttentionObserver& observer) {
  erase_watches([&](const Watch& watch) { return watch.observer == &observer; });
}

bool Attention::watched() const { return !observers_of(this).empty(); }

// Called without the lock: an observer may call watch() or unwatch().
void Attention::report(const AttentionCall& call) const {
  for (AttentionObserver* observer : observers_of(this)) observer->on_attention(*this, call);
}

}  // namespace fovea::nn
