"""One golden file: named cases, each with inputs, outputs, cotangents and gradients, as safetensors.

A case `softmax.rows` of the op `softmax` is stored as the tensors `softmax.rows/x0`, `/y0`, `/dy0`, `/dx0`;
its op and options are a JSON text in the file's metadata under the case's name.

Everything is computed in float64 from inputs that are exact in float32, and rounded to float32 once, at the
end: what is compared is then the error of the library alone, not the sum of the library's and PyTorch's.
"""
import json
import struct
import zlib

import torch

DTYPE_NAMES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}


# Inputs. Each function returns a recipe, generator -> tensor, so that a case's numbers depend on its name only.
# Floating-point inputs want a gradient unless they are `given`.

def exact_in_f32(values):
    return values.float().double().requires_grad_()


def normal(*shape, scale=1.0):
    return lambda rng: exact_in_f32(scale * torch.randn(shape, generator=rng, dtype=torch.float64))


def uniform(low, high, *shape):
    return lambda rng: exact_in_f32(low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64))


def away_from_zero(*shape):
    """Normal numbers moved out by 0.1: for divisors, and for functions with a corner at 0."""
    def recipe(rng):
        values = torch.randn(shape, generator=rng, dtype=torch.float64)
        return exact_in_f32(values + 0.1 * torch.sign(values))
    return recipe


def corners(values):
    """Numbers at which a function has a corner, or which are equal to each other."""
    return lambda rng: exact_in_f32(torch.tensor(values, dtype=torch.float64))


def given(recipe):
    """The same numbers, of which no gradient is asked: targets, class weights, cotangents."""
    return lambda rng: recipe(rng).detach()


def integers(high, *shape):
    return lambda rng: torch.randint(high, shape, generator=rng)


def booleans(*shape):
    return lambda rng: torch.rand(shape, generator=rng) < 0.5


def fixed(indices):
    return lambda rng: torch.tensor(indices)


class GoldenFile:
    def __init__(self):
        self.tensors = {}
        self.metadata = {"torch": torch.__version__}

    def put(self, name, tensor):
        """Stores integers and booleans as they are, other numbers as float32."""
        tensor = tensor.detach()
        self.tensors[name] = tensor.float() if tensor.is_floating_point() else tensor

    def describe(self, name, op, options):
        self.metadata[name] = json.dumps({"op": op, **options})

    def add(self, name, function, inputs, **options):
        """Runs function(*inputs, **options); the op is what stands before the first dot of the case's name."""
        rng = generator_for(name)
        named = {f"x{i}": recipe(rng) for i, recipe in enumerate(inputs)}
        outputs = function(*named.values(), **options)
        self.describe(name, name.split(".")[0], options)
        self.put_with_gradients(name, named, outputs, rng)

    def put_with_gradients(self, name, inputs, outputs, rng):
        """inputs: names to tensors; outputs: a tensor or several, stored as y0, y1, ..."""
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        for key, value in inputs.items():
            self.put(f"{name}/{key}", value)
        for i, y in enumerate(outputs):
            self.put(f"{name}/y{i}", y)
        differentiable = [(i, y) for i, y in enumerate(outputs) if y.requires_grad]
        if not differentiable:
            return
        cotangents = [given(normal(*y.shape))(rng) for _, y in differentiable]
        for (i, _), dy in zip(differentiable, cotangents):
            self.put(f"{name}/dy{i}", dy)
        wanted = {key: x for key, x in inputs.items() if x.requires_grad}
        gradients = torch.autograd.grad([y for _, y in differentiable], list(wanted.values()), cotangents)
        for key, dx in zip(wanted, gradients):
            self.put(f"{name}/d{key}", dx)

    def write(self, path):
        """safetensors: length of the header (8 bytes, little endian), the header as JSON, the numbers."""
        header, blobs, end = {"__metadata__": self.metadata}, [], 0
        for name, tensor in self.tensors.items():
            blob = tensor.contiguous().numpy().tobytes()
            header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape),
                            "data_offsets": [end, end + len(blob)]}
            blobs.append(blob)
            end += len(blob)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # so that the numbers start aligned
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def generator_for(name):
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))

