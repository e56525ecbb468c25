// From tensors to the attention kernels' problems.
#include <fovea/core/kernels/attention.h>
#include <fovea/core/ops/attention_detail.h>

#include <algorithm>

namespace fovea::detail {
namespace {

// For reading, or for writing new tensors: not saved yet, so the version is not incremented.
template <class T>
kernels::Heads<T> heads(const Tensor& x) {
  if (!x.defined()) return {};
  const Strides& s = x.strides();
  return {reinterpret_cast<T*>(x.raw_data()), s[0], s[1], s[2]};
}

std::int64_t stride_of(const Tensor& x, std::int64_t axis) {
  return x.dim(axis) == 1 ? 0 : x.strides()[axis];
}

// Converts a MaskPlan to a kernel MaskView.
class Rule {
 public:
  explicit Rule(const MaskPlan& plan, std::int64_t T) {
    for (const Tensor& x : plan.tables)
      tables_.push_back(
          {x.data<bool>(), stride_of(x, 0), stride_of(x, 1), stride_of(x, 2), stride_of(x, 3)});
    for (const MaskPlan::Ids& x : plan.ids)
      ids_.push_back({x.query.data<std::int64_t>(), x.key.data<std::int64_t>(),
                      stride_of(x.query, 0), stride_of(x.key, 0)});
    const bool all = plan.begin.empty();
    rule_ = {all ? nullptr : plan.begin.data(), all ? nullptr : plan.end.data(),
             plan.per_row ? T : 0, tables_, ids_};
  }
  Rule(Rule&&) = default;  // moving a vector does not move its elements

  const kernels::MaskView& get() const { return rule_; }

 private:
  std::vector<kernels::MaskView::Table> tables_;
  std::vector<kernels::MaskView::Ids> ids_;
  kernels::MaskView rule_;
};

template <class T>
kernels::ScoreHook<T> hook_of(const ScoreMod::Impl::Run* run) {
  if (!run) return {};
  if constexpr (std::is_same_v<T, float>) {
    return run->hook_f32();
  } else {
    return run->hook_f64();
  }
}

template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

template <class T>
kernels::AttentionProblem<T> problem_of(const AttentionPart& part,
                                        const AttentionSettings& settings, const Rule& rule,
                                        const ScoreMod::Impl::Run* run) {
  const AttentionShape& n = part.n;
  return {.n = {n.B, n.H, n.G, n.T, n.S, n.D, n.E},
          .scale = static_cast<T>(settings.scale),
          .q = heads<const T>(part.q),
          .k = heads<const T>(part.k),
          .v = heads<const T>(part.v),
          .keep = rule.get(),
          .dropout = {settings.dropout,
                      {part.random.seed, part.random.stream, part.random.position / 2}},
          .hook = hook_of<T>(run),
          .sinks = data_or_null<T>(settings.sinks),
          .output = heads<T>(part.output),
          .lse = reinterpret_cast<T*>(part.lse.raw_data())};
}

template <class T>
T* mutable_data_or_null(const Tensor& x) {
  return x.defined() ? reinterpret_cast<T*>(x.raw_data()) : nullptr;
}

// The kernel problems of all parts, and the memory they point to.
template <class T>
class Problems {
 public:
  // grads: per part, empty in a forward.
  Problems(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
           const std::vector<AttentionPartGrads>& grads) {
    rules_.reserve(parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const AttentionShape& n = parts[i].n;
      rules_.emplace_back(parts[i].plan, n.T);
      if (settings.score_mod)
        runs_.push_back(settings.score_mod.impl().run(
            n.B, n.H, n.T, n.S, dtype_of<T>(),
            grads.empty() ? std::vector<Tensor>{} : grads[i].captured));
      all_.push_back(problem_of<T>(parts[i], settings, rules_.back(),
                                   runs_.empty() ? nullptr : runs_.back().get()));
    }
  }

  std::span<const kernels::AttentionProblem<T>> all() const { return all_; }

 private:
  std::vector<Rule> rules_;
  std::vector<std::unique_ptr<ScoreMod::Impl::Run>> runs_;
  std::vector<kernels::AttentionProblem<T>> all_;
};

// Whether nothing is written: such a batch may have 2^48 rows.
template <class Nothing>
bool all_parts(const std::vector<AttentionPart>& parts, Nothing nothing) {
  return std::all_of(parts.begin(), parts.end(),
                     [&](const AttentionPart& part) { return nothing(part.n); });
}

}  // namespace

void run_forward(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
                 DType dtype) {
  if (all_parts(parts, [](const AttentionShape& n) { return n.T == 0; })) return;
  dispatch_float(dtype, "scaled_dot_product_attention", [&]<class T>() {
    const Problems<T> problems(parts, settings, {});
    kernels::attention_forward(problems.all());
  });
}

void run_head_mean(const AttentionPart& part, const AttentionSettings& settings,
                   const Tensor& mean) {
  dispatch_float(mean.dtype(), "attention_head_mean", [&]<class T>() {
    const std::vector<AttentionPart> parts{part};  // the problems point into it
    const Problems<T> problems(parts, settings, {});
    kernels::attention_head_mean(problems.all()[0], mutable_data_or_null<T>(mean));
  });
}

void run_backward(const std::vector<AttentionPart>& parts, const AttentionSettings& settings,
                  const std::vector<AttentionPartGrads>& grads, DType dtype) {
  if (all_parts(parts,
                [](const AttentionShape& n) { return n.T == 0 && (n.S == 0 || n.D + n.E == 0); }))
    return;
  dispatch_float(dtype, "scaled_dot_product_attention", [&]<class T>() {
    const Problems<T> problems(parts, settings, grads);
    std::vector<kernels::AttentionGradients<T>> gradients;
    std::vector<Tensor> buffers;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const AttentionShape& n = parts[i].n;
      const AttentionPartGrads& d = grads[i];
      const Tensor delta = buffers.emplace_back(empty({n.B, n.H, n.T}, dtype));
      Tensor dq_parts;
      const std::int64_t chunks =
          parts.size() == 1 ? kernels::attention_key_chunks(problems.all()[0]) : 1;
      if (chunks > 1 && d.dq.defined())
        dq_parts = buffers.emplace_back(empty({chunks - 1, n.B, n.H, n.T, n.D}, dtype));
      gradients.push_back({.doutput = heads<const T>(d.doutput),
                           .dlse = data_or_null<T>(d.dlse),
                           .dq = heads<T>(d.dq),
                           .dk = heads<T>(d.dk),
                           .dv = heads<T>(d.dv),
                           .dsinks = mutable_data_or_null<T>(d.dsinks),
                           .delta = mutable_data_or_null<T>(delta),
                           .dq_parts = mutable_data_or_null<T>(dq_parts)});
    }
    kernels::attention_backward(problems.all(),
                                std::span<const kernels::AttentionGradients<T>>(gradients));
  });
}

}  // namespace fovea::detail
