"""Modules whose parameters carry PyTorch's names: GRU, LSTM, LayerNorm, Embedding.

Beside x and y a case holds `param.<name>` and `dparam.<name>`, named as in the module's state_dict.
"""
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from golden_file import GoldenFile, exact_in_f32, fixed, generator_for, normal


def modules():
    golden = GoldenFile()
    add_gru(golden)
    add_lstm(golden)
    add_module(golden, "LayerNorm.plain", torch.nn.LayerNorm(13, eps=1e-5), {"x": normal(3, 5, 13)},
               normalized_shape=[13], eps=1e-5)
    add_module(golden, "Embedding.plain", torch.nn.Embedding(11, 6), {"x": fixed([[3, 10, 0], [3, 1, 7]])},
               num_embeddings=11, embedding_dim=6)
    add_module(golden, "Embedding.padding", torch.nn.Embedding(11, 6, padding_idx=2),
               {"x": fixed([[3, 10, 2], [3, 2, 2]])}, num_embeddings=11, embedding_dim=6, padding_idx=2)
    return golden


def add_module(golden, name, module, inputs, run=None, **options):
    """Fills the module's parameters and runs it, or run(module, *inputs)."""
    rng = generator_for(name)
    module.double()
    values = {key: recipe(rng) for key, recipe in inputs.items()}
    for key, parameter in module.named_parameters():
        parameter.data = exact_in_f32(0.5 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)).data
        values[f"param.{key}"] = parameter
    if getattr(module, "padding_idx", None) is not None:
        module.weight.data[module.padding_idx] = 0
    run = run or (lambda module, x: module(x))
    outputs = run(module, *(values[key] for key in inputs))
    golden.describe(name, name.split(".")[0], options)
    golden.put_with_gradients(name, values, outputs, rng)


def add_gru(golden):
    """y0: states of every step (B, T, D*H); y1: last states (layers*D, B, H). D is 2 if bidirectional."""
    B, T, I, H = 3, 5, 3, 4
    for layers in (1, 2):
        for bidirectional in (False, True):
            options = dict(input_size=I, hidden_size=H, num_layers=layers, bidirectional=bidirectional)
            kind = f"GRU.layers{layers}" + ".bidirectional" * bidirectional
            h0 = normal(layers * (2 if bidirectional else 1), B, H)

            def make(**more):
                return torch.nn.GRU(batch_first=True, **options, **more)
            add_module(golden, f"{kind}.full", make(), {"x": normal(B, T, I)}, **options)
            add_module(golden, f"{kind}.h0", make(), {"x": normal(B, T, I), "h0": h0}, run_gru, **options)
            add_module(golden, f"{kind}.ragged", make(),
                       {"x": normal(B, T, I), "h0": h0, "lengths": fixed([3, 5, 1])}, run_ragged_gru, **options)
    add_module(golden, "GRU.no_bias", torch.nn.GRU(I, H, bias=False, batch_first=True), {"x": normal(B, T, I)},
               input_size=I, hidden_size=H, num_layers=1, bidirectional=False, bias=False)
    add_module(golden, "GRUCell.plain", torch.nn.GRUCell(I, H), {"x": normal(B, I), "h0": normal(B, H)}, run_gru,
               input_size=I, hidden_size=H)


def add_lstm(golden):
    """y0: states (B, T, D*H); y1, y2: last states and cells (layers*D, B, H)."""
    B, T, I, H = 3, 5, 3, 4
    for layers, bidirectional in ((1, False), (2, True)):
        options = dict(input_size=I, hidden_size=H, num_layers=layers, bidirectional=bidirectional)
        start = normal(layers * (2 if bidirectional else 1), B, H)
        kind = f"LSTM.layers{layers}" + ".bidirectional" * bidirectional
        for name, lengths in (("full", [5, 5, 5]), ("ragged", [3, 5, 1])):
            add_module(golden, f"{kind}.{name}", torch.nn.LSTM(batch_first=True, **options),
                       {"x": normal(B, T, I), "h0": start, "c0": start, "lengths": fixed(lengths)}, run_ragged_lstm,
                       **options)


def run_ragged_lstm(module, x, h0, c0, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, (last, cell) = module(packed, (h0, c0))
    return pad_packed_sequence(states, batch_first=True)[0], last, cell


def run_gru(module, x, h0):
    return module(x, h0)


def run_ragged_gru(module, x, h0, lengths):
    """Steps behind a sequence's end give 0; the last state is the one of the last real step."""
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, last = module(packed, h0)
    return pad_packed_sequence(states, batch_first=True)[0], last
