"""Modules whose parameters carry PyTorch's names: LayerNorm, Embedding.

Beside x and y a case holds `param.<name>` and `dparam.<name>`, named as in the module's state_dict.
"""
import torch

from golden_file import GoldenFile, exact_in_f32, fixed, generator_for, normal


def modules():
    golden = GoldenFile()
    add_module(golden, "LayerNorm.plain", torch.nn.LayerNorm(13, eps=1e-5), {"x": normal(3, 5, 13)},
               normalized_shape=[13], eps=1e-5)
    add_module(golden, "Embedding.plain", torch.nn.Embedding(11, 6), {"x": fixed([[3, 10, 0], [3, 1, 7]])},
               num_embeddings=11, embedding_dim=6)
    add_module(golden, "Embedding.padding", torch.nn.Embedding(11, 6, padding_idx=2),
               {"x": fixed([[3, 10, 2], [3, 2, 2]])}, num_embeddings=11, embedding_dim=6, padding_idx=2)
    return golden


def add_module(golden, name, module, inputs, **options):
    """Fills the module's parameters and runs it."""
    rng = generator_for(name)
    module.double()
    values = {key: recipe(rng) for key, recipe in inputs.items()}
    for key, parameter in module.named_parameters():
        parameter.data = exact_in_f32(0.5 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)).data
        values[f"param.{key}"] = parameter
    if getattr(module, "padding_idx", None) is not None:
        module.weight.data[module.padding_idx] = 0
    outputs = module(*(values[key] for key in inputs))
    golden.describe(name, name.split(".")[0], options)
    golden.put_with_gradients(name, values, outputs, rng)
