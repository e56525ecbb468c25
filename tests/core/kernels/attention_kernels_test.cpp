// The attention kernels against scalar loops, on every instruction set.
#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/dropout.h>
#include <fovea/tests/core/kernels/rows_support.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

using kernels::AttentionProblem;
using kernels::AttentionSizes;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int64_t gap = 5;  // elements between rows

// (b, heads, rows, width) with NaN between the rows.
template <class T>
struct Array {
  int64_t heads, rows, width;
  std::vector<T> numbers;

  Array(int64_t B, int64_t h, int64_t n, int64_t w, unsigned seed)
      : heads(h), rows(n), width(w), numbers(static_cast<std::size_t>(B * h * n * (w + gap)), nan) {
    const auto values = normals<T>(B * h * n * w, seed);
    if (seed == 0) return;  // an output
    for (int64_t i = 0; i < B * h * n * w; ++i)
      numbers[static_cast<std::size_t>(i / w * (w + gap) + i % w)] =
          values[static_cast<std::size_t>(i)];
  }
  T at(int64_t b, int64_t h, int64_t i, int64_t c) const {
    return numbers[static_cast<std::size_t>(((b * heads + h) * rows + i) * (width + gap) + c)];
  }
  template <class U = T>
  kernels::Heads<U> view() {
    const int64_t row = width + gap;
    return {numbers.data(), heads * rows * row, rows * row, row};
  }
  bool gaps_untouched() const {
    for (std::size_t i = 0; i < numbers.size(); ++i)
      if (static_cast<int64_t>(i) % (width + gap) >= width && !std::isnan(numbers[i])) return false;
    return true;
  }
  bool all_written() const {
    for (std::size_t i = 0; i < numbers.size(); ++i)
      if (static_cast<int64_t>(i) % (width + gap) < width && std::isnan(numbers[i])) return false;
    return true;
  }

  static constexpr T nan = std::numeric_limits<T>::quiet_NaN();
};

// The factors of dropout(), in the layout of the weights.
std::vector<double> drop_factors(const AttentionSizes& n, const kernels::AttentionDropout& d) {
  const int64_t T4 = (n.T + 3) / 4 * 4, count = n.B * n.H * n.S * T4;
  std::vector<double> ones(static_cast<std::size_t>(count), 1.0), factors(ones);
  if (d.p > 0) kernels::dropout(ones.data(), count, d.p, d.origin, factors.data());
  return factors;
}

// All results of one problem, in f64 by scalar loops.
template <class T>
struct Naive {
  std::vector<double> y, lse, dq, dk, dv;  // dense
};

template <class T>
struct Case {
  AttentionSizes n;
  Array<T> q, k, v, dy, y, dq, dk, dv;
  std::vector<T> lse, delta, parts;
  std::vector<int64_t> begin, end;  // (T)
  kernels::AttentionDropout dropout{0.25, {9, 1, 77}};

  explicit Case(const AttentionSizes& s)
      : n(s),
        q(n.B, n.H, n.T, n.D, 1),
        k(n.B, n.G, n.S, n.D, 2),
        v(n.B, n.G, n.S, n.E, 3),
        dy(n.B, n.H, n.T, n.E, 4),
        y(n.B, n.H, n.T, n.E, 0),
        dq(n.B, n.H, n.T, n.D, 0),
        dk(n.B, n.G, n.S, n.D, 0),
        dv(n.B, n.G, n.S, n.E, 0),
        lse(static_cast<std::size_t>(n.B * n.H * n.T), 0),
        delta(lse) {
    for (int64_t t = 0; t < n.T; ++t) {  // unordered ranges, one of them empty
      begin.push_back(t * 7 % (n.S / 2 + 1));
      end.push_back(t == 1 ? begin.back() : std::min(n.S, begin.back() + 1 + t * 5 % n.S));
    }
  }

  AttentionProblem<T> problem() {
    AttentionProblem<T> p{};
    p.n = n;
    p.scale = T(0.3);
    p.q = q.template view<const T>();
    p.k = k.template view<const T>();
    p.v = v.template view<const T>();
    p.keep.begin = begin.data();
    p.keep.end = end.data();
    p.dropout = dropout;
    p.output = y.view();
    p.lse = lse.data();
    return p;
  }

  void run() {
    const AttentionProblem<T> p = problem();
    parts.resize(
        static_cast<std::size_t>((kernels::attention_key_chunks(p) - 1) * n.B * n.H * n.T * n.D));
    kernels::AttentionGradients<T> d{};
    d.doutput = dy.template view<const T>();
    d.dq = dq.view();
    d.dk = dk.view();
    d.dv = dv.view();
    d.delta = delta.data();
    d.dq_parts = parts.data();
    kernels::attention_forward(std::span(&p, 1));
    kernels::attention_backward(std::span(&p, 1),
                                std::span<const kernels::AttentionGradients<T>>(&d, 1));
  }

  double dot(const Array<T>& a, int64_t ha, int64_t i, const Array<T>& c, int64_t hc, int64_t j,
             int64_t b) const {
    double sum = 0;
    for (int64_t e = 0; e < a.width; ++e)
      sum += static_cast<double>(a.at(b, ha, i, e)) * c.at(b, hc, j, e);
    return sum;
  }

  Naive<T> naive() const {
    const auto count = [](const Array<T>& x) {
      return x.numbers.size() / static_cast<std::size_t>(x.width + gap) *
             static_cast<std::size_t>(x.width);
    };
    Naive<T> r{std::vector<double>(count(y)), std::vector<double>(lse.size(), -infinity),
               std::vector<double>(count(q)), std::vector<double>(count(k)),
               std::vector<double>(count(v))};
    const auto factors = drop_factors(n, dropout);
    for (int64_t b = 0; b < n.B; ++b)
      for (int64_t h = 0; h < n.H; ++h)
        for (int64_t t = 0; t < n.T; ++t) row(b, h, t, factors, r);
    return r;
  }

  void row(int64_t b, int64_t h, int64_t t, const std::vector<double>& factors, Naive<T>& r) const {
    const int64_t g = h / (n.H / n.G), T4 = (n.T + 3) / 4 * 4;
    const auto at = [](int64_t i) { return static_cast<std::size_t>(i); };
    const int64_t first = begin[at(t)], last = end[at(t)];
    double total = 0, delta_t = 0;
    std::vector<double> p(at(n.S)), dp(at(n.S));
    for (int64_t s = first; s < last; ++s)
      total += p[at(s)] = std::exp(static_cast<double>(T(0.3)) * dot(q, h, t, k, g, s, b));
    if (total == 0) return;
    r.lse[at((b * n.H + h) * n.T + t)] = std::log(total);
    for (int64_t s = first; s < last; ++s) {
      const double factor = factors[at(((b * n.H + h) * n.S + s) * T4 + t)];
      p[at(s)] /= total;
      dp[at(s)] = factor * dot(dy, h, t, v, g, s, b);
      delta_t += p[at(s)] * dp[at(s)];
      for (int64_t e = 0; e < n.E; ++e) {
        r.y[at(((b * n.H + h) * n.T + t) * n.E + e)] += p[at(s)] * factor * v.at(b, g, s, e);
        r.dv[at(((b * n.G + g) * n.S + s) * n.E + e)] += p[at(s)] * factor * dy.at(b, h, t, e);
      }
    }
    for (int64_t s = first; s < last; ++s) {
      const double ds = static_cast<double>(T(0.3)) * p[at(s)] * (dp[at(s)] - delta_t);
      for (int64_t c = 0; c < n.D; ++c) {
        r.dq[at(((b * n.H + h) * n.T + t) * n.D + c)] += ds * k.at(b, g, s, c);
        r.dk[at(((b * n.G + g) * n.S + s) * n.D + c)] += ds * q.at(b, h, t, c);
      }
    }
  }
};

// Scores are sums of D terms of size 1 or so, results sums of S, T or H / G T terms.
template <class T>
bool near(const Array<T>& found, const std::vector<double>& expected, const AttentionSizes& n) {
  double scale = 1;
  for (const double x : expected) scale = std::max(scale, std::abs(x));
  const auto terms = static_cast<double>(32 + 4 * (n.D + n.E) + n.S + n.T * n.H / n.G);
  const double bound = terms * scale * std::numeric_limits<T>::epsilon();
  const auto got = [&](int64_t i) {
    return found
        .numbers[static_cast<std::size_t>(i / found.width * (found.width + gap) + i % found.width)];
  };
  return close(
      static_cast<int64_t>(expected.size()), got,
      [&](int64_t i) { return expected[static_cast<std::size_t>(i)]; },
      [&](int64_t) { return bound; });
}

template <class T>
void check(const AttentionSizes& n) {
  CAPTURE(n.T);
  CAPTURE(n.S);
  CAPTURE(n.D);
  CAPTURE(n.E);
  Case<T> c(n);
  c.run();
  const Naive<T> expected = c.naive();
  CHECK(near(c.y, expected.y, n));
  CHECK(near(c.dq, expected.dq, n));
  CHECK(near(c.dk, expected.dk, n));
  CHECK(near(c.dv, expected.dv, n));
  for (std::size_t i = 0; i < c.lse.size(); ++i)
    CHECK((c.lse[i] == expected.lse[i] ||
           std::abs(c.lse[i] - expected.lse[i]) <= 1e3 * std::numeric_limits<T>::epsilon()));
  for (const Array<T>* x : {&c.y, &c.dq, &c.dk, &c.dv}) {
    CHECK(x->gaps_untouched());
    CHECK(x->all_written());
  }
}

}  // namespace

TEST_CASE("attention equals scalar loops, and writes nowhere else") {
  on_every_isa([] {
    for (const AttentionSizes n : {AttentionSizes{1, 1, 1, 1, 1, 1, 1},
                                   {2, 2, 1, 8, 33, 7, 3},
                                   {1, 2, 2, 9, 64, 16, 17},
                                   {2, 4, 2, 34, 31, 33, 32},
                                   {1, 1, 1, 131, 270, 8, 40},
                                   {1, 3, 1, 70, 513, 4, 5},
                                   {1, 8, 4, 34, 800, 4, 5}}) {
      check<float>(n);
      check<double>(n);
    }
  });
}
