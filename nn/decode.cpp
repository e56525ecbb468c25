#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/decode.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea::nn {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

// A possible extension: hypothesis `from` of its sentence, followed by `token`.
struct Candidate {
  double log_prob;
  std::int64_t from, token;
  bool operator<(const Candidate& other) const {  // best first; ties by hypothesis, then token
    if (log_prob != other.log_prob) return log_prob > other.log_prob;
    return from != other.from ? from < other.from : token < other.token;
  }
};

// A node of the token tree: hypotheses with a common prefix share its nodes.
struct Word {
  std::int64_t parent, token;
};

struct Open {
  std::int64_t last = -1;  // index in the beam's words; -1: none
  double log_prob = kImpossible;
};

// The beam of one sentence.
class Beam {
 public:
  explicit Beam(const BeamOptions& options)
      : options_(options), open_(static_cast<std::size_t>(options.beam)) {
    open_[0].log_prob = 0;  // the others start at -inf: there is one initial hypothesis
  }

  bool done() const { return done_; }
  std::int64_t last_token(std::size_t k) const {
    const std::int64_t last = open_[k].last;
    return last < 0 ? options_.bos : words_[static_cast<std::size_t>(last)].token;
  }

  // log_probs: (K, V) of this sentence. Returns the parent of each new hypothesis.
  std::vector<std::int64_t> advance(const float* log_probs, std::int64_t V) {
    std::vector<Open> next;
    std::vector<std::int64_t> from;
    if (length_ == options_.max_length) {
      end_all(log_probs, V);
    } else {
      extend(best_candidates(log_probs, V), next, from);
    }
    ++length_;
    done_ = next.empty() || finished_.size() >= width();
    next.resize(width());  // the missing hypotheses get log_prob -inf
    from.resize(width());
    open_ = std::move(next);
    done_ = done_ || cannot_improve();
    return from;
  }

  std::vector<Hypothesis> result() {
    std::stable_sort(finished_.begin(), finished_.end(),
                     [](const auto& a, const auto& b) { return a.score > b.score; });
    if (static_cast<std::int64_t>(finished_.size()) > options_.n_best)
      finished_.resize(static_cast<std::size_t>(options_.n_best));
    return finished_;
  }

 private:
  // 2K candidates are enough: at most K of them end, and K continue.
  std::vector<Candidate> best_candidates(const float* log_probs, std::int64_t V) const {
    const auto limit = static_cast<std::size_t>(2 * options_.beam);
    std::vector<Candidate> heap;  // the worst on top
    for (std::int64_t k = 0; k < options_.beam; ++k) {
      const double so_far = open_[static_cast<std::size_t>(k)].log_prob;
      if (so_far == kImpossible) continue;
      for (std::int64_t token = 0; token < V; ++token) {
        const double log_prob = so_far + static_cast<double>(log_probs[k * V + token]);
        if (heap.size() == limit && !(log_prob > heap.front().log_prob)) continue;
        if (!(log_prob > kImpossible)) continue;
        heap.push_back({log_prob, k, token});
        std::push_heap(heap.begin(), heap.end());
        if (heap.size() <= limit) continue;
        std::pop_heap(heap.begin(), heap.end());
        heap.pop_back();
      }
    }
    std::sort(heap.begin(), heap.end());
    return heap;
  }

  // <eos> ends a hypothesis only if it is among the K best candidates: K = 1 is greedy search.
  void extend(const std::vector<Candidate>& best, std::vector<Open>& next,
              std::vector<std::int64_t>& from) {
    if (best.empty())
      value_error("beam_search", "logits after {} tokens: must not be all NaN", length_);
    for (std::size_t rank = 0; rank < best.size(); ++rank) {
      const Candidate& c = best[rank];
      const Open& parent = open_[static_cast<std::size_t>(c.from)];
      if (c.token == options_.eos) {
        if (rank < width()) finish(parent.last, c.log_prob);
      } else if (next.size() < width()) {
        next.push_back({std::ssize(words_), c.log_prob});
        words_.push_back({parent.last, c.token});
        from.push_back(c.from);
      }
    }
  }

  // At the maximum length <eos> is forced.
  void end_all(const float* log_probs, std::int64_t V) {
    for (std::size_t k = 0; k < width(); ++k) {
      if (open_[k].log_prob == kImpossible) continue;
      const auto at = static_cast<std::int64_t>(k) * V + options_.eos;
      const double log_prob = open_[k].log_prob + static_cast<double>(log_probs[at]);
      finish(open_[k].last, log_prob > kImpossible ? log_prob : kImpossible);  // NaN does not sort
    }
  }

  std::size_t width() const { return static_cast<std::size_t>(options_.beam); }

  double score(double log_prob, std::int64_t length) const {
    return log_prob / std::pow(static_cast<double>(length), options_.length_penalty);
  }

  void finish(std::int64_t last, double log_prob) {
    std::vector<std::int64_t> tokens(static_cast<std::size_t>(length_));
    for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
      const Word& word = words_[static_cast<std::size_t>(last)];
      *token = word.token;
      last = word.parent;
    }
    finished_.push_back({std::move(tokens), log_prob, score(log_prob, length_ + 1)});
  }

  // Compares with an upper bound of the open hypotheses: no further loss, and the best length.
  bool cannot_improve() const {
    if (static_cast<std::int64_t>(finished_.size()) < options_.n_best) return false;
    std::vector<double> scores;
    for (const Hypothesis& h : finished_) scores.push_back(h.score);
    const auto worst_kept = scores.begin() + options_.n_best - 1;
    std::nth_element(scores.begin(), worst_kept, scores.end(), std::greater<>());
    const std::int64_t longest = options_.max_length + 1;  // max_length is at most kMaxOption
    for (const Open& open : open_)
      if (open.log_prob > kImpossible &&
          std::max(score(open.log_prob, longest), score(open.log_prob, length_ + 1)) > *worst_kept)
        return false;
    return true;
  }

  BeamOptions options_;
  std::vector<Word> words_;
  std::vector<Open> open_;
  std::vector<Hypothesis> finished_;
  std::int64_t length_ = 0;
  bool done_ = false;
};

void check(const BeamOptions& o, std::int64_t B) {
  check_sizes("beam_search", {{"B", B}}, 0);
  check_sizes("beam_search", {{"beam", o.beam}, {"max_length", o.max_length}});
  checked_range("beam_search", "n_best", o.n_best, 1, o.beam);
  detail::check_elements("beam_search", "B * beam", B * o.beam, sizeof(Open));
  if (!o.max_lengths.empty() && std::ssize(o.max_lengths) != B)
    value_error("beam_search",
                "max_lengths of size {}: must be empty, or have one length for each of {} "
                "sentences",
                o.max_lengths.size(), B);
  check_sizes("beam_search", {{"min_rows", o.min_rows}});
  for (const std::int64_t length : o.max_lengths)
    check_sizes("beam_search", {{"max_lengths", length}});
  if (!std::isfinite(o.length_penalty))
    value_error("beam_search", "length_penalty = {}: must be finite", o.length_penalty);
}

// The logits of one step as log-probabilities.    (B K, V)
Tensor log_probs_of(const Tensor& logits, std::int64_t rows, std::int64_t eos) {
  if (logits.rank() != 2 || logits.dim(0) != rows)
    shape_error("beam_search", "logits {} of the step for {} hypotheses: must be (B K, V)",
                logits.shape().str(), rows);
  if (eos < 0 || eos >= logits.dim(1))
    value_error("beam_search", "eos = {} with logits {}: must be in [0, V)", eos,
                logits.shape().str());
  return log_softmax(logits, -1).to(DType::f32);
}

std::vector<Tensor> rows_of(const std::vector<Tensor>& state,
                            const std::vector<std::int64_t>& rows) {
  const Tensor index = from_data(rows, {static_cast<std::int64_t>(rows.size())});
  std::vector<Tensor> picked;
  for (const Tensor& x : state) picked.push_back(index_select(x, 0, index));
  return picked;
}

// The beams of a batch. Finished sentences leave the model's batch: `active_` are the sentences in
// it, and `rows_` the parent hypothesis of each of its rows.
class Search {
 public:
  Search(std::int64_t B, const BeamOptions& options)
      : K_(options.beam), eos_(options.eos), min_sentences_((options.min_rows + K_ - 1) / K_) {
    BeamOptions own = options;
    own.max_lengths.clear();
    for (std::int64_t b = 0; b < B; ++b) {
      if (!options.max_lengths.empty())
        own.max_length = options.max_lengths[static_cast<std::size_t>(b)];
      beams_.emplace_back(own);
      active_.push_back(b);
      rows_.insert(rows_.end(), static_cast<std::size_t>(K_), b);
    }
  }

  bool open() const { return open_sentences() > 0; }

  void step(const DecodeStep& model, std::vector<Tensor>& state) {
    state = rows_of(state, rows_);
    const std::int64_t rows = std::ssize(rows_);
    Tensor ids = empty({rows}, DType::i64);
    std::int64_t* id = ids.mutable_data<std::int64_t>();
    for (const std::int64_t b : active_)
      for (std::size_t k = 0; k < static_cast<std::size_t>(K_); ++k) *id++ = beam(b).last_token(k);
    const Tensor log_probs = log_probs_of(model(ids, state), rows, eos_);  // (B K, V)
    const std::int64_t V = log_probs.dim(1);
    rows_.clear();
    for (std::int64_t i = 0; i < std::ssize(active_); ++i) {
      Beam& own = beam(active_[static_cast<std::size_t>(i)]);
      std::vector<std::int64_t> from(static_cast<std::size_t>(K_), 0);
      if (!own.done()) from = own.advance(log_probs.data<float>() + i * K_ * V, V);
      for (const std::int64_t k : from) rows_.push_back(i * K_ + k);
    }
  }

  // Only if a quarter is done, so that the removal costs less than it saves.
  void remove_finished(const DecodeStart& start) {
    const std::int64_t open = open_sentences();
    std::int64_t fillers =
        std::max<std::int64_t>(0, min_sentences_ - open);  // done, but not removed
    if (!start.keep || open == 0 || 4 * (open + fillers) > 3 * std::ssize(active_)) return;
    std::vector<std::int64_t> stay, active, rows;
    for (std::int64_t i = 0; i < std::ssize(active_); ++i) {
      const std::int64_t b = active_[static_cast<std::size_t>(i)];
      if (beam(b).done() && fillers-- <= 0) continue;
      stay.push_back(i);
      active.push_back(b);
      rows.insert(rows.end(), rows_.begin() + i * K_, rows_.begin() + (i + 1) * K_);
    }
    start.keep(stay);
    active_ = std::move(active);
    rows_ = std::move(rows);
  }

  std::vector<std::vector<Hypothesis>> results() {
    std::vector<std::vector<Hypothesis>> all;
    for (Beam& own : beams_) all.push_back(own.result());
    return all;
  }

 private:
  Beam& beam(std::int64_t b) { return beams_[static_cast<std::size_t>(b)]; }
  std::int64_t open_sentences() const {
    return std::count_if(beams_.begin(), beams_.end(), [](const Beam& b) { return !b.done(); });
  }

  std::int64_t K_, eos_, min_sentences_;
  std::vector<Beam> beams_;
  std::vector<std::int64_t> active_, rows_;
};

}  // namespace

std::vector<std::vector<Hypothesis>> beam_search(const DecodeStart& start, std::int64_t B,
                                                 const BeamOptions& options) {
  check(options, B);
  if (!start.step) value_error("beam_search", "no step: must be a function");
  const NoGrad guard;
  Search search(B, options);
  for (std::vector<Tensor> state = start.state; search.open(); search.remove_finished(start))
    search.step(start.step, state);
  return search.results();
}

std::vector<std::vector<Hypothesis>> beam_search(const DecodeStep& step, std::vector<Tensor> state,
                                                 std::int64_t B, const BeamOptions& options) {
  return beam_search(DecodeStart{step, std::move(state)}, B, options);
}

Tensor mean_prediction(const std::vector<Tensor>& logits) {
  if (logits.empty()) value_error("ensemble", "0 models: must be at least 1");
  if (logits.size() == 1) return logits[0];
  std::vector<Tensor> log_probs;
  for (const Tensor& x : logits) {
    if (!(x.shape() == logits[0].shape()))
      shape_error("ensemble", "logits {} and {}: must be equal, the models need one vocabulary",
                  logits[0].shape().str(), x.shape().str());
    log_probs.push_back(log_softmax(x, -1));
  }
  return logsumexp(stack(log_probs), 0) - std::log(static_cast<double>(logits.size()));
}

DecodeStart ensemble(std::vector<DecodeStart> members) {
  if (members.empty()) value_error("ensemble", "0 models: must be at least 1");
  if (members.size() == 1) return members[0];
  DecodeStart joined;
  for (const DecodeStart& member : members)
    joined.state.insert(joined.state.end(), member.state.begin(), member.state.end());
  const std::size_t total = joined.state.size();
  if (std::all_of(members.begin(), members.end(), [](const auto& m) { return bool(m.keep); }))
    joined.keep = [members](const std::vector<std::int64_t>& sentences) {
      for (const DecodeStart& member : members) member.keep(sentences);
    };
  joined.step = [members = std::move(members), total](const Tensor& ids,
                                                      std::vector<Tensor>& state) {
    if (state.size() != total)
      state_error("ensemble", "a state of {} tensors: must be {}", state.size(), total);
    std::vector<Tensor> logits;
    auto next = state.begin();
    for (const DecodeStart& member : members) {
      const auto count = static_cast<std::ptrdiff_t>(member.state.size());
      std::vector<Tensor> own(next, next + count);
      logits.push_back(member.step(ids, own));
      if (std::ssize(own) != count)
        state_error("ensemble", "a step with {} state tensors returned {}: must be equal", count,
                    own.size());
      next = std::move(own.begin(), own.end(), next);
    }
    return mean_prediction(logits);
  };
  return joined;
}

}  // namespace fovea::nn
