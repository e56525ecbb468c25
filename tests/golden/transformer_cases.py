"""MultiheadAttention and the Transformer's layers and stacks, in training mode without dropout.

Beside x and y a case holds `param.<name>` and `dparam.<name>`, named as in the module's state_dict. Masks are
described in the options: `causal`, and the `lengths` of the keys; no query is left without a key, where PyTorch
gives NaN.
"""
import torch

from golden_file import GoldenFile, exact_in_f32, generator_for, normal


def transformer():
    golden = GoldenFile()
    add_attention(golden)
    add_layers(golden)
    add_stacks(golden)
    return golden


def add_module(golden, name, module, inputs, run, **options):
    """Fills the module's parameters and runs run(module, *inputs)."""
    rng = generator_for(name)
    module.double()
    values = {key: recipe(rng) for key, recipe in inputs.items()}
    for key, parameter in module.named_parameters():
        parameter.data = exact_in_f32(drawn(key, parameter.shape, rng)).data
        values[f"param.{key}"] = parameter
    golden.describe(name, name.split(".")[0], options)
    golden.put_with_gradients(name, values, run(module, *(values[key] for key in inputs)), rng)


def drawn(key, shape, rng):
    """Numbers with which a stack keeps the size of its activations and gradients: what is compared is then not
    what little cancellation leaves of them."""
    numbers = torch.randn(shape, generator=rng, dtype=torch.float64)
    if len(shape) > 1:
        return numbers / shape[-1] ** 0.5
    return 0.2 * numbers + ("norm" in key and key.endswith("weight"))


def causal_mask(T):
    return torch.full((T, T), float("-inf"), dtype=torch.float64).triu(1)


def dropped_keys(lengths, S):
    """PyTorch's key_padding_mask: true where there is no key."""
    return torch.arange(S)[None, :] >= torch.as_tensor(lengths)[:, None]


# --- attention ---------------------------------------------------------------------------------------------------

def add_attention(golden):
    B, T, S = 3, 5, 7

    def add(kind, C, H, self_attention=False, causal=False, lengths=None, **options):
        module = torch.nn.MultiheadAttention(C, H, batch_first=True, **options)
        mask = causal_mask(T) if causal else None

        def run(module, query, key=None, value=None):
            key = query if key is None else key
            value = key if value is None else value
            padding = None if lengths is None else dropped_keys(lengths, key.shape[1])
            return module(query, key, value, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]

        inputs = {"query": normal(B, T, C)}
        if not self_attention:
            inputs["key"] = normal(B, S, options.get("kdim", C))
            inputs["value"] = normal(B, S, options.get("vdim", C))
        more = {} if lengths is None else {"lengths": lengths}
        add_module(golden, f"MultiheadAttention.{kind}", module, inputs, run,
                   embed_dim=C, num_heads=H, causal=causal, **more, **options)

    add("self", 12, 3, self_attention=True)
    add("self.one_head", 7, 1, self_attention=True)
    add("self.no_bias", 12, 4, self_attention=True, bias=False)
    add("self.causal", 10, 2, self_attention=True, causal=True)
    add("self.padding", 10, 5, self_attention=True, lengths=[5, 1, 3])
    add("self.causal.padding", 9, 3, self_attention=True, causal=True, lengths=[2, 5, 1])
    add("cross", 12, 3)
    add("cross.no_bias", 6, 2, bias=False)
    add("cross.padding", 8, 2, lengths=[7, 2, 4])
    add("cross.kdim_vdim", 12, 3, kdim=5, vdim=9)
    add("cross.kdim", 8, 4, kdim=3, lengths=[1, 7, 6])
    add("cross.vdim.no_bias", 8, 2, vdim=11, bias=False)


# --- layers ------------------------------------------------------------------------------------------------------

KINDS = {
    "post.relu": dict(norm_first=False, activation="relu"),
    "post.gelu": dict(norm_first=False, activation="gelu"),
    "pre.relu": dict(norm_first=True, activation="relu"),
    "pre.gelu": dict(norm_first=True, activation="gelu", layer_norm_eps=1e-3),
}


def encoder_run(causal, lengths):
    def run(module, x):
        mask = causal_mask(x.shape[1]) if causal else None
        padding = None if lengths is None else dropped_keys(lengths, x.shape[1])
        return module(x, mask, padding)
    return run


def decoder_run(lengths, memory_lengths):
    def run(module, x, memory):
        padding = None if lengths is None else dropped_keys(lengths, x.shape[1])
        memory_padding = None if memory_lengths is None else dropped_keys(memory_lengths, memory.shape[1])
        return module(x, memory, tgt_mask=causal_mask(x.shape[1]), tgt_key_padding_mask=padding,
                      memory_key_padding_mask=memory_padding)
    return run


def add_layers(golden):
    B, T, S, C, H, F = 3, 5, 6, 10, 2, 7
    sizes = dict(d_model=C, nhead=H, dim_feedforward=F)
    masks = {"full": (False, None), "causal": (True, None), "padding": (False, [5, 2, 3])}
    for kind, options in KINDS.items():
        for mask, (causal, lengths) in masks.items():
            more = {} if lengths is None else {"lengths": lengths}
            layer = torch.nn.TransformerEncoderLayer(C, H, F, dropout=0.0, batch_first=True, **options)
            add_module(golden, f"TransformerEncoderLayer.{kind}.{mask}", layer, {"x": normal(B, T, C)},
                       encoder_run(causal, lengths), **sizes, causal=causal, **more, **options)
        for mask, (lengths, memory_lengths) in {"causal": (None, None), "padding": ([5, 1, 3], [6, 2, 1])}.items():
            more = {} if lengths is None else {"lengths": lengths, "memory_lengths": memory_lengths}
            layer = torch.nn.TransformerDecoderLayer(C, H, F, dropout=0.0, batch_first=True, **options)
            add_module(golden, f"TransformerDecoderLayer.{kind}.{mask}", layer,
                       {"x": normal(B, T, C), "memory": normal(B, S, C)}, decoder_run(lengths, memory_lengths),
                       **sizes, causal=True, **more, **options)


# --- stacks ------------------------------------------------------------------------------------------------------

def add_stacks(golden):
    B, T, S, C, H, F = 2, 5, 4, 9, 3, 11
    lengths, memory_lengths = [3, 5], [4, 1]
    for kind, options, layers, norm in (("post", KINDS["post.relu"], 3, False), ("pre", KINDS["pre.gelu"], 2, True)):
        sizes = dict(d_model=C, nhead=H, dim_feedforward=F, num_layers=layers, final_norm=norm)
        make = dict(dropout=0.0, batch_first=True, **options)

        def last():
            return torch.nn.LayerNorm(C, eps=options.get("layer_norm_eps", 1e-5)) if norm else None
        encoder = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(C, H, F, **make), layers, last())
        add_module(golden, f"TransformerEncoder.{kind}", encoder, {"x": normal(B, T, C)},
                   encoder_run(False, lengths), **sizes, lengths=lengths, causal=False, **options)
        decoder = torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(C, H, F, **make), layers, last())
        add_module(golden, f"TransformerDecoder.{kind}", decoder,
                   {"x": normal(B, T, C), "memory": normal(B, S, C)}, decoder_run(lengths, memory_lengths), **sizes,
                   lengths=lengths, memory_lengths=memory_lengths, causal=True, **options)
