#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/rows.h>
#include <fovea/core/kernels/scan.h>

#include <algorithm>
#include <vector>

namespace fovea::kernels {
namespace {

constexpr int64_t kChannels = 64;  // per task: a few cache lines of every row

template <class T>
const ScanLoops<T>& loops(const ScanSizes& n) {
  const ScanKinds<T>& kinds =
      loops_of<T>(pick(baseline::scan_table, v3::scan_table, v4::scan_table));
  return n.numbers == ScanNumbers::complex ? kinds.complex : kinds.real;
}

// Steps [begin, end) of sequence b; steps count from the start of the recurrence.
struct Chunk {
  int64_t b, begin, end;
  bool last;  // chunk of its sequence
};

std::vector<Chunk> chunks_of(const RaggedRows& rows) {
  std::vector<Chunk> chunks;
  for (int64_t b = 0; b < rows.B; ++b)
    for (int64_t begin = 0; begin < rows.length(b); begin += kScanChunk) {
      const int64_t end = std::min(begin + kScanChunk, rows.length(b));
      chunks.push_back({b, begin, end, end == rows.length(b)});
    }
  return chunks;
}

// One batch split into chunks, with a row of W elements each, so that they can run independently:
// `state` is the h before a chunk (backward: the gradient at its end).
template <class T>
class ChunkedBatch {
 public:
  ChunkedBatch(const RaggedRows& rows, const ScanSizes& n)
      : rows_(rows),
        n_(n),
        chunks_(chunks_of(rows)),
        states_(chunks_.size() * static_cast<std::size_t>(n.width())),
        zeros_(static_cast<std::size_t>(n.width())) {
    if (has_splits()) set_products_to_one();
  }

  bool has_splits() const {
    return std::any_of(chunks_.begin(), chunks_.end(), [](const Chunk& p) { return !p.last; });
  }

  // Calls f(p, from): chunk and first channel, for all chunks with filter(chunk). Blocks of
  // channels are the outer loop, so that each thread has a share of every sequence's length.
  template <class Filter, class F>
  void for_work(const Filter& filter, const F& f) const {
    const auto count = static_cast<int64_t>(chunks_.size());
    const int64_t work = rows_.offsets[rows_.B] * std::min(kChannels, n_.H);
    const int64_t grain = row_grain(work / std::max<int64_t>(1, count));
    parallel_for(count * chunk_count(n_.H, kChannels), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (filter(chunk(i % count))) f(i % count, i / count * kChannels);
    });
  }

  const Chunk& chunk(int64_t p) const { return chunks_[static_cast<std::size_t>(p)]; }
  int64_t count() const { return static_cast<int64_t>(chunks_.size()); }
  T* state(int64_t p) { return states_.data() + p * n_.width(); }
  T* product(int64_t p) { return products_.data() + p * n_.width(); }
  const T* zeros() const { return zeros_.data(); }

  // Row b of an optional (B, W) array.
  const T* row_or_zeros(const T* x, int64_t b) const { return x ? x + b * n_.width() : zeros(); }

  // The row of step t of sequence b in an (N, W) array, and in a.
  int64_t at(int64_t b, int64_t t) const { return rows_.row(b, t) * n_.width(); }
  int64_t a_at(int64_t b, int64_t t) const { return n_.a_per_row ? at(b, t) : 0; }

  ScanStretch stretch(int64_t p, int64_t from) const {
    const int64_t step = rows_.reverse ? -n_.width() : n_.width();
    return {chunk(p).end - chunk(p).begin, std::min(kChannels, n_.H - from), step,
            n_.a_per_row ? step : 0, n_.H};
  }

 private:
  void set_products_to_one() {
    products_.assign(states_.size(), T(0));
    for (int64_t p = 0; p < count(); ++p) std::fill_n(product(p), n_.H, T(1));
  }

  const RaggedRows& rows_;
  const ScanSizes& n_;
  std::vector<Chunk> chunks_;
  std::vector<T> states_, products_;  // (chunks, W); products only if a sequence is split
  std::vector<T> zeros_;              // (W)
};

// The state before each chunk.
template <class T>
void find_states(ChunkedBatch<T>& batch, const ScanSizes& n, const T* a, const T* b, const T* h0) {
  const ScanLoops<T>& loop = loops<T>(n);
  if (batch.has_splits())
    batch.for_work([](const Chunk& chunk) { return !chunk.last; },
                   [&](int64_t p, int64_t from) {
                     const Chunk& at = batch.chunk(p);
                     loop.forward_ends(batch.stretch(p, from),
                                       a + batch.a_at(at.b, at.begin) + from,
                                       b + batch.at(at.b, at.begin) + from, batch.product(p) + from,
                                       batch.state(p + 1) + from);
                   });
  for (int64_t p = 0; p < batch.count(); ++p) {
    if (batch.chunk(p).begin == 0)
      std::copy_n(batch.row_or_zeros(h0, batch.chunk(p).b), n.width(), batch.state(p));
    else
      loop.join(n.H, batch.product(p - 1), batch.state(p - 1), batch.state(p));
  }
}

// The gradient at the end of each chunk.
template <class T>
void find_gradients(ChunkedBatch<T>& batch, const ScanSizes& n, const T* a, const T* dy,
                    const T* dlast) {
  const ScanLoops<T>& loop = loops<T>(n);
  if (batch.has_splits())
    batch.for_work([](const Chunk& chunk) { return chunk.begin > 0; },
                   [&](int64_t p, int64_t from) {
                     const Chunk& at = batch.chunk(p);
                     const ScanStretch s = batch.stretch(p, from);
                     const T* dy_p = dy ? dy + batch.at(at.b, at.begin) : batch.zeros();
                     loop.backward_ends(s, dy ? s.row : 0, a + batch.a_at(at.b, at.begin) + from,
                                        dy_p + from, batch.product(p) + from,
                                        batch.state(p - 1) + from);
                   });
  for (int64_t p = batch.count() - 1; p >= 0; --p) {
    if (batch.chunk(p).last)
      std::copy_n(batch.row_or_zeros(dlast, batch.chunk(p).b), n.width(), batch.state(p));
    else
      loop.join(n.H, batch.product(p + 1), batch.state(p + 1), batch.state(p));
  }
}

bool every_chunk(const Chunk&) { return true; }

}  // namespace

template <class T>
void scan_forward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* b, const T* h0,
                  T* h, T* last) {
  if (dry_run) return;
  const FloatMode mode;
  ChunkedBatch<T> batch(rows, n);
  find_states(batch, n, a, b, h0);
  batch.for_work(every_chunk, [&](int64_t p, int64_t from) {
    const Chunk& at = batch.chunk(p);
    const int64_t row = batch.at(at.b, at.begin) + from;
    loops<T>(n).forward(batch.stretch(p, from), a + batch.a_at(at.b, at.begin) + from, b + row,
                        batch.state(p) + from, h + row);
  });
  for (int64_t s = 0; s < rows.B; ++s) {
    const int64_t steps = rows.length(s);
    const T* end = steps > 0 ? h + batch.at(s, steps - 1) : batch.row_or_zeros(h0, s);
    std::copy_n(end, n.width(), last + s * n.width());
  }
}

template <class T>
void scan_backward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* h0, const T* h,
                   const T* dy, const T* dlast, T* db, T* da, T* dh0) {
  if (dry_run) return;
  const FloatMode mode;
  ChunkedBatch<T> batch(rows, n);
  find_gradients(batch, n, a, dy, dlast);
  batch.for_work(every_chunk, [&](int64_t p, int64_t from) {
    const Chunk& at = batch.chunk(p);
    const ScanStretch s = batch.stretch(p, from);
    const int64_t row = batch.at(at.b, at.begin) + from;
    const T* before =
        at.begin > 0 ? h + batch.at(at.b, at.begin - 1) : batch.row_or_zeros(h0, at.b);
    loops<T>(n).backward(s, dy ? s.row : 0, a + batch.a_at(at.b, at.begin) + from, before + from,
                         h + row, dy ? dy + row : batch.zeros() + from, batch.state(p) + from,
                         db + row, da ? da + row : nullptr);
  });
  const auto give = [&](int64_t b, const T* u) { std::copy_n(u, n.width(), dh0 + b * n.width()); };
  for (int64_t p = 0; p < batch.count(); ++p)
    if (batch.chunk(p).begin == 0) give(batch.chunk(p).b, batch.state(p));
  for (int64_t b = 0; b < rows.B; ++b)
    if (rows.length(b) == 0) give(b, batch.row_or_zeros(dlast, b));
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
