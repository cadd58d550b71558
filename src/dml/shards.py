"""The parts of a run that see all nodes, over those of one process that trains and measures its own."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.population import Population, at_once, distances
from dml.ranks.ranks import Ranks
from dml.training.engine import Engine
from dml.training.evaluate import MEAN_MODEL, Evaluator, Scores
from dml.training.request import Request, Trained

NAMES = ("test_loss", "test_acc", "ood_loss", "ood_acc", "ood_asr")
CLASSES = ("tp", "predicted", "support")
GATHERED = 4
"""Chunks of columns that rank 0 gets at a time. A multiple of 64 columns: torch adds up the last few columns
of a matrix in another order, so other pieces would give a mean model of other bits."""


class SharedEngine:
    """An engine that is asked to train rows of all nodes, and trains those of its process.

    Args:
        engine: trains the rows here; its nodes are those that live here.
        ranks: the processes.
        n: the number of nodes.
    """

    def __init__(self, engine: Engine, ranks: Ranks, n: int) -> None:
        self._engine, self._ranks, self._n, self._here = engine, ranks, n, ranks.here(n)

    def train(self, request: Request) -> Trained:
        """As :meth:`Engine.train`, on all processes together.

        Args:
            request: with the rows and nodes of the whole graph, ascending; its momentum and its correction
                are those of the rows that live here.
        """
        here = (request.rows >= self._here.start) & (request.rows < self._here.stop)
        answer = np.empty((int(here.sum()), 4))
        if here.any():
            rows = request.rows[here] - self._here.start
            own = Request(
                rows,
                rows,
                request.steps[here],
                request.rates[here],
                request.begins,
                request.momentum,
                correction=request.correction,
            )
            trained = self._engine.train(own)
            answer[:] = np.stack([trained.loss, trained.accuracy, trained.answers, trained.judged], 1)
        chosen = np.zeros(self._n, bool)
        chosen[request.rows] = True
        loss, accuracy, answers, judged = (
            self._ranks.gathered(torch.from_numpy(answer), self._ranks.counts(chosen)).numpy().T
        )
        single, whole = np.float32, np.int64
        return Trained(
            loss.astype(single), accuracy.astype(single), answers.astype(whole), judged.astype(whole)
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """That of all nodes on rank 0, and rubbish on the others."""
        own = self._engine.state()
        # A process has unfinished passes to tell of if any has.
        if self._ranks.largest(int("taken" in own))[0]:
            own.setdefault("taken", np.zeros_like(own["passes"]))
        return {name: rows_of_all(self._ranks, own[name], self._n) for name in sorted(own)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues, bit for bit, from what :meth:`state` returned on rank 0.

        Raises:
            KeyError: something is missing.
            ValueError: something does not fit.
        """
        names = {*self._engine.state(), "taken"} & state.keys()
        for name in names:
            if len(state[name]) != self._n:
                raise ValueError(f"{name} has the shape {state[name].shape}")
        self._engine.load_state({name: state[name][self._here] for name in names})


class SharedEvaluator:
    """Measures the models of all nodes: each process its own, and rank 0 their mean.

    Args:
        evaluate: measures the models here.
        population: the models here.
        ranks: the processes.
        n: the number of nodes.
    """

    def __init__(self, evaluate: Evaluator, population: Population, ranks: Ranks, n: int) -> None:
        self._evaluate, self._population, self._ranks, self._n = evaluate, population, ranks, n

    def __call__(
        self,
        rows: range | None = None,
        singles: Mapping[str, Tensor] = MappingProxyType({}),
        *,
        of_nodes: bool = True,
        mean: bool = True,
    ) -> Scores:
        """As :meth:`Evaluator.__call__`, for all nodes alone; every process gets all scores."""
        if rows not in (None, range(self._n)) or singles or not mean or not of_nodes:
            raise ValueError("processes that share nodes measure all nodes, and their mean")
        if not self._ranks.collects:
            own = self._evaluate(None, mean=False)
            own.more["consensus_distance"] = np.full(self._n, np.nan, np.float32)
            return self._whole(own)
        average = self._population.X.new_zeros(self._population.X.shape[1])
        chunks = self._chunks(average)
        if self._ranks.rank:
            list(chunks)
            consensus, models = np.zeros(self._n, np.float32), {}
        else:
            consensus, models = distances(chunks, self._n), {MEAN_MODEL: average}
        own = self._evaluate(None, models, mean=False)
        own.more["consensus_distance"] = consensus
        return self._whole(own)

    def _chunks(self, average: Tensor) -> Iterator[Tensor]:
        """The parameters of all nodes in chunks, on rank 0; their mean is written on the way."""
        X, trained = self._population.X, self._population.trained
        step = at_once(self._n, X)
        for start in range(0, X.shape[1], GATHERED * step):
            part = slice(start, min(start + GATHERED * step, X.shape[1]))
            whole = self._ranks.at_first(X[:, part].contiguous(), _counts(self._ranks, self._n))
            if not self._ranks.rank:
                average[part] = whole.mean(0)
                for first in range(0, min(part.stop, trained) - start, step):
                    yield whole[:, first : min(first + step, trained - start)]

    def _whole(self, own: Scores) -> Scores:
        """The scores of all nodes from those of each process."""
        ranks, counts = self._ranks, _counts(self._ranks, self._n)
        local = [name for name in own.more if name != "consensus_distance"]
        columns = [getattr(own, name) for name in NAMES] + [own.more[name] for name in local]
        scores = ranks.gathered(torch.from_numpy(np.stack(columns, 1)), counts).numpy().T
        classes = np.stack([getattr(own, name) for name in CLASSES], 1)
        by_class = ranks.gathered(torch.from_numpy(classes), counts).numpy()
        consensus = ranks.of_first(torch.from_numpy(own.more["consensus_distance"])).numpy()
        single = [own.singles[MEAN_MODEL][name] for name in NAMES] if own.singles else [np.nan] * len(NAMES)
        mean = ranks.of_first(torch.tensor(single, dtype=torch.float64)).tolist()
        of_nodes = dict(zip([*NAMES, *local], scores, strict=True))
        arrays: dict[str, Any] = {name: of_nodes[name] for name in NAMES}
        return Scores(
            **arrays,
            tp=by_class[:, 0],
            predicted=by_class[:, 1],
            support=by_class[:, 2],
            more={"consensus_distance": consensus} | {name: of_nodes[name] for name in local},
            singles={MEAN_MODEL: dict(zip(NAMES, mean, strict=True))},
        )


def rows_of_all(ranks: Ranks, rows: NDArray[Any], n: int) -> NDArray[Any]:
    """The rows of all nodes on rank 0, and rubbish on the others.

    Args:
        ranks: the processes.
        rows: those of the nodes that live here.
        n: the number of nodes.
    """
    found: NDArray[Any] = ranks.at_first(torch.from_numpy(rows), _counts(ranks, n)).numpy()
    return found


def _counts(ranks: Ranks, n: int) -> list[int]:
    return ranks.counts(np.ones(n, bool))
