"""SGD along a random walk: one model, which trains where it is and goes on (Johansson, Rabi, Johansson 2009).

    x <- local steps from x on the data of node v;  v <- a neighbour, or v again, by the transition matrix

This is :mod:`dml.algorithms.multi_walk` with one walk, for which mixing changes nothing.

Plain form: ``tests/algorithms/test_multi_walk.py``.
"""

from dataclasses import replace

from dml.algorithms import multi_walk
from dml.algorithms.algorithm import Algorithm
from dml.algorithms.asynchronous import ASYNCHRONOUS, EventSetup, Rows
from dml.algorithms.walk_options import MultiWalkOptions, WalkOptions
from dml.topology import Topology


def as_multi_walk(options: WalkOptions) -> MultiWalkOptions:
    """The options of Multi-Walk that mean the same."""
    return MultiWalkOptions(**options.model_dump(), walks=1, mixing="none")


def admits(topology: Topology, options: WalkOptions, seed: int) -> None:
    """Refuses a graph on which the walk cannot start or go."""
    options.admits(topology, seed)


def rows_of(n: int, options: WalkOptions) -> Rows:
    """The rows of X for n nodes."""
    return multi_walk.rows_of(n, as_multi_walk(options))


def start(setup: EventSetup) -> multi_walk.MultiWalk:
    """One walk on a simulation."""
    assert isinstance(setup.options, WalkOptions)
    return multi_walk.start(replace(setup, options=as_multi_walk(setup.options)))


ALGORITHM = Algorithm(
    about="one model walks over the graph, and trains where it is",
    start=start,
    rows=rows_of,
    options=WalkOptions,
    loss_rules=("resend",),
    admits=admits,
    requires=multi_walk.requires,
    defaults=ASYNCHRONOUS,
    unread=frozenset({"prox_coeff"}),
)
