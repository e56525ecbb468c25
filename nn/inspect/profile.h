// Profile: where a program's time, work and memory go, op by op and module by module.
//
//   model.name_tree("translate");  // else there is but one module, without a name
//   Profile profile({.peak_gflops = measure_sgemm_gflops()});
//   for (int i = 0; i < 10; ++i) {
//     profile.step();
//     train_one_step();
//   }
//   profile.stop();
//   std::cout << profile.table();
//   profile.write_trace("profile.json");  // for ui.perfetto.dev or chrome://tracing
//
// Results are the same to the bit with and without. core/observe.h says where the times come from,
// nn/inspect/flops.h what is counted.
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

/// The rate of a matrix product of 1024 x 1024 f32 on this thread's setting of threads, the best of
/// several: 2e-9 * 1024^3 / seconds. Takes some 50 ms, or two products where these take longer.
double measure_sgemm_gflops();

struct ProfileOptions {
  double peak_gflops = 0;                  ///< what shares of the peak refer to; 0: none are given
  std::size_t max_trace_events = 500'000;  ///< later ones are in the tables alone
};

/// What one op, or one module with all inside it, took.
struct ProfileRow {
  std::string name;
  std::int64_t calls = 0;  ///< of forwards, and of an optimizer's op
  double forward_ms = 0;   ///< these calls
  double backward_ms = 0;
  double flops = 0, bytes = 0;  ///< both passes
  std::int64_t kept_bytes = 0;  ///< kept for the backward, the sum over the calls
  bool known = true;            ///< false: of some calls flops are not known, and left out

  double ms() const { return forward_ms + backward_ms; }
  double gflops() const { return ms() > 0 ? flops * 1e-6 / ms() : 0; }  ///< a second
};

struct ProfileTotals {
  std::int64_t steps = 0;
  double wall_ms = 0;      ///< between start and stop
  double op_ms = 0;        ///< of it, in ops and in the walks through the graph
  double observer_ms = 0;  ///< of it, in watching; the rest was spent outside of ops
  double flops = 0, bytes = 0;
};

/// Watches the ops of the thread that made it, from then to stop(). Not copied, not moved. It ends
/// on that thread, and outside of a backward that it watches; several may end in any order.
class Profile final : private OpObserver {
 public:
  explicit Profile(ProfileOptions options = {});  ///< begins to watch
  ~Profile() override;
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// Until start(), which is in the tables and the trace as if no time had passed. StateError on
  /// another thread than it watches, and inside a backward (a tensor's hook).
  void stop();
  void start();  ///< goes on, with this thread. StateError if it is watching
  bool watching() const { return observe_.has_value(); }
  void step() { ++steps_; }  ///< a step begins: tables then tell what one took, on average

  /// Most time first. The engine's part of backward(), the search and the adding up of gradients,
  /// is the row "(backward engine)".
  std::vector<ProfileRow> by_op() const;
  /// A module's row has all that ran inside it: rows of modules inside one another overlap.
  /// "(no module)": outside of all that have a name.
  std::vector<ProfileRow> by_module() const;
  ProfileTotals totals() const;

  /// Both as text, the `rows` that took most time each; what is not shown is summed up below.
  std::string table(std::size_t rows = 16) const;

  /// Trace events: ops with shapes, operations and module (thread 1), and below them the modules
  /// that they ran in (thread 2), as JSON.
  /// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
  std::string trace() const;
  void write_trace(const std::filesystem::path& path) const;  ///< whole or not at all

 private:
  struct Sum {
    std::int64_t calls = 0, forward_ns = 0, backward_ns = 0, kept_bytes = 0;
    double flops = 0, bytes = 0;
    bool known = true;
    void add_to(ProfileRow& row) const;
  };
  struct TraceEvent {
    const char* name;
    const std::string* module;
    const std::string* sizes;  // in size_texts_, or null
    SeenOp::Pass pass;
    int depth;
    std::int64_t begin_ns, end_ns;  // of the profile's own clock, which stands still when stopped
    double flops, bytes;
  };
  void see(const SeenOp& op) noexcept override;
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
