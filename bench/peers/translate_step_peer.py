#!/usr/bin/env python3
"""PyTorch twin of translate_step_bench, with the fused Adam where PyTorch has one.

The same model, start weights, data, flags and output as translate_step_peer.cpp and workloads.h.
"""
import argparse
import json
import os
import time

import numpy as np
import torch
from torch import nn

VOCAB, EMBED, HIDDEN = 8000, 256, 256
BATCH, LENGTH = 64, 28
LEARNING_RATE, CHECKED_STEPS = 1e-3, 5
BOUND, EMBEDDING_BOUND = 1 / 16, 1.0


def mixed(name, count):
    """splitmix64 of the counters that belong to a name (FNV-1a)."""
    start = 0xcbf29ce484222325
    for c in name.encode():
        start = (start ^ c) * 0x100000001b3 % 2**64
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(start) + np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        return z ^ (z >> np.uint64(31))


def uniform(name, shape, bound):
    grid = (mixed(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float32)
    return torch.from_numpy(np.float32(bound) * (grid * np.float32(2**-23) - 1)).view(shape)


def words(name, columns):
    numbers = 1 + (mixed(name, BATCH * columns) >> np.uint64(11)) % np.uint64(VOCAB - 1)
    return torch.from_numpy(numbers.astype(np.int64)).view(BATCH, columns)


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.source = nn.Embedding(VOCAB, EMBED, padding_idx=0)
        self.target = nn.Embedding(VOCAB, EMBED, padding_idx=0)
        self.encoder = nn.GRU(EMBED, HIDDEN, batch_first=True, bidirectional=True)
        self.initial = nn.Linear(HIDDEN, HIDDEN)
        self.key = nn.Linear(2 * HIDDEN, HIDDEN)
        self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.score = nn.Linear(HIDDEN, 1, bias=False)
        self.cell = nn.GRUCell(EMBED + 2 * HIDDEN, HIDDEN)
        self.readout = nn.Linear(EMBED + 3 * HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, VOCAB)

    def forward(self, words, previous, padding):
        states, _ = self.encoder(self.source(words))                   # (B, S, 2H)
        keys = self.key(states)                                        # (B, S, H)
        embedded = self.target(previous)                               # (B, T, E)
        state = torch.tanh(self.initial(states[:, 0, HIDDEN:]))        # (B, H)
        read = []
        for t in range(previous.shape[1]):
            word = embedded[:, t]                                      # (B, E)
            scores = self.score(torch.tanh(keys + self.query(state)[:, None])).squeeze(-1)
            weights = torch.softmax(scores.masked_fill(padding, -1e9), -1)  # (B, S)
            context = torch.bmm(weights[:, None], states).squeeze(1)   # (B, 2H)
            state = self.cell(torch.cat((word, context), 1), state)
            read.append(torch.cat((state, context, word), 1))
        return self.output(torch.tanh(self.readout(torch.stack(read, 1))))  # (B, T, V)


def make_step():
    model = Translator()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            embedding = name in ("source.weight", "target.weight")
            parameter.copy_(uniform(name, parameter.shape, EMBEDDING_BOUND if embedding else BOUND))
    fused = {} if torch.__version__.startswith("1.") else {"fused": True}
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, **fused)
    source, sentence = words("source_words", LENGTH), words("target_words", LENGTH + 1)
    padding = source == 0
    previous, following = sentence[:, :-1].contiguous(), sentence[:, 1:].contiguous().view(-1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(source, previous, padding).view(-1, VOCAB)
        loss = nn.functional.cross_entropy(logits, following, ignore_index=0)
        loss.backward()
        optimizer.step()
        return loss
    return step


def seconds_of(step, count):
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - begin


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--benchmark_repetitions", type=int, default=3)
    flags.add_argument("--benchmark_min_time", type=float, default=0.5)
    options, _ = flags.parse_known_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

    step = make_step()
    losses = {f"loss_{i + 1}": step().item() for i in range(CHECKED_STEPS)}
    count = max(1, round(options.benchmark_min_time / seconds_of(step, 1)))
    benchmarks = [{"name": "translate_step", "run_type": "iteration", "time_unit": "ns",
                   "real_time": seconds_of(step, count) / count * 1e9, **losses}
                  for _ in range(options.benchmark_repetitions)]
    print(json.dumps({"benchmarks": benchmarks}, indent=1))


if __name__ == "__main__":
    main()
