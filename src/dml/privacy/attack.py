"""Trains on a few virtual batches of an experiment, and attacks their messages."""

from collections.abc import Iterable, Iterator

import numpy as np

from dml.algorithms.traversal import TraversalOptions
from dml.assembly import assemble
from dml.errors import InputError
from dml.files import folder_for
from dml.plan import Plan
from dml.privacy.findings import Finding
from dml.privacy.leaks import Attacks
from dml.privacy.overheard import Heard, overhear
from dml.traversal.engine import UnionEngine, Way
from dml.traversal.plan import epoch_plan


def attack(plan: Plan, batches: int, *, published: bool = False, masked: bool = False) -> Finding:
    """What is recovered from the first virtual batches.

    Args:
        plan: an experiment of Traversal Learning on a perceptron, with visits apart.
        batches: how many.
        published: in the three phases, every node is sent the rows of all nodes.
        masked: nodes mask the gradients that they send, and the orchestrator learns only their sums.

    Raises:
        InputError: a pass has fewer batches, the experiment cannot be, or it diverges.
    """
    chosen, training = plan.config, plan.config.training
    options = chosen.algorithm.options
    assert isinstance(options, TraversalOptions)
    with folder_for(plan.result.parent):
        parts = assemble(plan, None)
    order = options.batch_order
    first = epoch_plan(
        parts.data.samples, training.batch_size, chosen.run.seed, 0, order, shuffle=chosen.data.shuffle
    )
    if batches > first.batches:
        right = f"must be at most {first.batches}, the virtual batches of a pass"
        raise InputError("batches", batches, right)
    assert isinstance(parts.engine, UnionEngine)
    way = Way(options.cut, True, options.labels == "at_node", options.three_phases)
    plain = training.optimizer == "sgd" and not training.momentum and not training.weight_decay
    published = published and way.three_phases
    masks = chosen.run.seed if masked else None
    rates = training.rate()(0, np.arange(batches))
    heard = overhear(parts.engine, parts.population.parameters(0), first, rates)
    found = Attacks(parts.population.modules[0], way, plain, published, masks).on(_finite(heard, training.lr))
    return Finding(options.mode, way, found, plain, published, masked)


def _finite(batches: Iterable[Heard], lr: float) -> Iterator[Heard]:
    """The batches, as long as there is a model: linear algebra ends in errors on what is not finite."""
    for number, heard in enumerate(batches):
        if not all(bool(part.isfinite().all()) for part in heard.after):
            right = f"the model is no longer finite after virtual batch {number}: give a smaller one"
            raise InputError("lr", lr, right)
        yield heard
