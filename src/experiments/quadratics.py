#!/usr/bin/env python
"""How many steps each algorithm needs on random quadratics, by number of nodes and heterogeneity.

python src/experiments/quadratics.py
python src/experiments/quadratics.py --algorithms relaysgd@chain dpsgd@cycle --nodes 16 --zeta2 0 1 10
python src/experiments/quadratics.py --workers 8 --cache candidates.json
"""

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dml import command_line
from dml.algorithms import registry
from dml.errors import InputError
from dml.parallel import sites
from dml.quadratics import constants
from dml.topology import make

if TYPE_CHECKING:
    from dml.quadratics.cache import Cache
    from dml.quadratics.setting import Setting
    from dml.quadratics.table import Cell

SITES = Path(__file__).resolve().parents[2] / "parsl_configs"

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
    placement: Literal["random", "clustered", "mixed"] = "random",
    workers: int | None = None,
    parsl_config: str | None = None,
    site_options: tuple[str, ...] = (),
    cache: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
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
        placement: which node has which loss: at random, neighbours like ones, or neighbours unlike ones
        workers: candidates at a time, each in a process of its own; 1 or none given, and no site: here
        parsl_config: the site of the workers, a name in parsl_configs/ or a path to a .py file; None is local
        site_options: options of the site, as key=value
        cache: keeps the candidates that were run in this file, and takes from it those that it has
        json: also writes all candidates to this file
    """
    _check(nodes, zeta2, target, lr, max_steps, momentum)
    if not algorithms:
        raise InputError("algorithms", None, "name at least one, as relaysgd@chain")
    if not 0 <= seed < 2**32:
        raise InputError("seed", seed, "must be at least 0 and below 2^32")
    for n in nodes:
        for value in zeta2:
            constants.check(n, d, L, mu, value, r0, noise)
    runs: list[tuple[str, str, dict[str, Any]]] = []
    for text in algorithms:
        name, at, graph = text.partition("@")
        algorithm = registry.find(name)
        if not at:
            raise InputError("algorithms", text, f"name its graph too, as in {name}@chain")
        for n in nodes:
            source = _source(graph, n)
            topology = make(source, seed)
            options = {"drop_probability": drop_probability, "loss_rule": loss_rule, "momentum": momentum}
            own = {"edge_weight": edge_weight} if algorithm.needs_spectrum else {}
            registry.check_loss_rule(algorithm, loss_rule)
            if not 0 <= drop_probability < 1:
                right = "must be at least 0 and below 1"
                raise InputError("drop_probability", drop_probability, right)
            algorithm.admits(topology, registry.options_of(algorithm, own), seed)
            runs.append((text, source, options | own))
    json, cache = (path and path.expanduser() for path in (json, cache))
    for flag, path in (("json", json), ("cache", cache)):
        if path is not None:
            _check_writable(flag, path)
    site = _site(workers, parsl_config, site_options)
    constant = {"d": d, "L": L, "mu": mu, "r0": r0, "noise": noise, "seed": seed, "placement": placement}
    problems = [constant | {"zeta2": value} for value in zeta2]
    return _run(runs, seed, problems, (tune, target, lr, max_steps, momentum), site, cache, json)


def _site(
    workers: int | None, name: str | None, words: tuple[str, ...]
) -> tuple[sites.Site, dict[str, str]] | None:
    """Where candidates run, and its options; None for this process."""
    if workers is not None and workers < 1:
        raise InputError("workers", workers, "must be at least 1")
    if name is None and (workers or 1) == 1:
        if words:
            raise InputError("site_options", words[0], "are those of a site: name one with --parsl_config")
        return None
    site = sites.load_site(name or "local", SITES)
    options = sites.parse_options(words)
    if workers is not None:
        options.setdefault("workers", str(workers))
    site.check(options)
    return site, options


def _run(
    runs: list[tuple[str, str, dict[str, Any]]],
    seed: int,
    problems: list[dict[str, Any]],
    goal: tuple[str, float, float, int, float],
    site: tuple[sites.Site, dict[str, str]] | None,
    cache: Path | None,
    path: Path | None,
) -> int:
    import torch

    from dml.parallel.scheduler import LostInterchangeError, LostWorkersError
    from dml.quadratics import table
    from dml.quadratics.cache import Cache
    from dml.quadratics.setting import Setting

    # Matrices this small gain nothing from a second thread.
    torch.set_num_threads(1)
    texts = [text for text, _, _ in runs for _ in problems]
    settings = [
        Setting(text.partition("@")[0], source, seed, options, problem, table.Goal(*goal))
        for text, source, options in runs
        for problem in problems
    ]
    known = Cache(None if cache is None else cache.expanduser())
    cells = []
    try:
        with contextlib.ExitStack() as stack:
            for text, cell in zip(texts, _cells(settings, site, known, stack), strict=True):
                cells.append(cell)
                print(f"{text} n={cell.n} zeta2={cell.zeta2:g}: {cell.found.why}", file=sys.stderr)
    except LostWorkersError as lost:
        print(f"error: {lost}", file=sys.stderr, flush=True)
        if isinstance(lost, LostInterchangeError):
            known.write()
            os._exit(1)
        return 1
    finally:
        known.write()
    print(table.text(cells, texts))
    if path is not None:
        path.expanduser().write_text(json.dumps([cell.record() for cell in cells], indent=1) + "\n")
        print(path)
    return 0 if any(cell.found.converged for cell in cells) else 1


def _cells(
    settings: list["Setting"],
    site: tuple[sites.Site, dict[str, str]] | None,
    known: "Cache",
    stack: contextlib.ExitStack,
) -> Iterator["Cell"]:
    """The cells in their order."""
    if site is None:
        from dml.quadratics.setting import here

        return (setting.cell(known.wrap(here(setting), setting)) for setting in settings)
    from dml.quadratics import workers

    signal.signal(signal.SIGTERM, _interrupt)  # the workers end with this process
    return stack.enter_context(workers.started(*site)).cells(settings, known.wrap)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _source(text: str, n: int) -> str:
    name, colon, arguments = text.partition(":")
    return f"{name}:n={n}" + ("," + arguments if colon else "")


def _check_writable(flag: str, path: Path) -> None:
    """Before anything is run, as it is written at the end."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(flag, path, "is in a folder that is not there")
    if path.is_dir():
        raise InputError(flag, path, "is a folder; give a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(flag, path, f"{folder} cannot be written; give a file in a folder that can")


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
