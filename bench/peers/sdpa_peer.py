#!/usr/bin/env python3
"""PyTorch peer of sdpa_bench: F.scaled_dot_product_attention, forward and backward.

The same inputs, flags and output as sdpa_peer.cpp and workloads.h.
"""
import torch
import torch.nn.functional as F

import stopwatch

B, H, D = 4, 8, 64
BOUND, DY_BOUND = 2.0, 1.0
WINDOW, DROPOUT = 256, 0.1
CASES = ([(kind, T) for kind in ("full", "causal") for T in (64, 256, 1024, 4096)] +
         [("window", 1024), ("window", 4096)] + [("dropout", T) for T in (64, 256, 1024)] +
         [("ragged", 1024)])


def key_lengths(T):
    return 1 + torch.arange(B) * T // B + stopwatch.below("key_lengths", B, T // B)


def make(kind, T):
    q, k, v = (stopwatch.uniform(name, (B, H, T, D), BOUND).requires_grad_() for name in "qkv")
    dy = stopwatch.uniform("dy", (B, H, T, D), DY_BOUND)
    kept = torch.ones(T, T, dtype=torch.bool)
    mask = None
    if kind == "window":
        mask = kept.tril() & kept.triu(1 - WINDOW)
    if kind == "ragged":
        mask = (torch.arange(T) < key_lengths(T)[:, None]).view(B, 1, 1, T)

    def step(p=DROPOUT if kind == "dropout" else 0.0):
        y = F.scaled_dot_product_attention(q, k, v, mask, p, kind == "causal")
        return (*torch.autograd.grad(y, (q, k, v), dy), y.detach())
    names = ("result_dq", "result_dk", "result_dv", "result_y")
    return step, {name: stopwatch.norm(x) for name, x in zip(names, step(0.0))}


if __name__ == "__main__":
    stopwatch.run(__doc__, {f"sdpa/{kind}/{T}": lambda kind=kind, T=T: make(kind, T) for kind, T in CASES})
