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

std::optional<Behind> find_behind(std::string_view name) {
  return find_part<Behind>(name, {{"additive", Behind::additive},
                                  {"dot", Behind::dot},
                                  {"selfattention", Behind::selfattention}});
}

[[noreturn]] void no_such_model(const std::string& model) {
  fovea::value_error("model",
                     "there is no '{}': there are bow, selfattention, transformer, and rnn, gru, "
                     "lstm, birnn, bigru, bilstm, these alone or with +additive, +dot or "
                     "+selfattention",
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
    const std::optional<Behind> behind = find_behind(std::string_view(model).substr(plus + 1));
    if (!behind) no_such_model(model);
    parts.behind = *behind;
  }
  const bool wants_recurrent = parts.bidirectional || parts.behind != Behind::nothing;
  if (wants_recurrent && !parts.recurrent()) no_such_model(model);
  return parts;
}

std::string usual_pooling(const ModelParts& parts) {
  if (parts.behind != Behind::nothing || parts.base == Base::selfattention) return "attention";
  return parts.recurrent() ? "last" : "mean";
}

PoolBy pool_by(const std::string& model, const std::string& pooling) {
  const ModelParts parts = parts_of(model);
  const bool by_dot = parts.behind == Behind::dot;
  if (pooling == "attention") return by_dot ? PoolBy::dot : PoolBy::additive;
  if (by_dot || parts.behind == Behind::additive)
    fovea::value_error("pooling", "{}: {} pools by attention", pooling, model);
  if (pooling == "last" && !parts.recurrent())
    fovea::value_error("pooling", "last: {} has no last state, as recurrent models have", model);
  const std::optional<PoolBy> by = find_part<PoolBy>(
      pooling, {{"last", PoolBy::last}, {"mean", PoolBy::mean}, {"max", PoolBy::max}});
  if (!by)
    fovea::value_error("pooling", "there is no '{}': there are last, mean, max and attention",
                       pooling);
  return *by;
}
