#!/usr/bin/env python3
"""PyTorch peer of recurrent_bench: nn.LSTM, nn.GRU and nn.RNN, forward and backward.

The same inputs, start weights, flags and output as recurrent_peer.cpp and workloads.h.
"""
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

import stopwatch

BOUND = 1 / 16
NETS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CASES = {"B64xT64": (64, 64, 256, 256), "B16xT256": (16, 256, 128, 128), "B1xT512": (1, 512, 128, 128),
         "ragged": (64, 100, 256, 256)}


def lengths_of(case):
    B, T, _, _ = CASES[case]
    if case != "ragged":
        return [T] * B
    return (1 + stopwatch.below("lengths", B, T)).tolist()


def make(net_name, case, packed):
    _, _, I, H = CASES[case]
    lengths = lengths_of(case)
    net = NETS[net_name](I, H, batch_first=True)
    stopwatch.start(net, BOUND)

    def pack(batch):
        return pack_padded_sequence(batch, lengths, batch_first=True, enforce_sorted=False)
    x, dy = (pad_sequence(stopwatch.uniform(name, (sum(lengths), width), 1.0).split(lengths), batch_first=True)
             for name, width in (("x", I), ("dy", H)))
    x.requires_grad_()
    dy = pack(dy).data if packed else dy
    inputs = (x, *net.parameters())
    names = ["result_dx", *(f"result_d{name}" for name, _ in net.named_parameters()), "result_y"]

    def step():
        states = net(pack(x))[0].data if packed else net(x)[0]
        return (*torch.autograd.grad(states, inputs, dy), states.detach())

    *gradients, states = step()
    found = (*gradients, states if packed else pack(states).data)
    return step, {name: stopwatch.norm(value) for name, value in zip(names, found)}


def main():
    cases = {(net, case, way): f"recurrent/{net}/{case}{way}" for net in NETS for case in CASES
             for way in (("_padded", "_packed") if case == "ragged" else ("",))}
    stopwatch.run(__doc__, {name: lambda net=net, case=case, way=way: make(net, case, way == "_packed")
                            for (net, case, way), name in cases.items()})


if __name__ == "__main__":
    main()
