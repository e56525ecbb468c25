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

constexpr double kNever = -std::numeric_limits<double>::infinity();

// A way to go on: hypothesis `from` of its sentence, followed by `token`.
struct Candidate {
  double log_prob;
  std::int64_t from, token;
  bool operator<(const Candidate& other) const {  // better first; ties by place
    if (log_prob != other.log_prob) return log_prob > other.log_prob;
    return from != other.from ? from < other.from : token < other.token;
  }
};

// The last word of a hypothesis, which knows those before it: what several share is stored once.
struct Word {
  std::int64_t before, token;
};

struct Open {
  std::int64_t last = -1;  // of the beam's words; -1: none
  double log_prob = kNever;
};

// One sentence's search.
class Beam {
 public:
  explicit Beam(const BeamOptions& options)
      : options_(options), open_(static_cast<std::size_t>(options.beam)) {
    open_[0].log_prob = 0;  // the others start at -inf: at first there is one way to begin
  }

  bool done() const { return done_; }
  std::int64_t last_token(std::size_t k) const {
    const std::int64_t last = open_[k].last;
    return last < 0 ? options_.bos : words_[static_cast<std::size_t>(last)].token;
  }

  // log_probs: (K, V) of this sentence. Gives, for each new hypothesis, the one it came from.
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
    next.resize(width());  // fewer words than hypotheses: the others are as good as dead
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
  // 2K candidates are enough: at most K of them end, and K go on.
  std::vector<Candidate> best_candidates(const float* log_probs, std::int64_t V) const {
    const auto limit = static_cast<std::size_t>(2 * options_.beam);
    std::vector<Candidate> heap;  // the worst on top
    for (std::int64_t k = 0; k < options_.beam; ++k) {
      const double so_far = open_[static_cast<std::size_t>(k)].log_prob;
      if (so_far == kNever) continue;
      for (std::int64_t token = 0; token < V; ++token) {
        const double log_prob = so_far + static_cast<double>(log_probs[k * V + token]);
        if (heap.size() == limit && !(log_prob > heap.front().log_prob)) continue;
        if (!(log_prob > kNever)) continue;
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

  // An end counts if it is among the K best ways to go on: with K = 1 the search is greedy.
  void extend(const std::vector<Candidate>& best, std::vector<Open>& next,
              std::vector<std::int64_t>& from) {
    if (best.empty())
      value_error("beam_search", "after {} tokens no word has a probability: the logits are NaN",
                  length_);
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

  // At the greatest length the one way to go on is to end.
  void end_all(const float* log_probs, std::int64_t V) {
    for (std::size_t k = 0; k < width(); ++k) {
      if (open_[k].log_prob == kNever) continue;
      const auto at = static_cast<std::int64_t>(k) * V + options_.eos;
      const double log_prob = open_[k].log_prob + static_cast<double>(log_probs[at]);
      finish(open_[k].last, log_prob > kNever ? log_prob : kNever);  // NaN does not sort
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
      last = word.before;
    }
    finished_.push_back({std::move(tokens), log_prob, score(log_prob, length_ + 1)});
  }

  // The best that an open hypothesis can still reach: no further loss, and the most favourable
  // length.
  bool cannot_improve() const {
    if (static_cast<std::int64_t>(finished_.size()) < options_.n_best) return false;
    std::vector<double> scores;
    for (const Hypothesis& h : finished_) scores.push_back(h.score);
    const auto worst_kept = scores.begin() + options_.n_best - 1;
    std::nth_element(scores.begin(), worst_kept, scores.end(), std::greater<>());
    const std::int64_t longest = options_.max_length + 1;  // max_length is at most kMaxOption
    for (const Open& open : open_)
      if (open.log_prob > kNever &&
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
                "max_lengths has {} lengths: must have none, or one for each of {} "
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
    shape_error("beam_search", "the step gave logits {} for {} hypotheses: they must be (B K, V)",
                logits.shape().str(), rows);
  if (eos < 0 || eos >= logits.dim(1))
    value_error("beam_search", "eos {} with logits {}: it must lie in [0, V)", eos,
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

// The searches of a batch. The model may have fewer sentences than there are: `here` are those that
// it has, and `rows` the hypothesis that each of its rows came from.
class Search {
 public:
  Search(std::int64_t B, const BeamOptions& options)
      : K_(options.beam), eos_(options.eos), least_((options.min_rows + K_ - 1) / K_) {
    BeamOptions own = options;
    own.max_lengths.clear();
    for (std::int64_t b = 0; b < B; ++b) {
      if (!options.max_lengths.empty())
        own.max_length = options.max_lengths[static_cast<std::size_t>(b)];
      beams_.emplace_back(own);
      here_.push_back(b);
      rows_.insert(rows_.end(), static_cast<std::size_t>(K_), b);
    }
  }

  bool open() const { return open_sentences() > 0; }

  void step(const DecodeStep& model, std::vector<Tensor>& state) {
    state = rows_of(state, rows_);
    const std::int64_t rows = std::ssize(rows_);
    Tensor ids = empty({rows}, DType::i64);
    std::int64_t* id = ids.mutable_data<std::int64_t>();
    for (const std::int64_t b : here_)
      for (std::size_t k = 0; k < static_cast<std::size_t>(K_); ++k) *id++ = beam(b).last_token(k);
    const Tensor log_probs = log_probs_of(model(ids, state), rows, eos_);  // (B K, V)
    const std::int64_t V = log_probs.dim(1);
    rows_.clear();
    for (std::int64_t i = 0; i < std::ssize(here_); ++i) {
      Beam& own = beam(here_[static_cast<std::size_t>(i)]);
      std::vector<std::int64_t> from(static_cast<std::size_t>(K_), 0);
      if (!own.done()) from = own.advance(log_probs.data<float>() + i * K_ * V, V);
      for (const std::int64_t k : from) rows_.push_back(i * K_ + k);
    }
  }

  // Once a quarter is done, so that leaving costs less than it saves.
  void leave(const DecodeStart& start) {
    const std::int64_t open = open_sentences();
    std::int64_t fillers = std::max<std::int64_t>(0, least_ - open);  // done, and stay
    if (!start.keep || open == 0 || 4 * (open + fillers) > 3 * std::ssize(here_)) return;
    std::vector<std::int64_t> stay, here, rows;
    for (std::int64_t i = 0; i < std::ssize(here_); ++i) {
      const std::int64_t b = here_[static_cast<std::size_t>(i)];
      if (beam(b).done() && fillers-- <= 0) continue;
      stay.push_back(i);
      here.push_back(b);
      rows.insert(rows.end(), rows_.begin() + i * K_, rows_.begin() + (i + 1) * K_);
    }
    start.keep(stay);
    here_ = std::move(here);
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

  std::int64_t K_, eos_, least_;
  std::vector<Beam> beams_;
  std::vector<std::int64_t> here_, rows_;
};

}  // namespace

std::vector<std::vector<Hypothesis>> beam_search(const DecodeStart& start, std::int64_t B,
                                                 const BeamOptions& options) {
  check(options, B);
  if (!start.step) value_error("beam_search", "no step: must be a function");
  const NoGrad guard;
  Search search(B, options);
  for (std::vector<Tensor> state = start.state; search.open(); search.leave(start))
    search.step(start.step, state);
  return search.results();
}

std::vector<std::vector<Hypothesis>> beam_search(const DecodeStep& step, std::vector<Tensor> state,
                                                 std::int64_t B, const BeamOptions& options) {
  return beam_search(DecodeStart{step, std::move(state)}, B, options);
}

Tensor mean_prediction(const std::vector<Tensor>& logits) {
  if (logits.empty()) value_error("ensemble", "no model: there must be one at least");
  if (logits.size() == 1) return logits[0];
  std::vector<Tensor> log_probs;
  for (const Tensor& x : logits) {
    if (!(x.shape() == logits[0].shape()))
      shape_error("ensemble", "logits {} and {}: the models must know the same tokens",
                  logits[0].shape().str(), x.shape().str());
    log_probs.push_back(log_softmax(x, -1));
  }
  return logsumexp(stack(log_probs), 0) - std::log(static_cast<double>(logits.size()));
}

DecodeStart ensemble(std::vector<DecodeStart> members) {
  if (members.empty()) value_error("ensemble", "no model: there must be one at least");
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
      state_error("ensemble", "a state of {} tensors: the members have {}", state.size(), total);
    std::vector<Tensor> logits;
    auto next = state.begin();
    for (const DecodeStart& member : members) {
      const auto count = static_cast<std::ptrdiff_t>(member.state.size());
      std::vector<Tensor> own(next, next + count);
      logits.push_back(member.step(ids, own));
      if (std::ssize(own) != count)
        state_error("ensemble", "a step of {} tensors of state gave {}: it must replace them",
                    count, own.size());
      next = std::move(own.begin(), own.end(), next);
    }
    return mean_prediction(logits);
  };
  return joined;
}

}  // namespace fovea::nn
