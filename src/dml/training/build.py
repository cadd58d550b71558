"""The engine of an experiment."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.data.ood import NodeData
from dml.population import Population
from dml.training.batched import BatchedEngine
from dml.training.config import TrainingConfig
from dml.training.engine import Engine
from dml.training.loop import LoopEngine
from dml.training.orders import Passes

if TYPE_CHECKING:
    from dml.training.augment import Augmentation
    from dml.training.proximal import Proximal


def engine_of(
    name: str,
    population: Population,
    data: NodeData,
    training: TrainingConfig,
    *,
    seed: int,
    shuffle: bool = True,
    keep_optimizers: bool = False,
    slots: int | None = None,
    proximal: "Proximal | None" = None,
    augmentation: "Augmentation | None" = None,
    names: NDArray[np.int64] | None = None,
) -> Engine:
    """An engine whose nodes all belong to one experiment.

    Args:
        name: ``loop`` or ``batched``.
        population: the models.
        data: the training data of each node.
        training: optimiser, batch size.
        seed: the experiment's seed.
        shuffle: a new batch order in every pass.
        keep_optimizers: optimisers continue from round to round, and are part of a checkpoint.
        slots: how many optimisers have a memory of their own; by default every row of X.
        proximal, augmentation: for the loop engine.
        names: the numbers of the nodes in the whole graph; by default they are all of its nodes.
    """
    seeds = np.full(len(data.y), seed)
    orders = Passes(data.samples, training.batch_size, shuffle, seeds, names)
    if name == "batched":
        return BatchedEngine(population, data, training, orders, keep_optimizers, slots)
    return LoopEngine(
        population,
        data,
        training,
        orders,
        keep_optimizers,
        slots,
        proximal=proximal,
        augmentation=augmentation,
    )
