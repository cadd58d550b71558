"""What an algorithm says about itself, and what it is built from.

An algorithm is one file of this folder, which ends in ``ALGORITHM = Algorithm(...)``, and one line of
:mod:`dml.algorithms.registry`. Nothing here imports torch, so that a command line can answer before torch is
loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.asynchronous import EventSetup, Rows
from dml.algorithms.options import Options
from dml.errors import InputError
from dml.topology import Topology

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dml.algorithms.event_rule import EventRule
    from dml.algorithms.rule import Rule
    from dml.coefficients.of_rounds import StrategyCoefficients
    from dml.exchange.exchange import Exchange
    from dml.training.config import TrainingConfig

STEPPING: dict[str, Any] = {"init": "same", "keep_optimizer": True, "local_steps": 1}
"""Defaults of algorithms that are published with one common start, one step per round, and optimisers that
continue from round to round."""


@dataclass(frozen=True)
class Setup:
    """What a rule is built from.

    Args:
        topology: the graph.
        X: the models at the start, [n, P], without padding columns.
        exchange: by which the rule learns about other nodes.
        options: the algorithm's own.
        loss_rule: what a lost message counts as, one of the algorithm's.
        seed: the experiment's seed.
        momentum: of the local optimiser.
        coefficients: of an aggregation strategy; None outside an experiment, where W is that of the options.
        tensors: first column and shape of each parameter in a row of X, as ``Population.tensors``.
        sends_first: models are also sent at the start of a round, for a proximal term.
        prox_coeff: mu of a proximal term.
        pace: local steps of each node in a round over their mean over all nodes of the experiment, [n]; None
            if all nodes take as many.
    """

    topology: Topology
    X: "Tensor"
    exchange: "Exchange"
    options: Options
    loss_rule: str = ""
    seed: int = 0
    momentum: float = 0.0
    coefficients: "StrategyCoefficients | None" = None
    tensors: "Sequence[tuple[int, torch.Size]]" = ()
    sends_first: bool = False
    prox_coeff: float = 0.0
    pace: NDArray[np.float64] | None = None

    @property
    def trained(self) -> int:
        """How many of the columns of X are parameters; they stand first."""
        return sum(shape.numel() for _, shape in self.tensors) or self.X.shape[1]


def _anything(topology: Topology, options: Any, seed: int) -> None:
    """Admits every graph."""


def _any_training(training: "TrainingConfig") -> None:
    """Admits every local training."""


def _not_synchronous(setup: Setup) -> "Rule":
    raise NotImplementedError("an asynchronous algorithm has no rule for rounds")


def _no_offsets(n: int) -> Sequence[int]:
    return ()


def _no_memory(n: int, m: int, lossy: bool) -> int:
    return 0


@dataclass(frozen=True)
class Algorithm:
    """The description of one algorithm.

    Args:
        about: what it does, in a few words, for the help.
        make: builds its rule, if it runs in synchronous rounds.
        start: builds its rule, if it is asynchronous.
        one_model: it trains one model on virtual batches of all nodes' samples.
        rows: (nodes, options) -> what the rows of X are.
        options: its own options, with their defaults.
        loss_rules: what it can make of a lost message, its default first; empty if none of its messages can
            be lost.
        version: raised when a change moves its numbers; part of the id of the experiments that run it.
        strategies: in experiments its coefficients are those of ``--aggregation_strategy``.
        participation: it reads ``--participation``: nodes that do not take part in a round neither train nor
            listen.
        draws_to_server: ``--prox_coeff`` draws to the server's model, and not to those of the neighbours.
        convex: new models are weighted means of models, so that what no gradient changes, such as the
            variances of a batch norm, is averaged along; otherwise it stays with its node.
        all_to_all: every node sends its model to every other one.
        offsets: (nodes) -> the distances between the numbers of nodes that exchange models, whatever the
            edges are.
        vectors: how many vectors of a model's size a message holds.
        answers: how many the message from a client to a server holds; None for as many.
        memory: (nodes, edges, whether messages may be lost) -> models' worth of memory besides X.
        admits: (graph, options, seed): raises InputError for a graph on which it cannot run.
        requires: raises InputError for a local training with which it cannot run.
        defaults: flags of the whole experiment whose default it changes.
        unread: flags of other sections that mean nothing under it.
        shards: several processes can share its nodes; its rule sends nothing by ``send`` of the exchange.
        needs_spectrum: with Metropolis-Hastings weights it runs on some graphs only, and needs an edge weight
            on others.
    """

    about: str
    make: Callable[[Setup], "Rule"] = _not_synchronous
    start: "Callable[[EventSetup], EventRule] | None" = None
    one_model: bool = False
    rows: Callable[[int, Any], Rows] = lambda n, options: Rows(nodes=n, optimizers=n)
    options: type[Options] = Options
    loss_rules: tuple[str, ...] = ()
    version: int = 1
    strategies: bool = False
    participation: bool = False
    draws_to_server: bool = False
    convex: bool = True
    all_to_all: bool = False
    offsets: Callable[[int], Sequence[int]] = _no_offsets
    vectors: int = 1
    answers: int | None = None
    memory: Callable[[int, int, bool], int] = _no_memory
    admits: Callable[[Topology, Any, int], None] = _anything
    requires: Callable[["TrainingConfig"], None] = _any_training
    defaults: Mapping[str, Any] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    shards: bool = True
    needs_spectrum: bool = False

    @property
    def vectors_back(self) -> int:
        """How many vectors of a model's size the message from a client to a server holds."""
        return self.vectors if self.answers is None else self.answers

    @property
    def events(self) -> bool:
        """Whether it is asynchronous: a sequence of events in simulated time instead of rounds."""
        return self.start is not None

    @property
    def runs_alone(self) -> bool:
        """Whether it can run outside an experiment, without an aggregation strategy or simulated time."""
        if self.events or self.one_model:
            return False
        return not self.strategies or bool(self.options.model_fields)

    def check_alone(self, name: str) -> None:
        """Refuses an algorithm that needs a strategy.

        Args:
            name: its own.

        Raises:
            InputError: it runs in experiments alone.
        """
        if not self.runs_alone:
            why = "averages by an aggregation strategy"
            if self.events or self.one_model:
                why = "needs simulated time" if self.events else "needs the nodes' data"
            right = f"{why}, so it runs only in an experiment"
            raise InputError("algorithm", name, right)
