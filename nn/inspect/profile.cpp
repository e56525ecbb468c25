// Recording and sums of a Profile; profile_text.cpp formats them.
#include <fovea/core/ops/matmul.h>
#include <fovea/nn/inspect/flops.h>
#include <fovea/nn/inspect/profile.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>

namespace fovea::nn::inspect {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void append_shape(std::string& text, const Shape& shape) {
  text += '(';
  for (std::int64_t i = 0; i < shape.rank(); ++i) {
    if (i > 0) text += ", ";
    char digits[24];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, shape[i]).ptr);
  }
  text += ')';
}

// "(2, 3) (4, 3) -> (2, 4)"
std::string text_of(const OpSizes& sizes) {
  std::string text;
  for (const TensorSize& x : sizes.inputs) {
    if (!x.given) continue;
    if (!text.empty()) text += ' ';
    append_shape(text, x.shape);
  }
  if (!sizes.outputs.empty()) text += text.empty() ? "->" : " ->";
  for (const TensorSize& y : sizes.outputs) {
    text += ' ';
    append_shape(text, y.shape);
  }
  return text;
}

std::vector<ProfileRow> most_time_first(std::map<std::string, ProfileRow> named) {
  std::vector<ProfileRow> rows;
  for (auto& [name, row] : named) {
    row.name = name;
    rows.push_back(std::move(row));
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ProfileRow& a, const ProfileRow& b) { return a.ms() > b.ms(); });
  return rows;
}

constexpr const char* kEngine = "(backward engine)";

}  // namespace

double measure_sgemm_gflops() {
  constexpr std::int64_t size = 1024;
  const NoGrad guard;
  const Tensor a = full({size, size}, 0.5), b = full({size, size}, 0.25);
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  const std::int64_t start = now_ns();
  for (int run = 0; run < 2 || (run < 8 && now_ns() - start < 50'000'000); ++run) {
    const std::int64_t begin = now_ns();
    const Tensor product = matmul(a, b);
    best = std::min(best, now_ns() - begin);
  }
  return 2.0 * size * size * size / static_cast<double>(best);
}

Profile::Profile(ProfileOptions options) : options_(options) { start(); }

Profile::~Profile() { end(); }

void Profile::start() {
  if (watching()) state_error("Profile", "start: already recording");
  thread_ = std::this_thread::get_id();
  started_ns_ = now_ns();
  OpObserver& self = *this;
  observe_.emplace(self);
}

void Profile::stop() {
  if (!watching()) return;
  if (std::this_thread::get_id() != thread_)
    state_error("Profile", "stop: must be called on the recorded thread");
  if (observe_->depth() > 0) state_error("Profile", "stop: must not be called inside a backward");
  end();
}

void Profile::end() noexcept {
  if (!watching()) return;
  observer_ns_ += observe_->observer_ns();
  observe_.reset();
  watched_ns_ += now_ns() - started_ns_;
}

void Profile::on_op(const OpEvent& op) noexcept {
  const OpCost cost = cost_of(op);
  const bool walk = op.pass == OpEvent::Pass::walk;
  const char* name = walk ? kEngine : op.name;
  Sum& sum = sums_[{name, op.module}];
  const bool backward = walk || op.pass == OpEvent::Pass::backward;
  sum.calls += backward ? 0 : 1;
  (backward ? sum.backward_ns : sum.forward_ns) += op.self_ns();
  sum.saved_bytes += op.saved_bytes;
  sum.flops += cost.flops;
  sum.bytes += cost.bytes;
  sum.known = sum.known && cost.known;
  if (events_.size() >= options_.max_trace_events) {
    ++left_out_;
    return;
  }
  const std::string* sizes = op.sizes ? &*size_texts_.insert(text_of(*op.sizes)).first : nullptr;
  const std::int64_t shift = watched_ns_ - started_ns_;
  events_.push_back({walk ? "backward" : name, op.module, sizes, op.pass, op.depth,
                     op.begin_ns + shift, op.end_ns + shift, cost.flops, cost.bytes});
}

void Profile::Sum::add_to(ProfileRow& row) const {
  row.calls += calls;
  row.forward_ms += 1e-6 * static_cast<double>(forward_ns);
  row.backward_ms += 1e-6 * static_cast<double>(backward_ns);
  row.flops += flops;
  row.bytes += bytes;
  row.saved_bytes += saved_bytes;
  row.known = row.known && known;
}

std::vector<ProfileRow> Profile::by_op() const {
  std::map<std::string, ProfileRow> rows;
  for (const auto& [key, sum] : sums_) sum.add_to(rows[key.first]);
  return most_time_first(std::move(rows));
}

std::vector<ProfileRow> Profile::by_module() const {
  std::map<std::string, ProfileRow> rows;
  for (const auto& [key, sum] : sums_) {
    const std::string path = key.second ? *key.second : "";
    if (path.empty()) {
      sum.add_to(rows["(no module)"]);
      continue;
    }
    for (std::size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1))
      sum.add_to(rows[path.substr(0, dot)]);
    sum.add_to(rows[path]);
  }
  return most_time_first(std::move(rows));
}

ProfileTotals Profile::totals() const {
  ProfileTotals all{.steps = steps_};
  std::int64_t wall = watched_ns_, observer = observer_ns_;
  if (watching()) {
    wall += now_ns() - started_ns_;
    observer += observe_->observer_ns();
  }
  all.wall_ms = 1e-6 * static_cast<double>(wall);
  all.observer_ms = 1e-6 * static_cast<double>(observer);
  for (const auto& [key, sum] : sums_) {
    all.op_ms += 1e-6 * static_cast<double>(sum.forward_ns + sum.backward_ns);
    all.flops += sum.flops;
    all.bytes += sum.bytes;
  }
  return all;
}

}  // namespace fovea::nn::inspect
