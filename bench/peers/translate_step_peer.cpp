// libtorch peer of translate_step_bench: bidirectional GRU, additive attention (Bahdanau et al.,
// ICLR 2015), Adam. B sentences, S and T words, E embedding, H hidden, V vocabulary.
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <vector>

#include <torch/torch.h>

namespace {

namespace nn = torch::nn;
using torch::Tensor;
using namespace workloads::translate_step;

struct TranslatorImpl : nn::Module {
  nn::Embedding source{nn::EmbeddingOptions(vocab_size, embed_dim).padding_idx(0)};
  nn::Embedding target{nn::EmbeddingOptions(vocab_size, embed_dim).padding_idx(0)};
  nn::GRU encoder{nn::GRUOptions(embed_dim, hidden).batch_first(true).bidirectional(true)};
  nn::Linear initial{hidden, hidden};
  nn::Linear key{2 * hidden, hidden};
  nn::Linear query{nn::LinearOptions(hidden, hidden).bias(false)};
  nn::Linear score{nn::LinearOptions(hidden, 1).bias(false)};
  nn::GRUCell cell{embed_dim + 2 * hidden, hidden};
  nn::Linear readout{embed_dim + 3 * hidden, hidden};
  nn::Linear output{hidden, vocab_size};

  TranslatorImpl() {
    register_module("source", source);
    register_module("target", target);
    register_module("encoder", encoder);
    register_module("initial", initial);
    register_module("key", key);
    register_module("query", query);
    register_module("score", score);
    register_module("cell", cell);
    register_module("readout", readout);
    register_module("output", output);
  }

  /// words: (B, S), previous: (B, T), padding: (B, S) -> scores of the next words (B, T, V)
  Tensor forward(const Tensor& words, const Tensor& previous, const Tensor& padding) {
    const Tensor states = std::get<0>(encoder->forward(source(words)));         // (B, S, 2H)
    const Tensor keys = key(states);                                            // (B, S, H)
    const Tensor embedded = target(previous);                                   // (B, T, E)
    Tensor state = torch::tanh(initial(states.select(1, 0).slice(1, hidden)));  // (B, H)
    std::vector<Tensor> read;
    for (std::int64_t t = 0; t < previous.size(1); ++t) {
      const Tensor word = embedded.select(1, t);                                        // (B, E)
      const Tensor context = attend(query(state).unsqueeze(1), keys, states, padding);  // (B, 2H)
      state = cell(torch::cat({word, context}, 1), state);                              // (B, H)
      read.push_back(torch::cat({state, context, word}, 1));  // (B, 3H + E)
    }
    return output(torch::tanh(readout(torch::stack(read, 1))));  // (B, T, V)
  }

  /// query: (B, 1, H), keys: (B, S, H), values: (B, S, 2H) -> (B, 2H)
  Tensor attend(const Tensor& projected_query, const Tensor& keys, const Tensor& values,
                const Tensor& padding) {
    const Tensor scores = score(torch::tanh(keys + projected_query)).squeeze(-1);  // (B, S)
    const Tensor weights = torch::softmax(scores.masked_fill(padding, -1e9), -1);  // (B, S)
    return torch::bmm(weights.unsqueeze(1), values).squeeze(1);
  }
};
TORCH_MODULE(Translator);

Tensor word_matrix(const std::string& name, std::int64_t columns) {
  const auto words = workloads::words(name, static_cast<std::size_t>(batch * columns), vocab_size);
  return torch::tensor(words).view({batch, columns});
}

float bound_of(const std::string& name) {
  return name == "source.weight" || name == "target.weight" ? embedding_bound : bound;
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  Translator model;
  peers::fill_parameters(*model, bound_of);
  torch::optim::Adam optimizer(model->parameters(), torch::optim::AdamOptions(learning_rate));

  const Tensor words = word_matrix("source_words", length);
  const Tensor padding = words == 0;
  const Tensor sentence = word_matrix("target_words", length + 1);
  const Tensor previous = sentence.slice(1, 0, length).contiguous();
  const Tensor next = sentence.slice(1, 1).contiguous().view(-1);

  const auto step = [&] {
    optimizer.zero_grad();
    const Tensor logits = model->forward(words, previous, padding).view({-1, vocab_size});
    const Tensor loss = nn::functional::cross_entropy(
        logits, next, nn::functional::CrossEntropyFuncOptions().ignore_index(0));
    loss.backward();
    optimizer.step();
    return loss;
  };
  peers::Checks losses;
  for (int i = 1; i <= checked_steps; ++i)
    losses["loss_" + std::to_string(i)] = step().item<double>();
  losses["extra_peak_MB"] = peers::peak_megabytes([&] { step(); });
  stopwatch.time("translate_step", losses, step);
  peers::time_sgemm(stopwatch);
}
