// Functions of two tensors or of a tensor and a scalar, comparisons, and where.
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/float_mode.h>
#include <fovea/core/kernels/map.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>

#include <cmath>
#include <limits>
#include <memory>

namespace fovea {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using kernels::Binary;
using kernels::BinaryGradient;
using kernels::Compare;
using kernels::Loop;

// ---- Layout of the operands --------------------------------------------------------------------

// The shape of a result, and the loop over the operands broadcast to it.
template <int N>
struct Plan {
  Shape shape;
  Loop<N> loop;
};

template <int N>
Plan<N> broadcast_plan(const Shape& shape, const Tensor* const (&operands)[N]) {
  Plan<N> plan{shape, {}};
  for (std::int64_t d = 0; d < shape.rank(); ++d) {
    std::int64_t strides[N];
    for (int k = 0; k < N; ++k) {
      const Tensor& x = *operands[k];
      const std::int64_t axis = d - (shape.rank() - x.rank());  // aligned at the right
      strides[k] = axis < 0 || x.shape()[axis] == 1 ? 0 : x.strides()[axis];
    }
    plan.loop.add_axis(shape[d], strides);
  }
  return plan;
}

bool alike(const Tensor& a, const Tensor& b) {
  return a.is_contiguous() && b.is_contiguous() && a.impl()->shape == b.impl()->shape;
}

Plan<2> plan_of(std::string_view op, const Tensor& a, const Tensor& b) {
  if (alike(a, b)) return {a.shape(), Loop<2>::flat(a.numel(), {1, 1})};
  return broadcast_plan<2>(broadcast_shapes(op, a.shape(), b.shape()), {&a, &b});
}

Plan<3> plan_of(std::string_view op, const Tensor& a, const Tensor& b, const Tensor& c) {
  if (alike(a, b) && alike(b, c)) return {a.shape(), Loop<3>::flat(a.numel(), {1, 1, 1})};
  const Shape ab = broadcast_shapes(op, a.shape(), b.shape());
  return broadcast_plan<3>(broadcast_shapes(op, ab, c.shape()), {&a, &b, &c});
}

[[noreturn]] void dtypes_differ(std::string_view op, const Tensor& a, const Tensor& b) {
  dtype_error(op, "a is {}, b is {}: dtypes must be equal, convert with to(dtype)",
              name_of(a.dtype()), name_of(b.dtype()));
}

void check_dtypes(std::string_view op, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype()) dtypes_differ(op, a, b);
}

// ---- Kernel calls ------------------------------------------------------------------------------

// Calls run.operator()<T>() with a T that `f` supports.
template <class Run>
void dispatch(DType dtype, std::string_view op, Binary f, Run run) {
  if (dtype == DType::i64 && static_cast<int>(f) < kernels::integer_binary_count) {
    run.template operator()<std::int64_t>();
  } else {
    dispatch_float(dtype, op, run);
  }
}

// The scalar s as an operand of a tensor of `dtype`: integers only for i64.
double number_for(std::string_view op, DType dtype, double s) {
  if (dtype == DType::i64 && !(std::abs(s) < 0x1p63 && s == std::trunc(s)))
    value_error(op, "scalar = {}: must be an integer for an i64 tensor", s);
  return s;
}

// y = f(a, b)
Tensor value(std::string_view op, Binary f, const Tensor& a, const Tensor& b) {
  check_dtypes(op, a, b);
  const auto run = [&](const Shape& shape, const Loop<2>& loop) {
    Tensor y = empty(shape, a.dtype());
    dispatch(a.dtype(), op, f, [&]<class T>() {
      kernels::binary<T>(f, loop, a.data<T>(), b.data<T>(), y.mutable_data<T>());
    });
    return y;
  };
  if (alike(a, b)) return run(a.shape(), Loop<2>::flat(a.numel(), {1, 1}));
  const Plan<2> plan = plan_of(op, a, b);
  return run(plan.shape, plan.loop);
}

// y = f(x, s), or f(s, x) if `swapped`
Tensor value(std::string_view op, Binary f, const Tensor& x, double s, bool swapped = false) {
  if (!x.is_contiguous()) return value(op, f, without_graph(x).contiguous(), s, swapped);
  Tensor y = empty(x.shape(), x.dtype());
  dispatch(x.dtype(), op, f, [&]<class T>() {
    const T t = static_cast<T>(number_for(op, x.dtype(), s));
    const T* const in = x.data<T>();
    const auto loop = Loop<2>::flat(x.numel(), {swapped ? 0 : 1, swapped ? 1 : 0});
    kernels::binary<T>(f, loop, swapped ? &t : in, swapped ? in : &t, y.mutable_data<T>());
  });
  return y;
}

// da or db = f(dy, a, b), with dy's shape
Tensor gradient(BinaryGradient f, const Tensor& dy, const Tensor& a, const Tensor& b) {
  const Plan<3> plan = plan_of("gradient", dy, a, b);
  Tensor result = empty(dy.shape(), dy.dtype());
  dispatch_float(dy.dtype(), "gradient", [&]<class T>() {
    kernels::binary_gradient<T>(f, plan.loop, dy.data<T>(), a.data<T>(), b.data<T>(),
                                result.mutable_data<T>());
  });
  return result;
}

// The operands' shapes, to which gradients are summed. Empty if both equal the result's shape (the
// common case) or if nothing is recorded.
class Shapes {
 public:
  // For an op with two operands: equal ones have the result's shape.
  Shapes(const Tensor& x, const Tensor& y) : Shapes(x, y, x.impl()->shape) {}
  // For an op with a third operand, whose result may be larger than both.
  Shapes(const Tensor& x, const Tensor& y, const Shape& result) {
    if (grad_enabled() && !(x.impl()->shape == result && y.impl()->shape == result))
      pair_.reset(new Pair{{}, x.shape(), y.shape()});
  }
  Tensor sum_to_a(Tensor da) const { return pair_ ? sum_to(da, pair_->a) : std::move(da); }
  Tensor sum_to_b(Tensor db) const { return pair_ ? sum_to(db, pair_->b) : std::move(db); }

 private:
  struct Pair : Pooled {
    Shape a, b;
  };
  std::unique_ptr<Pair> pair_;
};

// The gradients of both operands: da() and db(), each if required, summed over the broadcast axes.
template <class Da, class Db>
Grads operand_grads(NeedsGrad needs_grad, const Shapes& shapes, Da da, Db db) {
  Grads grads(2);
  if (needs_grad[0]) grads[0] = shapes.sum_to_a(da());
  if (needs_grad[1]) grads[1] = shapes.sum_to_b(db());
  return grads;
}

}  // namespace

// ---- Arithmetic --------------------------------------------------------------------------------

// y = a + b    da = dy, db = dy
Tensor add(const Tensor& a, const Tensor& b) {
  check_defined("add", "a", a, "b", b);
  const kernels::FloatMode mode;  // constructed first: leaving it waits for the kernel
  return record<"add">(value("add", Binary::add, a, b), {a, b},
                       [shapes = Shapes(a, b)](const Tensor& dy, NeedsGrad needs_grad) {
                         return operand_grads(
                             needs_grad, shapes, [&] { return dy; }, [&] { return dy; });
                       });
}

// y = x + s    dx = dy
Tensor add(const Tensor& x, double s) {
  check_defined("add", "x", x);
  const kernels::FloatMode mode;
  return record<"add_number">(value("add", Binary::add, x, s), {x},
                              [](const Tensor& dy, NeedsGrad) { return Grads(dy); });
}

// y = a - b    da = dy, db = -dy
Tensor sub(const Tensor& a, const Tensor& b) {
  check_defined("sub", "a", a, "b", b);
  const kernels::FloatMode mode;
  return record<"sub">(value("sub", Binary::sub, a, b), {a, b},
                       [shapes = Shapes(a, b)](const Tensor& dy, NeedsGrad needs_grad) {
                         return operand_grads(
                             needs_grad, shapes, [&] { return dy; }, [&] { return -dy; });
                       });
}

Tensor sub(const Tensor& x, double s) {
  check_defined("sub", "x", x);
  return add(x, -s);
}

// y = s - x    dx = -dy
Tensor sub(double s, const Tensor& x) {
  check_defined("sub", "x", x);
  return record<"number_sub">(value("sub", Binary::sub, x, s, true), {x},
                              [](const Tensor& dy, NeedsGrad) { return Grads(-dy); });
}

namespace {

// dy x in a backward, which is seldom recorded itself: then without the cost of recording.
Tensor times(const Tensor& dy, const Tensor& x) {
  return grad_enabled() ? mul(dy, x) : value("mul", Binary::mul, dy, x);
}

}  // namespace

// y = a b    da = dy b, db = dy a    saves b for da, and a for db
Tensor mul(const Tensor& a, const Tensor& b) {
  check_defined("mul", "a", a, "b", b);
  const kernels::FloatMode mode;
  return record<"mul">(value("mul", Binary::mul, a, b), {a, b},
                       [a = keep_if(b.requires_grad(), a), b = keep_if(a.requires_grad(), b),
                        shapes = Shapes(a, b)](const Tensor& dy, NeedsGrad needs_grad) {
                         return operand_grads(
                             needs_grad, shapes, [&] { return times(dy, b); },
                             [&] { return times(dy, a); });
                       });
}

// y = x s    dx = dy s
Tensor mul(const Tensor& x, double s) {
  check_defined("mul", "x", x);
  const kernels::FloatMode mode;
  return record<"mul_number">(value("mul", Binary::mul, x, s), {x},
                              [s](const Tensor& dy, NeedsGrad) { return Grads(mul(dy, s)); });
}

Tensor neg(const Tensor& x) {
  check_defined("neg", "x", x);
  return mul(x, -1.0);
}

// y = a / b    da = dy / b, db = -dy a / b^2    saves b, and a for db
Tensor div(const Tensor& a, const Tensor& b) {
  check_defined("div", "a", a, "b", b);
  const kernels::FloatMode mode;
  return record<"div">(value("div", Binary::div, a, b), {a, b},
                       [a = keep_if(b.requires_grad(), a), b = keep(b), shapes = Shapes(a, b)](
                           const Tensor& dy, NeedsGrad needs_grad) {
                         const auto db = [&] {
                           if (grad_enabled()) return -dy * (a / b / b);
                           return gradient(BinaryGradient::div_b, dy, a, b);
                         };
                         return operand_grads(
                             needs_grad, shapes, [&] { return div(dy, b); }, db);
                       });
}

// y = x / s    dx = dy / s
Tensor div(const Tensor& x, double s) {
  check_defined("div", "x", x);
  return record<"div_number">(value("div", Binary::div, x, s), {x},
                              [s](const Tensor& dy, NeedsGrad) { return Grads(div(dy, s)); });
}

Tensor div(double s, const Tensor& x) {
  check_defined("div", "x", x);
  return div(scalar(s, x.dtype()), x);
}

// ---- Powers ------------------------------------------------------------------------------------

// y = x^p    dx = dy p x^(p - 1), and 0 if p = 0
Tensor pow(const Tensor& x, double p) {
  check_defined("pow", "x", x);
  if (p == 2) return square(x);
  return record<"pow_number">(
      value("pow", Binary::pow, x, p), {x}, [x = keep(x), p](const Tensor& dy, NeedsGrad) -> Grads {
        if (p == 0) return dy * 0.0;
        if (grad_enabled()) return dy * (p * pow(x, p - 1));
        return gradient(BinaryGradient::pow_a, dy, x, scalar(p, dy.dtype()));
      });
}

// y = a^b    da = dy b a^(b - 1), and 0 where b = 0
//            db = dy y log(a), and 0 where a = 0 <= b or a = inf, b < 0
Tensor pow(const Tensor& a, const Tensor& b) {
  check_defined("pow", "a", a, "b", b);
  return record<"pow">(
      value("pow", Binary::pow, a, b), {a, b},
      [a = keep(a), b = keep(b), shapes = Shapes(a, b)](const Tensor& dy, NeedsGrad needs_grad) {
        const auto da = [&] {
          if (!grad_enabled()) return gradient(BinaryGradient::pow_a, dy, a, b);
          const Tensor base = where(logical_and(eq(a, 0.0), eq(b, 0.0)), 1.0, a);  // avoids 0 * inf
          return dy * b * pow(base, b - 1.0);
        };
        const auto db = [&] {
          if (!grad_enabled()) return gradient(BinaryGradient::pow_b, dy, a, b);
          const Tensor vanishes =
              logical_or(logical_and(eq(a, 0.0), b >= 0.0), logical_and(eq(a, kInfinity), b < 0.0));
          const Tensor base = where(vanishes, 1.0, a);  // log(1) = 0
          return dy * pow(a, b) * log(base);
        };
        return operand_grads(needs_grad, shapes, da, db);
      });
}

// ---- Selection ---------------------------------------------------------------------------------

namespace {

using Comparison = Tensor (*)(const Tensor&, const Tensor&);

// The derivative of max(a, b) or min(a, b) by a; `is_larger`(a, b) is true where b is chosen.
Tensor extremum_gradient(BinaryGradient f, Comparison is_larger, const Tensor& dy, const Tensor& a,
                         const Tensor& b) {
  if (!grad_enabled()) return gradient(f, dy, a, b);
  return where(eq(a, b), 0.5 * dy, where(is_larger(a, b), 0.0, dy));
}

template <detail::OpName Name, Binary f, BinaryGradient by_a, Comparison is_larger>
Tensor extremum(const Tensor& a, const Tensor& b) {
  check_defined(Name.chars, "a", a, "b", b);
  return record<Name>(
      value(Name.chars, f, a, b), {a, b},
      [a = keep(a), b = keep(b), shapes = Shapes(a, b)](const Tensor& dy, NeedsGrad needs_grad) {
        return operand_grads(
            needs_grad, shapes, [&] { return extremum_gradient(by_a, is_larger, dy, a, b); },
            [&] { return extremum_gradient(by_a, is_larger, dy, b, a); });
      });
}

}  // namespace

// y = max(a, b)    da = dy where a > b, dy / 2 where a = b, else 0; db likewise
Tensor maximum(const Tensor& a, const Tensor& b) {
  return extremum<"maximum", Binary::maximum, BinaryGradient::maximum_a, lt>(a, b);
}

// y = min(a, b)    da = dy where a < b, dy / 2 where a = b, else 0; db likewise
Tensor minimum(const Tensor& a, const Tensor& b) {
  return extremum<"minimum", Binary::minimum, BinaryGradient::minimum_a, gt>(a, b);
}

// y = condition ? a : b    da = condition ? dy : 0, db = condition ? 0 : dy
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_defined("where", "condition", condition, "a", a, "b", b);
  if (condition.dtype() != DType::boolean)
    dtype_error("where", "condition is {}: must be bool", name_of(condition.dtype()));
  check_dtypes("where", a, b);
  const Plan<3> plan = plan_of("where", condition, a, b);
  Tensor y = empty(plan.shape, a.dtype());
  dispatch_all(a.dtype(), [&]<class T>() {
    kernels::select<T>(plan.loop, condition.data<bool>(), a.data<T>(), b.data<T>(),
                       y.mutable_data<T>());
  });
  return record<"where">(std::move(y), {a, b},
                         [condition = keep(condition), shapes = Shapes(a, b, plan.shape)](
                             const Tensor& dy, NeedsGrad needs_grad) {
                           return operand_grads(
                               needs_grad, shapes, [&] { return where(condition, dy, 0.0); },
                               [&] { return where(condition, 0.0, dy); });
                         });
}

Tensor where(const Tensor& condition, const Tensor& a, double b) {
  check_defined("where", "condition", condition, "a", a);
  return where(condition, a, scalar(number_for("where", a.dtype(), b), a.dtype()));
}
Tensor where(const Tensor& condition, double a, const Tensor& b) {
  check_defined("where", "condition", condition, "b", b);
  return where(condition, scalar(number_for("where", b.dtype(), a), b.dtype()), b);
}

// ---- Comparisons -------------------------------------------------------------------------------

namespace {

template <detail::OpName Name, Compare f>
Tensor comparison(const Tensor& a, const Tensor& b) {
  check_defined(Name.chars, "a", a, "b", b);
  check_dtypes(Name.chars, a, b);
  const Plan<2> plan = plan_of(Name.chars, a, b);
  Tensor y = empty(plan.shape, DType::boolean);
  dispatch_all(a.dtype(), [&]<class T>() {
    kernels::compare<T>(f, plan.loop, a.data<T>(), b.data<T>(), y.mutable_data<bool>());
  });
  return record_cut<Name>(std::move(y), {a, b});
}

template <detail::OpName Name, Compare f>
Tensor comparison(const Tensor& x, double s) {
  check_defined(Name.chars, "x", x);
  return comparison<Name, f>(x, scalar(number_for(Name.chars, x.dtype(), s), x.dtype()));
}

}  // namespace

// clang-format off
Tensor eq(const Tensor& a, const Tensor& b) { return comparison<"eq", Compare::eq>(a, b); }
Tensor ne(const Tensor& a, const Tensor& b) { return comparison<"ne", Compare::ne>(a, b); }
Tensor lt(const Tensor& a, const Tensor& b) { return comparison<"lt", Compare::lt>(a, b); }
Tensor le(const Tensor& a, const Tensor& b) { return comparison<"le", Compare::le>(a, b); }
Tensor gt(const Tensor& a, const Tensor& b) { return comparison<"gt", Compare::gt>(a, b); }
Tensor ge(const Tensor& a, const Tensor& b) { return comparison<"ge", Compare::ge>(a, b); }
Tensor eq(const Tensor& x, double s) { return comparison<"eq", Compare::eq>(x, s); }
Tensor ne(const Tensor& x, double s) { return comparison<"ne", Compare::ne>(x, s); }
Tensor lt(const Tensor& x, double s) { return comparison<"lt", Compare::lt>(x, s); }
Tensor le(const Tensor& x, double s) { return comparison<"le", Compare::le>(x, s); }
Tensor gt(const Tensor& x, double s) { return comparison<"gt", Compare::gt>(x, s); }
Tensor ge(const Tensor& x, double s) { return comparison<"ge", Compare::ge>(x, s); }
Tensor logical_not(const Tensor& x) { return comparison<"logical_not", Compare::eq>(x, 0.0); }
Tensor logical_and(const Tensor& a, const Tensor& b) {
  return comparison<"logical_and", Compare::both>(a, b);
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  return comparison<"logical_or", Compare::either>(a, b);
}
// clang-format on

}  // namespace fovea
