#include "llama.h"

#include <fovea/core/autograd.h>
#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>
#include <fovea/examples/support/checkpoint.h>
#include <fovea/nn/data/pieces.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

namespace fs = std::filesystem;
namespace nn = fovea::nn;
using fovea::nn::data::Pieces;

namespace {

constexpr const char* weights_name = "stories260K.safetensors";
constexpr const char* pieces_name = "tok512.bin";
constexpr const char* reference_name = "stories260K.reference.txt";

fs::path folder_of_weights(const fs::path& folder) {
  for (const fs::path& where : {folder, folder / "checkpoints"})
    if (fs::exists(where / weights_name)) return where;
  fovea::raise<fovea::Error>("weights", "neither {0} nor {0}/checkpoints has {1}", folder.string(),
                             weights_name);
}

nn::TransformerLMOptions options_of(const fovea::SafetensorsFile& file) {
  namespace ranges = support::ranges;
  const auto number = [&](const char* key, const ranges::Integers& range) {
    try {
      return support::parse_number(key, support::metadata_text(file, key), range);
    } catch (const fovea::ValueError& error) {
      fovea::format_error("generate", "{}: its metadata: {}", file.source(), error.what());
    }
  };
  nn::TransformerLMOptions o{.vocab = number("vocab_size", ranges::vocab)};
  o.d_model = number("dim", ranges::width);
  o.nhead = number("n_heads", ranges::heads);
  o.num_kv_heads = number("n_kv_heads", ranges::heads);
  o.num_layers = number("n_layers", ranges::layers);
  o.dim_feedforward = number("hidden_dim", ranges::width);
  o.max_len = number("max_seq_len", ranges::length);
  o.positions = nn::LmPositions::rope;
  o.norm = nn::NormKind::rms;
  o.norm_eps = 1e-5;
  o.activation = nn::Activation::swiglu;
  o.bias = false;
  o.dropout = 0;
  return o;
}

// Our parameters under the names that Llama's authors gave theirs.
fovea::NamedTensors by_llama_name(nn::TransformerLM& model) {
  fovea::NamedTensors list{{"tok_embeddings.weight", model.embedding.weight},
                           {"norm.weight", model.transformer.norm->weight}};
  for (std::size_t i = 0; i < model.transformer.layers.size(); ++i) {
    const nn::TransformerEncoderLayer& layer = model.transformer.layers[i];
    if (!layer.self_attn.q_proj_weight.defined())
      fovea::format_error("generate",
                          "as many key heads as query heads: this program does not "
                          "take weights of such models apart");
    fovea::append(list, fmt::format("layers.{}", i),
                  {{"attention.wq.weight", layer.self_attn.q_proj_weight},
                   {"attention.wk.weight", layer.self_attn.k_proj_weight},
                   {"attention.wv.weight", layer.self_attn.v_proj_weight},
                   {"attention.wo.weight", layer.self_attn.out_proj.weight},
                   {"feed_forward.w1.weight", layer.linear1.weight},
                   {"feed_forward.w2.weight", layer.linear2.weight},
                   {"feed_forward.w3.weight", layer.linear3->weight},
                   {"attention_norm.weight", layer.norm1.weight},
                   {"ffn_norm.weight", layer.norm2.weight}});
  }
  return list;
}

constexpr support::Range<std::int64_t> any_place{0, 1'000'000'000};
constexpr support::Range<double> any_logit{-1e30, 1e30};

// The words of a line after its kind, as numbers. where: "file:line"
template <class T>
std::vector<T> numbers(std::istringstream& line, const support::Range<T>& range,
                       const std::string& where) {
  std::vector<T> list;
  for (std::string word; line >> word;) list.push_back(support::parse_number(where, word, range));
  return list;
}

// One line: "logits POSITION TOKEN l_0 l_1 ...". Gives the largest difference.
double compare_logits(const Speaker& speaker, std::istringstream& line, const std::string& where,
                      nn::LmCache& cache) {
  const std::vector<double> expected = numbers(line, any_logit, where);
  const std::int64_t vocab = speaker.model->options().vocab;
  if (std::ssize(expected) != 2 + vocab)
    fovea::format_error("generate", "{}: {} numbers: must be a position, a token and {} logits",
                        where, expected.size(), vocab);
  if (expected[0] != static_cast<double>(cache.lengths()[0]))
    fovea::format_error("generate", "the reference has position {} where {} is next", expected[0],
                        cache.lengths()[0]);
  const double token = expected[1];
  if (!(token >= 0 && token < static_cast<double>(vocab) && token == std::floor(token)))
    fovea::format_error("generate", "{}: token {}: must be one of {}", where, token, vocab);
  const std::vector<double> found =
      speaker.model->step(fovea::from_data(Ids{static_cast<std::int64_t>(token)}, {1}), cache)
          .to_vector<double>();
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(found[i] - expected[i + 2]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? HUGE_VAL : difference;
  }
  return largest;
}

}  // namespace

std::vector<fs::path> llama_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (folder.empty()) return files;
  for (const fs::path& where : {folder, folder / "checkpoints"})
    for (const char* name : {weights_name, pieces_name, reference_name})
      files.push_back(where / name);
  return files;
}

Speaker load_llama(const fs::path& folder) {
  const fs::path where = folder_of_weights(folder);
  const auto file = support::read_checkpoint(where / weights_name, "llama2.c");
  const auto pieces = std::make_shared<Pieces>(Pieces::read(where / pieces_name));
  Speaker speaker;
  speaker.rng = std::make_shared<fovea::Rng>(1);
  const nn::TransformerLMOptions options = options_of(file);
  support::compare_tensors(file, [&](fovea::Rng& unused) {
    nn::TransformerLM model(options, unused);
    return by_llama_name(model);
  });
  speaker.model = std::make_unique<nn::TransformerLM>(options, *speaker.rng);
  fovea::load_into(file, by_llama_name(*speaker.model), {.finite = true});
  speaker.model->eval();
  speaker.model->name_tree();
  if (pieces->size() != speaker.model->options().vocab)
    fovea::format_error("generate", "tok512.bin has {} pieces and the model {}", pieces->size(),
                        speaker.model->options().vocab);
  speaker.encode = [pieces](const std::string& text) {
    Ids ids = pieces->encode(text);
    ids.insert(ids.begin(), Pieces::bos);
    return ids;
  };
  speaker.bytes_of = [pieces](std::int64_t id) { return pieces->bytes_of(id); };
  speaker.stop = {Pieces::bos, Pieces::eos};  // a new story begins, or this one ends
  speaker.name = "stories260K";
  return speaker;
}

std::string check_llama(const Speaker& speaker, const fs::path& folder) {
  constexpr double bound = 1e-4;
  const fs::path path = folder_of_weights(folder) / reference_name;
  std::istringstream text(fovea::read_file(path));
  nn::LmCache cache = speaker.model->make_cache(1);
  Ids greedy;
  double largest = 0;
  std::int64_t positions = 0;
  std::int64_t line_number = 0;
  for (std::string row; std::getline(text, row);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++line_number);
    std::istringstream line(row);
    std::string kind;
    line >> kind;
    if (kind == "greedy_tokens") greedy = numbers(line, any_place, where);
    if (kind != "logits") continue;
    const double difference = compare_logits(speaker, line, where, cache);
    ++positions;
    largest = difference <= largest ? largest : difference;
  }
  if (positions == 0 || greedy.size() < 2)
    fovea::format_error("generate", "{}: no logits or no greedy tokens in it", path.string());
  if (!(largest <= bound))
    fovea::raise<fovea::Error>("check", "logits differ by {:.2g} from {}: at most {} is allowed",
                               largest, path.string(), bound);

  // The file's tokens begin with <bos> and the prompt.
  const Ids prompt = speaker.encode("Once upon a time");
  if (greedy.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), greedy.begin()))
    fovea::raise<fovea::Error>("check", "the prompt is cut into other tokens than in {}",
                               path.string());
  fovea::Rng rng(1);
  Ids said = prompt;
  const Ids more = nn::generate(
      *speaker.model, prompt,
      {.sampling = {.temperature = 0}, .max_tokens = std::ssize(greedy) - std::ssize(prompt)}, rng);
  said.insert(said.end(), more.begin(), more.end());
  if (said != greedy)
    fovea::raise<fovea::Error>("check", "the greedy tokens are not those of {}", path.string());
  return fmt::format("logits of {} positions within {:.1g}, {} greedy tokens equal", positions,
                     largest, greedy.size());
}
