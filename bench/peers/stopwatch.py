"""Shared by the Python peers: random values by name as in workloads.h, timing, and the flags and JSON of Google
Benchmark that bench/compare needs.
"""
import argparse
import ctypes
import json
import os
import re
import time

import numpy as np
import torch


def mixed(name, count):
    """splitmix64 of counters that start at the FNV-1a hash of a name."""
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


def below(name, count, limit):
    """`count` whole numbers from 0 to limit - 1."""
    return torch.from_numpy(((mixed(name, count) >> np.uint64(11)) % np.uint64(limit)).astype(np.int64))


def words(name, shape, vocab_size):
    """Words of a vocabulary; never word 0, which is padding."""
    return 1 + below(name, int(np.prod(shape)), vocab_size - 1).view(shape)


def lengths(name, count, shortest, longest):
    """From `shortest` to `longest`; the first is the longest."""
    found = shortest + below(name, count, longest - shortest + 1)
    found[0] = longest
    return found


@torch.no_grad()
def start(module, bound):
    """Sets every parameter to the initial values of its name: around 0, the weight of a norm around 1."""
    for name, parameter in module.named_parameters():
        middle = 1 if "norm" in name and "weight" in name else 0
        parameter.copy_(uniform(name, parameter.shape, bound) + middle)


def norm(x):
    return x.detach().double().norm().item()


def gradient_norm(module):
    """The norm of all parameters' gradients as one vector."""
    return sum(norm(parameter.grad)**2 for parameter in module.parameters())**0.5


def fused_adamw(module, learning_rate, weight_decay):
    fused = {} if torch.__version__.startswith("1.") else {"fused": True}
    return torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay, **fused)


def peak_megabytes(step):
    """Peak memory of the process during `step` minus the memory before, in 1e6 bytes (Linux)."""
    def resident(field):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024e-6 for line in status if line.startswith(field))
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS:")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    step()
    return resident("VmHWM:") - before


def seconds_of(step, count):
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - begin


def measured(name, make, options):
    step, checks = make()
    checks["extra_peak_MB"] = peak_megabytes(step)
    count = max(1, round(options.benchmark_min_time / seconds_of(step, 1)))
    return [{"name": name, "run_type": "iteration", "time_unit": "ns",
             "real_time": seconds_of(step, count) / count * 1e9, **checks}
            for _ in range(options.benchmark_repetitions)]


def run(description, benchmarks):
    """benchmarks: name -> a function that returns a step and its checks (values to compare)"""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument("--benchmark_repetitions", type=int, default=3)
    flags.add_argument("--benchmark_min_time", type=float, default=0.5)
    flags.add_argument("--benchmark_filter", default="")
    options, _ = flags.parse_known_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    found = [entry for name, make in benchmarks.items() if re.search(options.benchmark_filter, name)
             for entry in measured(name, make, options)]
    print(json.dumps({"benchmarks": found}, indent=1))
