#!/usr/bin/env python3
"""PyTorch peer of gpt_step_bench: a training step of a small language model, fused AdamW.

The same data, start weights, flags and output as gpt_step_peer.cpp and workloads.h.
"""
import torch
import torch.nn.functional as F
from torch import nn

import stopwatch

V, C, H, LAYERS = 256, 128, 4, 4
D = C // H
EPS, BOUND = 1e-5, 1 / 16
CASES = ((8, 256), (12, 64))
LEARNING_RATE, WEIGHT_DECAY, CHECKED_STEPS = 1e-3, 0.1, 3


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * C, C))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * C))
        self.out_proj = nn.Linear(C, C)

    def forward(self, x):
        B, T, _ = x.shape
        q, k, v = (part.view(B, T, H, D).transpose(1, 2)
                   for part in F.linear(x, self.in_proj_weight, self.in_proj_bias).split(C, 2))  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, C))

    def step(self, x, cache):
        """x: (1, C), cache: keys, values (H, max_len, D) and how many there are"""
        keys, values, at = cache
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(3, H, 1, D).unbind(0)
        keys[:, at:at + 1] = k
        values[:, at:at + 1] = v
        y = F.scaled_dot_product_attention(q[None], keys[None, :, :at + 1], values[None, :, :at + 1])
        return self.out_proj(y.view(1, C))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = SelfAttention()
        self.linear1, self.linear2 = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.norm1, self.norm2 = nn.LayerNorm(C, EPS), nn.LayerNorm(C, EPS)

    def forward(self, x, attend=None):
        h = x + (attend or self.self_attn)(self.norm1(x))
        return h + self.linear2(F.gelu(self.linear1(self.norm2(h))))


class Positions(nn.Module):
    def __init__(self, max_len):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_len, C))


class Model(nn.Module):
    """The names of the parameters are those of fovea's model."""

    def __init__(self, max_len):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(V, C), Positions(max_len)
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.transformer.norm = nn.LayerNorm(C, EPS)
        stopwatch.start(self, BOUND)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions.weight[:tokens.shape[1]]  # (B, T, C)
        for layer in self.transformer.layers:
            x = layer(x)
        return F.linear(self.transformer.norm(x), self.embedding.weight)      # (B, T, V)

    def step(self, token, caches, at):
        x = self.embedding(token) + self.positions.weight[at:at + 1]          # (1, C)
        for layer, (keys, values) in zip(self.transformer.layers, caches):
            x = layer(x, lambda n: layer.self_attn.step(n, (keys, values, at)))
        return F.linear(self.transformer.norm(x), self.embedding.weight)      # (1, V)


def make(B, T):
    model = Model(T)
    adam = stopwatch.fused_adamw(model, LEARNING_RATE, WEIGHT_DECAY)
    inputs = stopwatch.words("input_tokens", (B, T), V)
    following = stopwatch.words("next_tokens", (B, T), V).view(-1)

    def step():
        adam.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(inputs).view(-1, V), following)
        loss.backward()
        adam.step()
        return loss.item()
    checks = {"loss_1": step(), "result_gradient": stopwatch.gradient_norm(model)}
    checks.update({f"loss_{i}": step() for i in range(2, CHECKED_STEPS + 1)})
    return step, checks


if __name__ == "__main__":
    stopwatch.run(__doc__, {f"gpt_step/B{B}xT{T}": lambda B=B, T=T: make(B, T) for B, T in CASES})
