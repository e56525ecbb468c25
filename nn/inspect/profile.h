// Profile: time, work and memory of a program, by op and by module.
//
//   model.name_tree("translate");  // without it, all ops are in "(no module)"
//   Profile profile({.peak_gflops = measure_sgemm_gflops()});
//   for (int i = 0; i < 10; ++i) {
//     profile.step();
//     train_one_step();
//   }
//   profile.stop();
//   std::cout << profile.table();
//   profile.write_trace("profile.json");  // for ui.perfetto.dev or chrome://tracing
//
// Results are bitwise the same with and without it. core/observe.h documents the source of the
// times, nn/inspect/flops.h the counting of the work.
#pragma once

#include <fovea/core/observe.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

namespace fovea::nn::inspect {

/// The rate of a 1024 x 1024 f32 matrix product with the current number of threads, the best of
/// several: 2e-9 * 1024^3 / seconds. Takes about 50 ms, or two products if these take longer.
double measure_sgemm_gflops();

struct ProfileOptions {
  double peak_gflops = 0;                  ///< the 100 % of the peak column; 0: no such column
  std::size_t max_trace_events = 500'000;  ///< later events are only in the tables
};

/// The totals of one op, or of one module with all modules inside it.
struct ProfileRow {
  std::string name;
  std::int64_t calls = 0;  ///< forward calls, and optimizer ops
  double forward_ms = 0;   ///< time of these calls
  double backward_ms = 0;
  double flops = 0, bytes = 0;   ///< both passes
  std::int64_t saved_bytes = 0;  ///< saved for the backward, the sum over the calls
  bool known = true;             ///< false: the flops of some calls are unknown and not included

  double ms() const { return forward_ms + backward_ms; }
  double gflops() const { return ms() > 0 ? flops * 1e-6 / ms() : 0; }  ///< GFLOP/s
};

struct ProfileTotals {
  std::int64_t steps = 0;
  double wall_ms = 0;      ///< between start and stop
  double op_ms = 0;        ///< of wall_ms: in ops and in walks through the graph
  double observer_ms = 0;  ///< of wall_ms: in the profiler; the rest is spent outside of ops
  double flops = 0, bytes = 0;
};

/// Records the ops of the thread that created it, from then to stop(). Not copyable, not movable.
/// It must be destroyed on that thread, and not inside a backward that it records; several profiles
/// may end in any order.
class Profile final : private OpObserver {
 public:
  explicit Profile(ProfileOptions options = {});  ///< starts recording
  ~Profile() override;
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// Pauses the recording until start(); the pause takes no time in the tables and the trace.
  /// StateError on another thread than the recorded one, and inside a backward (a tensor hook).
  void stop();
  void start();  ///< continues, on the calling thread. StateError if it is recording
  bool watching() const { return observe_.has_value(); }
  void step() { ++steps_; }  ///< marks the start of a step: tables then show means per step

  /// Most time first. The engine's part of backward(), the graph search and the accumulation of
  /// gradients, is the row "(backward engine)".
  std::vector<ProfileRow> by_op() const;
  /// A row includes everything that ran inside its module: rows of nested modules overlap.
  /// "(no module)": ops outside of all named modules.
  std::vector<ProfileRow> by_module() const;
  ProfileTotals totals() const;

  /// Both as text, the `rows` with the most time each; the sum of the others is the last row.
  std::string table(std::size_t rows = 16) const;

  /// Trace events as JSON: ops with shapes, operations and module (thread 1), and the modules that
  /// they ran in (thread 2).
  /// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
  std::string trace() const;
  void write_trace(const std::filesystem::path& path) const;  ///< atomic: all or nothing

 private:
  struct Sum {
    std::int64_t calls = 0, forward_ns = 0, backward_ns = 0, saved_bytes = 0;
    double flops = 0, bytes = 0;
    bool known = true;
    void add_to(ProfileRow& row) const;
  };
  struct TraceEvent {
    const char* name;
    const std::string* module;
    const std::string* sizes;  // in size_texts_, or null
    OpEvent::Pass pass;
    int depth;
    std::int64_t begin_ns, end_ns;  // on the profile's clock, which excludes pauses
    double flops, bytes;
  };
  void on_op(const OpEvent& op) noexcept override;
  void end() noexcept;
  std::string module_events() const;

  ProfileOptions options_;
  std::optional<ObserveOps> observe_;
  std::thread::id thread_;
  std::int64_t started_ns_ = 0, watched_ns_ = 0, observer_ns_ = 0, steps_ = 0;
  std::map<std::pair<const char*, const std::string*>, Sum> sums_;
  std::vector<TraceEvent> events_;
  std::size_t left_out_ = 0;
  std::unordered_set<std::string> size_texts_;
};

}  // namespace fovea::nn::inspect
