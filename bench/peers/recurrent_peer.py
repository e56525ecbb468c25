#!/usr/bin/env python3
"""PyTorch twin of recurrent_bench: nn.LSTM, nn.GRU and nn.RNN, forward and backward.

The same inputs, start weights, flags and output as recurrent_peer.cpp and workloads.h.
"""
import argparse
import json
import os
import re

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from translate_step_peer import mixed, seconds_of, uniform

BOUND = 1 / 16
NETS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CASES = {"B64xT64": (64, 64, 256, 256), "B16xT256": (16, 256, 128, 128), "B1xT512": (1, 512, 128, 128),
         "ragged": (64, 100, 256, 256)}


def lengths_of(case):
    B, T, _, _ = CASES[case]
    if case != "ragged":
        return [T] * B
    return (1 + (mixed("lengths", B) >> np.uint64(11)) % np.uint64(T)).astype(np.int64).tolist()


def make_step(net_name, case, packed):
    _, _, I, H = CASES[case]
    lengths = lengths_of(case)
    net = NETS[net_name](I, H, batch_first=True)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(uniform(name, parameter.shape, BOUND))

    def pack(batch):
        return pack_padded_sequence(batch, lengths, batch_first=True, enforce_sorted=False)
    x, dy = (pad_sequence(uniform(name, (sum(lengths), width), 1.0).split(lengths), batch_first=True)
             for name, width in (("x", I), ("dy", H)))
    x.requires_grad_()
    dy = pack(dy).data if packed else dy
    inputs = (x, *net.parameters())
    names = ["result_dx", *(f"result_d{name}" for name, _ in net.named_parameters()), "result_y"]

    def step():
        states = net(pack(x))[0].data if packed else net(x)[0]
        return (*torch.autograd.grad(states, inputs, dy), states.detach())

    def checks():
        *gradients, states = step()
        states = states if packed else pack(states).data
        return {name: value.double().norm().item() for name, value in zip(names, (*gradients, states))}
    return step, checks


def measured(name, net_name, case, packed, options):
    step, checks = make_step(net_name, case, packed)
    found = checks()
    count = max(1, round(options.benchmark_min_time / seconds_of(step, 1)))
    return [{"name": name, "run_type": "iteration", "time_unit": "ns",
             "real_time": seconds_of(step, count) / count * 1e9, **found}
            for _ in range(options.benchmark_repetitions)]


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--benchmark_repetitions", type=int, default=3)
    flags.add_argument("--benchmark_min_time", type=float, default=0.5)
    flags.add_argument("--benchmark_filter", default="")
    options, _ = flags.parse_known_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    benchmarks = []
    for net_name in NETS:
        for case in CASES:
            for way in ("_padded", "_packed") if case == "ragged" else ("",):
                name = f"recurrent/{net_name}/{case}{way}"
                if re.search(options.benchmark_filter, name):
                    benchmarks += measured(name, net_name, case, way == "_packed", options)
    print(json.dumps({"benchmarks": benchmarks}, indent=1))


if __name__ == "__main__":
    main()
