"""Checks that there is room for an experiment: memory on the card and the host, and space on the disk."""

import math
import shutil
from collections.abc import Callable

import psutil
import torch

from dml import accelerators
from dml.data.dataset import NEXT_TOKEN
from dml.errors import InputError
from dml.messages import amount
from dml.models.cost import frozen_of, size_of
from dml.plan import Plan


def population_bytes(size: int, plan: Plan) -> int:
    """Bytes of X: all nodes' models, or whatever rows an asynchronous algorithm has.

    Args:
        size: numbers in one model.
        plan: the experiment.
    """
    return 4 * size * plan.rows.total


def training_bytes(size: int, plan: Plan, frozen: int = 0) -> int:
    """Bytes of all nodes' models, their optimisers' moments, the round's start and the algorithm's memory.

    Args:
        size: numbers in one model.
        plan: the experiment.
        frozen: numbers in the frozen parameters, which all nodes share.
    """
    start = 1 if plan.config.draws_to_neighbours else 0
    own = (1 + start) * population_bytes(size, plan) + _moments_bytes(size, plan)
    return own + _remembered(size, plan) + 4 * frozen


def checkpoint_bytes(size: int, plan: Plan) -> int:
    """The largest size of a checkpoint in bytes.

    Args:
        size: numbers in one model.
        plan: the experiment.
    """
    kept = _moments_bytes(size, plan) if plan.config.training.keep_optimizer else 0
    return population_bytes(size, plan) + kept + _remembered(size, plan)


def _moments_bytes(size: int, plan: Plan) -> int:
    """Bytes of what the local optimisers remember."""
    training = plan.config.training
    return 4 * size * plan.rows.optimizers * training.remembered if training.train else 0


def _remembered(size: int, plan: Plan) -> int:
    """Bytes of the algorithm's memory."""
    config, topology = plan.config, plan.topology
    lossy = config.algorithm.drop_probability > 0 or bool((topology.weights < 1).any())
    # If nodes fail, the models of the others are copied, and so is the algorithm's momentum.
    left = 2 * topology.n if config.algorithm.failing_nodes else 0
    return 4 * size * (left + config.algorithm.described.memory(topology.n, topology.m, lossy))


def data_bytes(plan: Plan) -> int:
    """Bytes of the training and test data, in the form that models read."""
    spec = plan.dataset
    # Tokens are kept as bytes, or where labels stand among them, as int32, both as inputs and as answers;
    # images as float32. Each sample also has a label and a number, int64.
    each = (8 if spec.choices else 1) if spec.task == NEXT_TOKEN else 4
    a_sample = math.prod(spec.shape) * each + 16
    return sum(spec.sizes) * a_sample


def check(build: Callable[[], torch.nn.Module], plan: Plan, device: torch.device, shards: int = 1) -> int:
    """Refuses an experiment that does not fit, before anything is allocated.

    Args:
        build: makes one model.
        plan: the experiment.
        device: the accelerator. A card holds models, optimisers and data in its own memory, and the host
            holds a copy of the models for the checkpoint.
        shards: how many processes share it, each with a card of its own.

    Returns:
        The count of numbers in one model, frozen ones included.

    Raises:
        InputError: the population with its optimisers' state does not fit into the free memory, or its
            checkpoint does not fit onto the disk.
    """
    with torch.device("meta"):
        model = build()
    size, frozen = size_of(model), frozen_of(model)
    on_card = accelerators.free_memory(device)
    if on_card is None:
        needs = [(training_bytes(size, plan, frozen), psutil.virtual_memory().available, "memory")]
    else:
        needs = [
            (training_bytes(size, plan, frozen) // shards + data_bytes(plan), on_card, f"memory on {device}"),
            (population_bytes(size, plan), psutil.virtual_memory().available, "the host's memory"),
        ]
    for needed, free, where in needs:
        if needed > free:
            need, left = f"{amount(needed)} of {where}", f"{amount(free)} are free"
            raise InputError(
                "model", plan.config.training.model, f"{plan.topology.n} nodes need {need}; {left}"
            )
    written, disk = checkpoint_bytes(size, plan), shutil.disk_usage(plan.result.parent).free
    if written > disk:
        right = f"the checkpoint takes {amount(written)}, and the disk has {amount(disk)} free"
        raise InputError("out_dir", plan.config.run.out_dir, right)
    return size + frozen
