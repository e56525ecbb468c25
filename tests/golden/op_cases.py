"""The ops that PyTorch shares with core/ops: one function a family, one file each."""
import torch
import torch.nn.functional as F

from golden_file import GoldenFile, away_from_zero, booleans, corners, fixed, integers, normal, uniform

COMPARISONS = {"equal": torch.eq, "not_equal": torch.ne, "less": torch.lt, "less_equal": torch.le,
               "greater": torch.gt, "greater_equal": torch.ge}


def elementwise():
    golden = GoldenFile()
    binary = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
              "maximum": torch.maximum, "minimum": torch.minimum}
    for op, function in binary.items():
        golden.add(f"{op}.same", function, [normal(3, 5), away_from_zero(3, 5)])
        golden.add(f"{op}.broadcast", function, [normal(2, 1, 7), away_from_zero(3, 1)])
        golden.add(f"{op}.row", function, [normal(4, 19), away_from_zero(19)])
    for op, function in COMPARISONS.items():
        golden.add(f"{op}.broadcast", function, [integers_as_floats(3, 5, 7), integers_as_floats(3, 7)])
    unary = {"neg": torch.neg, "exp": torch.exp, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": F.relu,
             "silu": F.silu, "softplus": F.softplus, "abs": torch.abs, "erf": torch.erf, "square": torch.square}
    for op, function in unary.items():
        golden.add(f"{op}.plain", function, [away_from_zero(5, 13)])
        golden.add(f"{op}.wide", function, [uniform(-30, 30, 37)])
    for op, function in {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt}.items():
        golden.add(f"{op}.plain", function, [uniform(0.01, 9, 5, 13)])
        golden.add(f"{op}.wide", function, [uniform(1, 1e30, 17)])
    for exponent in (2.0, 3.0, 0.5, -1.5):
        golden.add(f"pow.{exponent}", torch.pow, [uniform(0.2, 3, 4, 7)], exponent=exponent)
    golden.add("pow_of_tensors.broadcast", torch.pow, [uniform(0.2, 3, 4, 7), normal(7)])
    golden.add("leaky_relu.plain", leaky_relu, [away_from_zero(4, 9)], slope=0.2)
    for form in ("none", "tanh"):
        golden.add(f"gelu.{form}", lambda x, approximate: F.gelu(x, approximate=approximate),
                   [normal(6, 11, scale=2)], approximate=form)
    golden.add("clamp.both", clamp, [normal(5, 8)], low=-0.7, high=0.9)
    golden.add("where.broadcast", torch.where, [booleans(3, 1, 7), normal(2, 1), normal(3, 2, 7)])
    golden.add("logical_not.plain", torch.logical_not, [booleans(4, 5)])
    golden.add("logical_and.broadcast", torch.logical_and, [booleans(4, 5), booleans(5)])
    golden.add("logical_or.broadcast", torch.logical_or, [booleans(4, 5), booleans(5)])
    add_elementwise_corners(golden)
    return golden


def add_elementwise_corners(golden):
    around_zero = corners([-1.5, 0.0, 2.0])
    golden.add("relu.corner", F.relu, [around_zero])
    golden.add("abs.corner", torch.abs, [around_zero])
    golden.add("leaky_relu.corner", leaky_relu, [around_zero], slope=0.2)
    golden.add("clamp.corners", clamp, [corners([-1.0, -0.5, 0.0, 2.0, 3.0])], low=-0.5, high=2.0)
    for op, function in {"maximum": torch.maximum, "minimum": torch.minimum}.items():
        golden.add(f"{op}.ties", function, [corners([1.0, -2.0, 0.0]), corners([1.0, 5.0, 0.0])])


def leaky_relu(x, slope):
    return F.leaky_relu(x, slope)


def clamp(x, low, high):
    return torch.clamp(x, low, high)


def integers_as_floats(high, *shape):
    """Whole numbers, so that equal pairs occur."""
    return lambda rng: integers(high, *shape)(rng).float()


def reduce():
    golden = GoldenFile()
    choices = {"last": dict(axes=[-1], keepdim=False), "first": dict(axes=[0], keepdim=True),
               "outer": dict(axes=[0, 2], keepdim=False), "all": dict(axes=[0, 1, 2], keepdim=False)}
    functions = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin,
                 "logsumexp": torch.logsumexp}
    for op, function in functions.items():
        for choice, options in choices.items():
            golden.add(f"{op}.{choice}", reduction(function), [normal(3, 2, 9)], **options)
    for op, function in {"max": torch.amax, "min": torch.amin}.items():
        golden.add(f"{op}.ties", reduction(function), [corners([[3.0, 3.0, 3.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])],
                   axes=[-1], keepdim=False)
    for choice, options in choices.items():
        for correction in (0, 1):
            golden.add(f"var.{choice}.correction{correction}", variance, [normal(3, 2, 9)], **options,
                       correction=correction)
    for op, function in {"argmax": torch.argmax, "argmin": torch.argmin}.items():
        for axis in (0, -1):
            golden.add(f"{op}.axis{axis}", positions(function), [normal(5, 19)], axis=axis, keepdim=axis == 0)
    for op, function in {"max_with_index": torch.max, "min_with_index": torch.min}.items():
        for axis in (0, -1):
            golden.add(f"{op}.axis{axis}", positions(function), [normal(3, 2, 9)], axis=axis, keepdim=axis == 0)
    for axis in (0, 1, -1):
        golden.add(f"cumsum.axis{axis}", lambda x, axis: torch.cumsum(x, axis), [normal(3, 4, 9)], axis=axis)
    return golden


def reduction(function):
    return lambda x, axes, keepdim: function(x, axes, keepdim)


def positions(function):
    return lambda x, axis, keepdim: function(x, axis, keepdim)


def variance(x, axes, keepdim, correction):
    return torch.var(x, axes, unbiased=correction == 1, keepdim=keepdim)


def matmul():
    golden = GoldenFile()
    shapes = {"plain": [(5, 7), (7, 3)], "row": [(1, 33), (33, 17)], "column": [(17, 33), (33, 1)],
              "batched": [(3, 5, 7), (3, 7, 4)], "broadcast": [(2, 1, 5, 7), (3, 7, 4)],
              "shared": [(3, 5, 7), (7, 4)]}
    for name, (a, b) in shapes.items():
        golden.add(f"matmul.{name}", torch.matmul, [normal(*a), normal(*b)])
    golden.add("linear.bias", F.linear, [normal(2, 5, 7), normal(3, 7), normal(3)])
    golden.add("linear.no_bias", F.linear, [normal(9, 7), normal(13, 7)])
    return golden


def layout():
    golden = GoldenFile()
    golden.add("reshape.plain", lambda x, shape: x.reshape(shape), [normal(4, 6)], shape=[2, 3, -1])
    golden.add("transpose.plain", torch.transpose, [normal(2, 3, 5)], dim0=0, dim1=-1)
    golden.add("permute.plain", lambda x, order: x.permute(order), [normal(2, 3, 5)], order=[2, 0, 1])
    golden.add("slice.middle", lambda x, axis, begin, end: x.narrow(axis, begin, end - begin), [normal(3, 7, 2)],
               axis=1, begin=2, end=5)
    for axis in (0, 1, -1):
        golden.add(f"concat.axis{axis}", lambda *x, axis: torch.cat(x, axis), [normal(2, 3, 4), normal(2, 3, 4)],
                   axis=axis)
        golden.add(f"stack.axis{axis}", lambda *x, axis: torch.stack(x, axis), [normal(2, 3), normal(2, 3)],
                   axis=axis)
        golden.add(f"flip.axis{axis}", lambda x, axis: torch.flip(x, [axis]), [normal(2, 3, 4)], axis=axis)
    golden.add("split.sizes", lambda x, sizes, axis: torch.split(x, sizes, axis), [normal(2, 7)], sizes=[3, 0, 4],
               axis=1)
    golden.add("chunk.even", lambda x, chunks, axis: torch.chunk(x, chunks, axis), [normal(6, 4)], chunks=3, axis=0)
    golden.add("select.plain", torch.select, [normal(2, 3, 4)], dim=1, index=-1)
    golden.add("unbind.axis1", torch.unbind, [normal(2, 3, 4)], dim=1)
    golden.add("expand.plain", lambda x, shape: x.expand(shape), [normal(3, 1)], shape=[2, 3, 5])
    golden.add("squeeze.plain", lambda x, axis: x.squeeze(axis), [normal(3, 1, 2)], axis=1)
    golden.add("unsqueeze.plain", lambda x, axis: x.unsqueeze(axis), [normal(3, 2)], axis=-1)
    golden.add("pad.last_axis", lambda x, before, after, value: F.pad(x, (before, after), value=value),
               [normal(3, 4)], before=1, after=2, value=0.5)
    return golden


def index():
    golden = GoldenFile()
    golden.add("embedding.repeated", lambda i, weight: F.embedding(i, weight), [integers(9, 3, 5), normal(9, 4)])
    golden.add("embedding.padding", lambda i, weight, padding_idx: F.embedding(i, weight, padding_idx),
               [fixed([[3, 0, 1], [0, 0, 6]]), normal(7, 4)], padding_idx=0)
    golden.add("gather.axis1", gather, [normal(4, 7), integers(7, 4, 9)], axis=1)
    golden.add("gather.axis0", gather, [normal(4, 7), integers(4, 2, 7)], axis=0)
    golden.add("scatter_add.axis1", scatter_add, [normal(4, 7), integers(7, 4, 9), normal(4, 9)], axis=1)
    golden.add("scatter_add.axis0", scatter_add, [normal(4, 7), integers(4, 6, 7), normal(6, 7)], axis=0)
    golden.add("index_select.axis1", lambda x, i, axis: torch.index_select(x, axis, i),
               [normal(3, 5, 2), fixed([4, 0, 0, 2])], axis=1)
    golden.add("index_add.axis1", lambda x, i, source, axis: torch.index_add(x, axis, i, source),
               [normal(3, 5, 2), fixed([4, 0, 0, 2]), normal(3, 4, 2)], axis=1)
    golden.add("one_hot.plain", lambda i, classes: F.one_hot(i, classes), [integers(6, 3, 4)], classes=6)
    golden.add("masked_select.plain", torch.masked_select, [normal(4, 5), booleans(4, 5)])
    golden.add("masked_fill.plain", lambda x, mask, value: torch.masked_fill(x, mask, value),
               [normal(4, 5), booleans(4, 5)], value=-2.5)
    return golden


def gather(x, indices, axis):
    return torch.gather(x, axis, indices)


def scatter_add(x, indices, source, axis):
    return torch.scatter_add(x, axis, indices, source)


def softmax():
    golden = GoldenFile()
    for op, function in {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.items():
        apply = lambda x, axis, function=function: function(x, axis)
        for axis in (0, 1, -1):
            golden.add(f"{op}.axis{axis}", apply, [normal(3, 5, 7, scale=3)], axis=axis)
        golden.add(f"{op}.far_from_zero", apply, [uniform(990, 1010, 4, 33)], axis=-1)
        golden.add(f"{op}.one_class", apply, [normal(4, 1)], axis=-1)
    return golden


def norm():
    golden = GoldenFile()
    golden.add("layer_norm.plain", layer_norm, [normal(3, 5, 19)], eps=1e-5)
    golden.add("layer_norm.affine", layer_norm, [normal(3, 5, 19), normal(19), normal(19)], eps=1e-5)
    golden.add("layer_norm.large_mean", layer_norm, [uniform(50, 54, 6, 33), normal(33), normal(33)], eps=1e-3)
    golden.add("rms_norm.plain", rms_norm, [normal(3, 5, 19)], eps=1e-6)
    golden.add("rms_norm.scaled", rms_norm, [normal(3, 5, 19), normal(19)], eps=1e-6)
    return golden


def layer_norm(x, weight=None, bias=None, *, eps):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def rms_norm(x, weight=None, *, eps):
    """Written out: PyTorch has it since 2.4 only."""
    y = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight
