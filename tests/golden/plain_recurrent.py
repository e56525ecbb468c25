"""Recurrent nets in plain PyTorch, as their papers' equations say them: layer norm, coupled gates, zoneout and one
dropout mask a sequence are not in torch.nn. Written for the golden vectors alone, a number at a time slow.
"""
import torch

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4, "coupled": 3}


def kind_of(op, options):
    if op == "LSTM":
        return "coupled" if options.get("coupled_gates") else "lstm"
    return "gru" if op == "GRU" else options.get("nonlinearity", "tanh")


def carries_cell(kind):
    return kind in ("lstm", "coupled")


def directions(options):
    return ("", "_reverse") if options.get("bidirectional") else ("",)


def parameter_shapes(kind, o):
    """Names and shapes in the order of torch.nn's state_dicts; with layer norm, norms in the place of biases."""
    H, shapes = o["hidden_size"], {}
    GH, P = GATES[kind] * H, o.get("proj_size") or H
    for layer in range(o.get("num_layers", 1)):
        for reverse in directions(o):
            inputs = P * len(directions(o)) if layer else o["input_size"]
            own = {"weight_ih": (GH, inputs), "weight_hh": (GH, P)}
            if not o.get("layer_norm"):
                own.update(bias_ih=(GH,), bias_hh=(GH,))
            if o.get("proj_size"):
                own["weight_hr"] = (P, H)
            if o.get("layer_norm"):
                own.update(norm_ih_weight=(GH,), norm_ih_bias=(GH,), norm_hh_weight=(GH,), norm_hh_bias=(GH,))
                own.update(dict(norm_cell_weight=(H,), norm_cell_bias=(H,)) if carries_cell(kind) else {})
            shapes.update({f"{name}_l{layer}{reverse}": shape for name, shape in own.items()})
    return shapes


# --- one step ----------------------------------------------------------------------------------------------------

def normed(z, gain, bias):
    """LN(z; gain, bias) of Ba et al. 2016, supplement, eq. 16, with 1e-5 against a division by 0."""
    centred = z - z.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * gain + bias


def gates_by(w, side, v, parts):
    """W v + b; with layer norm LN(W v), part by part."""
    g = w[f"weight_{side}"] @ v
    if f"bias_{side}" in w:
        g = g + w[f"bias_{side}"]
    if f"norm_{side}_weight" not in w:
        return g
    gain, bias = w[f"norm_{side}_weight"].split(parts), w[f"norm_{side}_bias"].split(parts)
    return torch.cat([normed(*part) for part in zip(g.split(parts), gain, bias)])


def rnn_step(kind, w, x, h, seen):
    """Elman 1990."""
    n = w["weight_ih"].shape[0]
    g = gates_by(w, "ih", x, [n]) + gates_by(w, "hh", seen, [n])
    return torch.tanh(g) if kind == "tanh" else g.clamp(min=0)


def gru_step(w, x, h, seen):
    """Cho et al. 2014 in torch.nn's variant; layer norm: Ba et al. 2016, supplement, eqs. 23 to 26: of r and z
    together, of both sides of the candidate apart."""
    H = h.shape[0]
    r_x, z_x, n_x = gates_by(w, "ih", x, [2 * H, H]).split(H)
    r_h, z_h, n_h = gates_by(w, "hh", seen, [2 * H, H]).split(H)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    return (1 - z) * torch.tanh(n_x + r * n_h) + z * h


def lstm_step(kind, w, x, c, seen):
    """Gers et al. 2000; layer norm: Ba et al. 2016, supplement, eqs. 20 to 22; coupled: i = 1 - f, Greff et al. 2017;
    weight_hr: Sak et al. 2014."""
    n = w["weight_ih"].shape[0]
    g = (gates_by(w, "ih", x, [n]) + gates_by(w, "hh", seen, [n])).split(c.shape[0])
    f, o = torch.sigmoid(g[-3]), torch.sigmoid(g[-1])
    i = 1 - f if kind == "coupled" else torch.sigmoid(g[0])
    c_next = f * c + i * torch.tanh(g[-2])
    inner = normed(c_next, w["norm_cell_weight"], w["norm_cell_bias"]) if "norm_cell_weight" in w else c_next
    h = o * torch.tanh(inner)
    return (w["weight_hr"] @ h if "weight_hr" in w else h), c_next


def step(kind, w, x, h, c, seen):
    """seen: the h that meets W_hh, after dropout."""
    if carries_cell(kind):
        return lstm_step(kind, w, x, c, seen)
    return (gru_step(w, x, h, seen) if kind == "gru" else rnn_step(kind, w, x, h, seen)), c


# --- through time, layers and directions -------------------------------------------------------------------------

def walk(kind, w, x, h, c, reverse, mask, shares):
    """One sequence. mask: (P) of h before W_hh (Gal and Ghahramani 2016). shares: of each step and number of h and
    c how much stays as it was (Krueger et al. 2017, eqs. 4 and 5): h is computed from the c before zoneout."""
    states = [None] * len(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        h_next, c_next = step(kind, w, x[t], h, c, mask * h)
        h = shares[0][t] * h + (1 - shares[0][t]) * h_next
        c = shares[1][t] * c + (1 - shares[1][t]) * c_next if carries_cell(kind) else c
        states[t] = h
    return states, h, c


def run_direction(kind, o, w, at, x, lengths, start, corner):
    """x: (B, T, C)  ->  states (B, T, P), last (B, P), last cell (B, H)"""
    (B, T, _), H = x.shape, o["hidden_size"]
    P, given = o.get("proj_size") or H, o.get("given", [])

    def of_direction(name, *shape):
        return corner(name, (at + 1, B, *shape))[at]
    mask = of_direction("hidden_mask", P) if "hidden_masks" in given else x.new_ones(B, P)
    shares = [x.new_full((B, T, P), o.get("zoneout", 0)), x.new_full((B, T, H), o.get("cell_zoneout", 0))]
    if "shares" in given:
        shares = [of_direction("zoneout_shares", T, P), of_direction("cell_zoneout_shares", T, H)]
    states, last, last_cell = [], [], []
    for b in range(B):
        h = start["h0"][at, b] if "h0" in start else x.new_zeros(P)
        c = start["c0"][at, b] if "c0" in start else x.new_zeros(H)
        ys, h, c = walk(kind, w, x[b, :lengths[b]], h, c, at % len(directions(o)) == 1, mask[b],
                        [share[b] for share in shares])
        states.append(torch.stack(ys + [x.new_zeros(P)] * (T - len(ys))))
        last.append(h)
        last_cell.append(c)
    return torch.stack(states), torch.stack(last), torch.stack(last_cell)


def run(kind, o, parameters, inputs, lengths=None, corner=None):
    """States (B, T, D P), last states (L D, B, P) and last cells (L D, B, H). corner(name, shape) gives the masks and
    shares that o["given"] names."""
    seen = inputs["x"]
    lengths = lengths or [seen.shape[1]] * seen.shape[0]
    last, last_cell = [], []
    for layer in range(o.get("num_layers", 1)):
        if "input_masks" in o.get("given", []):
            seen = seen * corner(f"input_mask_l{layer}", (seen.shape[0], seen.shape[2]))[:, None]
        sides = []
        for reverse in directions(o):
            suffix = f"_l{layer}{reverse}"
            own = {key[:-len(suffix)]: value for key, value in parameters.items() if key.endswith(suffix)}
            states, h, c = run_direction(kind, o, own, len(last), seen, lengths, inputs, corner)
            sides.append(states)
            last.append(h)
            last_cell.append(c)
        seen = torch.cat(sides, 2)
    return [seen, torch.stack(last), *([torch.stack(last_cell)] if carries_cell(kind) else [])]
