#!/usr/bin/env python3
"""PyTorch twin of sdpa_bench: F.scaled_dot_product_attention, forward and backward.

The same inputs, flags and output as sdpa_peer.cpp and workloads.h.
"""
import argparse
import json
import os
import re

import torch
import torch.nn.functional as F

from translate_step_peer import seconds_of, uniform

B, H, D = 4, 8, 64
BOUND, DY_BOUND = 2.0, 1.0
WINDOW, DROPOUT = 256, 0.1
CASES = ([(kind, T) for kind in ("full", "causal") for T in (64, 256, 1024, 4096)] +
         [("window", 1024), ("window", 4096)] + [("dropout", T) for T in (64, 256, 1024)])


def make_step(kind, T):
    q, k, v = (uniform(name, (B, H, T, D), BOUND).requires_grad_() for name in "qkv")
    dy = uniform("dy", (B, H, T, D), DY_BOUND)
    kept = torch.ones(T, T, dtype=torch.bool)
    mask = kept.tril() & kept.triu(1 - WINDOW) if kind == "window" else None

    def step(p=DROPOUT if kind == "dropout" else 0.0):
        y = F.scaled_dot_product_attention(q, k, v, mask, p, kind == "causal")
        return (*torch.autograd.grad(y, (q, k, v), dy), y.detach())
    return step


def measured(kind, T, options):
    step = make_step(kind, T)
    checks = {name: x.double().norm().item()
              for name, x in zip(("result_dq", "result_dk", "result_dv", "result_y"), step(0.0))}
    step()
    count = max(1, round(options.benchmark_min_time / seconds_of(step, 1)))
    return [{"name": f"sdpa/{kind}/{T}", "run_type": "iteration", "time_unit": "ns",
             "real_time": seconds_of(step, count) / count * 1e9, **checks}
            for _ in range(options.benchmark_repetitions)]


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--benchmark_repetitions", type=int, default=3)
    flags.add_argument("--benchmark_min_time", type=float, default=0.5)
    flags.add_argument("--benchmark_filter", default="")
    options, _ = flags.parse_known_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    benchmarks = [entry for kind, T in CASES if re.search(options.benchmark_filter, f"sdpa/{kind}/{T}")
                  for entry in measured(kind, T, options)]
    print(json.dumps({"benchmarks": benchmarks}, indent=1))


if __name__ == "__main__":
    main()
