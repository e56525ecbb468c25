#!/usr/bin/env python3
"""PyTorch peer of decode_bench: greedy decoding of one text with a cache with in-place updates.

The same weights, flags and output as decode_peer.cpp and workloads.h.
"""
import torch

import stopwatch
from gpt_step_peer import D, H, LAYERS, Model

NEW_TOKENS = 256


@torch.inference_mode()
def generated(model):
    caches = [(torch.empty(H, NEW_TOKENS, D), torch.empty(H, NEW_TOKENS, D)) for _ in range(LAYERS)]
    token, tokens = torch.zeros(1, dtype=torch.long), []
    for at in range(NEW_TOKENS):
        token = model.step(token, caches, at).argmax(-1)
        tokens.append(token.item())
    return tokens


def make():
    model = Model(NEW_TOKENS).eval()
    tokens = generated(model)
    with torch.inference_mode():
        logits = model(torch.tensor([tokens]))  # of the same text, in one forward pass
    return lambda: generated(model), {"result_tokens": sum((i + 1) * token for i, token in enumerate(tokens)),
                                      "result_count": len(tokens), "result_logits": stopwatch.norm(logits)}


if __name__ == "__main__":
    stopwatch.run(__doc__, {"decode/256": make})
