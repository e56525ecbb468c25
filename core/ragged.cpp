#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/ragged.h>
#include <fovea/core/sizes.h>

#include <algorithm>
#include <cstring>

namespace fovea {
namespace {

Shape packed_shape(const Shape& padded, std::int64_t rows) {
  Shape shape(padded.begin() + 1, padded.end());
  shape[0] = rows;
  return shape;
}

// Copies the rows of all sequences between the packed and the padded layout.
Tensor moved(const Tensor& x, const RaggedIndex& index, std::int64_t T, bool to_packed) {
  const Tensor dense = x.contiguous();
  Shape padded = dense.shape();
  if (!to_packed) {
    padded.insert(0, index.batch_size());
    padded[1] = T;
  }
  Tensor y =
      to_packed ? empty(packed_shape(padded, index.total()), x.dtype()) : zeros(padded, x.dtype());
  if (DryRun::skips(x.dtype())) return y;
  const std::int64_t rows = std::max<std::int64_t>(1, padded[0] * padded[1]);
  const std::int64_t row_bytes = padded.numel() / rows * size_of(x.dtype());
  for (std::int64_t b = 0; b < index.batch_size(); ++b) {
    const std::int64_t packed_at = index.offset(b) * row_bytes, padded_at = b * T * row_bytes;
    std::memcpy(y.raw_data() + (to_packed ? packed_at : padded_at),
                dense.raw_data() + (to_packed ? padded_at : packed_at),
                static_cast<std::size_t>(index.length(b) * row_bytes));
  }
  return y;
}

// pack and pad are each other's transpose, so each is the backward of the other.
Tensor pack_rows(const Tensor& x, const RaggedIndex& index, std::int64_t T);

Tensor pad_rows(const Tensor& x, const RaggedIndex& index, std::int64_t T) {
  return record<"pad_ragged">(
      moved(x, index, T, false), {x},
      [index, T](const Tensor& dy, NeedsGrad) { return Grads(pack_rows(dy, index, T)); });
}

Tensor pack_rows(const Tensor& x, const RaggedIndex& index, std::int64_t T) {
  return record<"pack_ragged">(
      moved(x, index, T, true), {x},
      [index, T](const Tensor& dy, NeedsGrad) { return Grads(pad_rows(dy, index, T)); });
}

}  // namespace

RaggedIndex::RaggedIndex(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t length : lengths) {
    if (length < 0) value_error("RaggedIndex", "length = {}: must not be negative", length);
    if (length > kMaxNumel - offsets.back())
      value_error("RaggedIndex", "length = {} after {} rows: the sum must be at most 2^48", length,
                  offsets.back());
    offsets.push_back(offsets.back() + length);
  }
  offsets_ = std::make_shared<const std::vector<std::int64_t>>(std::move(offsets));
}

RaggedIndex RaggedIndex::equal(std::int64_t B, std::int64_t T) {
  return RaggedIndex(checked_vector("RaggedIndex::equal", "B", B, T));
}

std::int64_t RaggedIndex::max_length() const {
  std::int64_t longest = 0;
  for (std::int64_t b = 0; b < batch_size(); ++b) longest = std::max(longest, length(b));
  return longest;
}

std::vector<std::int64_t> RaggedIndex::lengths() const {
  std::vector<std::int64_t> all;
  for (std::int64_t b = 0; b < batch_size(); ++b) all.push_back(length(b));
  return all;
}

Ragged pack(const Tensor& x, const RaggedIndex& index) {
  check_defined("pack", "x", x);
  if (x.rank() < 2 || x.dim(0) != index.batch_size())
    shape_error("pack", "x {} for {} sequences: must be (B, T, ...)", x.shape().str(),
                index.batch_size());
  if (index.max_length() > x.dim(1))
    value_error("pack", "length = {} with x {}: must be at most T", index.max_length(),
                x.shape().str());
  return {pack_rows(x, index, x.dim(1)), index};
}

Tensor pad(const Ragged& x) {
  check_defined("pad", "values", x.values);
  if (x.values.rank() < 1 || x.values.dim(0) != x.index.total())
    shape_error("pad",
                "values {} for sequences of {} rows in total: the first size must be that total",
                x.values.shape().str(), x.index.total());
  return pad_rows(x.values, x.index, x.index.max_length());
}

}  // namespace fovea
