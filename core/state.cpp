#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/state.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <compare>
#include <cstring>
#include <set>
#include <tuple>

#include <fmt/format.h>

namespace fovea {
namespace {

constexpr std::size_t kListed = 10;  // the most mismatches that an error lists

// The mismatch of `entry` and `tensor`; "" if there is none.
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

// Equal for two tensors over the same values. Tensors without elements share nothing.
struct Memory {
  const void* begin;
  DType dtype;
  Shape shape;
  Strides strides;

  explicit Memory(const Tensor& tensor)
      : begin(tensor.numel() > 0 ? static_cast<const void*>(tensor.raw_data()) : tensor.impl()),
        dtype(tensor.dtype()),
        shape(tensor.shape()),
        strides(tensor.strides()) {}
  bool operator==(const Memory& other) const {
    return begin == other.begin && dtype == other.dtype && shape == other.shape &&
           strides == other.strides;
  }
};

// Per tensor, the index of the first one over the same values.
std::vector<std::size_t> first_of_same(const NamedTensors& list) {
  std::vector<std::pair<const void*, std::size_t>> by_address;
  for (std::size_t i = 0; i < list.size(); ++i)
    by_address.emplace_back(Memory(list[i].second).begin, i);
  std::sort(by_address.begin(), by_address.end());
  std::vector<std::size_t> first(list.size());
  for (std::size_t i = 0; i < by_address.size(); ++i) {
    const auto [address, index] = by_address[i];
    first[index] = index;
    for (std::size_t k = i; k-- > 0 && by_address[k].first == address;)
      if (const std::size_t other = by_address[k].second;
          Memory(list[other].second) == Memory(list[index].second))
        first[index] = std::min(first[index], first[other]);
  }
  return first;
}

bool trainable(const Tensor& tensor) { return tensor.requires_grad() && tensor.is_leaf(); }

void check_names(std::string_view op, const NamedTensors& list) {
  std::vector<std::string_view> names;
  check_defined(op, list);
  for (const auto& [name, tensor] : list) names.push_back(name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    value_error(op, "'{}' is listed twice", *twice);
}

std::vector<std::string> misfits(const SafetensorsFile& file, const NamedTensors& tensors,
                                 LoadOptions options) {
  check_names("load_into", tensors);
  const std::vector<std::size_t> first = first_of_same(tensors);
  std::vector<bool> found_one(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (file.find(tensors[i].first)) found_one[first[i]] = true;
  std::vector<std::string> found;
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    names.insert(name);
    const SafetensorsEntry* entry = file.find(name);
    if (!entry && options.strict && !found_one[first[i]])
      found.push_back(fmt::format("'{}' is missing in the file", name));
    const std::string reason = entry ? misfit(*entry, tensor) : "";
    if (!reason.empty()) found.push_back(reason);
  }
  if (options.strict)
    for (const SafetensorsEntry& entry : file.entries())
      if (!names.contains(entry.name))
        found.push_back(fmt::format("'{}' is in the file only", entry.name));
  return found;
}

// The first NaN or infinity of a contiguous tensor and its index; n where there is none.
template <class T>
std::int64_t first_not_finite(const T* values, std::int64_t n) {
  constexpr std::int64_t block = 4096;  // without an exit inside, this becomes vector code
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t end = std::min(n, begin + block);
    unsigned bad = 0;
    for (std::int64_t i = begin; i < end; ++i) bad |= !std::isfinite(values[i]);
    for (std::int64_t i = begin; bad && i < end; ++i)
      if (!std::isfinite(values[i])) return i;
  }
  return n;
}

// Tied tensors that the file has under several names must have equal values.
void check_tied(const SafetensorsFile& file, const NamedTensors& tensors,
                const std::vector<Tensor>& loaded) {
  const std::vector<std::size_t> first = first_of_same(tensors);
  std::vector<std::size_t> seen(tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!loaded[i].defined()) continue;
    std::size_t& other = seen[first[i]];
    if (other == tensors.size()) {
      other = i;
    } else if (std::memcmp(
                   loaded[i].raw_data(), loaded[other].raw_data(),
                   static_cast<std::size_t>(loaded[i].numel() * size_of(loaded[i].dtype()))) != 0) {
      state_error("load_into",
                  "{}: '{}' and '{}' differ in the file: must be equal, because they are tied",
                  file.source(), tensors[other].first, tensors[i].first);
    }
  }
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

std::string non_finite(const Tensor& tensor) {
  check_defined("non_finite", "tensor", tensor);
  if (!is_floating(tensor.dtype())) return "";
  const NoGrad guard;
  const Tensor dense = tensor.contiguous();
  return dispatch_float(dense.dtype(), "non_finite", [&]<class T>() {
    const std::int64_t at = first_not_finite(dense.data<T>(), dense.numel());
    return at == dense.numel() ? "" : fmt::format("{} at {}", dense.data<T>()[at], at);
  });
}

NamedTensors distinct(std::string_view op, const NamedTensors& list) {
  check_names(op, list);
  const std::vector<std::size_t> first = first_of_same(list);
  std::vector<std::size_t> place(list.size());
  NamedTensors once;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (first[i] == i) {
      place[i] = once.size();
      once.push_back(list[i]);
      continue;
    }
    Tensor& chosen = once[place[first[i]]].second;
    const Tensor& other = list[i].second;
    if (chosen.impl() == other.impl() || !trainable(other)) continue;
    if (trainable(chosen))
      value_error(op, "'{}' and '{}' are two leaves that share memory: must be one tensor",
                  list[first[i]].first, list[i].first);
    chosen = other;  // the one that has the gradient
  }
  return once;
}

void save(const std::filesystem::path& path, const NamedTensors& tensors,
          const Metadata& metadata) {
  check_defined("save", tensors);
  write_file_atomically(path, to_safetensors(tensors, metadata, {.checksums = true}));
}

Metadata load_into(const std::filesystem::path& path, const NamedTensors& tensors,
                   LoadOptions options) {
  return load_into(SafetensorsFile::read(path), tensors, std::move(options));
}

void check_fits(const SafetensorsFile& file, const NamedTensors& tensors, LoadOptions options) {
  check_defined("load_into", tensors);
  std::vector<std::string> found = misfits(file, tensors, options);
  if (!found.empty()) refuse(file, std::move(found));
}

Metadata load_into(const SafetensorsFile& file, const NamedTensors& tensors, LoadOptions options) {
  check_fits(file, tensors, options);
  // Reading an entry can still fail (an invalid bool): all are read before any is written.
  std::vector<Tensor> loaded(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, here] = tensors[i];
    if (!file.find(name)) continue;
    loaded[i] = file.tensor(name);
    if (const std::string bad = options.finite ? non_finite(loaded[i]) : "";
        !bad.empty() && non_finite(here).empty())
      raise<NonFiniteError>("load_into", "{}: '{}' holds {}: must be finite", file.source(), name,
                            bad);
    if (options.check) options.check(name, loaded[i]);
  }
  check_tied(file, tensors, loaded);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (loaded[i].defined()) Tensor(tensors[i].second).copy_from(loaded[i]);
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
  if (words[2] < 0) state_error("rng_from_tensor", "position = {}: must not be negative", words[2]);
  rng.set_state({.seed = std::bit_cast<std::uint64_t>(words[0]),
                 .stream = std::bit_cast<std::uint64_t>(words[1]),
                 .position = std::bit_cast<std::uint64_t>(words[2])});
}

}  // namespace fovea
