#!/usr/bin/env python3
"""PyTorch peer of transformer_step_bench: nn.Transformer's stacks, label smoothing, fused AdamW.

The same data, start weights, flags and output as transformer_step_peer.cpp and workloads.h. No masks where no padding
is; the decoder's self-attention needs none but the causal one.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

import stopwatch

V, C, H, FF, LAYERS = 8000, 256, 4, 1024, 3
B, T, SHORTEST = 64, 28, 12
DROPOUT, SMOOTHING = 0.1, 0.1
LEARNING_RATE, WEIGHT_DECAY, CHECKED_STEPS = 1e-3, 1e-2, 3
BOUND = 1 / 16


def positions():
    rates = torch.exp(torch.arange(0, C, 2).double() * (-math.log(1e4) / C))
    angles = torch.outer(torch.arange(T).double(), rates)          # (T, C / 2)
    return torch.stack((angles.sin(), angles.cos()), 2).view(T, C).float()


class Translator(nn.Module):
    """The names of the parameters are those of fovea's model."""

    def __init__(self):
        super().__init__()
        self.source_embedding = nn.Embedding(V, C, padding_idx=0)
        self.target_embedding = nn.Embedding(V, C, padding_idx=0)
        stacks = nn.Transformer(C, H, LAYERS, LAYERS, FF, DROPOUT, batch_first=True)
        self.encoder, self.decoder = stacks.encoder, stacks.decoder
        self.output = nn.Linear(C, V)
        self.places, self.drop = positions(), nn.Dropout(DROPOUT)
        self.causal = nn.Transformer.generate_square_subsequent_mask(T)
        stopwatch.start(self, BOUND)

    def embed(self, table, ids):
        return self.drop(table(ids) * math.sqrt(C) + self.places)  # (B, T, C)

    def forward(self, source, previous, padding):
        memory = self.encoder(self.embed(self.source_embedding, source), src_key_padding_mask=padding)
        known_causal = {} if torch.__version__.startswith("1.") else {"tgt_is_causal": True}
        y = self.decoder(self.embed(self.target_embedding, previous), memory, tgt_mask=self.causal,
                         memory_key_padding_mask=padding, **known_causal)
        return self.output(y)                                      # (B, T, V)


def lengths(name, ragged):
    return stopwatch.lengths(name, B, SHORTEST if ragged else T, T)


def word_matrix(name, ends):
    """Words, 0 after the end of each row."""
    columns = int(ends.max())
    return stopwatch.words(name, (B, columns), V).masked_fill(torch.arange(columns) >= ends[:, None], 0)


def make(ragged):
    model = Translator()
    adam = stopwatch.fused_adamw(model, LEARNING_RATE, WEIGHT_DECAY)
    source = word_matrix("source_words", lengths("source_lengths", ragged))
    sentence = word_matrix("target_words", lengths("target_lengths", ragged) + 1)
    previous, following = sentence[:, :-1].contiguous(), sentence[:, 1:].contiguous().view(-1)
    padding = source == 0 if ragged else None

    def step():
        adam.zero_grad(set_to_none=True)
        logits = model(source, previous, padding).view(-1, V)
        loss = F.cross_entropy(logits, following, ignore_index=0, label_smoothing=SMOOTHING)
        loss.backward()
        adam.step()
        return loss.item()
    model.eval()  # for the checks: the random bits of dropout differ between libraries
    checks = {"loss_1": step(), "result_gradient": stopwatch.gradient_norm(model)}
    checks.update({f"loss_{i}": step() for i in range(2, CHECKED_STEPS + 1)})
    model.train()
    return step, checks


if __name__ == "__main__":
    stopwatch.run(__doc__, {f"transformer_step/{'ragged' if ragged else 'full'}": lambda ragged=ragged: make(ragged)
                            for ragged in (False, True)})
