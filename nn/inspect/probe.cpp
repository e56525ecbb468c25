#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/error.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/inspect/probe.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <tuple>
#include <unordered_set>

#include <fmt/format.h>

namespace fovea::nn::inspect {
namespace {

// ---- names and patterns ----

// Whether one name matches a pattern in which * matches any characters.
bool name_matches(std::string_view name, std::string_view pattern) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*')
    return name_matches(name, pattern.substr(1)) ||
           (!name.empty() && name_matches(name.substr(1), pattern));
  return !name.empty() && name.front() == pattern.front() &&
         name_matches(name.substr(1), pattern.substr(1));
}

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> names;
  while (!path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    names.push_back(path.substr(0, dot));
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return names;
}

using Names = std::span<const std::string_view>;

bool path_matches(Names path, Names pattern) {
  if (pattern.empty()) return path.empty();
  if (pattern.front() == "**")
    return path_matches(path, pattern.subspan(1)) ||
           (!path.empty() && path_matches(path.subspan(1), pattern));
  return !path.empty() && name_matches(path.front(), pattern.front()) &&
         path_matches(path.subspan(1), pattern.subspan(1));
}

// The attention layers of a module tree and their paths.
class Finder final : public Visitor {
 public:
  void parameter(std::string_view, Tensor&) override {}
  void child(std::string_view name, Module& module) override {
    const std::string outer = path_;
    if (!path_.empty()) path_ += '.';
    path_ += name;
    walk(module);
    path_ = outer;
  }
  void walk(Module& module) {
    if (auto* layer = dynamic_cast<Attention*>(&module)) found.emplace_back(path_, layer);
    module.visit(*this);
  }

  std::vector<std::pair<std::string, Attention*>> found;

 private:
  std::string path_;
};

std::string listed(std::vector<std::string> names) {
  for (std::string& name : names)
    if (name.empty()) name = "the model itself";
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

void check(const ProbeOptions& options) {
  if (options.block_rows < 1)
    value_error("AttentionProbe", "block_rows = {}: must be at least 1", options.block_rows);
  if (options.top_k < 0)
    value_error("AttentionProbe", "top_k = {}: must be at least 0", options.top_k);
  if (options.window) checked_range("AttentionProbe", "window.left", options.window->left, 0);
  if (options.window) checked_range("AttentionProbe", "window.right", options.window->right, 0);
}

// ---- statistics of a block of rows ----

// The k largest of a row, the largest first; ties by position. NaN counts as the largest.
template <class T>
void top_of(const T* row, std::int64_t S, std::int64_t k, std::vector<std::int64_t>& order,
            std::int64_t* keys, T* weights) {
  order.resize(static_cast<std::size_t>(S));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto height = [row](std::int64_t s) {
    return std::isnan(row[s]) ? std::numeric_limits<T>::infinity() : row[s];
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(),
                    [height](std::int64_t a, std::int64_t b) {
                      return height(a) != height(b) ? height(a) > height(b) : a < b;
                    });
  for (std::int64_t i = 0; i < k; ++i) {
    keys[i] = order[static_cast<std::size_t>(i)];
    weights[i] = row[keys[i]];
  }
}

template <class T>
double entropy_of(const T* row, std::int64_t S) {
  double sum = 0;
  for (std::int64_t s = 0; s < S; ++s)
    if (row[s] != 0) sum -= static_cast<double>(row[s]) * std::log(static_cast<double>(row[s]));
  return sum;
}

// `at`: the key at the query's own position.
template <class T>
double distance_of(const T* row, std::int64_t S, std::int64_t at) {
  double sum = 0;
  for (std::int64_t s = 0; s < S; ++s)
    sum += static_cast<double>(row[s]) * static_cast<double>(std::abs(at - s));
  return sum;
}

template <class T>
double mass_of(const T* row, std::int64_t S, std::int64_t at, ProbeWindow window) {
  const std::int64_t begin = window.left >= at ? 0 : at - window.left;
  const std::int64_t end = window.right >= S - at ? S : at + window.right + 1;
  double sum = 0;
  for (std::int64_t s = begin; s < end; ++s) sum += static_cast<double>(row[s]);
  return sum;
}

// Allocates the tensors of one recorded call.
ProbedCall make_record(const AttentionCall& call, const ProbeOptions& options, DType dtype) {
  const auto [B, H, T, S] = std::tuple(call.B, call.H, call.T, call.S);
  const std::int64_t K = std::min(options.top_k, S);
  const auto R = static_cast<std::int64_t>(options.rows.size());
  ProbedCall record{.B = B, .H = H, .T = T, .S = S};
  if (options.matrix) record.matrix = empty({B, H, T, S}, dtype);
  if (options.head_mean) record.head_mean = empty({B, T, S}, dtype);
  if (R > 0) record.rows = empty({B, H, R, S}, dtype);
  if (options.entropy) record.entropy = empty({B, H, T}, dtype);
  if (options.distance) record.distance = empty({B, H, T}, dtype);
  if (options.window) record.window_mass = empty({B, H, T}, dtype);
  if (options.top_k > 0) {
    record.top_keys = empty({B, H, T, K}, DType::i64);
    record.top_weights = empty({B, H, T, K}, dtype);
  }
  return record;
}

// Fills one record, a block of rows at a time.
template <class T>
class Recorder {
 public:
  Recorder(ProbedCall& record, const ProbeOptions& options)
      : record_(record),
        options_(options),
        offset_(options.corner == Mask::Corner::bottom_right ? record.S - record.T : 0) {}

  void add(const Tensor& block, std::int64_t begin, std::int64_t end) {
    if (DryRun::on()) return;
    const T* weights = block.data<T>();  // (B, H, end - begin, S)
    for (std::int64_t bh = 0; bh < record_.B * record_.H; ++bh)
      for (std::int64_t t = begin; t < end; ++t, weights += record_.S) add_row(bh, t, weights);
    if (record_.head_mean.defined()) add_head_mean(block.data<T>(), begin, end - begin);
  }

  // Requested rows are computed one by one: they may be anywhere.
  void add_chosen(const Tensor& row, std::int64_t index) {
    if (DryRun::on()) return;
    const auto R = static_cast<std::int64_t>(options_.rows.size());
    for (std::int64_t bh = 0; bh < record_.B * record_.H; ++bh)
      std::copy_n(row.data<T>() + bh * record_.S, record_.S,
                  record_.rows.mutable_data<T>() + (bh * R + index) * record_.S);
  }

 private:
  void add_row(std::int64_t bh, std::int64_t t, const T* row) {
    const std::int64_t S = record_.S, at = t + offset_, i = bh * record_.T + t;
    const auto put = [i](Tensor& into, double value) {
      into.mutable_data<T>()[i] = static_cast<T>(value);
    };
    if (options_.matrix) std::copy_n(row, S, record_.matrix.mutable_data<T>() + i * S);
    if (options_.entropy) put(record_.entropy, entropy_of(row, S));
    if (options_.distance) put(record_.distance, distance_of(row, S, at));
    if (options_.window) put(record_.window_mass, mass_of(row, S, at, *options_.window));
    if (options_.top_k > 0) {
      const std::int64_t K = record_.top_keys.dim(-1);
      top_of(row, S, K, order_, record_.top_keys.mutable_data<std::int64_t>() + i * K,
             record_.top_weights.mutable_data<T>() + i * K);
    }
  }

  void add_head_mean(const T* block, std::int64_t begin, std::int64_t rows) {
    const std::int64_t H = record_.H, S = record_.S;
    T* means = record_.head_mean.mutable_data<T>();
    for (std::int64_t b = 0; b < record_.B; ++b)
      for (std::int64_t i = 0; i < rows * S; ++i) {
        double sum = 0;
        for (std::int64_t h = 0; h < H; ++h)
          sum += static_cast<double>(block[(b * H + h) * rows * S + i]);
        means[(b * record_.T + begin) * S + i] = static_cast<T>(sum / static_cast<double>(H));
      }
  }

  ProbedCall& record_;
  const ProbeOptions& options_;
  std::int64_t offset_;
  std::vector<std::int64_t> order_;  // of the keys, for top_k
};

void check_call(const ProbedLayer& layer, const AttentionCall& call, const ProbeOptions& options) {
  const std::string name = layer.name.empty() ? "the model" : layer.name;
  const bool placed = options.distance || options.window;
  if (placed && call.T != call.S && options.corner == Mask::Corner::unset)
    shape_error("AttentionProbe",
                "{}: {} queries and {} keys: distance and window require a corner", name, call.T,
                call.S);
  for (const std::int64_t row : options.rows)
    if (row < -call.T || row >= call.T)
      index_error("AttentionProbe", "{}: row = {}: must be within {} queries", name, row, call.T);
}

bool needs_all_rows(const ProbeOptions& options) {
  return options.matrix || options.head_mean || options.entropy || options.distance ||
         options.window || options.top_k > 0;
}

// The dtype of the weights, known only from computed weights.
DType weights_dtype(const AttentionCall& call) {
  return call.rows(0, std::min<std::int64_t>(1, call.T)).dtype();
}

ProbedCall record_of(const AttentionCall& call, ProbeOptions options) {
  const NoGrad guard;
  Tensor mean;
  if (options.head_mean && call.head_mean) {
    mean = call.head_mean();
    options.head_mean = false;  // already computed: not from the rows
  }
  const DType dtype = mean.defined() ? mean.dtype() : weights_dtype(call);
  ProbedCall record = make_record(call, options, dtype);
  dispatch_float(dtype, "AttentionProbe", [&]<class T>() {
    Recorder<T> recorder(record, options);
    if (needs_all_rows(options))
      for (std::int64_t begin = 0; begin < call.T; begin += options.block_rows) {
        const std::int64_t end = std::min(call.T, begin + options.block_rows);
        recorder.add(call.rows(begin, end).contiguous(), begin, end);
      }
    for (std::size_t r = 0; r < options.rows.size(); ++r) {
      const std::int64_t t = options.rows[r] < 0 ? options.rows[r] + call.T : options.rows[r];
      recorder.add_chosen(call.rows(t, t + 1).contiguous(), static_cast<std::int64_t>(r));
    }
  });
  if (mean.defined()) record.head_mean = std::move(mean);
  return record;
}

}  // namespace

std::vector<std::string> attention_layers(Module& model) {
  Finder finder;
  finder.walk(model);
  std::vector<std::string> names;
  for (const auto& [name, layer] : finder.found) names.push_back(name);
  return names;
}

AttentionProbe::AttentionProbe(Module& model, std::string_view pattern, ProbeOptions options)
    : options_(std::move(options)) {
  check(options_);
  Finder finder;
  finder.walk(model);
  const std::vector<std::string_view> wanted = split(pattern);
  std::unordered_set<const Attention*> seen;
  for (const auto& [name, layer] : finder.found)
    if (path_matches(split(name), wanted) && seen.insert(layer).second) {
      layers_.push_back({.name = name});
      watched_.push_back(layer);
    }
  if (watched_.empty())
    value_error("AttentionProbe", "pattern \"{}\": must match one of the attention layers: {}",
                pattern, listed(attention_layers(model)));
  for (Attention* layer : watched_) layer->watch(*this);
}

AttentionProbe::~AttentionProbe() { Attention::unwatch_all(*this); }

const ProbedLayer& AttentionProbe::layer(std::string_view name) const {
  std::vector<std::string> names;
  for (const ProbedLayer& layer : layers_) {
    if (layer.name == name) return layer;
    names.push_back(layer.name);
  }
  value_error("AttentionProbe", "layer \"{}\": must be one of the watched layers: {}", name,
              listed(names));
}

void AttentionProbe::clear() {
  for (ProbedLayer& layer : layers_) layer.calls.clear();
}

void AttentionProbe::on_attention(const Attention& layer, const AttentionCall& call) {
  if (paused_) return;
  const auto at = std::find(watched_.begin(), watched_.end(), &layer) - watched_.begin();
  ProbedLayer& probed = layers_[static_cast<std::size_t>(at)];
  check_call(probed, call, options_);
  probed.calls.push_back(record_of(call, options_));
}

}  // namespace fovea::nn::inspect
