#!/usr/bin/env python3
"""PyTorch peer of translate_step_bench, with the fused Adam where PyTorch has one.

The same model, start weights, data, flags and output as translate_step_peer.cpp and workloads.h.
"""
import torch
from torch import nn

import stopwatch

VOCAB, EMBED, HIDDEN = 8000, 256, 256
BATCH, LENGTH = 64, 28
LEARNING_RATE, CHECKED_STEPS = 1e-3, 5
BOUND, EMBEDDING_BOUND = 1 / 16, 1.0


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


def make():
    model = Translator()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            embedding = name in ("source.weight", "target.weight")
            parameter.copy_(stopwatch.uniform(name, parameter.shape, EMBEDDING_BOUND if embedding else BOUND))
    fused = {} if torch.__version__.startswith("1.") else {"fused": True}
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, **fused)
    source = stopwatch.words("source_words", (BATCH, LENGTH), VOCAB)
    sentence = stopwatch.words("target_words", (BATCH, LENGTH + 1), VOCAB)
    padding = source == 0
    previous, following = sentence[:, :-1].contiguous(), sentence[:, 1:].contiguous().view(-1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(source, previous, padding).view(-1, VOCAB)
        loss = nn.functional.cross_entropy(logits, following, ignore_index=0)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step, {f"loss_{i + 1}": step() for i in range(CHECKED_STEPS)}


if __name__ == "__main__":
    stopwatch.run(__doc__, {"translate_step": make})
