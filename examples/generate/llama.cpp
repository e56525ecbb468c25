#include "llama.h"

#include <fovea/core/autograd.h>
#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>
#include <fovea/nn/data/pieces.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

namespace fs = std::filesystem;
namespace nn = fovea::nn;
using fovea::nn::data::Pieces;

namespace {

fs::path folder_of_weights(const fs::path& folder) {
  constexpr const char* name = "stories260K.safetensors";
  for (const fs::path& where : {folder, folder / "checkpoints"})
    if (fs::exists(where / name)) return where;
  fovea::raise<fovea::Error>("weights", "neither {0} nor {0}/checkpoints has {1}", folder.string(),
                             name);
}

std::int64_t number(const fovea::SafetensorsFile& file, const std::string& key) {
  const auto at = file.metadata().find(key);
  std::int64_t value = 0;
  if (at != file.metadata().end()) {
    const std::string& text = at->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value > 0) return value;
  }
  fovea::format_error("generate", "{}: its metadata has no number '{}' above 0", file.source(),
                      key);
}

nn::TransformerLMOptions options_of(const fovea::SafetensorsFile& file) {
  nn::TransformerLMOptions o{.vocab = number(file, "vocab_size")};
  o.d_model = number(file, "dim");
  o.nhead = number(file, "n_heads");
  o.num_kv_heads = number(file, "n_kv_heads");
  o.num_layers = number(file, "n_layers");
  o.dim_feedforward = number(file, "hidden_dim");
  o.max_len = number(file, "max_seq_len");
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

// One line: "logits POSITION TOKEN l_0 l_1 ...". Gives the largest difference.
double compare_logits(const Speaker& speaker, std::istringstream& line, nn::LmCache& cache) {
  std::int64_t position = 0, token = 0;
  line >> position >> token;
  if (position != cache.lengths()[0])
    fovea::format_error("generate", "the reference has position {} where {} is next", position,
                        cache.lengths()[0]);
  const std::vector<double> found =
      speaker.model->step(fovea::from_data(Ids{token}, {1}), cache).to_vector<double>();
  double largest = 0;
  for (const double logit : found) {
    double expected = std::nan("");
    line >> expected;
    const double difference = std::abs(logit - expected);
    if (!(difference <= largest)) largest = std::isnan(difference) ? HUGE_VAL : difference;
  }
  return largest;
}

Ids numbers(std::istringstream& line) {
  Ids list;
  for (std::int64_t value = 0; line >> value;) list.push_back(value);
  return list;
}

}  // namespace

Speaker load_llama(const fs::path& folder) {
  const fs::path where = folder_of_weights(folder);
  const auto file = fovea::SafetensorsFile::read(where / "stories260K.safetensors");
  const auto pieces = std::make_shared<Pieces>(Pieces::read(where / "tok512.bin"));
  Speaker speaker;
  speaker.rng = std::make_shared<fovea::Rng>(1);
  speaker.model = std::make_unique<nn::TransformerLM>(options_of(file), *speaker.rng);
  fovea::load_into(file, by_llama_name(*speaker.model));
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
  const fs::path path = folder_of_weights(folder) / "stories260K.reference.txt";
  std::istringstream text(fovea::read_file(path));
  nn::LmCache cache = speaker.model->make_cache(1);
  Ids greedy;
  double largest = 0;
  std::int64_t positions = 0;
  for (std::string row; std::getline(text, row);) {
    std::istringstream line(row);
    std::string kind;
    line >> kind;
    if (kind == "greedy_tokens") greedy = numbers(line);
    if (kind != "logits") continue;
    const double difference = compare_logits(speaker, line, cache);
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
