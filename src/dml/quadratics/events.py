"""Asynchronous algorithms on random quadratics, in simulated time and in float64.

An update is one step, or a few, on the loss of one node. Errors are measured for each model that an algorithm
may be judged by, as their order depends on the choice.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Size, Tensor

from dml import randomness
from dml.algorithms import registry
from dml.algorithms.asynchronous import EventOptions, EventSetup, RoundEnd
from dml.algorithms.outages import Outages
from dml.clock import laws
from dml.clock.compute import ComputeTimes
from dml.clock.transfers import Transfers
from dml.errors import InputError
from dml.execution.events import Events
from dml.execution.execution import Interval, LocalTraining, drive
from dml.quadratics.problem import RandomQuadratics
from dml.simulation.simulation import Simulation
from dml.topology import Topology
from dml.training.learning_rate import constant
from dml.training.request import Request, Trained

BLOCK = 64
"""Noise vectors of a node that are drawn at once."""


@dataclass(frozen=True)
class EventTrace:
    """The course of one asynchronous run, at each measurement.

    Args:
        updates: how many have been applied, [t].
        seconds: of simulated time, [t].
        messages: models that have been sent, [t].
        errors: f - f*, by the model that is judged, [t] each: ``mean_model``, the mean of all models of nodes
            or walks; ``average``, the mean of the errors of these models; ``worst``, the largest of them; and
            ``deliverable``, if the algorithm delivers another model.
    """

    updates: NDArray[np.int64]
    seconds: NDArray[np.float64]
    messages: NDArray[np.int64]
    errors: dict[str, NDArray[np.float64]]

    def first(self, target: float, judged_by: str) -> int | None:
        """The first measurement at which an error is at most the target; None if there is none."""
        reached = np.flatnonzero(self.errors[judged_by] <= target)
        return int(reached[0]) if len(reached) else None


class Steps:
    """Takes the steps of updates, as an engine does.

    Args:
        problem: the losses, with their noise.
        X: rows of models, [rows, d].
    """

    def __init__(self, problem: RandomQuadratics, X: Tensor) -> None:
        self._problem, self._X = problem, X.numpy()
        self._taken = np.zeros(problem.n, np.int64)
        self._noise: dict[int, tuple[int, NDArray[np.float64]]] = {}

    def train(self, request: Request) -> Trained:
        """Replaces each row by its change; the losses are not measured."""
        problem = self._problem
        for row, node, steps, rates in zip(
            request.rows.tolist(), request.nodes.tolist(), request.steps.tolist(), request.rates, strict=True
        ):
            x = self._X[row].copy()
            for step in range(steps):
                g = problem.H[node] @ (x - problem.optimum) + problem.g[node] + self._next_noise(node)
                x -= rates[step] * g
            self._X[row] = x - self._X[row]
        zeros = np.zeros(len(request.rows), np.float32)
        return Trained(zeros, zeros, request.steps, request.steps)

    def _next_noise(self, node: int) -> NDArray[np.float64] | float:
        problem, taken = self._problem, int(self._taken[node])
        if not problem.noise:
            return 0.0
        self._taken[node] = taken + 1
        block, place = divmod(taken, BLOCK)
        if self._noise.get(node, (-1,))[0] != block:
            rng = randomness.generator(problem.seed, "noise of events", node, block)
            scale = np.sqrt(problem.noise / problem.d)
            self._noise[node] = block, scale * rng.standard_normal((BLOCK, problem.d))
        noise: NDArray[np.float64] = self._noise[node][1][place]
        return noise


def run_events(
    problem: RandomQuadratics,
    topology: Topology,
    name: str,
    lr: float,
    updates: int,
    *,
    every: int | None = None,
    steps: int = 1,
    compute: str = "exponential:1",
    latency: float = 0.0,
    waits: bool = True,
    seed: int = 0,
    stop_at: float = 0.0,
    **options: Any,
) -> EventTrace:
    """Runs an asynchronous algorithm; all models start at 0.

    Args:
        problem: the losses.
        topology: the graph.
        name: of the algorithm.
        lr: the learning rate.
        updates: how many to run.
        every: updates between measurements; by default one per node.
        steps: of each update.
        compute: the law of the seconds of a step, as ``--compute``.
        latency: seconds that a message takes.
        waits: whether updates at one node wait for one another.
        seed: of times, peers and routes.
        stop_at: the run ends once all errors are at most this.
        **options: of the algorithm.

    Raises:
        InputError: there is no such asynchronous algorithm, or a value cannot be right.
    """
    algorithm, n = registry.find(name), topology.n
    if algorithm.start is None:
        raise InputError("algorithm", name, "is synchronous; run_events takes asynchronous algorithms")
    chosen = registry.options_of(algorithm, options)
    assert isinstance(chosen, EventOptions)
    algorithm.admits(topology, chosen, seed)
    rows = algorithm.rows(n, chosen)
    X = torch.zeros(rows.total, problem.d, dtype=torch.float64)
    clock = ComputeTimes(laws.parse(compute), np.ones(n), seed), Transfers(n, latency, None, False)
    simulation = Simulation(topology, X, rows.slots, *clock, steps=steps, seed=seed, waits=waits)
    tensors = [(0, Size([problem.d]))]
    rule = algorithm.start(EventSetup(simulation, chosen, seed, problem.d, tensors, ["x"]))
    every = n if every is None else every
    moving = range(rows.nodes) if rows.nodes else range(rows.walks)
    rate, end = constant(lr * chosen.lr_factor(1.0)), RoundEnd("updates", every)
    events = Events(rule, simulation, rate, end, None, None, Outages(n))
    trainer = Steps(problem, X)
    costs, errors = [(0, 0.0, 0)], [_errors(problem, X[moving.start : moving.stop], rule.singles())]
    for number in range(updates // every):
        interval: Interval = drive(events.advance(number, _unmeasured), trainer.train)
        messages = int(interval.traffic.sent.sum()) // simulation.model_bytes
        before = costs[-1]
        costs.append((before[0] + every, before[1] + interval.seconds, before[2] + messages))
        errors.append(_errors(problem, X[moving.start : moving.stop], rule.singles()))
        worst = max(errors[-1].values())
        if not np.isfinite(worst) or worst <= stop_at:
            break
    done, seconds, sent = (np.array(column) for column in zip(*costs, strict=True))
    return EventTrace(done, seconds, sent, {key: np.array([e[key] for e in errors]) for key in errors[0]})


def _unmeasured(told: LocalTraining) -> bool:
    return False


def _errors(problem: RandomQuadratics, models: Tensor, singles: Any) -> dict[str, float]:
    each = [problem.error(model[None]) for model in models]
    found = {
        "mean_model": problem.error(models),
        "average": float(np.mean(each)),
        "worst": max(each),
    }
    return found | {name: problem.error(model[None]) for name, model in singles.items()}
