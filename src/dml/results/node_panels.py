"""The panels of a picture of nodes, as data: the values of the nodes, and the words above them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.config import label_of
from dml.errors import ArgumentError, InputError
from dml.results.reader import Loaded
from dml.results.record import FINAL
from dml.results.status import CUT_SHORT, Status

MOST_NODES = 2000
"""The largest number of nodes: with more, nodes hide one another, and the layout takes minutes."""


@dataclass(frozen=True)
class NodePanel:
    """The panel of one experiment.

    Args:
        result: its result file.
        values: the values of its nodes, [n]; NaN for a node without a value.
        when: the time of the measurement, in words.
    """

    result: Loaded
    values: NDArray[np.float64]
    when: str

    @property
    def graph(self) -> str:
        """The id of the graph: equal graphs have equal ids."""
        return str(self.result.attributes["graph_id"])

    @property
    def edges(self) -> NDArray[np.int32]:
        """The edges of the graph, [m, 2]."""
        edges: NDArray[np.int32] = self.result.arrays["topology/edges"]
        return edges

    @property
    def is_ood(self) -> NDArray[np.bool_]:
        """Whether each node holds OOD data, [n]."""
        return np.isin(np.arange(len(self.values)), self._ood_nodes())

    def title(self, *, with_time: bool) -> list[str]:
        """The lines above the panel.

        Args:
            with_time: whether to say when the values were measured.
        """
        result = self.result
        lines = [
            f"{label_of(result.config)}, seed {result.config['seed']}, {self._where()}",
            str(result.attributes["topology_family"]),
            self._mean(),
        ]
        lines += [self.when] if with_time else []
        status = result.attributes["status"]
        if status in CUT_SHORT:
            lines.append(f"{status} in round {result.arrays['metrics/round'][-1]}")
        return lines

    def _diverged(self) -> bool:
        return bool(self.result.attributes["status"] == Status.DIVERGED)

    def _ood_nodes(self) -> list[int]:
        config = self.result.config
        return list(config["backdoor_node_idx"]) if config["backdoor"] else []

    def _where(self) -> str:
        nodes = self._ood_nodes()
        if not nodes:
            return "no OOD data"
        return f"OOD on {', '.join(map(str, nodes[:3]))}" + (", ..." if len(nodes) > 3 else "")

    def _mean(self) -> str:
        known = ~np.isnan(self.values)
        if known.all():
            return f"mean {self.values.mean():.2f}"
        if known.any():
            return f"mean {self.values[known].mean():.2f} ({known.sum()} of {len(known)} nodes)"
        return "not finite" if self._diverged() else "not measured"


def node_panel(result: Loaded, metric: str, number: int | None) -> NodePanel:
    """Finds the values of an experiment's nodes.

    Args:
        result: the experiment.
        metric: a name below ``metrics/`` in its file, such as ``ood_acc``.
        number: the round after whose training the metric was measured; None for the last row that has values
            (training has none after the last aggregation).

    Raises:
        InputError: the file lacks the metric or the round, or its graph is too large.
    """
    if metric not in result.metrics:
        known = ", ".join(result.metrics)
        raise InputError("metric", metric, f"is not in {result.path}; choose one of: {known}")
    n = len(result.arrays["topology/degree"])
    if n > MOST_NODES:
        raise ArgumentError("FILE", result.path, f"has {n} nodes; a picture shows at most {MOST_NODES}")
    row = _row(result, metric, number)
    if result.arrays["metrics/epoch"][row] == FINAL:
        when = "after the last aggregation"
    else:
        when = f"after training in round {result.arrays['metrics/round'][row]}"
    return NodePanel(result, result.values(metric, row), when)


def _row(result: Loaded, metric: str, number: int | None) -> int:
    rounds, epochs = result.arrays["metrics/round"], result.arrays["metrics/epoch"]
    if not len(rounds):
        raise InputError("round", number, f"nothing was measured in {result.path}")
    rows = np.arange(len(rounds)) if number is None else np.flatnonzero((rounds == number) & (epochs >= 0))
    if not len(rows):
        right = f"was not measured in {result.path}, which has rounds {rounds.min()} to {rounds.max()}"
        raise InputError("round", number, right)
    if number is None and metric.startswith("train_"):
        some = [row for row in rows if np.isfinite(result.values(metric, int(row))).any()]
        return int(some[-1] if some else rows[-1])
    return int(rows[-1])


def limits(metric: str, panels: Iterable[NodePanel]) -> tuple[float, float]:
    """The ends of the scale that all panels share: 0 and 1 for accuracies, otherwise the extreme values."""
    values = np.concatenate([panel.values for panel in panels])
    measured = values[~np.isnan(values)]
    if metric.endswith("_acc") or metric == "ood_asr" or not len(measured):
        return 0.0, 1.0
    return float(measured.min()), float(measured.max())
