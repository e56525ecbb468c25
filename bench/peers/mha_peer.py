#!/usr/bin/env python3
"""PyTorch peer of mha_bench: nn.MultiheadAttention, forward and backward.

The same inputs, start weights, flags and output as mha_peer.cpp and workloads.h.
"""
import torch
from torch import nn

import stopwatch

B, C, H = 16, 256, 8
LENGTHS = (32, 128, 512)
BOUND, X_BOUND, DY_BOUND = 1 / 16, 2.0, 1.0


def make(T, want_weights):
    layer = nn.MultiheadAttention(C, H, batch_first=True)
    stopwatch.start(layer, BOUND)
    x = stopwatch.uniform("x", (B, T, C), X_BOUND).requires_grad_()
    dy = stopwatch.uniform("dy", (B, T, C), DY_BOUND)
    inputs = (x, *layer.parameters())

    def step():
        y, weights = layer(x, x, x, need_weights=want_weights)
        return (*torch.autograd.grad(y, inputs, dy), y) + ((weights,) if want_weights else ())
    names = ["result_dx", *(f"result_d{name}" for name, _ in layer.named_parameters()), "result_y", "result_weights"]
    return step, {name: stopwatch.norm(value) for name, value in zip(names, step())}


if __name__ == "__main__":
    stopwatch.run(__doc__, {f"mha/{'weights' if want else 'plain'}/{T}": lambda T=T, want=want: make(T, want)
                            for want in (False, True) for T in LENGTHS})
