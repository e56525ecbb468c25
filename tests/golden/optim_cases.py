"""Trajectories of optimizers under given gradients, gradient clipping, and learning-rate schedules."""
import math

import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedules

from golden_file import GoldenFile, generator_for, given, normal

STEPS = 20


def optimizers():
    """`problem/w` (3, 4) and `problem/b` (5) are the start; `problem/dw` and `/db` (20, ...) the gradients of each
    step; every case holds the parameters after each step, `w` (20, 3, 4) and `b` (20, 5)."""
    golden = GoldenFile()
    problem = make_problem(golden)
    add_trajectory(golden, problem, "SGD.plain", SGD, lr=0.1)
    add_trajectory(golden, problem, "SGD.momentum", SGD, lr=0.1, momentum=0.9)
    add_trajectory(golden, problem, "SGD.dampening", SGD, lr=0.1, momentum=0.9, dampening=0.3)
    add_trajectory(golden, problem, "SGD.nesterov", SGD, lr=0.1, momentum=0.9, nesterov=True)
    add_trajectory(golden, problem, "SGD.weight_decay", SGD, lr=0.1, momentum=0.9, weight_decay=0.05)
    for name, kind in {"Adam": Adam, "AdamW": AdamW}.items():
        add_trajectory(golden, problem, f"{name}.plain", kind, lr=0.01)
        add_trajectory(golden, problem, f"{name}.options", kind, lr=0.02, betas=[0.8, 0.95], eps=1e-6)
        add_trajectory(golden, problem, f"{name}.weight_decay", kind, lr=0.01, weight_decay=0.1)
        add_trajectory(golden, problem, f"{name}.groups", kind, lr=0.01, weight_decay=0.1,
                       group_b={"lr": 0.05, "weight_decay": 0.0})
    for max_norm in (0.5, 1000.0):
        add_clipping(golden, problem, f"clip_grad_norm.{max_norm}", max_norm)
    return golden


def make_problem(golden):
    rng = generator_for("problem")
    recipes = {"w": normal(3, 4), "b": normal(5), "dw": normal(STEPS, 3, 4), "db": normal(STEPS, 5)}
    problem = {key: given(recipe)(rng) for key, recipe in recipes.items()}
    for key, value in problem.items():
        golden.put(f"problem/{key}", value)
    return problem


def add_trajectory(golden, problem, name, kind, group_b=None, **options):
    """group_b: options of b where they differ from w's."""
    w, b = problem["w"].clone().requires_grad_(), problem["b"].clone().requires_grad_()
    optimizer = kind([{"params": [w]}, {"params": [b], **(group_b or {})}], **options)
    path = {"w": [], "b": []}
    for step in range(STEPS):
        w.grad, b.grad = problem["dw"][step].clone(), problem["db"][step].clone()
        optimizer.step()
        path["w"].append(w.detach().clone())
        path["b"].append(b.detach().clone())
    golden.describe(name, name.split(".")[0], {**options, "group_b": group_b} if group_b else options)
    for key, values in path.items():
        golden.put(f"{name}/{key}", torch.stack(values))


def add_clipping(golden, problem, name, max_norm):
    """Clips the first step's gradients; `norm` is their norm before."""
    w, b = problem["w"].clone().requires_grad_(), problem["b"].clone().requires_grad_()
    w.grad, b.grad = problem["dw"][0].clone(), problem["db"][0].clone()
    norm = torch.nn.utils.clip_grad_norm_([w, b], max_norm)
    golden.describe(name, "clip_grad_norm", {"max_norm": max_norm})
    for key, value in {"norm": norm, "dw": w.grad, "db": b.grad}.items():
        golden.put(f"{name}/{key}", value)


def learning_rates():
    """Tables `<case>/lr` in float64: entry t is the rate that the update number t, counted from 0, is made with."""
    golden = GoldenFile()
    base = 0.1
    add_schedule(golden, "StepLR.plain", base, schedules.StepLR, step_size=5, gamma=0.5)
    add_schedule(golden, "MultiStepLR.plain", base, schedules.MultiStepLR, milestones=[3, 7, 20], gamma=0.3)
    add_schedule(golden, "ExponentialLR.plain", base, schedules.ExponentialLR, gamma=0.9)
    add_schedule(golden, "ConstantLR.plain", base, schedules.ConstantLR, factor=0.25, total_iters=6)
    add_schedule(golden, "CosineAnnealingLR.plain", base, schedules.CosineAnnealingLR, T_max=30, eta_min=0.01)
    add_schedule(golden, "LinearLR.warm_up", base, schedules.LinearLR, start_factor=0.1, end_factor=1.0, total_iters=8)
    add_schedule(golden, "Noam.plain", 1.0, noam, d_model=512, warmup=10)
    add_schedule(golden, "SequentialLR.warm_up_cosine", base, warm_up_then_cosine, warmup=6, start_factor=0.1,
                 T_max=24, eta_min=0.001)
    return golden


def add_schedule(golden, name, base, make, steps=30, **options):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=base)
    schedule = make(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    golden.describe(name, name.split(".")[0], {"base": base, **options})
    golden.tensors[f"{name}/lr"] = torch.tensor(rates, dtype=torch.float64)


def noam(optimizer, d_model, warmup):
    """Vaswani et al. 2017, 5.3, whose first step is number 1."""
    return schedules.LambdaLR(
        optimizer, lambda t: 1 / math.sqrt(d_model) * min((t + 1) ** -0.5, (t + 1) * warmup ** -1.5))


def warm_up_then_cosine(optimizer, warmup, start_factor, T_max, eta_min):
    parts = [schedules.LinearLR(optimizer, start_factor=start_factor, total_iters=warmup),
             schedules.CosineAnnealingLR(optimizer, T_max=T_max, eta_min=eta_min)]
    return schedules.SequentialLR(optimizer, parts, milestones=[warmup])
