// Beam search against exhaustive search, on a synthetic model of four words.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/random.h>
#include <fovea/nn/decode.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::message_of;

namespace {

constexpr std::int64_t V = 4, bos = 2, eos = 3;  // 0, 1 and 2 are words; 2 begins a sentence too

// The logits after a prefix: random values that depend on the sentence and the whole prefix.
// The state, (rows, 1), encodes both as an integer; word w changes it from n to 4 n + w.
std::vector<float> logits_after(std::int64_t prefix) {
  Rng rng(static_cast<std::uint64_t>(prefix));
  std::vector<float> logits;
  for (std::int64_t w = 0; w < V; ++w) logits.push_back(static_cast<float>(1.5 * rng.normal()));
  return logits;
}

Tensor model(const Tensor& ids, std::vector<Tensor>& state) {
  Tensor next = state[0].clone();
  std::vector<float> logits;
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    std::int64_t& prefix = next.mutable_data<std::int64_t>()[i];
    prefix = static_cast<std::int64_t>(4 * static_cast<std::uint64_t>(prefix)) +
             ids.data<std::int64_t>()[i];  // wraps for long sentences
    for (const float logit : logits_after(prefix)) logits.push_back(logit);
  }
  state[0] = next;
  return from_data(logits, {ids.numel(), V});
}

std::vector<Tensor> sentences(const std::vector<std::int64_t>& seeds) {
  return {from_data(seeds, {static_cast<std::int64_t>(seeds.size()), 1})};
}

std::vector<double> log_probs_after(std::int64_t prefix) {
  return log_softmax(from_data(logits_after(prefix), {V})).to_vector<double>();
}

// Every sentence of at most `left` more words, each with <eos>.
void enumerate(std::int64_t prefix, const Hypothesis& so_far, std::int64_t left, double alpha,
               std::vector<Hypothesis>& all) {
  const std::vector<double> log_probs = log_probs_after(prefix);
  Hypothesis ended = so_far;
  ended.log_prob += log_probs[eos];
  ended.score = ended.log_prob / std::pow(static_cast<double>(so_far.tokens.size() + 1), alpha);
  all.push_back(ended);
  for (std::int64_t w = 0; w < V && left > 0; ++w) {
    if (w == eos) continue;
    Hypothesis longer = so_far;
    longer.tokens.push_back(w);
    longer.log_prob += log_probs[static_cast<std::size_t>(w)];
    enumerate(4 * prefix + w, longer, left - 1, alpha, all);
  }
}

std::vector<Hypothesis> everything(std::int64_t seed, std::int64_t max_length, double alpha) {
  std::vector<Hypothesis> all;
  enumerate(4 * seed + bos, {}, max_length, alpha, all);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  return all;
}

const std::vector<std::int64_t> seeds{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

}  // namespace

TEST_CASE("a beam as wide as the search space finds the best hypotheses, in order") {
  for (const double alpha : {0.0, 0.6, 1.0, 2.0})
    for (const std::int64_t n_best : {1, 10}) {
      CAPTURE(alpha);
      const BeamOptions options{
          .beam = 128, .max_length = 4, .length_penalty = alpha, .n_best = n_best};
      const auto found = beam_search(model, sentences(seeds), 10, options);
      for (std::size_t b = 0; b < seeds.size(); ++b) {
        const std::vector<Hypothesis> expected = everything(seeds[b], 4, alpha);
        REQUIRE(found[b].size() == static_cast<std::size_t>(n_best));
        for (std::size_t i = 0; i < found[b].size(); ++i) {
          CHECK(found[b][i].tokens == expected[i].tokens);
          CHECK(found[b][i].log_prob == doctest::Approx(expected[i].log_prob));
          CHECK(found[b][i].score == doctest::Approx(expected[i].score));
        }
      }
    }
}

TEST_CASE("a beam of 1 takes the best word at every step") {
  for (const double alpha : {0.0, 1.0}) {
    const BeamOptions options{.beam = 1, .max_length = 6, .length_penalty = alpha};
    const auto found = beam_search(model, sentences(seeds), 10, options);
    for (std::size_t b = 0; b < seeds.size(); ++b) {
      std::vector<std::int64_t> greedy;
      std::int64_t prefix = 4 * seeds[b] + bos;
      while (greedy.size() < 6) {
        const auto p = log_probs_after(prefix);
        const std::int64_t best = std::max_element(p.begin(), p.end()) - p.begin();
        if (best == eos) break;
        greedy.push_back(best);
        prefix = 4 * prefix + best;
      }
      CHECK(found[b].at(0).tokens == greedy);
    }
  }
}

TEST_CASE("a batch equals its sentences one by one") {
  const BeamOptions options{.beam = 3, .max_length = 5, .n_best = 3};
  const auto all = beam_search(model, sentences(seeds), 10, options);
  for (std::size_t b = 0; b < seeds.size(); ++b) {
    const auto one = beam_search(model, sentences({seeds[b]}), 1, options)[0];
    REQUIRE(one.size() == all[b].size());
    for (std::size_t i = 0; i < one.size(); ++i) {
      CHECK(one[i].tokens == all[b][i].tokens);
      CHECK(one[i].log_prob == all[b][i].log_prob);
    }
  }
}

TEST_CASE("the n best are sorted and distinct, with correct scores") {
  for (const auto& best :
       beam_search(model, sentences(seeds), 10,
                   {.beam = 4, .max_length = 5, .length_penalty = 0.7, .n_best = 4}))
    for (std::size_t i = 0; i < best.size(); ++i) {
      const auto length = static_cast<double>(best[i].tokens.size() + 1);
      CHECK(best[i].score == doctest::Approx(best[i].log_prob / std::pow(length, 0.7)));
      if (i == 0) continue;
      CHECK(best[i - 1].score >= best[i].score);
      CHECK(best[i - 1].tokens != best[i].tokens);
    }
}

TEST_CASE("a larger length penalty prefers longer sentences") {
  const auto words = [](double alpha) {
    std::size_t total = 0;
    for (const auto& best : beam_search(model, sentences(seeds), 10,
                                        {.beam = 128, .max_length = 4, .length_penalty = alpha}))
      total += best[0].tokens.size();
    return total;
  };
  CHECK(words(0.0) < words(1.0));
  CHECK(words(1.0) <= words(2.0));
}

TEST_CASE("max_length limits the words, also if the model never ends") {
  const DecodeStep endless = [](const Tensor& ids, std::vector<Tensor>&) {
    Tensor logits = zeros({ids.numel(), V});
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      logits.mutable_data<float>()[i * V + eos] = -std::numeric_limits<float>::infinity();
    return logits;
  };
  for (const std::int64_t max_length : {1, 3}) {
    const auto best =
        beam_search(endless, sentences({1}), 1, {.beam = 2, .max_length = max_length});
    REQUIRE(best[0].size() == 1);
    CHECK(best[0][0].tokens == std::vector<std::int64_t>(static_cast<std::size_t>(max_length), 0));
  }
}

TEST_CASE("a model that ends at once gives the empty sentence") {
  const DecodeStep mute = [](const Tensor& ids, std::vector<Tensor>&) {
    Tensor logits = full({ids.numel(), V}, -std::numeric_limits<double>::infinity());
    for (std::int64_t i = 0; i < ids.numel(); ++i) logits.mutable_data<float>()[i * V + eos] = 0;
    return logits;
  };
  const auto best = beam_search(mute, sentences({1, 2}), 2, {.beam = 3, .n_best = 2});
  for (const auto& hypotheses : best) {
    REQUIRE(hypotheses.size() == 1);
    CHECK(hypotheses[0].tokens.empty());
    CHECK(hypotheses[0].log_prob == 0);
  }
}

TEST_CASE("equal words: the smaller one first") {
  const DecodeStep even = [](const Tensor& ids, std::vector<Tensor>&) {
    return zeros({ids.numel(), V});
  };
  const auto best = beam_search(even, sentences({1}), 1,
                                {.beam = 4, .max_length = 1, .length_penalty = 0, .n_best = 4})[0];
  REQUIRE(best.size() == 4);
  CHECK(best[0].tokens.empty());
  for (std::size_t i = 1; i < 4; ++i)
    CHECK(best[i].tokens == std::vector<std::int64_t>{static_cast<std::int64_t>(i) - 1});
}

TEST_CASE("every sentence has its own maximum length") {
  const std::vector<std::int64_t> lengths{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  for (const std::int64_t beam : {1, 4}) {
    CAPTURE(beam);
    BeamOptions options{.beam = beam, .max_lengths = lengths};
    const auto all = beam_search(model, sentences(seeds), 10, options);
    for (std::size_t b = 0; b < seeds.size(); ++b) {
      options.max_lengths = {};
      options.max_length = lengths[b];
      const auto one = beam_search(model, sentences({seeds[b]}), 1, options)[0];
      CHECK(all[b][0].tokens == one[0].tokens);
      CHECK(all[b][0].score == one[0].score);
    }
  }
  const auto error = [](std::vector<std::int64_t> given) {
    return message_of<ValueError>([&] {
      beam_search(model, sentences({1, 2}), 2, {.max_lengths = std::move(given)});
    });
  };
  CHECK(error({1, 2, 3}) ==
        "beam_search: max_lengths of size 3: must be empty, or have one length for each of 2 "
        "sentences");
  CHECK(error({1, 0}) == "beam_search: max_lengths = 0: must be from 1 to 1073741824");
}

TEST_CASE("beam_search: options that overflow or are NaN") {
  const auto error = [](const BeamOptions& options) {
    return message_of<ValueError>([&] { beam_search(model, sentences({1}), 1, options); });
  };
  CHECK(error({.max_lengths = {std::numeric_limits<std::int64_t>::max()}}) ==
        "beam_search: max_lengths = 9223372036854775807: must be from 1 to 1073741824");
  CHECK(error({.min_rows = std::int64_t{1} << 62}) ==
        "beam_search: min_rows = 4611686018427387904: must be from 1 to 1073741824");
  CHECK(error({.length_penalty = std::numeric_limits<double>::infinity()}) ==
        "beam_search: length_penalty = inf: must be finite");
  CHECK(error({.length_penalty = std::numeric_limits<double>::quiet_NaN()}) ==
        "beam_search: length_penalty = nan: must be finite");
}

TEST_CASE("finished sentences leave the batch") {
  // One sentence continues for 200 words, nine end after a few.
  std::vector<std::int64_t> lengths(10, 3);
  lengths[4] = 200;
  const BeamOptions options{.beam = 3, .max_lengths = lengths};
  std::int64_t rows = 0, left = 10;
  const DecodeStep endless = [&](const Tensor& ids, std::vector<Tensor>& state) {
    rows += ids.numel();
    CHECK(ids.numel() == 3 * left);
    Tensor logits = model(ids, state);
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      logits.mutable_data<float>()[i * V + eos] = -1e4F;
    return logits;
  };
  const auto all = beam_search(endless, sentences(seeds), 10, options);
  CHECK(rows == 201 * 30);
  rows = 0;
  const DecodeStart start{endless, sentences(seeds), [&](const std::vector<std::int64_t>& stay) {
                            left = std::ssize(stay);
                            CHECK(stay == std::vector<std::int64_t>{4});
                          }};
  const auto fewer = beam_search(start, 10, options);
  CHECK(rows == 4 * 30 + 197 * 3);
  for (std::size_t b = 0; b < seeds.size(); ++b) {
    CHECK(all[b][0].tokens == fewer[b][0].tokens);
    CHECK(all[b][0].score == fewer[b][0].score);
    CHECK(std::ssize(all[b][0].tokens) == lengths[b]);
  }
  // With min_rows, two finished sentences stay.
  left = 10;
  std::vector<std::int64_t> stayed;
  const DecodeStart floor{endless, sentences(seeds), [&](const std::vector<std::int64_t>& stay) {
                            left = std::ssize(stay);
                            stayed = stay;
                          }};
  BeamOptions at_least = options;
  at_least.min_rows = 8;
  CHECK(beam_search(floor, 10, at_least)[4][0].tokens == all[4][0].tokens);
  CHECK(stayed == std::vector<std::int64_t>{0, 1, 4});
  left = 10;
  const auto both = beam_search(ensemble({start, start}), 10, options);
  CHECK(both[4][0].tokens.size() == 200);
  CHECK(!ensemble({start, {endless, sentences(seeds)}}).keep);
}

TEST_CASE("no sentences") { CHECK(beam_search(model, sentences({}), 0, {}).empty()); }

TEST_CASE("invalid arguments of the search are errors") {
  const auto search = [](const BeamOptions& options) {
    return [options] { beam_search(model, sentences({1}), 1, options); };
  };
  CHECK(message_of<ValueError>(search({.beam = 2, .n_best = 3})) ==
        "beam_search: n_best = 3: must be from 1 to 2");
  CHECK_THROWS_AS(search({.beam = 0})(), ValueError);
  CHECK_THROWS_AS(search({.max_length = 0})(), ValueError);
  CHECK(message_of<ValueError>(search({.eos = 4})) ==
        "beam_search: eos = 4 with logits (5, 4): must be in [0, V)");
  const DecodeStep broken = [](const Tensor& ids, std::vector<Tensor>&) {
    return full({ids.numel(), V}, std::nan(""));
  };
  CHECK(message_of<ValueError>([&] { beam_search(broken, sentences({1}), 1, {}); }) ==
        "beam_search: logits after 0 tokens: must not be all NaN");
  const DecodeStep short_of_rows = [](const Tensor&, std::vector<Tensor>&) {
    return zeros({1, V});
  };
  CHECK(message_of<ShapeError>([&] { beam_search(short_of_rows, sentences({1}), 1, {}); }) ==
        "beam_search: logits (1, 4) of the step for 5 hypotheses: must be (B K, V)");
}

namespace {

// The state of model(), with other logits.
Tensor other_model(const Tensor& ids, std::vector<Tensor>& state) {
  return -0.5 * model(ids, state) + 0.25;
}

}  // namespace

TEST_CASE("an ensemble's probabilities are the mean of its members'") {
  Rng rng(1);
  const Tensor a = randn({2, 3, V}, rng), b = randn({2, 3, V}, rng);
  const Tensor mean = 0.5 * (softmax(a) + softmax(b));
  CHECK(test::max_difference(softmax(mean_prediction({a, b})), mean) <= 1e-6);
  CHECK(test::max_difference(exp(mean_prediction({a, b})), mean) <= 1e-6);  // they sum to 1
  CHECK(test::max_difference(mean_prediction({a}), a) == 0);
}

TEST_CASE("an ensemble of equal models equals the model") {
  const BeamOptions options{.beam = 3, .max_length = 5, .n_best = 3};
  const auto search = [&](std::vector<DecodeStart> members) {
    const DecodeStart joined = ensemble(std::move(members));
    return beam_search(joined.step, joined.state, 10, options);
  };
  const DecodeStart one{model, sentences(seeds)}, other{other_model, sentences(seeds)};
  const auto alone = beam_search(model, sentences(seeds), 10, options);
  const auto single = search({one}), twice = search({one, one}), both = search({one, other});
  std::size_t changed = 0;
  for (std::size_t b = 0; b < seeds.size(); ++b)
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(single[b][i].log_prob == alone[b][i].log_prob);
      CHECK(twice[b][i].tokens == alone[b][i].tokens);
      CHECK(twice[b][i].log_prob == doctest::Approx(alone[b][i].log_prob).epsilon(1e-5));
      changed += both[b][i].tokens != alone[b][i].tokens;
    }
  CHECK(changed > 0);
}

TEST_CASE("the members of an ensemble keep their own states, through every reordering") {
  // The score of each hypothesis is that of decoding it with both members separately.
  const DecodeStart joined = ensemble({{model, sentences({1})}, {other_model, sentences({7})}});
  CHECK(joined.state.size() == 2);
  const auto best =
      beam_search(joined.step, joined.state, 1, {.beam = 4, .max_length = 4, .n_best = 4})[0];
  REQUIRE(best.size() == 4);
  for (const Hypothesis& h : best) {
    std::vector<Tensor> first = sentences({1}), second = sentences({7});
    std::vector<std::int64_t> said = h.tokens;
    said.push_back(eos);
    std::int64_t last = bos;
    double log_prob = 0;
    for (const std::int64_t token : said) {
      const Tensor id = from_data(std::vector<std::int64_t>{last}, {1});
      const auto p = softmax(model(id, first)).to_vector<double>(),
                 q = softmax(other_model(id, second)).to_vector<double>();
      log_prob +=
          std::log((p[static_cast<std::size_t>(token)] + q[static_cast<std::size_t>(token)]) / 2);
      last = token;
    }
    CHECK(h.log_prob == doctest::Approx(log_prob).epsilon(1e-5));
  }
}

TEST_CASE("invalid ensembles are errors") {
  CHECK(message_of<ValueError>([] { ensemble({}); }) == "ensemble: 0 models: must be at least 1");
  CHECK(message_of<ValueError>([] { mean_prediction({}); }) ==
        "ensemble: 0 models: must be at least 1");
  CHECK(message_of<ShapeError>([] {
          mean_prediction({zeros({2, 4}), zeros({2, 5})});
        }) == "ensemble: logits (2, 4) and (2, 5): must be equal, the models need one vocabulary");
  const DecodeStart one{model, sentences({1})};
  const DecodeStart growing{[](const Tensor& ids, std::vector<Tensor>& state) {
                              state.push_back(state[0]);
                              return zeros({ids.numel(), V});
                            },
                            sentences({1})};
  const Tensor ids = from_data(std::vector<std::int64_t>{bos}, {1});
  const auto run = [&](const DecodeStart& joined, std::vector<Tensor> state) {
    return message_of<StateError>([&] { joined.step(ids, state); });
  };
  const DecodeStart joined = ensemble({one, growing});
  CHECK(run(joined, joined.state) ==
        "ensemble: a step with 1 state tensors returned 2: must be equal");
  CHECK(run(joined, sentences({1})) == "ensemble: a state of 1 tensors: must be 2");
}
