#include <fovea/core/autograd.h>
#include <fovea/core/mask.h>
#include <fovea/core/sizes.h>

#include <algorithm>
#include <array>
#include <unordered_map>

namespace fovea {
namespace {

std::int64_t at(const std::vector<std::int64_t>& values, std::int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

void check_corner(const char* mask, Mask::Corner corner, const MaskSizes& n) {
  if (corner == Mask::Corner::unset && n.T != n.S)
    shape_error(mask,
                "{} queries and {} keys: corner must be Corner::top_left or Corner::bottom_right "
                "if their numbers differ",
                n.T, n.S);
}

void check_lengths(const char* mask, const std::vector<std::int64_t>& lengths, const MaskSizes& n) {
  if (static_cast<std::int64_t>(lengths.size()) != n.B)
    shape_error(mask, "{} lengths for a batch of {}: must be one per batch row", lengths.size(),
                n.B);
  for (const std::int64_t length : lengths)
    if (length > n.S)
      value_error(mask, "length = {} with {} keys: must not be larger", length, n.S);
}

void check_not_negative(const char* mask, const std::vector<std::int64_t>& lengths) {
  for (const std::int64_t length : lengths)
    if (length < 0) value_error(mask, "length = {}: must not be negative", length);
}

// Query t is at position t + shift among the keys.
std::int64_t shift_of(Mask::Corner corner, const MaskSizes& n) {
  return corner == Mask::Corner::bottom_right ? n.S - n.T : 0;
}

void check_table(const char* op, const Tensor& table) {
  check_defined(op, "the mask", table);
  if (table.dtype() != DType::boolean)
    dtype_error(op, "dtype = {}: must be bool", name_of(table.dtype()));
  if (table.rank() < 2 || table.rank() > 4)
    shape_error(op, "shape = {}: must be (T, S), (B, T, S) or (B, H, T, S)", table.shape().str());
}

// (T, S), (B, T, S) or (B, H, T, S) as (B or 1, H or 1, T or 1, S or 1); `table` is contiguous.
Tensor with_four_axes(const Tensor& table) {
  const Shape& n = table.shape();
  const std::int64_t B = n.rank() > 2 ? n[0] : 1, H = n.rank() > 3 ? n[1] : 1;
  const std::int64_t T = n[n.rank() - 2], S = n[n.rank() - 1];
  return alias(table, {B, H, T, S}, {H * T * S, T * S, S, 1});
}

// (B, S) as (B, 1, S)
Tensor for_every_query(const char* op, const Tensor& keys) {
  check_defined(op, "the mask", keys);
  if (keys.rank() != 2) shape_error(op, "shape = {}: must be (B, S)", keys.shape().str());
  const Tensor dense = keys.contiguous();
  return alias(dense, {keys.dim(0), 1, keys.dim(1)}, {keys.dim(1), keys.dim(1), 1});
}

// (B, H, T) and (B, H, S) are valid shapes, and B H S (T + 3) is an int64: kernels pad T to 4.
void check_sizes(const MaskSizes& n) {
  const Shape queries{n.B, n.H, n.T}, keys{n.B, n.H, n.S};
  static_cast<void>(queries.numel("Mask"));
  checked_mul("Mask", keys.numel("Mask"), n.T + 3);
}

struct Range {
  std::int64_t begin, end;
};

// Access to a plan element by element.
class PlanReader {
 public:
  PlanReader(const MaskPlan& plan, const MaskSizes& sizes) : plan_(plan), n_(sizes) {}

  bool per_row() const {
    const auto differs = [](const Tensor& x) { return x.dim(0) != 1; };
    return plan_.per_row || std::any_of(plan_.tables.begin(), plan_.tables.end(), differs) ||
           std::any_of(plan_.ids.begin(), plan_.ids.end(), [&](const MaskPlan::Ids& ids) {
             return differs(ids.query) || differs(ids.key);
           });
  }
  bool per_head() const {
    return std::any_of(plan_.tables.begin(), plan_.tables.end(),
                       [](const Tensor& table) { return table.dim(1) != 1; });
  }

  Range range(std::int64_t b, std::int64_t t) const {
    if (plan_.begin.empty()) return {0, n_.S};
    const std::int64_t row = (plan_.per_row ? b * n_.T : 0) + t;
    return {at(plan_.begin, row), at(plan_.end, row)};
  }
  // s must be inside range(b, t).
  bool kept(std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t s) const {
    for (const Tensor& table : plan_.tables)
      if (!table.data<bool>()[offset(table, {b, h, t, s})]) return false;
    for (const MaskPlan::Ids& ids : plan_.ids)
      if (id(ids.query, b, t) != id(ids.key, b, s)) return false;
    return true;
  }
  bool attends_any(std::int64_t b, std::int64_t h, std::int64_t t) const {
    const Range r = range(b, t);
    for (std::int64_t s = r.begin; s < r.end; ++s)
      if (kept(b, h, t, s)) return true;
    return false;
  }

 private:
  static std::int64_t offset(const Tensor& table, std::array<std::int64_t, 4> index) {
    std::int64_t at = 0;
    for (std::int64_t axis = 0; axis < 4; ++axis)
      at = at * table.dim(axis) + (table.dim(axis) > 1 ? index[static_cast<std::size_t>(axis)] : 0);
    return at;
  }
  static std::int64_t id(const Tensor& ids, std::int64_t b, std::int64_t i) {
    return ids.data<std::int64_t>()[(ids.dim(0) > 1 ? b * ids.dim(1) : 0) + i];
  }

  const MaskPlan& plan_;
  const MaskSizes& n_;
};

void check_no_empty_row(const MaskPlan& plan, const MaskSizes& n) {
  const PlanReader reader(plan, n);
  const std::int64_t B = reader.per_row() ? n.B : 1, H = reader.per_head() ? n.H : 1;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t t = 0; t < n.T; ++t)
        if (!reader.attends_any(b, h, t))
          value_error("Mask::strict",
                      "batch row {}, head {}, query {} of {} attends none of {} keys: must attend "
                      "at least one",
                      b, h, t, n.T, n.S);
}

}  // namespace

/// One condition: a range of keys per query, or an entry in the plan's lists, or both.
struct Mask::Term {
  virtual ~Term() = default;
  virtual void check(const MaskSizes& sizes) const = 0;
  virtual bool has_range() const { return true; }
  virtual bool per_row() const { return false; }  ///< the range differs between batch rows
  virtual Range range(const MaskSizes& sizes, std::int64_t, std::int64_t) const {
    return {0, sizes.S};
  }
  virtual void add_to(MaskPlan&) const {}
};

Mask Mask::none() { return Mask({}); }

// No limit on the left; no key to the right of the query itself.
Mask Mask::causal(Corner corner) { return window(-1, 0, corner); }

Mask Mask::lengths(std::vector<std::int64_t> lengths) {
  struct Lengths final : Term {
    void check(const MaskSizes& n) const override { check_lengths("Mask::lengths", values, n); }
    bool per_row() const override { return true; }
    Range range(const MaskSizes&, std::int64_t b, std::int64_t) const override {
      return {0, at(values, b)};
    }
    std::vector<std::int64_t> values;
  };
  check_not_negative("Mask::lengths", lengths);
  auto term = std::make_shared<Lengths>();
  term->values = std::move(lengths);
  return Mask({std::move(term)});
}

Mask Mask::window(std::int64_t left, std::int64_t right, Corner corner) {
  struct Window final : Term {
    Window(std::int64_t l, std::int64_t r, Corner c) : left(l), right(r), corner(c) {}
    void check(const MaskSizes& n) const override {
      check_corner(left < 0 && right == 0 ? "Mask::causal" : "Mask::window", corner, n);
    }
    Range range(const MaskSizes& n, std::int64_t, std::int64_t t) const override {
      const std::int64_t own = t + shift_of(corner, n);
      return {left < 0 || left >= own ? 0 : own - left,
              right < 0 || right >= n.S - own ? n.S : own + right + 1};
    }
    std::int64_t left, right;
    Corner corner;
  };
  return Mask({std::make_shared<Window>(left, right, corner)});
}

Mask Mask::prefix_lm(std::vector<std::int64_t> prefix_lengths, Corner corner) {
  struct Prefix final : Term {
    void check(const MaskSizes& n) const override {
      check_corner("Mask::prefix_lm", corner, n);
      check_lengths("Mask::prefix_lm", values, n);
    }
    bool per_row() const override { return true; }
    Range range(const MaskSizes& n, std::int64_t b, std::int64_t t) const override {
      return {0, std::max(at(values, b), t + shift_of(corner, n) + 1)};
    }
    std::vector<std::int64_t> values;
    Corner corner = Corner::unset;
  };
  check_not_negative("Mask::prefix_lm", prefix_lengths);
  auto term = std::make_shared<Prefix>();
  term->values = std::move(prefix_lengths);
  term->corner = corner;
  return Mask({std::move(term)});
}

Mask Mask::documents(const Tensor& query_ids, const Tensor& key_ids) {
  struct Documents final : Term {
    Documents(const Tensor& q, const Tensor& k) : query(rows_of(q)), key(rows_of(k)) {
      for (std::int64_t b = 0; b < key.dim(0); ++b) {
        document_keys.emplace_back();
        for (std::int64_t s = 0; s < key.dim(1); ++s) {
          const auto [found, first] =
              document_keys.back().try_emplace(row(key, b)[s], DocumentKeys{{s, s}, 0});
          found->second.range.end = s + 1;
          found->second.count += 1;
        }
        for (const auto& [id, found] : document_keys.back())
          contiguous &= found.count == found.range.end - found.range.begin;
      }
    }
    static Tensor rows_of(const Tensor& ids) {
      check_defined("Mask::documents", "ids", ids);
      if (ids.dtype() != DType::i64)
        dtype_error("Mask::documents", "dtype of ids = {}: must be i64", name_of(ids.dtype()));
      if (ids.rank() != 1 && ids.rank() != 2)
        shape_error("Mask::documents", "ids {}: must be (T) or (B, T)", ids.shape().str());
      const Tensor dense = ids.clone().detach();
      const std::int64_t B = ids.rank() == 2 ? ids.dim(0) : 1, T = ids.dim(-1);
      return alias(dense, {B, T}, {T, 1});
    }
    static const std::int64_t* row(const Tensor& ids, std::int64_t b) {
      return ids.data<std::int64_t>() + (ids.dim(0) > 1 ? b * ids.dim(1) : 0);
    }
    void check(const MaskSizes& n) const override {
      const auto fits = [&](const Tensor& ids, std::int64_t length) {
        return (ids.dim(0) == 1 || ids.dim(0) == n.B) && ids.dim(1) == length;
      };
      if (!fits(query, n.T) || !fits(key, n.S))
        shape_error("Mask::documents",
                    "ids {} of queries and {} of keys for B = {}, T = {}, S = {}: must be (B or 1, "
                    "T) and (B or 1, S)",
                    query.shape().str(), key.shape().str(), n.B, n.T, n.S);
    }
    bool per_row() const override { return query.dim(0) != 1 || key.dim(0) != 1; }
    Range range(const MaskSizes&, std::int64_t b, std::int64_t t) const override {
      const auto& of_row = document_keys[key.dim(0) > 1 ? static_cast<std::size_t>(b) : 0];
      const auto found = of_row.find(row(query, b)[t]);
      return found == of_row.end() ? Range{0, 0} : found->second.range;
    }
    void add_to(MaskPlan& plan) const override {
      if (!contiguous) plan.ids.push_back({query, key});
    }

    struct DocumentKeys {
      Range range;
      std::int64_t count;
    };
    Tensor query, key;  // (B or 1, T), (B or 1, S)
    std::vector<std::unordered_map<std::int64_t, DocumentKeys>> document_keys;  // per batch row
    bool contiguous = true;  // keys of every document: then the ranges suffice
  };
  return Mask({std::make_shared<Documents>(query_ids, key_ids)});
}

Mask Mask::documents(const Tensor& ids) { return documents(ids, ids); }

Mask Mask::keep(const Tensor& kept) {
  struct Keep final : Term {
    void check(const MaskSizes& n) const override {
      const Shape expected{n.B, n.H, n.T, n.S};
      for (std::int64_t i = 0; i < 4; ++i)
        if (table.dim(i) != expected[i] && table.dim(i) != 1)
          shape_error("Mask", "mask {} for (B, H, T, S) = {}: each size must be equal or 1",
                      shape.str(), expected.str());
    }
    bool has_range() const override { return false; }
    void add_to(MaskPlan& plan) const override { plan.tables.push_back(table); }
    Tensor table;
    Shape shape;  // of the caller's tensor
  };
  check_table("Mask::keep", kept);
  auto term = std::make_shared<Keep>();
  term->shape = kept.shape();
  // A copy: later writes to the caller's tensor do not change the mask.
  term->table = with_four_axes(kept.clone());
  return Mask({std::move(term)});
}

Mask Mask::drop(const Tensor& dropped) {
  check_table("Mask::drop", dropped);
  Tensor kept = dropped.clone();
  bool* values = kept.mutable_data<bool>();
  for (std::int64_t i = 0; i < kept.numel(); ++i) values[i] = !values[i];
  return keep(kept);
}

Mask Mask::keep_keys(const Tensor& kept) { return keep(for_every_query("Mask::keep_keys", kept)); }

Mask Mask::drop_keys(const Tensor& dropped) {
  return drop(for_every_query("Mask::drop_keys", dropped));
}

Mask Mask::operator&(const Mask& other) const {
  Mask joined = *this;
  joined.terms_.insert(joined.terms_.end(), other.terms_.begin(), other.terms_.end());
  joined.strict_ |= other.strict_;
  return joined;
}

Mask Mask::strict() const {
  Mask mask = *this;
  mask.strict_ = true;
  return mask;
}

std::int64_t kept_pairs(const MaskPlan& plan, const MaskSizes& n) {
  const PlanReader reader(plan, n);
  const bool by_range = plan.tables.empty() && plan.ids.empty();
  // Equal batch rows and heads are counted once.
  const std::int64_t B = reader.per_row() ? n.B : 1, H = reader.per_head() ? n.H : 1;
  const std::int64_t repeats = (reader.per_row() ? 1 : n.B) * (reader.per_head() ? 1 : n.H);
  std::int64_t pairs = 0;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t t = 0; t < n.T; ++t) {
      const Range r = reader.range(b, t);
      if (by_range) pairs += std::max<std::int64_t>(0, r.end - r.begin);
      for (std::int64_t h = 0; !by_range && h < H; ++h)
        for (std::int64_t s = r.begin; s < r.end; ++s) pairs += reader.kept(b, h, t, s) ? 1 : 0;
    }
  return repeats * pairs;
}

MaskPlan Mask::plan(const MaskSizes& n) const {
  check_sizes(n);
  MaskPlan plan;
  bool ranges = false;
  for (const TermPtr& term : terms_) {
    term->check(n);
    term->add_to(plan);
    ranges |= term->has_range();
    plan.per_row |= term->per_row();
  }
  const std::int64_t rows = plan.per_row ? n.B : 1;
  if (ranges) {
    plan.begin = plan.end = checked_vector<std::int64_t>("Mask", "B * T", rows * n.T);
    auto begin = plan.begin.begin(), end = plan.end.begin();
    for (std::int64_t b = 0; b < rows; ++b)
      for (std::int64_t t = 0; t < n.T; ++t) {
        Range both{0, n.S};
        for (const TermPtr& term : terms_) {
          const Range r = term->range(n, b, t);
          both = {std::max(both.begin, r.begin), std::min(both.end, r.end)};
        }
        *begin = std::min(both.begin, n.S);
        *end++ = std::max(*begin++, both.end);
      }
  }
  if (strict_) check_no_empty_row(plan, n);
  return plan;
}

Tensor Mask::to_tensor(const MaskSizes& n) const {
  const MaskPlan ready = plan(n);
  const PlanReader reader(ready, n);
  Tensor table =
      empty({reader.per_row() ? n.B : 1, reader.per_head() ? n.H : 1, n.T, n.S}, DType::boolean);
  bool* row = table.mutable_data<bool>();
  for (std::int64_t b = 0; b < table.dim(0); ++b)
    for (std::int64_t h = 0; h < table.dim(1); ++h)
      for (std::int64_t t = 0; t < n.T; ++t, row += n.S) {
        const Range r = reader.range(b, t);
        std::fill_n(row, n.S, false);
        for (std::int64_t s = r.begin; s < r.end; ++s) row[s] = reader.kept(b, h, t, s);
      }
  return table;
}

Tensor Mask::to_tensor(std::int64_t B, std::int64_t T, std::int64_t S) const {
  const Tensor table = to_tensor({B, 1, T, S});
  return alias(table, {table.dim(0), T, S}, {T * S, S, 1});
}

std::string Mask::describe(const MaskSizes& n, std::int64_t batch_row, std::int64_t head) const {
  if (batch_row < 0 || batch_row >= n.B)
    index_error("Mask::describe", "batch_row = {} of {}: must be in [0, {})", batch_row, n.B, n.B);
  if (head < 0 || head >= n.H)
    index_error("Mask::describe", "head = {} of {}: must be in [0, {})", head, n.H, n.H);
  const Tensor table = to_tensor(n);
  const std::int64_t b = table.dim(0) > 1 ? batch_row : 0, h = table.dim(1) > 1 ? head : 0;
  const bool* cell = table.data<bool>() + (b * table.dim(1) + h) * n.T * n.S;
  std::string grid;
  for (std::int64_t t = 0; t < n.T; ++t) {
    for (std::int64_t s = 0; s < n.S; ++s) grid += *cell++ ? '#' : '.';
    grid += '\n';
  }
  return grid;
}

std::string Mask::describe(std::int64_t B, std::int64_t T, std::int64_t S,
                           std::int64_t batch_row) const {
  return describe({B, 1, T, S}, batch_row);
}

}  // namespace fovea
