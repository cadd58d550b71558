"""What algorithms share that train one model on virtual batches of all nodes' samples."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dml.algorithms.asynchronous import Rows
from dml.algorithms.options import Options
from dml.errors import InputError
from dml.traversal.plan import Order, Plans, epoch_plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dml.training.config import TrainingConfig

DEFAULTS: Mapping[str, Any] = {"init": "same", "keep_optimizer": True}
"""One model, whose optimiser continues from round to round as in any training in one place."""

UNREAD = frozenset({"prox_coeff", "failing_nodes"})
"""What means nothing where there is one model."""


class BatchOptions(Options):
    """The options of every such algorithm."""

    batch_order: Order = Field(
        "new",
        description="batches of one model: other ones in each pass (new), or those of the first pass in each "
        "pass (fixed)",
    )

    def plans(self, samples: "NDArray[np.int64]", batch_size: int, seed: int, *, shuffle: bool) -> Plans:
        """The batches of each pass.

        Args:
            samples: of each node, [n].
            batch_size: samples of a batch.
            seed: the experiment's seed.
            shuffle: otherwise the samples come in their own order.
        """
        return partial(epoch_plan, samples, batch_size, seed, order=self.batch_order, shuffle=shuffle)


def one_row(n: int, options: BatchOptions) -> Rows:
    """X is the one model."""
    return Rows(nodes=1, optimizers=1)


def requires(training: "TrainingConfig") -> None:
    """There is one model, and it is trained."""
    if training.init != "same":
        raise InputError("init", training.init, "must be same: there is one model")
    if not training.train:
        raise InputError("train", training.train, "leave it out: only training changes the one model")
