"""Whether the machine has room for an experiment: memory for the population, disk for its checkpoint."""

import shutil
from collections.abc import Callable

import psutil
import torch

from dml.errors import InputError
from dml.plan import Plan


def check(build: Callable[[], torch.nn.Module], plan: Plan) -> int:
    """Refuses what cannot fit, before anything is allocated.

    Args:
        build: makes one model.
        plan: the experiment.

    Returns:
        Numbers in one model.

    Raises:
        InputError: the population, with its optimisers' state, does not fit into the free memory, or
            its checkpoint does not fit onto the disk.
    """
    with torch.device("meta"):
        model = build()
    size = sum(t.numel() for t in [*model.parameters(), *model.buffers()])
    training = plan.config.training
    states = {"sgd": 1 if training.momentum else 0}.get(training.optimizer, 2) if training.train else 0
    states += 1 if training.train and training.prox_coeff else 0
    population = 4 * size * plan.topology.n
    needed, free = population * (1 + states), psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            "model",
            training.model,
            f"{plan.topology.n} nodes need {needed / 2**30:.1f} GiB of memory; {free / 2**30:.1f} are free",
        )
    room = shutil.disk_usage(plan.result.parent).free
    if population > room:
        raise InputError(
            "out_dir",
            plan.config.run.out_dir,
            f"the checkpoint takes {population / 2**30:.1f} GiB, and the disk has {room / 2**30:.1f} free",
        )
    return size
