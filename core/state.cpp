#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/state.h>

#include <bit>
#include <set>

#include <fmt/format.h>

namespace fovea {
namespace {

constexpr std::size_t kListed = 10;  // misfits that an error spells out

// "" when `entry` can be copied into `tensor`.
std::string misfit(const SafetensorsEntry& entry, const Tensor& tensor) {
  if (entry.dtype != safetensors_dtype(tensor.dtype()))
    return fmt::format("'{}' is {} in the file and {} here", entry.name, entry.dtype,
                       safetensors_dtype(tensor.dtype()));
  if (!std::equal(entry.shape.begin(), entry.shape.end(), tensor.shape().begin(),
                  tensor.shape().end()))
    return fmt::format("'{}' has shape ({}) in the file and {} here", entry.name,
                       fmt::join(entry.shape, ", "), tensor.shape().str());
  return "";
}

std::vector<std::string> misfits(const SafetensorsFile& file, const NamedTensors& tensors,
                                 LoadOptions options) {
  std::vector<std::string> found;
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    if (!names.insert(name).second) value_error("load_into", "'{}' is listed twice", name);
    const SafetensorsEntry* entry = file.find(name);
    if (!entry && options.strict) found.push_back(fmt::format("'{}' is missing in the file", name));
    const std::string reason = entry ? misfit(*entry, tensor) : "";
    if (!reason.empty()) found.push_back(reason);
  }
  if (options.strict)
    for (const SafetensorsEntry& entry : file.entries())
      if (!names.contains(entry.name))
        found.push_back(fmt::format("'{}' is in the file only", entry.name));
  return found;
}

[[noreturn]] void refuse(const SafetensorsFile& file, std::vector<std::string> misfits) {
  const std::size_t count = misfits.size();
  if (count > kListed) {
    misfits.resize(kListed);
    misfits.push_back(fmt::format("and {} more", count - kListed));
  }
  state_error("load_into", "{}: {}", file.source(), fmt::join(misfits, "; "));
}

}  // namespace

void check_defined(std::string_view op, std::span<const std::pair<std::string, Tensor>> tensors) {
  for (const auto& [name, tensor] : tensors)
    if (!tensor.defined()) state_error(op, "'{}' is undefined", name);
}

void append(NamedTensors& list, const std::string& prefix, const NamedTensors& more) {
  for (const auto& [name, tensor] : more) list.emplace_back(prefix + "." + name, tensor);
}

void save(const std::filesystem::path& path, const NamedTensors& tensors,
          const Metadata& metadata) {
  check_defined("save", tensors);
  write_file_atomically(path, to_safetensors(tensors, metadata));
}

Metadata load_into(const std::filesystem::path& path, const NamedTensors& tensors,
                   LoadOptions options) {
  return load_into(SafetensorsFile::read(path), tensors, options);
}

void check_fits(const SafetensorsFile& file, const NamedTensors& tensors, LoadOptions options) {
  check_defined("load_into", tensors);
  std::vector<std::string> found = misfits(file, tensors, options);
  if (!found.empty()) refuse(file, std::move(found));
}

Metadata load_into(const SafetensorsFile& file, const NamedTensors& tensors, LoadOptions options) {
  check_fits(file, tensors, options);
  // Reading an entry can still fail (a bool that is not one): all are read before any is written.
  std::vector<std::pair<Tensor, Tensor>> copies;
  for (const auto& [name, tensor] : tensors)
    if (file.find(name)) copies.emplace_back(tensor, file.tensor(name));
  for (auto& [target, source] : copies) target.copy_from(source);
  return file.metadata();
}

Tensor rng_to_tensor(const Rng& rng) {
  const RngState& state = rng.state();
  return from_data(std::vector<std::int64_t>{std::bit_cast<std::int64_t>(state.seed),
                                             std::bit_cast<std::int64_t>(state.stream),
                                             std::bit_cast<std::int64_t>(state.position)},
                   {3});
}

void rng_from_tensor(Rng& rng, const Tensor& state) {
  check_defined("rng_from_tensor", "state", state);
  if (state.shape() != Shape{3} || state.dtype() != DType::i64)
    state_error("rng_from_tensor", "{} {}: must be i64 (3,)", name_of(state.dtype()),
                state.shape().str());
  const std::vector<std::int64_t> words = state.to_vector<std::int64_t>();
  rng.set_state({.seed = std::bit_cast<std::uint64_t>(words[0]),
                 .stream = std::bit_cast<std::uint64_t>(words[1]),
                 .position = std::bit_cast<std::uint64_t>(words[2])});
}

}  // namespace fovea
