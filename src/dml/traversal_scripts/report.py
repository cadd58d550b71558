"""The text about a comparison, in at most 80 columns."""

import math
from collections.abc import Iterator

from dml.algorithms.traversal import TraversalOptions
from dml.plan import Plan
from dml.training import learning_rate
from dml.traversal_scripts.config import loss_text
from dml.traversal_scripts.side_by_side import Found

NAMES = ("loss", "gradient", "parameters")
"""What the differences are of."""


def text(plan: Plan, found: Found, tolerance: float) -> str:
    """Differences by epoch, accuracies, bytes, and the verdict.

    Args:
        plan: the experiment with Traversal Learning.
        found: what the comparison has found.
        tolerance: the largest difference that is allowed.
    """
    parts = (_heading(plan, found), _epochs(plan, found), _bytes(plan, found), _verdict(found, tolerance))
    return "\n\n".join("\n".join(part) for part in parts)


def _heading(plan: Plan, found: Found) -> Iterator[str]:
    config, options = plan.config, plan.config.algorithm.options
    assert isinstance(options, TraversalOptions)
    yield f"{config.data.dataset}, {config.training.model}, {plan.topology.n} nodes, mode {options.mode}"
    yield (
        f"{found.batches} batches of {config.training.batch_size}, seed {config.run.seed}, "
        f"plan {found.plan_sha256[:12]}"
    )


def _epochs(plan: Plan, found: Found) -> Iterator[str]:
    """One line per epoch; the loss is that of centralized training."""
    training = plan.config.training
    schedule = learning_rate.parse(training.lr_schedule)
    yield f"{'':>5}{'':>12}{'':>12}   largest differences of"
    yield f"{'epoch':>5}{'lr':>12}{'loss':>12}" + "".join(f"{name:>14}" for name in NAMES)
    for epoch, (loss, own) in enumerate(zip(found.losses, found.differences, strict=True)):
        rate = training.lr * schedule.factor(epoch)
        yield f"{epoch + 1:>5}{rate:>12.6g}{loss_text(loss):>12}" + "".join(
            f"{value:>14.2e}" for value in own
        )
    one, other = ("not finite" if math.isnan(value) else f"{value:.4f}" for value in found.accuracies)
    yield f"test accuracy: centralized {one}, traversal {other}"


def _bytes(plan: Plan, found: Found) -> Iterator[str]:
    graph = plan.topology.source
    yield f"{'bytes':<44}{'to nodes':>16}{'from nodes':>16}"
    for name, (to, back) in (("in all messages", found.counted), ("by the formulas", found.by_formula)):
        yield f"{name:<44}{int(to.sum()):>16}{int(back.sum()):>16}"
    yield f"{f'over the edges of {graph}, visited from node 0':<44}{found.on_edges:>32}"
    yield f"{'by the formulas':<44}{found.on_edges_by_formula:>32}"


def _verdict(found: Found, tolerance: float) -> Iterator[str]:
    within = found.largest <= tolerance
    told = "within" if within else "NOT within"
    yield f"largest difference {found.largest:.2e}, {told} the tolerance of {tolerance:g}"
    yield "bytes as by the formulas" if found.bytes_agree else "bytes NOT as by the formulas"
