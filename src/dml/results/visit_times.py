"""The simulated time of Traversal Learning's visits in a result file, computed again for another clock.

The virtual batches follow from the samples of the nodes and the seed, and the file says what one batch costs.
So the same execution carries out the rounds again without training, and gives the bits of a new run.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dml.config import ExperimentConfig
from dml.results.record import FINAL
from dml.results.sealed import Content

if TYPE_CHECKING:
    from dml.execution.execution import LocalTraining
    from dml.training.request import Trained
    from dml.traversal.account import Account
    from dml.traversal.request import BatchesRequest

COSTS = "visit_costs"
"""The attribute that says what a virtual batch costs."""


def account_in(file: Content, config: ExperimentConfig) -> "Account":
    """What visits cost on another clock.

    Args:
        file: the content; it has the attribute.
        config: the experiment, with the clock.

    Raises:
        ValueError, KeyError, TypeError: the attribute is not what was written.
    """
    # It loads torch, which whoever only compares clocks does not need.
    from dml.topology import Topology
    from dml.traversal.account import Account

    edges, weights = (file.arrays[f"topology/{name}"] for name in ("edges", "weights"))
    topology = Topology(len(file.arrays["data/samples"]), edges, weights, "the graph of the file")
    return Account.of_text(str(file.root[COSTS]), topology, config.clock, config.run.seed)


def put_times(file: Content, config: ExperimentConfig, account: "Account") -> None:
    """Computes the times of all rounds and rows, and puts them there.

    Args:
        file: the content.
        config: the experiment, with the clock.
        account: what its visits cost on this clock.
    """
    from dml.algorithms.one_model import BatchOptions
    from dml.execution.batches import Batches
    from dml.execution.execution import drive

    arrays, training, seed = file.arrays, config.training, config.run.seed
    samples, options = arrays["data/samples"], config.algorithm.options
    assert isinstance(options, BatchOptions)
    n = len(samples)
    plans = options.plans(samples, training.batch_size, seed, shuffle=config.data.shuffle)
    batches = Batches(plans, n, len(arrays["topology/edges"]), training, training.rate(), account)
    rounds: list[float] = []
    rows: dict[tuple[int, int], float] = {}

    def measure(told: "LocalTraining") -> bool:
        rows[len(rounds), told.epoch] = sum([*rounds, told.seconds])
        return True

    ended, number_of_row = len(arrays["time/simulated_s"]), arrays["metrics/round"].tolist()
    # A run that diverged has rows of a round that it did not end.
    for number in range(max([ended, *(number + 1 for number in number_of_row)])):
        seconds = drive(batches.advance(number, measure), partial(_untrained, n=n)).seconds
        if number < ended:
            rounds.append(seconds)
    whole, places = sum(rounds), zip(number_of_row, arrays["metrics/epoch"].tolist(), strict=True)
    of_rows = [whole if epoch == FINAL else rows[number, epoch] for number, epoch in places]
    file.put("time/simulated_s", np.array(rounds, np.float64))
    file.put("metrics/simulated_s", np.array(of_rows, np.float64))
    file.root["simulated_s"] = float(np.cumsum([0.0, *rounds])[-1])


def _untrained(request: "BatchesRequest", n: int) -> "Trained":
    from dml.training.request import Trained

    nothing, nobody = np.zeros(n, np.float32), np.zeros(n, np.int64)
    return Trained(nothing, nothing, nobody, nobody)
