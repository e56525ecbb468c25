"""Recurrent nets and their cells: torch.nn's, and by plain_recurrent.py what torch.nn does not have.

All cases share one set of inputs, initial states, weights and cotangents, `shared/<name>`, of which each takes the
corner that it needs: the first rows, columns, ... A case holds what follows from them, flat and one behind another:
    values       states (B, T, D P), 0 behind a sequence's end; last states (L D, B, P); of an LSTM cells (L D, B, H)
    gradients    by x (B, T, I); by h0 and c0 where they are given; by the parameters, in the order of the state_dict
A cell is a net of one step here. Options that are not named are those of DEFAULTS.
"""
import itertools

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import plain_recurrent
from golden_file import GoldenFile, exact_in_f32, generator_for

B, T, I, H, P = 3, 5, 7, 33, 8  # the largest
SMALL_H = 5                     # of other layers and directions than the first
LENGTHS = [2, 4, 1]
DEFAULTS = {"input_size": 3, "hidden_size": 2, "num_layers": 1, "bidirectional": False, "bias": True, "proj_size": 0,
            "batch": 3, "steps": 4, "state": True}


def shared_shapes():
    shapes = {"x": (B, T, I), "h0": (6, B, H), "c0": (6, B, H),
              "dy0": (B, T, H), "dy1": (6, B, H), "dy2": (6, B, H)}
    for layer, reverse in itertools.product(range(3), ("", "_reverse")):
        suffix, first = f"_l{layer}{reverse}", layer == 0 and not reverse
        h = H if first else SMALL_H
        shapes.update({"weight_ih" + suffix: (4 * h, 2 * SMALL_H if layer else I), "weight_hh" + suffix: (4 * h, h),
                       "bias_ih" + suffix: (4 * h,), "bias_hh" + suffix: (4 * h,), "weight_hr" + suffix: (P, h)})
        for side, n in (("ih", 4 * SMALL_H), ("hh", 4 * SMALL_H), ("cell", SMALL_H)):
            shapes.update({f"norm_{side}_weight{suffix}": (n,), f"norm_{side}_bias{suffix}": (n,)})
    for layer in range(2):
        shapes[f"input_mask_l{layer}"] = (B, 2 * SMALL_H)
    shapes["hidden_mask"] = (4, B, SMALL_H)
    shapes["zoneout_shares"] = shapes["cell_zoneout_shares"] = (4, B, T, SMALL_H)
    return shapes


def drawn(name, shape):
    rng = generator_for(name)
    numbers = torch.randn(shape, generator=rng, dtype=torch.float64)
    if "mask" in name or "shares" in name:  # half of the numbers dropped; 0.3 of the states as they were
        return 2.0 * (numbers > 0) if "mask" in name else 1.0 * (numbers < -0.524)
    if name.startswith("norm"):
        return exact_in_f32(0.3 * numbers + ("weight" in name)).detach()
    if name.startswith("weight"):  # later columns are smaller: neither a narrow net fades nor a wide one explodes
        return exact_in_f32(0.5 * numbers / (1 + 0.5 * torch.arange(shape[1])).sqrt()).detach()
    return exact_in_f32((0.5 if name.startswith("bias") else 1.0) * numbers).detach()


SHARED = {name: drawn(name, shape) for name, shape in shared_shapes().items()}


def corner(name, shape):
    part = SHARED[name][tuple(slice(size) for size in shape)]
    assert part.shape == tuple(shape), f"{name}: {tuple(shape)} of {tuple(SHARED[name].shape)}"
    return part.clone()


def recurrent():
    golden = GoldenFile()
    for name, numbers in SHARED.items():
        golden.put(f"shared/{name}", numbers)
    add_all_options(golden)
    add_odd_sizes(golden)
    add_cells(golden)
    add_what_torch_has_not(golden)
    golden.describe("StateDict.several", "StateDict", {})
    golden.put("StateDict.several/values", torch.cat([y.flatten() for y in run_several(several_nets())]))
    return golden


# --- a case ------------------------------------------------------------------------------------------------------

def leaf(name, shape):
    return corner(name, shape).requires_grad_()


def put_case(golden, name, options, inputs, parameters, outputs):
    golden.describe(name, name.split(".")[0], {k: v for k, v in options.items() if v != DEFAULTS.get(k)})
    cotangents = [corner(f"dy{i}", y.shape) for i, y in enumerate(outputs)]
    gradients = torch.autograd.grad(outputs, [*inputs.values(), *parameters.values()], cotangents)
    for key, parts in (("values", outputs), ("gradients", gradients)):
        golden.put(f"{name}/{key}", torch.cat([part.flatten() for part in parts]))


def leaves_of(o, batch, steps, state, carries_cell):
    """x, and where they are given h0 and c0."""
    inputs = {"x": leaf("x", (batch, steps, o["input_size"]))}
    if state:
        LD = o.get("num_layers", 1) * (2 if o.get("bidirectional") else 1)
        inputs["h0"] = leaf("h0", (LD, batch, o.get("proj_size") or o["hidden_size"]))
        if carries_cell:
            inputs["c0"] = leaf("c0", (LD, batch, o["hidden_size"]))
    return inputs


def take_corners(module, suffix=""):
    module.double()
    for key, parameter in module.named_parameters():
        parameter.data = corner(key + suffix, parameter.shape)
    return dict(module.named_parameters())


# --- torch.nn's nets ---------------------------------------------------------------------------------------------

KINDS = {"RNN.tanh": {}, "RNN.relu": {"nonlinearity": "relu"}, "GRU": {}, "LSTM": {}, "LSTM.proj": {"proj_size": 1}}


def add_net(golden, name, options, lengths=None, batch=B, steps=4, state=True):
    op = name.split(".")[0]
    net = getattr(torch.nn, op)(batch_first=True, **options)
    parameters = take_corners(net)
    inputs = leaves_of(options, batch, steps, state, op == "LSTM")
    x = inputs["x"]
    start = (inputs["h0"], inputs["c0"]) if "c0" in inputs else inputs.get("h0")
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False) if lengths else x
    states, last = net(packed, start)
    if lengths:
        states = pad_packed_sequence(states, batch_first=True)[0]
    outputs = [states, *(last if op == "LSTM" else [last])]
    check_plain(op, options, parameters, inputs, lengths, outputs)
    sizes = dict(batch=batch, steps=steps, state=state, lengths=lengths)
    put_case(golden, name, {**options, **sizes}, inputs, parameters, outputs)


def check_plain(op, options, parameters, inputs, lengths, outputs):
    """plain_recurrent.py is torch.nn's equal wherever torch.nn has the net."""
    plain = plain_recurrent.run(plain_recurrent.kind_of(op, options), options, parameters, inputs, lengths)
    for ours, theirs in zip(plain, outputs):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def add_all_options(golden):
    switches = itertools.product(KINDS.items(), (1, 2, 3), (False, True), (True, False), (True, False), (None, LENGTHS))
    for (kind, more), layers, bidirectional, bias, state, lengths in switches:
        if bias != state and (layers == 3 or kind == "RNN.relu"):
            continue  # the file would grow and say little more
        name = [kind, str(layers), *["bi"] * bidirectional, *["nobias"] * (not bias), *["state"] * state,
                *["ragged"] * bool(lengths)]
        options = dict(input_size=3, hidden_size=2, num_layers=layers, bidirectional=bidirectional, bias=bias, **more)
        add_net(golden, ".".join(name), options, lengths, state=state)


def add_odd_sizes(golden):
    for kind, more in KINDS.items():
        for i, h, p in ((1, 1, 0), (7, 5, 2), (7, 17, 5), (1, 33, 8)):
            if "proj_size" not in more or p > 0:
                add_net(golden, f"{kind}.I{i}.H{h}", sized(more, i, h, p), [3, 5, 1], steps=5)
        options = sized(more, 7, 5, 2)
        add_net(golden, f"{kind}.batch1", options, batch=1, steps=5)
        add_net(golden, f"{kind}.length1", options, steps=1)
        add_net(golden, f"{kind}.batch1.length1", dict(options, bidirectional=True), batch=1, steps=1)


def sized(more, i, h, p):
    sizes = {"input_size": i, "hidden_size": h, "proj_size": p}
    return {**more, **{key: n for key, n in sizes.items() if key != "proj_size" or key in more}}


# --- torch.nn's cells --------------------------------------------------------------------------------------------

def add_cells(golden):
    kinds = {"RNNCell.tanh": {}, "RNNCell.relu": {"nonlinearity": "relu"}, "GRUCell": {}, "LSTMCell": {}}
    for (kind, more), bias, state, (i, h) in itertools.product(kinds.items(), (True, False), (True, False),
                                                              ((1, 1), (3, 2), (7, 5))):
        name = f"{kind}.I{i}.H{h}" + ".nobias" * (not bias) + ".state" * state
        options = dict(input_size=i, hidden_size=h, bias=bias, **more)
        cell = getattr(torch.nn, kind.split(".")[0])(**options)
        parameters = take_corners(cell, "_l0")
        inputs = {"x": leaf("x", (B, 1, i))}
        if state:
            inputs["h0"] = leaf("h0", (1, B, h))
            inputs.update({"c0": leaf("c0", (1, B, h))} if kind == "LSTMCell" else {})
        start = [inputs[key][0] for key in ("h0", "c0") if key in inputs]
        y = cell(inputs["x"][:, 0], *([tuple(start)] if len(start) == 2 else start))
        y = [part.unsqueeze(0) for part in (y if kind == "LSTMCell" else [y])]  # (1, B, H)
        outputs = [y[0].transpose(0, 1), *y[1:]]
        put_case(golden, name, dict(options, steps=1, state=state), inputs, parameters, outputs)


# --- what torch.nn does not have ---------------------------------------------------------------------------------

def add_what_torch_has_not(golden):
    features = {"": {}, "norm": {"layer_norm": True}, "zoneout": {"zoneout": 0.3, "cell_zoneout": 0.2},
                "norm.zoneout": {"layer_norm": True, "zoneout": 0.25, "cell_zoneout": 0.5},
                "masks": {"given": ["input_masks", "hidden_masks"]}, "shares": {"given": ["shares"]},
                "norm.masks.shares": {"layer_norm": True, "given": ["hidden_masks", "shares"]}}
    kinds = {**KINDS, "LSTM.coupled": {"coupled_gates": True},
             "LSTM.coupled.proj": {"coupled_gates": True, "proj_size": 1}}
    for (kind, more), (feature, switches) in itertools.product(kinds.items(), features.items()):
        if not feature and "coupled" not in kind:
            continue  # it is torch.nn's
        switches = {key: on for key, on in switches.items() if kind.startswith("LSTM") or key != "cell_zoneout"}
        options = {**sized(more, 3, 3 if "norm" in feature else 2, 1), **switches}  # a norm of two numbers says little
        name = ".".join(filter(None, [kind, feature]))
        add_plain(golden, name + ".1", options, None, state=False)
        add_plain(golden, name + ".2.bi.ragged", dict(options, num_layers=2, bidirectional=True), LENGTHS)


def add_plain(golden, name, options, lengths, state=True):
    op = name.split(".")[0]
    kind = plain_recurrent.kind_of(op, options)
    parameters = {key: leaf(key, shape) for key, shape in plain_recurrent.parameter_shapes(kind, options).items()}
    inputs = leaves_of(options, B, 4, state, op == "LSTM")
    outputs = plain_recurrent.run(kind, options, parameters, inputs, lengths, corner)
    put_case(golden, name, dict(options, state=state, lengths=lengths), inputs, parameters, outputs)


# --- a state_dict as PyTorch leaves it ---------------------------------------------------------------------------

class Several(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=3, batch_first=True)
        self.middle = torch.nn.GRU(6, 4, num_layers=2, bias=False, batch_first=True)
        self.decoder = torch.nn.RNN(4, 2, nonlinearity="relu", bidirectional=True, batch_first=True)
        self.cells = torch.nn.ModuleList([torch.nn.LSTMCell(4, 3), torch.nn.LSTMCell(3, 2)])


def several_nets():
    torch.manual_seed(5)
    return Several()


def run_several(net):
    net.double()
    middle = net.middle(net.encoder(corner("x", (B, 4, 3)))[0])[0]
    h = middle[:, -1]
    for cell in net.cells:
        h, c = cell(h)
    return [middle, net.decoder(middle)[0], h, c]


def state_dict():
    golden = GoldenFile()
    for name, tensor in several_nets().state_dict().items():
        golden.put(name, tensor)
    return golden
