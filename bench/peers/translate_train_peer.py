#!/usr/bin/env python3
"""PyTorch peer of bench/translate_train: the same models, start weights, batches and steps, which it reads from the
files that translate_train wrote into the directory --exchange.

Two ways to compute the logits: for all positions, with padding ignored by the loss ("padded"), and only for the target
tokens without padding ("packed"). Attention is scaled_dot_product_attention, the encoder's GRU takes packed sequences,
Adam is fused.
"""
import argparse
import json
import math
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import stopwatch

PAD = 0


def read(path):
    """-> settings, name -> tensor, of a safetensors file"""
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        content = file.read()
    settings = json.loads(header.pop("__metadata__")["settings"])
    types = {"F32": np.float32, "I64": np.int64}
    return settings, {name: torch.from_numpy(np.frombuffer(content[slice(*entry["data_offsets"])],
                                                           types[entry["dtype"]]).reshape(entry["shape"]).copy())
                      for name, entry in header.items()}


def positions(count, C):
    rates = torch.exp(torch.arange(0, C, 2).double() * (-math.log(1e4) / C))
    angles = torch.outer(torch.arange(count).double(), rates)      # (T, C / 2)
    return torch.stack((angles.sin(), angles.cos()), 2).view(count, C).float()


class Transformer(nn.Module):
    """The names of the parameters are those of fovea's model."""

    def __init__(self, settings, start):
        super().__init__()
        V, C = start["source_embedding.weight"].shape
        L = settings["layers"]
        self.source_embedding = nn.Embedding(V, C, padding_idx=PAD)  # shared by source, target and output
        stacks = nn.Transformer(C, settings["heads"], L, L, settings["ffn"], settings["dropout"], batch_first=True)
        self.encoder, self.decoder = stacks.encoder, stacks.decoder
        self.encoder.norm = self.decoder.norm = None
        for module in self.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = settings["attention_dropout"]
        self.drop, self.scale = nn.Dropout(settings["dropout"]), math.sqrt(C)
        self.places = positions(256, C)
        self.causal = {T: nn.Transformer.generate_square_subsequent_mask(T) for T in range(1, 256)}

    def embed(self, ids):
        return self.drop(self.source_embedding(ids) * self.scale + self.places[:ids.shape[1]])  # (B, T, C)

    def read_out(self, batch):
        padding = batch["source_padding"]
        memory = self.encoder(self.embed(batch["source"]), src_key_padding_mask=padding)
        T = batch["target_input"].shape[1]
        return self.decoder(self.embed(batch["target_input"]), memory, tgt_mask=self.causal[T],
                            memory_key_padding_mask=padding, tgt_is_causal=True)  # (B, T, C)

    def logits(self, x):
        return F.linear(x, self.source_embedding.weight)


class Gru(nn.Module):
    NAMES = {"attention.key_proj": "key", "attention.query_proj": "query", "attention.score": "score.weight"}

    def __init__(self, settings, start):
        super().__init__()
        E, H = settings["embed_dim"], settings["hidden_size"]
        self.source_embedding = nn.Embedding(*start["source_embedding.weight"].shape, padding_idx=PAD)
        self.target_embedding = nn.Embedding(*start["target_embedding.weight"].shape, padding_idx=PAD)
        self.encoder = nn.GRU(E, H, batch_first=True, bidirectional=True)
        self.initial = nn.Linear(H, H)
        self.key = nn.Linear(2 * H, H)
        self.query = nn.Linear(H, H, bias=False)
        self.score = nn.Linear(H, 1, bias=False)
        self.cell = nn.GRUCell(E + 2 * H, H)
        self.readout = nn.Linear(E + 3 * H, H)
        self.output = nn.Linear(H, self.target_embedding.num_embeddings)
        self.drop = nn.Dropout(settings["dropout"])

    def read_out(self, batch):
        embedded = self.drop(self.source_embedding(batch["source"]))
        packed = nn.utils.rnn.pack_padded_sequence(embedded, batch["source_lengths"], batch_first=True,
                                                   enforce_sorted=False)
        states, last = self.encoder(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)  # (B, S, 2H)
        keys = self.key(states)                                        # (B, S, H)
        embedded = self.drop(self.target_embedding(batch["target_input"]))
        state = torch.tanh(self.initial(last[1]))                      # (B, H)
        read = []
        for word in embedded.unbind(1):                                # (B, E)
            scores = self.score(torch.tanh(keys + self.query(state)[:, None])).squeeze(-1)
            weights = torch.softmax(scores.masked_fill(batch["source_padding"], -math.inf), -1)  # (B, S)
            context = torch.bmm(weights[:, None], states).squeeze(1)   # (B, 2H)
            state = self.cell(torch.cat((word, context), 1), state)
            read.append(torch.cat((state, context, word), 1))
        return torch.stack(read, 1)                                    # (B, T, E + 3H)

    def logits(self, x):
        return self.output(self.drop(torch.tanh(self.readout(x))))


def model_of(settings, tensors):
    start = {name.removeprefix("start."): value for name, value in tensors.items() if name.startswith("start.")}
    kind = Transformer if settings["model"] == "transformer" else Gru
    for ours, theirs in getattr(kind, "NAMES", {}).items():
        start = {name.replace(ours, theirs): value for name, value in start.items()}
    model = kind(settings, start)
    if kind is Gru:
        start["score.weight"] = start["score.weight"].view(1, -1)
    model.load_state_dict(start)
    return model


def batches_of(settings, tensors):
    batches = []
    for i in range(settings["batches"]):
        batch = {part: tensors[f"batch.{i}.{part}"] for part in ("source", "target_input", "target_output")}
        batch["source_padding"] = batch["source"] == PAD
        batch["source_lengths"] = (~batch["source_padding"]).sum(1)
        batch["real"] = batch["target_output"] != PAD
        batch["real_output"] = batch["target_output"][batch["real"]]
        batches.append(batch)
    return batches


class Trainer:
    def __init__(self, path, packed):
        self.settings, tensors = read(path)
        self.model, self.batches, self.packed = model_of(self.settings, tensors), batches_of(self.settings, tensors), packed
        self.parameters = list(self.model.parameters())
        self.adam = torch.optim.Adam(self.parameters, lr=self.settings["lr"], betas=(0.9, self.settings["beta2"]),
                                     fused=True)
        self.average = [p.detach().clone() for p in self.parameters] if self.settings["average"] else None

    def loss(self, batch):
        smoothing = self.settings["label_smoothing"]
        read = self.model.read_out(batch)
        if self.packed:
            return F.cross_entropy(self.model.logits(read[batch["real"]]), batch["real_output"],
                                   label_smoothing=smoothing)
        return F.cross_entropy(self.model.logits(read).flatten(0, 1), batch["target_output"].flatten(),
                               ignore_index=PAD, label_smoothing=smoothing)

    def step(self, number):
        """-> the loss, and the gradient's norm before clipping"""
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(self.batches[number])
        value = loss.item()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings["clip"], foreach=True)
        self.adam.step()
        if self.average:
            with torch.no_grad():
                torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1e-2)
        return value, norm.item()

    def a_pass(self):
        for number in range(len(self.batches)):
            self.step(number)


def make(path, packed):
    trainer = Trainer(path, packed)
    trainer.model.eval()  # for the checks: the random bits of dropout differ between libraries
    checks = {}
    for number in range(trainer.settings["checked_steps"]):
        checks[f"loss_{number + 1}"], norm = trainer.step(number)
        if number == 0:
            checks["result_gradient"] = norm
    trainer.model.train()
    return trainer.a_pass, checks


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("--exchange", required=True, help="output directory of translate_train")
    folder = flags.parse_known_args()[0].exchange
    stopwatch.run(__doc__, {f"translate_train/{model}_{way}":
                            lambda model=model, way=way: make(os.path.join(folder, model + ".safetensors"),
                                                              way == "packed")
                            for model in ("transformer", "gru") for way in ("packed", "padded")})
