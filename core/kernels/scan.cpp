#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/rows.h>
#include <fovea/core/kernels/scan.h>

#include <algorithm>
#include <vector>

namespace fovea::kernels {
namespace {

constexpr int64_t kChannels = 64;  // of one piece of work: a few cache lines of every row

template <class T>
const ScanLoops<T>& loops(const ScanSizes& n) {
  const ScanKinds<T>& kinds =
      loops_of<T>(pick(baseline::scan_table, v3::scan_table, v4::scan_table));
  return n.numbers == ScanNumbers::complex ? kinds.complex : kinds.real;
}

// Steps [begin, end) of sequence b; steps count from where the recurrence starts.
struct Piece {
  int64_t b, begin, end;
  bool last;  // of its sequence
};

std::vector<Piece> pieces_of(const RaggedRows& rows) {
  std::vector<Piece> pieces;
  for (int64_t b = 0; b < rows.B; ++b)
    for (int64_t begin = 0; begin < rows.length(b); begin += kScanPiece) {
      const int64_t end = std::min(begin + kScanPiece, rows.length(b));
      pieces.push_back({b, begin, end, end == rows.length(b)});
    }
  return pieces;
}

// One batch cut into pieces, with a row of W numbers for each of them, so that each can be run on
// its own: `state` is the h that it starts from (backward: the gradient that reaches its end).
template <class T>
class Cut {
 public:
  Cut(const RaggedRows& rows, const ScanSizes& n)
      : rows_(rows),
        n_(n),
        pieces_(pieces_of(rows)),
        states_(pieces_.size() * static_cast<std::size_t>(n.width())),
        zeros_(static_cast<std::size_t>(n.width())) {
    if (has_cuts()) set_products_to_one();
  }

  bool has_cuts() const {
    return std::any_of(pieces_.begin(), pieces_.end(), [](const Piece& p) { return !p.last; });
  }

  // Calls f(p, from): piece and first channel, for all pieces with wanted(piece). Blocks of
  // channels are the outer loop, so that each thread has a share of every sequence's length.
  template <class Wanted, class F>
  void for_work(const Wanted& wanted, const F& f) const {
    const auto count = static_cast<int64_t>(pieces_.size());
    const int64_t work = rows_.offsets[rows_.B] * std::min(kChannels, n_.H);
    const int64_t grain = row_grain(work / std::max<int64_t>(1, count));
    parallel_for(count * chunk_count(n_.H, kChannels), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (wanted(piece(i % count))) f(i % count, i / count * kChannels);
    });
  }

  const Piece& piece(int64_t p) const { return pieces_[static_cast<std::size_t>(p)]; }
  int64_t pieces() const { return static_cast<int64_t>(pieces_.size()); }
  T* state(int64_t p) { return states_.data() + p * n_.width(); }
  T* product(int64_t p) { return products_.data() + p * n_.width(); }
  const T* zeros() const { return zeros_.data(); }

  // Row b of a (B, W) array that may be missing.
  const T* row_or_zeros(const T* x, int64_t b) const { return x ? x + b * n_.width() : zeros(); }

  // The row of step t of sequence b in an (N, W) array, and that of a.
  int64_t at(int64_t b, int64_t t) const { return rows_.row(b, t) * n_.width(); }
  int64_t a_at(int64_t b, int64_t t) const { return n_.a_per_row ? at(b, t) : 0; }

  ScanStretch stretch(int64_t p, int64_t from) const {
    const int64_t step = rows_.reverse ? -n_.width() : n_.width();
    return {piece(p).end - piece(p).begin, std::min(kChannels, n_.H - from), step,
            n_.a_per_row ? step : 0, n_.H};
  }

 private:
  void set_products_to_one() {
    products_.assign(states_.size(), T(0));
    for (int64_t p = 0; p < pieces(); ++p) std::fill_n(product(p), n_.H, T(1));
  }

  const RaggedRows& rows_;
  const ScanSizes& n_;
  std::vector<Piece> pieces_;
  std::vector<T> states_, products_;  // (pieces, W); products only where a sequence is cut
  std::vector<T> zeros_;              // (W)
};

// The state that each piece starts from.
template <class T>
void find_states(Cut<T>& cut, const ScanSizes& n, const T* a, const T* b, const T* h0) {
  const ScanLoops<T>& loop = loops<T>(n);
  if (cut.has_cuts())
    cut.for_work([](const Piece& piece) { return !piece.last; },
                 [&](int64_t p, int64_t from) {
                   const Piece& at = cut.piece(p);
                   loop.forward_ends(cut.stretch(p, from), a + cut.a_at(at.b, at.begin) + from,
                                     b + cut.at(at.b, at.begin) + from, cut.product(p) + from,
                                     cut.state(p + 1) + from);
                 });
  for (int64_t p = 0; p < cut.pieces(); ++p) {
    if (cut.piece(p).begin == 0)
      std::copy_n(cut.row_or_zeros(h0, cut.piece(p).b), n.width(), cut.state(p));
    else
      loop.join(n.H, cut.product(p - 1), cut.state(p - 1), cut.state(p));
  }
}

// The gradient that reaches the end of each piece.
template <class T>
void find_gradients(Cut<T>& cut, const ScanSizes& n, const T* a, const T* dy, const T* dlast) {
  const ScanLoops<T>& loop = loops<T>(n);
  if (cut.has_cuts())
    cut.for_work([](const Piece& piece) { return piece.begin > 0; },
                 [&](int64_t p, int64_t from) {
                   const Piece& at = cut.piece(p);
                   const ScanStretch s = cut.stretch(p, from);
                   const T* dy_p = dy ? dy + cut.at(at.b, at.begin) : cut.zeros();
                   loop.backward_ends(s, dy ? s.row : 0, a + cut.a_at(at.b, at.begin) + from,
                                      dy_p + from, cut.product(p) + from, cut.state(p - 1) + from);
                 });
  for (int64_t p = cut.pieces() - 1; p >= 0; --p) {
    if (cut.piece(p).last)
      std::copy_n(cut.row_or_zeros(dlast, cut.piece(p).b), n.width(), cut.state(p));
    else
      loop.join(n.H, cut.product(p + 1), cut.state(p + 1), cut.state(p));
  }
}

bool all_of_them(const Piece&) { return true; }

}  // namespace

template <class T>
void scan_forward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* b, const T* h0,
                  T* h, T* last) {
  if (loops_left_out) return;
  const FloatMode mode;
  Cut<T> cut(rows, n);
  find_states(cut, n, a, b, h0);
  cut.for_work(all_of_them, [&](int64_t p, int64_t from) {
    const Piece& at = cut.piece(p);
    const int64_t row = cut.at(at.b, at.begin) + from;
    loops<T>(n).forward(cut.stretch(p, from), a + cut.a_at(at.b, at.begin) + from, b + row,
                        cut.state(p) + from, h + row);
  });
  for (int64_t s = 0; s < rows.B; ++s) {
    const int64_t steps = rows.length(s);
    const T* end = steps > 0 ? h + cut.at(s, steps - 1) : cut.row_or_zeros(h0, s);
    std::copy_n(end, n.width(), last + s * n.width());
  }
}

template <class T>
void scan_backward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* h0, const T* h,
                   const T* dy, const T* dlast, T* db, T* da, T* dh0) {
  if (loops_left_out) return;
  const FloatMode mode;
  Cut<T> cut(rows, n);
  find_gradients(cut, n, a, dy, dlast);
  cut.for_work(all_of_them, [&](int64_t p, int64_t from) {
    const Piece& at = cut.piece(p);
    const ScanStretch s = cut.stretch(p, from);
    const int64_t row = cut.at(at.b, at.begin) + from;
    const T* before = at.begin > 0 ? h + cut.at(at.b, at.begin - 1) : cut.row_or_zeros(h0, at.b);
    loops<T>(n).backward(s, dy ? s.row : 0, a + cut.a_at(at.b, at.begin) + from, before + from,
                         h + row, dy ? dy + row : cut.zeros() + from, cut.state(p) + from, db + row,
                         da ? da + row : nullptr);
  });
  const auto give = [&](int64_t b, const T* u) { std::copy_n(u, n.width(), dh0 + b * n.width()); };
  for (int64_t p = 0; p < cut.pieces(); ++p)
    if (cut.piece(p).begin == 0) give(cut.piece(p).b, cut.state(p));
  for (int64_t b = 0; b < rows.B; ++b)
    if (rows.length(b) == 0) give(b, cut.row_or_zeros(dlast, b));
}

#define FOVEA_INSTANTIATE(T)                                                                     \
  template void scan_forward(const RaggedRows&, const ScanSizes&, const T*, const T*, const T*,  \
                             T*, T*);                                                            \
  template void scan_backward(const RaggedRows&, const ScanSizes&, const T*, const T*, const T*, \
                              const T*, const T*, T*, T*, T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
