// A checkpoint as lines, so that a fuzzer changes its contents and not its format:
//   key=value          metadata
//   @name 2,3          a tensor of this shape (f32) with small values
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/core/tensor.h>

#include <charconv>

#include "fuzz_target.h"

namespace fovea::fuzz {

/// False for an invalid shape, or a shape with more than 4,096 elements.
inline bool read_shape(std::string_view text, std::vector<std::int64_t>& sizes) {
  std::int64_t numel = 1;
  while (!text.empty()) {
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (error != std::errc() || size < 0 || size > 4096 || (numel *= size) > 4096) return false;
    sizes.push_back(size);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.starts_with(','))
      text.remove_prefix(1);
    else if (!text.empty())
      return false;
  }
  return sizes.size() <= 4;
}

/// The bytes of a safetensors file; "" if the lines are invalid.
inline std::string checkpoint_of(Input& in) {
  NamedTensors tensors;
  Metadata metadata;
  while (!in.rest().empty()) {
    const std::string_view line = in.until('\n');
    const std::size_t mark = line.find(line.starts_with('@') ? ' ' : '=');
    if (mark == std::string_view::npos) continue;
    if (!line.starts_with('@')) {
      metadata[std::string(line.substr(0, mark))] = line.substr(mark + 1);
      continue;
    }
    std::vector<std::int64_t> sizes;
    if (read_shape(line.substr(mark + 1), sizes))
      tensors.emplace_back(line.substr(1, mark - 1), full(Shape(sizes.begin(), sizes.end()), 0.01));
  }
  std::string bytes;
  accepts([&] { bytes = to_safetensors(tensors, metadata); });
  return bytes;
}

}  // namespace fovea::fuzz
