#!/usr/bin/env python
"""How many steps each algorithm needs on random quadratics, by number of nodes and heterogeneity.

python src/experiments/quadratics.py
python src/experiments/quadratics.py --algorithms relaysgd@chain dpsgd@cycle --nodes 16 --zeta2 0 1 10
"""

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dml import command_line
from dml.algorithms import registry
from dml.algorithms.registry import Options
from dml.errors import InputError
from dml.quadratics import constants
from dml.topology import Topology, make

PUBLISHED = (
    "relaysgd@chain",
    "relaysgd@binary_tree",
    "d2@cycle",
    "gradient_tracking@cycle",
    "allreduce@complete",
    "one_peer_exponential@complete",
    "dpsgd@cycle",
)


def quadratics(
    algorithms: tuple[str, ...] = PUBLISHED,
    nodes: tuple[int, ...] = (12, 24, 48, 96),
    zeta2: tuple[float, ...] = (0.01, 1.0),
    tune: Literal["fastest", "plateau"] = "fastest",
    target: float = 1e-6,
    d: int = 10,
    L: float = 1.0,
    mu: float = 0.25,
    r0: float = 100.0,
    noise: float = 0.0,
    seed: int = 0,
    lr: float = 4.0,
    max_steps: int = 10_000,
    momentum: float = 0.0,
    edge_weight: float = 1 / 3 - 0.01,
    drop_probability: float = 0.0,
    loss_rule: str | None = None,
    json: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
) -> int:
    """How many steps each algorithm needs on random quadratics, by number of nodes and heterogeneity.

    Args:
        algorithms: name@graph, the graph a generator without its number of nodes
        nodes: numbers of nodes
        zeta2: heterogeneities, the mean squared norm of the nodes' gradients at the optimum
        tune: the learning rate of fewest steps to the target, or the highest that settles under it
        target: the error f(mean of the models) - f*
        d: dimensions
        L: largest curvature
        mu: least curvature
        r0: distance from the start to the optimum
        noise: expected squared norm of the noise on a gradient
        seed: of the problem and the noise
        lr: where the search for the learning rate begins, times what the algorithm is slowed down by
        max_steps: of one run
        momentum: of the local steps, Nesterov's form; also of quasi_global_momentum
        edge_weight: of every edge for d2, which does not run with Metropolis-Hastings weights on an even ring
        drop_probability: that a message is lost
        loss_rule: what a lost message counts as; None is each algorithm's default
        json: also writes all candidates to this file
    """
    _check(nodes, zeta2, target, lr, max_steps, momentum)
    for n in nodes:
        for value in zeta2:
            constants.check(n, d, L, mu, value, r0, noise)
    runs: list[tuple[str, Topology, Options]] = []
    for text in algorithms:
        name, at, graph = text.partition("@")
        registry.find(name)
        if not at:
            raise InputError("algorithms", text, f"name its graph too, as in {name}@chain")
        for n in nodes:
            topology = _graph(graph, n, seed)
            options = Options(
                seed=seed,
                drop_probability=drop_probability,
                loss_rule=loss_rule,
                edge_weight=edge_weight if name == "d2" else None,
                momentum=momentum,
            )
            registry.check(name, topology, options)
            runs.append((text, topology, options))
    if json is not None and not json.expanduser().absolute().parent.is_dir():
        raise InputError("json", json, "is in a folder that is not there")
    return _run(runs, zeta2, (d, L, mu), (r0, noise, seed), (tune, target, lr, max_steps, momentum), json)


def _run(
    runs: list[tuple[str, Topology, Options]],
    zeta2: tuple[float, ...],
    shape: tuple[int, float, float],
    rest: tuple[float, float, int],
    goal: tuple[str, float, float, int, float],
    path: Path | None,
) -> int:
    import torch

    from dml.quadratics import table
    from dml.quadratics.problem import RandomQuadratics

    # Matrices this small gain nothing from a second thread.
    torch.set_num_threads(1)
    cells, titles = [], []
    for text, topology, options in runs:
        for value in zeta2:
            problem = RandomQuadratics(topology.n, *shape, value, *rest)
            cells.append(table.cell(text.partition("@")[0], topology, problem, options, table.Goal(*goal)))
            titles.append(text)
            print(f"{text} n={topology.n} zeta2={value:g}: {cells[-1].found.why}", file=sys.stderr)
    print(table.text(cells, titles))
    if path is not None:
        path.expanduser().write_text(json.dumps([cell.record() for cell in cells], indent=1) + "\n")
        print(path)
    return 0 if any(cell.found.converged for cell in cells) else 1


def _graph(text: str, n: int, seed: int) -> Topology:
    name, colon, arguments = text.partition(":")
    return make(f"{name}:n={n}" + ("," + arguments if colon else ""), seed)


def _check(
    nodes: tuple[int, ...],
    zeta2: tuple[float, ...],
    target: float,
    lr: float,
    max_steps: int,
    momentum: float,
) -> None:
    if not nodes:
        raise InputError("nodes", None, "name at least one number of nodes")
    if not zeta2:
        raise InputError("zeta2", None, "name at least one heterogeneity")
    if not 0 < target < math.inf:
        raise InputError("target", target, "must be above 0")
    if not 0 < lr < math.inf:
        raise InputError("lr", lr, "must be above 0")
    if max_steps < 10:
        raise InputError("max_steps", max_steps, "must be at least 10")
    if not 0 <= momentum < 1:
        raise InputError("momentum", momentum, "must be at least 0 and below 1")


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(quadratics, use_underscores=True, prog="quadratics.py"))
