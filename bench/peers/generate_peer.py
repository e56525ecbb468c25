#!/usr/bin/env python3
"""PyTorch peer of examples/generate: stories260K, greedy, with a cache of keys and values, eager.

  generate --data DIR --prompt 'Once upon a time' --temperature 0 --tokens 500 --endless
  bench/peers/generate_peer.py --data DIR --tokens 500

Optimized: inference_mode, PyTorch's fused RMSNorm and attention (with grouped heads), one
product for queries, keys and values and one for the two halves of SwiGLU, an in-place cache, angles
computed once.
"""
import argparse
import json
import pathlib
import statistics
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F

PROMPT = [1, 403, 407, 261, 378]  # <bos> "Once upon a time"
EPS = 1e-5


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"]).copy())
    return metadata, tensors


class Model:
    def __init__(self, path):
        metadata, w = read_safetensors(path)
        self.C, self.H, self.G = (int(metadata[key]) for key in ("dim", "n_heads", "n_kv_heads"))
        self.layers, self.max_len = int(metadata["n_layers"]), int(metadata["max_seq_len"])
        self.D = self.C // self.H
        self.table, self.norm = w["tok_embeddings.weight"], w["norm.weight"]
        self.blocks = []
        for i in range(self.layers):
            part = lambda name: w[f"layers.{i}.{name}.weight"]
            self.blocks.append((part("attention_norm"),
                                torch.cat([part("attention.wq"), part("attention.wk"), part("attention.wv")]),
                                part("attention.wo"), part("ffn_norm"),
                                torch.cat([part("feed_forward.w1"), part("feed_forward.w3")]),
                                part("feed_forward.w2")))
        angles = torch.outer(torch.arange(self.max_len, dtype=torch.float64),
                             10000.0 ** (-torch.arange(0, self.D, 2, dtype=torch.float64) / self.D))
        self.turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)  # (max_len, D / 2)
        shape = (self.layers, 1, self.G, self.max_len, self.D)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)

    def turn(self, x, turns):  # x: (1, T, heads, D)
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turns).flatten(3).transpose(1, 2)

    def forward(self, tokens, at):
        """Logits of the last of `tokens`, which have the positions `at`, at + 1, ..."""
        T = tokens.shape[1]
        end, kv = at + T, self.G * self.D
        turns = self.turns[at:end].unsqueeze(1)  # (T, 1, D / 2)
        x = F.embedding(tokens, self.table)
        for i, (norm1, wqkv, wo, norm2, w13, w2) in enumerate(self.blocks):
            q, k, v = F.linear(F.rms_norm(x, (self.C,), norm1, EPS), wqkv).split([self.C, kv, kv], -1)
            keys, values = self.keys[i], self.values[i]
            keys[:, :, at:end] = self.turn(k.view(1, T, self.G, self.D), turns)
            values[:, :, at:end] = v.view(1, T, self.G, self.D).transpose(1, 2)
            y = F.scaled_dot_product_attention(self.turn(q.view(1, T, self.H, self.D), turns), keys[:, :, :end],
                                               values[:, :, :end], is_causal=T > 1, enable_gqa=True)
            x = x + F.linear(y.transpose(1, 2).reshape(1, T, self.C), wo)
            gate, up = F.linear(F.rms_norm(x, (self.C,), norm2, EPS), w13).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, w2)
        return F.linear(F.rms_norm(x[:, -1], (self.C,), self.norm, EPS), self.table)


@torch.inference_mode()
def generate(model, count):
    """Returns the new tokens, and the tokens per second after the first token."""
    tokens, at, logits = [], len(PROMPT), model.forward(torch.tensor([PROMPT]), 0)
    for _ in range(count):
        token = int(logits.argmax())
        tokens.append(token)
        if len(tokens) == 1:
            begin = time.perf_counter()
        if len(tokens) < count:
            logits = model.forward(torch.tensor([[token]]), at)
            at += 1
    return tokens, (count - 1) / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="directory with stories260K.safetensors")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = Model(options.data / "stories260K.safetensors")
    generate(model, 50)  # warm-up
    runs = [generate(model, options.tokens) for _ in range(options.repeat)]
    print(json.dumps({"torch": torch.__version__, "threads": options.threads, "tokens": options.tokens,
                      "tokens_per_second": round(statistics.median(rate for _, rate in runs)),
                      "slowest": round(min(rate for _, rate in runs)),
                      "fastest": round(max(rate for _, rate in runs)), "first": runs[0][0][:8],
                      "sum_of_tokens": sum(runs[0][0])}))


if __name__ == "__main__":
    main()
