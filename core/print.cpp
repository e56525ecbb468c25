#include <fovea/core/print.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include <fmt/format.h>

namespace fovea {
namespace {

constexpr std::int64_t kLeftOut = -1;  // represents the indices that are not shown

class Printer {
 public:
  Printer(const Tensor& x, const PrintOptions& options) : x_(x), options_(options) {}

  std::string print() {
    std::vector<std::int64_t> offsets;
    collect(0, 0, offsets);
    choose_notation(offsets);
    for (const std::int64_t offset : offsets) {
      texts_.push_back(text_of(offset));
      width_ = std::max(width_, texts_.back().size());
    }
    out_ = "tensor(";
    write_axis(0, static_cast<std::int64_t>(out_.size()));
    return out_ + fmt::format(", shape {}, {})", x_.shape().str(), name_of(x_.dtype()));
  }

 private:
  // The shown indices along an axis, in order; kLeftOut in the middle if some are omitted.
  std::vector<std::int64_t> shown(std::int64_t axis) const {
    const std::int64_t size = x_.shape()[axis], edge = options_.edge_items;
    const bool shorten = x_.numel() > options_.threshold && size > 2 * edge;
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < size; ++i) {
      if (shorten && i == edge) {
        indices.push_back(kLeftOut);
        i = size - edge;
      }
      indices.push_back(i);
    }
    return indices;
  }

  // The offsets of all shown elements in output order.
  void collect(std::int64_t axis, std::int64_t offset, std::vector<std::int64_t>& offsets) const {
    if (x_.numel() == 0) return;
    if (axis == x_.rank()) {
      offsets.push_back(offset);
      return;
    }
    for (const std::int64_t i : shown(axis))
      if (i != kLeftOut) collect(axis + 1, offset + i * x_.strides()[axis], offsets);
  }

  void choose_notation(const std::vector<std::int64_t>& offsets) {
    if (!is_floating(x_.dtype())) return;
    double smallest = std::numeric_limits<double>::infinity(), largest = 0;
    for (const std::int64_t offset : offsets) {
      const double size = std::abs(number_at(offset));
      if (!std::isfinite(size) || size == 0) continue;
      smallest = std::min(smallest, size);
      largest = std::max(largest, size);
    }
    exponent_ = largest >= 1e8 || smallest < 1e-4 || largest > 1000 * smallest;
  }

  double number_at(std::int64_t offset) const {
    return x_.dtype() == DType::f32 ? static_cast<double>(x_.data<float>()[offset])
                                    : x_.data<double>()[offset];
  }

  std::string text_of(std::int64_t offset) const {
    if (x_.dtype() == DType::i64) return fmt::to_string(x_.data<std::int64_t>()[offset]);
    if (x_.dtype() == DType::boolean) return x_.data<bool>()[offset] ? "true" : "false";
    const double number = number_at(offset);
    return exponent_ ? fmt::format("{:.{}e}", number, options_.precision)
                     : fmt::format("{:.{}f}", number, options_.precision);
  }

  void write_axis(std::int64_t axis, std::int64_t indent) {
    if (axis == x_.rank() && x_.numel() > 0) {
      out_ += fmt::format("{:>{}}", texts_[next_++], width_);
    } else if (x_.numel() == 0) {
      out_ += "[]";
    } else {
      out_ += '[';
      axis + 1 == x_.rank() ? write_row(indent + 1) : write_blocks(axis, indent + 1);
      out_ += ']';
    }
  }

  // The last axis: one row of elements, wrapped if necessary.
  void write_row(std::int64_t indent) {
    const auto column = static_cast<std::int64_t>(width_) + 2;  // with ", "
    const std::int64_t per_line =
        std::max<std::int64_t>(1, (options_.line_width - indent) / column);
    std::int64_t written = 0;
    for (const std::int64_t i : shown(x_.rank() - 1)) {
      if (written > 0) out_ += written % per_line == 0 ? ",\n" + blanks(indent) : ", ";
      if (i == kLeftOut) {
        out_ += fmt::format("{:>{}}", "...", width_);
      } else {
        write_axis(x_.rank(), indent);
      }
      ++written;
    }
  }

  // The other axes: blocks separated by newlines, one more per outer axis.
  void write_blocks(std::int64_t axis, std::int64_t indent) {
    const auto newlines = static_cast<std::size_t>(x_.rank() - axis - 1);
    bool first = true;
    for (const std::int64_t i : shown(axis)) {
      if (!first) out_ += "," + std::string(newlines, '\n') + blanks(indent);
      first = false;
      if (i == kLeftOut) {
        out_ += "...";
      } else {
        write_axis(axis + 1, indent);
      }
    }
  }

  static std::string blanks(std::int64_t count) {
    return std::string(static_cast<std::size_t>(count), ' ');
  }

  const Tensor& x_;
  const PrintOptions& options_;
  std::vector<std::string> texts_;
  std::size_t width_ = 0;  // of the widest text
  std::size_t next_ = 0;   // index of the next text to write
  bool exponent_ = false;
  std::string out_;
};

}  // namespace

std::string to_string(const Tensor& x, const PrintOptions& options) {
  return x.defined() ? Printer(x, options).print() : "tensor(undefined)";
}

std::ostream& operator<<(std::ostream& out, const Tensor& x) { return out << to_string(x); }

}  // namespace fovea
