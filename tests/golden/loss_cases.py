"""The losses, with their options and reductions."""
import itertools

import torch
import torch.nn.functional as F

from golden_file import GoldenFile, corners, fixed, given, integers, normal, uniform

REDUCTIONS = ("none", "mean", "sum")
TARGETS = [2, 5, 0, 3, 3, 0, 6, 1, 4]  # 0 is the class that some cases ignore


def loss():
    golden = GoldenFile()
    add_cross_entropy(golden)
    add_nll(golden)
    add_regression(golden)
    add_bce_with_logits(golden)
    add_kl_div(golden)
    return golden


def add_cross_entropy(golden):
    inputs = [normal(9, 7, scale=2), fixed(TARGETS)]
    class_weights = given(uniform(0.3, 2, 7))
    for reduction, ignored, smoothing, weighted in itertools.product(
            REDUCTIONS, (None, 0), (0.0, 0.1), (False, True)):
        name = ".".join(["cross_entropy", reduction] + ["ignore"] * (ignored is not None) +
                        ["smooth"] * (smoothing > 0) + ["weighted"] * weighted)
        golden.add(name, cross_entropy, inputs + [class_weights] * weighted, reduction=reduction,
                   label_smoothing=smoothing, **ignore_option(ignored))
    golden.add("cross_entropy.far_apart", cross_entropy, [uniform(-80, 80, 9, 7), fixed(TARGETS)],
               reduction="mean", label_smoothing=0.0)
    golden.add("cross_entropy.sequences", sequence_cross_entropy, [normal(3, 4, 7), integers(7, 3, 4)],
               reduction="mean", label_smoothing=0.1, ignore_index=0)


def cross_entropy(logits, targets, weight=None, *, reduction, label_smoothing, ignore_index=-100):
    return F.cross_entropy(logits, targets, weight, ignore_index=ignore_index, reduction=reduction,
                           label_smoothing=label_smoothing)


def sequence_cross_entropy(logits, targets, **options):
    """Classes on the last axis, (B, T, V), where PyTorch wants them on the second."""
    return cross_entropy(logits.transpose(1, 2), targets, **options)


def ignore_option(ignored):
    return {} if ignored is None else {"ignore_index": ignored}


def add_nll(golden):
    for reduction, ignored, weighted in itertools.product(REDUCTIONS, (None, 0), (False, True)):
        name = ".".join(["nll", reduction] + ["ignore"] * (ignored is not None) + ["weighted"] * weighted)
        golden.add(name, nll, [normal(9, 7), fixed(TARGETS)] + [given(uniform(0.3, 2, 7))] * weighted,
                   reduction=reduction, **ignore_option(ignored))


def nll(log_probs, targets, weight=None, *, reduction, ignore_index=-100):
    return F.nll_loss(log_probs, targets, weight, ignore_index=ignore_index, reduction=reduction)


def add_regression(golden):
    for reduction in REDUCTIONS:
        pair = [normal(4, 9), normal(4, 9)]
        golden.add(f"mse.{reduction}", F.mse_loss, pair, reduction=reduction)
        golden.add(f"l1.{reduction}", F.l1_loss, pair, reduction=reduction)
        for beta in (1.0, 0.3):
            golden.add(f"smooth_l1.{reduction}.beta{beta}", F.smooth_l1_loss, pair, reduction=reduction, beta=beta)
    at_corners = [corners([0.0, 1.0, -1.0, 0.5]), corners([0.0, 0.0, 0.0, 0.0])]  # d = 0 and |d| = beta
    golden.add("l1.corners", F.l1_loss, at_corners, reduction="none")
    golden.add("smooth_l1.corners", F.smooth_l1_loss, at_corners, reduction="none", beta=1.0)
    golden.add("smooth_l1.no_beta", F.smooth_l1_loss, [normal(4, 9), normal(4, 9)], reduction="none", beta=0.0)


def add_bce_with_logits(golden):
    for reduction in REDUCTIONS:
        pair = [normal(4, 7, scale=3), given(uniform(0, 1, 4, 7))]
        golden.add(f"bce_with_logits.{reduction}", bce_with_logits, pair, reduction=reduction)
        golden.add(f"bce_with_logits.{reduction}.pos_weight", bce_with_logits, pair + [given(uniform(0.5, 3, 7))],
                   reduction=reduction)
    golden.add("bce_with_logits.far_apart", bce_with_logits, [uniform(-90, 90, 31), given(uniform(0, 1, 31))],
               reduction="none")


def bce_with_logits(logits, targets, pos_weight=None, *, reduction):
    return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight, reduction=reduction)


def add_kl_div(golden):
    for reduction, log_target in itertools.product(REDUCTIONS + ("batchmean",), (False, True)):
        golden.add(f"kl_div.{reduction}.{'log' if log_target else 'plain'}_target", kl_div,
                   [normal(5, 7, scale=2), normal(5, 7, scale=2)], reduction=reduction, log_target=log_target)


def kl_div(scores, target_scores, *, reduction, log_target):
    """Both distributions are made from scores inside, so that they are proper and gradients reach the scores."""
    normalise = torch.log_softmax if log_target else torch.softmax
    return F.kl_div(torch.log_softmax(scores, -1), normalise(target_scores, -1), reduction=reduction,
                    log_target=log_target)
