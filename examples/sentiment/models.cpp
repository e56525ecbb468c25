#include "models.h"

#include <fovea/core/error.h>

#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace {

template <class Part>
using Names = std::initializer_list<std::pair<std::string_view, Part>>;

template <class Part>
std::optional<Part> find_part(std::string_view name, Names<Part> names) {
  for (const auto& [known, part] : names)
    if (known == name) return part;
  return {};
}

std::optional<Base> find_base(std::string_view name) {
  return find_part<Base>(name, {{"bow", Base::bow},
                                {"rnn", Base::rnn},
                                {"gru", Base::gru},
                                {"lstm", Base::lstm},
                                {"selfattention", Base::selfattention},
                                {"transformer", Base::transformer}});
}

std::optional<Head> find_head(std::string_view name) {
  return find_part<Head>(
      name,
      {{"additive", Head::additive}, {"dot", Head::dot}, {"selfattention", Head::selfattention}});
}

[[noreturn]] void no_such_model(const std::string& model) {
  fovea::value_error("model",
                     "'{}': must be bow, selfattention, transformer, or rnn, gru, lstm, birnn, "
                     "bigru, bilstm, alone or with +additive, +dot or +selfattention",
                     model);
}

}  // namespace

bool ModelParts::recurrent() const {
  return base == Base::rnn || base == Base::gru || base == Base::lstm;
}

ModelParts parts_of(const std::string& model) {
  const std::size_t plus = model.find('+');
  std::string_view base = std::string_view(model).substr(0, plus);
  ModelParts parts;
  parts.bidirectional = base.starts_with("bi");
  if (parts.bidirectional) base.remove_prefix(2);
  const std::optional<Base> found = find_base(base);
  if (!found) no_such_model(model);
  parts.base = *found;
  if (plus != std::string::npos) {
    const std::optional<Head> head = find_head(std::string_view(model).substr(plus + 1));
    if (!head) no_such_model(model);
    parts.head = *head;
  }
  const bool needs_recurrent = parts.bidirectional || parts.head != Head::none;
  if (needs_recurrent && !parts.recurrent()) no_such_model(model);
  return parts;
}

std::string default_pooling(const ModelParts& parts) {
  if (parts.head != Head::none || parts.base == Base::selfattention) return "attention";
  return parts.recurrent() ? "last" : "mean";
}

PoolBy pool_by(const std::string& model, const std::string& pooling) {
  const ModelParts parts = parts_of(model);
  const bool by_dot = parts.head == Head::dot;
  if (pooling == "attention") return by_dot ? PoolBy::dot : PoolBy::additive;
  if (by_dot || parts.head == Head::additive)
    fovea::value_error("pooling", "{}: must be attention for {}", pooling, model);
  if (pooling == "last" && !parts.recurrent())
    fovea::value_error(
        "pooling", "last: must be mean, max or attention for {}, which has no last state", model);
  const std::optional<PoolBy> by = find_part<PoolBy>(
      pooling, {{"last", PoolBy::last}, {"mean", PoolBy::mean}, {"max", PoolBy::max}});
  if (!by) fovea::value_error("pooling", "'{}': must be last, mean, max or attention", pooling);
  return *by;
}
