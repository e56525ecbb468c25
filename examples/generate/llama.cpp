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
using fovea::nn::data::SentencePieceBpe;

namespace {

constexpr const char* weights_name = "stories260K.safetensors";
constexpr const char* pieces_name = "tok512.bin";
constexpr const char* reference_name = "stories260K.reference.txt";

fs::path folder_of_weights(const fs::path& folder) {
  for (const fs::path& where : {folder, folder / "checkpoints"})
    if (fs::exists(where / weights_name)) return where;
  fovea::raise<fovea::Error>("weights", "{1} is missing in {0} and in {0}/checkpoints",
                             folder.string(), weights_name);
}

nn::TransformerLMOptions options_of(const fovea::SafetensorsFile& file) {
  namespace ranges = support::ranges;
  const auto number = [&](const char* key, const ranges::Integers& range) {
    try {
      return support::parse_number(key, support::metadata_text(file, key), range);
    } catch (const fovea::ValueError& error) {
      fovea::format_error("generate", "{}: metadata: {}", file.source(), error.what());
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

// The model's parameters under the names of the Llama checkpoints.
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

constexpr support::Range<std::int64_t> any_token{0, 1'000'000'000};
constexpr support::Range<double> any_logit{-1e30, 1e30};

// The numbers of a line after its kind. where: "file:line"
template <class T>
std::vector<T> numbers(std::istringstream& line, const support::Range<T>& range,
                       const std::string& where) {
  std::vector<T> list;
  for (std::string word; line >> word;) list.push_back(support::parse_number(where, word, range));
  return list;
}

// For a line "logits POSITION TOKEN l_0 l_1 ...", returns the largest difference.
double compare_logits(const LanguageModel& model, std::istringstream& line,
                      const std::string& where, nn::LmCache& cache) {
  const std::vector<double> expected = numbers(line, any_logit, where);
  const std::int64_t vocab = model.model->options().vocab;
  if (std::ssize(expected) != 2 + vocab)
    fovea::format_error("generate", "{}: {} values: must be a position, a token and {} logits",
                        where, expected.size(), vocab);
  if (expected[0] != static_cast<double>(cache.lengths()[0]))
    fovea::format_error("generate", "position {} of the reference: must be {}", expected[0],
                        cache.lengths()[0]);
  const double token = expected[1];
  if (!(token >= 0 && token < static_cast<double>(vocab) && token == std::floor(token)))
    fovea::format_error("generate", "{}: token {}: must be from 0, below {}", where, token, vocab);
  const std::vector<double> found =
      model.model->step(fovea::from_data(Ids{static_cast<std::int64_t>(token)}, {1}), cache)
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

LanguageModel load_llama(const fs::path& folder) {
  const fs::path where = folder_of_weights(folder);
  const auto file = support::read_checkpoint(where / weights_name, "llama2.c");
  const auto pieces =
      std::make_shared<SentencePieceBpe>(SentencePieceBpe::read(where / pieces_name));
  LanguageModel model;
  model.rng = std::make_shared<fovea::Rng>(1);
  const nn::TransformerLMOptions options = options_of(file);
  support::compare_tensors(file, [&](fovea::Rng& unused) {
    nn::TransformerLM fresh(options, unused);
    return by_llama_name(fresh);
  });
  model.model = std::make_unique<nn::TransformerLM>(options, *model.rng);
  fovea::load_into(file, by_llama_name(*model.model), {.finite = true});
  model.model->eval();
  model.model->name_tree();
  if (pieces->size() != model.model->options().vocab)
    fovea::format_error("generate",
                        "tok512.bin: {} pieces: must be {}, the vocabulary size of the model",
                        pieces->size(), model.model->options().vocab);
  model.encode = [pieces](const std::string& text) {
    Ids ids = pieces->encode(text);
    ids.insert(ids.begin(), SentencePieceBpe::bos);
    return ids;
  };
  model.bytes_of = [pieces](std::int64_t id) { return pieces->bytes_of(id); };
  model.stop = {SentencePieceBpe::bos,
                SentencePieceBpe::eos};  // start of a new story, or end of this one
  model.name = "stories260K";
  return model;
}

std::string check_llama(const LanguageModel& model, const fs::path& folder) {
  constexpr double bound = 1e-4;
  const fs::path path = folder_of_weights(folder) / reference_name;
  std::istringstream text(fovea::read_file(path));
  nn::LmCache cache = model.model->make_cache(1);
  Ids greedy;
  double largest = 0;
  std::int64_t positions = 0;
  std::int64_t line_number = 0;
  for (std::string row; std::getline(text, row);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++line_number);
    std::istringstream line(row);
    std::string kind;
    line >> kind;
    if (kind == "greedy_tokens") greedy = numbers(line, any_token, where);
    if (kind != "logits") continue;
    const double difference = compare_logits(model, line, where, cache);
    ++positions;
    largest = difference <= largest ? largest : difference;
  }
  if (positions == 0 || greedy.size() < 2)
    fovea::format_error("generate", "{}: logits or greedy tokens are missing", path.string());
  if (!(largest <= bound))
    fovea::raise<fovea::Error>("check", "logits differ by {:.2g} from {}: must be at most {}",
                               largest, path.string(), bound);

  // The file's tokens begin with <bos> and the prompt.
  const Ids prompt = model.encode("Once upon a time");
  if (greedy.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), greedy.begin()))
    fovea::raise<fovea::Error>("check", "the tokens of the prompt differ from {}", path.string());
  fovea::Rng rng(1);
  Ids said = prompt;
  const Ids more = nn::generate(
      *model.model, prompt,
      {.sampling = {.temperature = 0}, .max_tokens = std::ssize(greedy) - std::ssize(prompt)}, rng);
  said.insert(said.end(), more.begin(), more.end());
  if (said != greedy)
    fovea::raise<fovea::Error>("check", "the greedy tokens differ from {}", path.string());
  return fmt::format("logits of {} positions within {:.1g}, {} greedy tokens equal", positions,
                     largest, greedy.size());
}
