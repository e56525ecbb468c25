// A graph of layout ops with extreme arguments, decoded from bytes and compared with a reference.
//
// Every element of a layout op's result is an element of a leaf, or a 0 of pad(). The reference
// computes which one, and from that all values and the gradient of a weighted sum of all results.
// It decides in 128-bit arithmetic whether the arguments are valid: invalid ones must throw a
// fovea::Error, valid ones must not throw, and no other exception may be thrown.
#pragma once

#include "op_reference.h"

namespace fovea::test {

class OpGraph : OpGraphBase {
 public:
  using OpGraphBase::OpGraphBase;

  // std::logic_error for an unexpected result.
  OpGraphCounts run() {
    for (int op = 0; op < 24 && !bytes_.done(); ++op) step();
    for (const Known& known : known_) compare("afterwards", known.tensor, known.expected);
    check_gradients();
    return counts_;
  }

 private:
  void step() {
    using Step = void (OpGraph::*)();
    static constexpr Step steps[] = {
        &OpGraph::reshape_step, &OpGraph::expand_step,       &OpGraph::narrow_step,
        &OpGraph::slice_step,   &OpGraph::select_step,       &OpGraph::transpose_step,
        &OpGraph::permute_step, &OpGraph::pad_step,          &OpGraph::split_step,
        &OpGraph::concat_step,  &OpGraph::squeeze_step,      &OpGraph::unsqueeze_step,
        &OpGraph::unbind_step,  &OpGraph::index_select_step, &OpGraph::split_equally_step};
    (this->*steps[static_cast<std::size_t>(bytes_.below(std::ssize(steps)))])();
  }

  Sizes some_shape() {
    Sizes shape;
    for (std::int64_t d = bytes_.below(4); d > 0; --d) shape.push_back(bytes_.size(5));
    return shape;
  }

  void reshape_step() {
    const Known x = pick();
    Sizes shape = some_shape();
    if (bytes_.below(2) == 0) {  // a valid one: all axes merged, and axes of size 1
      shape.assign(static_cast<std::size_t>(1 + bytes_.below(3)), 1);
      shape[static_cast<std::size_t>(bytes_.below(std::ssize(shape)))] =
          bytes_.below(2) == 0 ? -1 : x.tensor.numel();
    }
    const bool as_view = bytes_.below(3) == 0;
    Sizes full = shape;
    const auto free = std::find(full.begin(), full.end(), -1);
    std::optional<Expected> expected;
    if (free != full.end()) *free = 1;
    const auto known = count_of(full);
    if (known && free != full.end() && *known > 0) *free = x.tensor.numel() / *known;
    const bool free_of_none = free != full.end() && known && *known == 0;
    if (!free_of_none && known && count_of(full) == x.tensor.numel())
      expected = Expected{full, x.expected.source};
    const Shape given(shape.begin(), shape.end());
    check(
        "reshape", expected,
        [&] { return as_view ? view(x.tensor, given) : reshape(x.tensor, given); }, as_view);
  }

  void expand_step() {
    const Known x = pick();
    Sizes shape = x.expected.shape;
    for (std::int64_t& size : shape)
      if (size == 1 || bytes_.below(6) == 0) size = bytes_.size(4);
    for (std::int64_t d = bytes_.below(3); d > 0; --d) shape.insert(shape.begin(), bytes_.size(3));
    if (shape.size() > kMaxRank) return;
    Sizes full = shape;
    const std::size_t added = shape.size() - x.expected.shape.size();
    bool valid = true;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const std::int64_t own = d < added ? 1 : x.expected.shape[d - added];
      if (shape[d] == -1 && d >= added) full[d] = own;
      valid = valid && (own == 1 || own == full[d]);
    }
    const std::int64_t n = valid ? count_of(full).value_or(-1) : -1;
    const Shape given(shape.begin(), shape.end());
    if (n > kMostElements) {  // a large view: no error, not compared
      const Tensor y = expand(x.tensor, given);
      if (y.numel() != n) throw std::logic_error("expand: numel");
      return;
    }
    std::optional<Expected> expected;
    if (n >= 0)
      expected = gathered(x.expected, full, [&](const Sizes& i, Sizes& from) {
        for (std::size_t d = 0; d < from.size(); ++d)
          from[d] = x.expected.shape[d] == 1 ? 0 : i[d + added];
        return true;
      });
    check("expand", expected, [&] { return expand(x.tensor, given); });
  }

  void narrow_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank());
    const std::int64_t start = bytes_.size(4), length = bytes_.size(4);
    const auto d = axis_of(axis, x.expected.shape.size());
    std::optional<Expected> expected;
    if (d && start >= 0 && length >= 0 && Wide{start} + length <= x.expected.shape[*d])
      expected = part_of(x.expected, *d, start, length, 1);
    check("narrow", expected, [&] { return narrow(x.tensor, axis, start, length); });
  }

  void slice_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank());
    const std::int64_t start = bytes_.extreme(), end = bytes_.extreme(), step = bytes_.size(3);
    const auto d = axis_of(axis, x.expected.shape.size());
    std::optional<Expected> expected;
    if (d && step >= 1) {
      const Wide n = x.expected.shape[*d];
      const auto inside = [n](std::int64_t i) {
        return std::clamp<Wide>(i < 0 ? Wide{i} + n : Wide{i}, 0, n);
      };
      const Wide length = std::max<Wide>(0, (inside(end) - inside(start) + step - 1) / step);
      expected = part_of(x.expected, *d, static_cast<std::int64_t>(inside(start)),
                         static_cast<std::int64_t>(length), step);
    }
    check("slice", expected, [&] { return slice(x.tensor, axis, start, end, step); });
  }

  void select_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank()), index = bytes_.size(4);
    const auto d = axis_of(axis, x.expected.shape.size());
    std::optional<Expected> expected;
    if (d) {
      const std::int64_t n = x.expected.shape[*d];
      if (index >= -n && index < n) {
        expected = part_of(x.expected, *d, index < 0 ? index + n : index, 1, 1);
        expected->shape.erase(expected->shape.begin() + static_cast<std::ptrdiff_t>(*d));
      }
    }
    check("select", expected, [&] { return select(x.tensor, axis, index); });
  }

  void transpose_step() {
    const Known x = pick();
    const std::int64_t a = bytes_.axis(x.tensor.rank()), b = bytes_.axis(x.tensor.rank());
    const auto p = axis_of(a, x.expected.shape.size()), q = axis_of(b, x.expected.shape.size());
    std::optional<Expected> expected;
    if (p && q) {
      Sizes shape = x.expected.shape;
      std::swap(shape[*p], shape[*q]);
      expected = gathered(x.expected, shape, [&](const Sizes& i, Sizes& from) {
        from = i;
        std::swap(from[*p], from[*q]);
        return true;
      });
    }
    check("transpose", expected, [&] { return transpose(x.tensor, a, b); });
  }

  // permute(), or flip() of some of the axes
  void permute_step() {
    const bool flips = bytes_.below(2) == 0;
    const Known x = pick();
    const std::size_t rank = x.expected.shape.size();
    Dims axes;
    std::vector<std::size_t> places;
    bool valid = true;
    for (std::size_t d = 0; d < rank; ++d) {
      if (flips && bytes_.below(2) == 0) continue;
      axes.push_back(bytes_.axis(x.tensor.rank()));
      const auto place = axis_of(axes.back(), rank);
      valid = valid && place && std::find(places.begin(), places.end(), *place) == places.end();
      places.push_back(place.value_or(0));
    }
    std::optional<Expected> expected;
    if (valid && flips) {
      expected = gathered(x.expected, x.expected.shape, [&](const Sizes& i, Sizes& from) {
        from = i;
        for (const std::size_t d : places) from[d] = x.expected.shape[d] - 1 - i[d];
        return true;
      });
    } else if (valid) {
      Sizes shape;
      for (const std::size_t d : places) shape.push_back(x.expected.shape[d]);
      expected = gathered(x.expected, shape, [&](const Sizes& i, Sizes& from) {
        for (std::size_t d = 0; d < rank; ++d) from[places[d]] = i[d];
        return true;
      });
    }
    check(flips ? "flip" : "permute", expected,
          [&] { return flips ? flip(x.tensor, axes) : permute(x.tensor, axes); });
  }

  void pad_step() {
    const Known x = pick();
    const std::int64_t rank = x.tensor.rank();
    Sizes pads;
    for (std::int64_t i = bytes_.below(2 * rank + 2); i > 0; --i) pads.push_back(bytes_.size(2));
    bool valid = pads.size() % 2 == 0 && std::ssize(pads) / 2 <= rank;
    std::vector<Wide> wide(x.expected.shape.begin(), x.expected.shape.end());
    Sizes before(x.expected.shape.size(), 0);
    for (std::size_t i = 0; valid && i < pads.size(); ++i) {
      const std::size_t d = before.size() - 1 - i / 2;
      if (i % 2 == 0) before[d] = pads[i];
      wide[d] += pads[i];
      valid = pads[i] >= 0;
    }
    Sizes shape;
    for (const Wide size : wide)
      shape.push_back(static_cast<std::int64_t>(std::min<Wide>(size, kMaxNumel + 1)));
    const auto n = valid ? count_of(shape) : std::nullopt;
    const bool fits = n && *n <= kMostElements;
    if (n && !fits && *n < std::int64_t{1} << 42) return;  // valid, but too large to compare
    std::optional<Expected> expected;
    if (fits)
      expected = gathered(x.expected, shape, [&](const Sizes& i, Sizes& from) {
        bool inside = true;
        for (std::size_t d = 0; d < from.size(); ++d) {
          from[d] = i[d] - before[d];
          inside = inside && from[d] >= 0 && from[d] < x.expected.shape[d];
        }
        return inside;
      });
    check("pad", expected, [&] { return pad(x.tensor, pads); });
  }

  void split_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank());
    const auto d = axis_of(axis, x.expected.shape.size());
    Sizes sizes;
    for (std::int64_t i = bytes_.below(4); i > 0; --i) sizes.push_back(bytes_.size(3));
    Wide rest = d ? x.expected.shape[*d] : 0;
    if (bytes_.below(2) == 0) {  // the remainder, so that the sizes often add up
      for (const std::int64_t size : sizes) rest -= size;
      if (rest >= 0) sizes.push_back(static_cast<std::int64_t>(rest));
    }
    Results expected;
    Wide sum = 0;
    bool valid = d.has_value();
    for (const std::int64_t size : sizes) {
      valid = valid && size >= 0;
      sum += size;
    }
    if (valid && sum == x.expected.shape[*d]) {
      expected.emplace();
      std::int64_t start = 0;
      for (const std::int64_t size : sizes) {
        expected->push_back(part_of(x.expected, *d, start, size, 1));
        start += size;
      }
    }
    check("split", expected, false, [&] { return split(x.tensor, sizes, axis); });
  }

  // split() into parts of equal size, or chunk()
  void split_equally_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank()), count = bytes_.size(3);
    const bool chunks = bytes_.below(2) == 0;
    const auto d = axis_of(axis, x.expected.shape.size());
    Results expected;
    if (d && count >= 1) {
      const std::int64_t n = x.expected.shape[*d];
      const Wide part = chunks ? std::max<Wide>(1, (Wide{n} + count - 1) / count) : Wide{count};
      if (n / part > kMostElements) return;
      expected.emplace();
      for (Wide start = 0; start < n || expected->empty(); start += part)
        expected->push_back(part_of(x.expected, *d, static_cast<std::int64_t>(start),
                                    static_cast<std::int64_t>(std::min(part, n - start)), 1));
    }
    check(chunks ? "chunk" : "split of equal parts", expected, false,
          [&] { return chunks ? chunk(x.tensor, count, axis) : split(x.tensor, count, axis); });
  }

  void unbind_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank());
    const auto d = axis_of(axis, x.expected.shape.size());
    Results expected;
    if (d) {
      if (x.expected.shape[*d] > kMostElements) return;
      expected.emplace();
      for (std::int64_t i = 0; i < x.expected.shape[*d]; ++i) {
        expected->push_back(part_of(x.expected, *d, i, 1, 1));
        Sizes& shape = expected->back().shape;
        shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(*d));
      }
    }
    check("unbind", expected, false, [&] { return unbind(x.tensor, axis); });
  }

  // concat() of x with another, or stack() of x with itself
  void concat_step() {
    const Known x = pick(), other = pick();
    const bool stacks = bytes_.below(3) == 0;
    const std::int64_t rank = x.tensor.rank() + (stacks ? 1 : 0), axis = bytes_.axis(rank);
    const auto d = axis_of(axis, static_cast<std::size_t>(rank));
    const Expected &a = x.expected, &b = stacks ? x.expected : other.expected;
    Sizes shape = a.shape;
    bool valid = d && shape.size() == b.shape.size() && rank <= kMaxRank;
    if (valid && stacks) {
      shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(*d), 2);
    } else if (valid) {
      shape[*d] = b.shape[*d];
      valid = shape == b.shape;
      shape[*d] += a.shape[*d];
    }
    if (valid && *count_of(shape) > kMostElements) return;
    std::optional<Expected> expected;
    if (valid) {
      const std::int64_t first = stacks ? 1 : a.shape[*d];
      const auto half = [&](bool second) {
        return [&, second](const Sizes& i, Sizes& from) {
          from = i;
          if (second) from[*d] -= first;
          if (stacks) from.erase(from.begin() + static_cast<std::ptrdiff_t>(*d));
          return second == (i[*d] >= first);
        };
      };
      expected = gathered(a, shape, half(false));
      const Expected rest = gathered(b, shape, half(true));
      for (std::size_t i = 0; i < rest.source.size(); ++i)
        if (expected->source[i] < 0) expected->source[i] = rest.source[i];
    }
    check(stacks ? "stack" : "concat", expected, [&] {
      return stacks ? stack({x.tensor, x.tensor}, axis) : concat({x.tensor, other.tensor}, axis);
    });
  }

  void squeeze_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank());
    const auto d = axis_of(axis, x.expected.shape.size());
    std::optional<Expected> expected;
    if (d) {
      expected = x.expected;
      if (x.expected.shape[*d] == 1)
        expected->shape.erase(expected->shape.begin() + static_cast<std::ptrdiff_t>(*d));
    }
    check("squeeze", expected, [&] { return squeeze(x.tensor, axis); });
  }

  void unsqueeze_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank() + 1);
    const auto d = axis_of(axis, x.expected.shape.size() + 1);
    std::optional<Expected> expected;
    if (d && x.tensor.rank() < kMaxRank) {
      expected = x.expected;
      expected->shape.insert(expected->shape.begin() + static_cast<std::ptrdiff_t>(*d), 1);
    }
    check("unsqueeze", expected, [&] { return unsqueeze(x.tensor, axis); });
  }

  void index_select_step() {
    const Known x = pick();
    const std::int64_t axis = bytes_.axis(x.tensor.rank());
    const auto d = axis_of(axis, x.expected.shape.size());
    Sizes index;
    for (std::int64_t i = bytes_.below(4); i > 0; --i)
      index.push_back(bytes_.below(4) == 0 ? bytes_.extreme() : bytes_.below(3));
    std::optional<Expected> expected;
    if (d && std::all_of(index.begin(), index.end(),
                         [&](std::int64_t i) { return i >= 0 && i < x.expected.shape[*d]; })) {
      Sizes shape = x.expected.shape;
      shape[*d] = std::ssize(index);
      expected = gathered(x.expected, shape, [&](const Sizes& i, Sizes& from) {
        from = i;
        from[*d] = index[static_cast<std::size_t>(i[*d])];
        return true;
      });
    }
    check("index_select", expected,
          [&] { return index_select(x.tensor, axis, from_data(index, {std::ssize(index)})); });
  }
};

}  // namespace fovea::test
