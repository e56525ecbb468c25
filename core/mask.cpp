#include <fovea/core/autograd.h>
#include <fovea/core/mask.h>

#include <algorithm>

namespace fovea {
namespace {

struct Sizes {
  std::int64_t B, T, S;
};

void check_corner(const char* mask, Mask::Corner corner, const Sizes& n) {
  if (corner == Mask::Corner::unset && n.T != n.S)
    shape_error(mask,
                "{} queries and {} keys: with unequal lengths say Corner::top_left or "
                "Corner::bottom_right",
                n.T, n.S);
}

// How far a query's own place among the keys is from its number.
std::int64_t shift_of(Mask::Corner corner, const Sizes& n) {
  return corner == Mask::Corner::bottom_right ? n.S - n.T : 0;
}

void check_table(const char* op, const Tensor& table) {
  if (table.dtype() != DType::boolean)
    dtype_error(op, "a {} tensor: it must be bool", name_of(table.dtype()));
  if (table.rank() != 2 && table.rank() != 3)
    shape_error(op, "a mask of shape {}: it must be (T, S) or (B, T, S)", table.shape().str());
}

}  // namespace

/// One condition. kept() is asked for every (b, t, s) when the mask is written out.
struct Mask::Term {
  virtual ~Term() = default;
  virtual void check(const Sizes&) const {}
  virtual bool kept(const Sizes& sizes, std::int64_t b, std::int64_t t, std::int64_t s) const = 0;
  virtual bool depends_on_batch() const { return false; }
};

Mask Mask::none() { return Mask({}); }

Mask Mask::causal(Corner corner) {
  struct Causal final : Term {
    explicit Causal(Corner c) : corner(c) {}
    void check(const Sizes& n) const override { check_corner("Mask::causal", corner, n); }
    bool kept(const Sizes& n, std::int64_t, std::int64_t t, std::int64_t s) const override {
      return s <= t + shift_of(corner, n);
    }
    Corner corner;
  };
  return Mask({std::make_shared<Causal>(corner)});
}

Mask Mask::lengths(std::vector<std::int64_t> lengths) {
  struct Lengths final : Term {
    void check(const Sizes& n) const override {
      if (static_cast<std::int64_t>(values.size()) != n.B)
        shape_error("Mask::lengths", "{} lengths for a batch of {}: there must be one a row",
                    values.size(), n.B);
      for (const std::int64_t length : values)
        if (length > n.S)
          value_error("Mask::lengths", "length {} with {} keys: it must not be longer", length,
                      n.S);
    }
    bool kept(const Sizes&, std::int64_t b, std::int64_t, std::int64_t s) const override {
      return s < values[static_cast<std::size_t>(b)];
    }
    bool depends_on_batch() const override { return true; }
    std::vector<std::int64_t> values;
  };
  for (const std::int64_t length : lengths)
    if (length < 0) value_error("Mask::lengths", "length {}: it must not be negative", length);
  auto term = std::make_shared<Lengths>();
  term->values = std::move(lengths);
  return Mask({std::move(term)});
}

Mask Mask::window(std::int64_t left, std::int64_t right, Corner corner) {
  struct Window final : Term {
    Window(std::int64_t l, std::int64_t r, Corner c) : left(l), right(r), corner(c) {}
    void check(const Sizes& n) const override { check_corner("Mask::window", corner, n); }
    bool kept(const Sizes& n, std::int64_t, std::int64_t t, std::int64_t s) const override {
      const std::int64_t at = t + shift_of(corner, n);
      return (left < 0 || s >= at - left) && (right < 0 || s <= at + right);
    }
    std::int64_t left, right;
    Corner corner;
  };
  return Mask({std::make_shared<Window>(left, right, corner)});
}

Mask Mask::keep(const Tensor& kept) {
  struct Keep final : Term {
    void check(const Sizes& n) const override {
      const Shape asked = table.rank() == 2 ? Shape{n.T, n.S} : Shape{n.B, n.T, n.S};
      for (std::int64_t i = 0; i < asked.rank(); ++i)
        if (table.dim(i) != asked[i] && table.dim(i) != 1)
          shape_error("Mask", "a mask {} for {}: its sizes must be those or 1", table.shape().str(),
                      asked.str());
    }
    bool kept(const Sizes&, std::int64_t b, std::int64_t t, std::int64_t s) const override {
      const Shape& n = table.shape();
      const std::int64_t axis = table.rank() - 2;
      const std::int64_t row = axis == 1 && n[0] > 1 ? b : 0;
      const std::int64_t query = n[axis] > 1 ? t : 0, key = n[axis + 1] > 1 ? s : 0;
      return table.data<bool>()[(row * n[axis] + query) * n[axis + 1] + key];
    }
    bool depends_on_batch() const override { return table.rank() == 3 && table.dim(0) > 1; }
    Tensor table;
  };
  check_table("Mask::keep", kept);
  auto term = std::make_shared<Keep>();
  term->table = kept.clone();  // later writes to the caller's tensor do not change the mask
  return Mask({std::move(term)});
}

Mask Mask::drop(const Tensor& dropped) {
  check_table("Mask::drop", dropped);
  Tensor kept = dropped.clone();
  bool* values = kept.mutable_data<bool>();
  for (std::int64_t i = 0; i < kept.numel(); ++i) values[i] = !values[i];
  return keep(kept);
}

Mask Mask::operator&(const Mask& other) const {
  std::vector<TermPtr> joined = terms_;
  joined.insert(joined.end(), other.terms_.begin(), other.terms_.end());
  return Mask(std::move(joined));
}

Tensor Mask::to_tensor(std::int64_t B, std::int64_t T, std::int64_t S) const {
  const Sizes sizes{B, T, S};
  bool per_row = false;
  for (const TermPtr& term : terms_) {
    term->check(sizes);
    per_row |= term->depends_on_batch();
  }
  Tensor table = empty({per_row ? B : 1, T, S}, DType::boolean);
  bool* cell = table.mutable_data<bool>();
  for (std::int64_t b = 0; b < table.dim(0); ++b)
    for (std::int64_t t = 0; t < T; ++t)
      for (std::int64_t s = 0; s < S; ++s)
        *cell++ = std::all_of(terms_.begin(), terms_.end(),
                              [&](const TermPtr& term) { return term->kept(sizes, b, t, s); });
  return table;
}

std::string Mask::describe(std::int64_t B, std::int64_t T, std::int64_t S,
                           std::int64_t batch_row) const {
  if (batch_row < 0 || batch_row >= B)
    index_error("Mask::describe", "batch row {} of {}: it must lie in [0, {})", batch_row, B, B);
  const Tensor table = to_tensor(B, T, S);
  const bool* cell = table.data<bool>() + (table.dim(0) > 1 ? batch_row * T * S : 0);
  std::string grid;
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t s = 0; s < S; ++s) grid += *cell++ ? '#' : '.';
    grid += '\n';
  }
  return grid;
}

}  // namespace fovea
