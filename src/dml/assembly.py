"""The parts of one experiment, made and put together: data, models, training, algorithm, evaluation."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dml import accelerators, room
from dml.algorithms.build import build as build_rule
from dml.algorithms.decentralized import Decentralized, neighbours
from dml.algorithms.failing import Failing
from dml.algorithms.living import Failure, Living
from dml.algorithms.registry import EXPERIMENTS
from dml.algorithms.rounds import Rounds
from dml.algorithms.rule import Rule
from dml.data.dataset import Dataset
from dml.data.load import load_dataset
from dml.data.ood import NodeData, cut_test_set, place
from dml.data.placement import share_out
from dml.data.splits import split
from dml.models.registry import build_model
from dml.plan import Plan
from dml.population import Population
from dml.topology import Topology, trees
from dml.training import engines
from dml.training.augment import Augmentation
from dml.training.batched import BatchedEngine
from dml.training.engines import Engine
from dml.training.evaluate import Evaluator
from dml.training.loop import LoopEngine
from dml.training.proximal import Proximal

_log = logging.getLogger(__name__)

SMALL_MODEL = 1_000_000
"""Parameters under which a second thread costs more than it brings."""


@dataclass(frozen=True)
class Parts:
    """What a run needs.

    Args:
        population: the models.
        rounds: train and mix them.
        evaluate: measures them.
        data: what each node trains on.
        accelerator: name and model of what the models are on.
        threads: of torch.
        engine: the name of the one that trains.
        deterministic: how far it gives the same bits again (:data:`dml.accelerators.REPEATS`).
        ipex: version of Intel's extension, where it is used.
        facts: what was found out for the algorithm, for the file: tree, lr_factor, max_delay.
        failures: what fails when, for the file: round, nodes, and the tree that is taken then.
    """

    population: Population
    rounds: Rounds
    evaluate: Evaluator
    data: NodeData
    accelerator: str
    threads: int
    engine: str
    deterministic: str
    ipex: str | None
    facts: Mapping[str, Any]
    failures: Sequence[Mapping[str, Any]]


def assemble(plan: Plan, engine_before: str | None) -> Parts:
    """Makes the parts of an experiment.

    Args:
        plan: the experiment.
        engine_before: the engine of the rounds that are there already; None without any.

    Raises:
        InputError: data, model or accelerator do not go together, or there is no room.
    """
    config, seed = plan.config, plan.config.run.seed
    dataset = load_dataset(config.data, seed)
    data, local = _shares(plan, dataset)
    device = accelerators.choose(config.run.accelerator)
    ipex = accelerators.extension(device) if config.run.ipex else None
    classes = plan.dataset.classes

    def build() -> torch.nn.Module:
        return build_model(
            config.training.model, dataset.train_x.shape[1:], classes, config.training.settings()
        )

    threads = _set_threads(plan, room.check(build, plan, device))
    deterministic = accelerators.prepare(device)
    population = Population(build, plan.topology.n, seed, same=config.training.init == "same", device=device)
    if ipex:
        accelerators.extend(ipex, population)
    proximal = _proximal(plan, population)
    living = None
    if config.algorithm.failing_nodes:
        living = Living(plan.topology.n, config.algorithm.failing_nodes)
    rule = _rule(plan, population, data, living, proximal)
    factor = _lr_factor(plan, rule)
    training = config.training.model_copy(update={"lr": config.training.lr * factor})
    name = _choose_engine(plan, engine_before, population.size, device)
    # Where the rule gives the momentum of each round, there is none to keep.
    keep = training.keep_optimizer and rule.momentum() is None
    engine: Engine
    if name == "batched":
        engine = BatchedEngine(population, data, training, config.data.shuffle, seed, keep_optimizers=keep)
    else:
        engine = LoopEngine(
            population,
            data,
            training,
            config.data.shuffle,
            seed,
            proximal,
            _augmentation(plan, dataset, data),
            keep_optimizers=keep,
        )
    participation = config.strategy.participation if config.algorithm.averages else 1.0
    sets = cut_test_set(dataset, config.data, seed)
    return Parts(
        population,
        Rounds(rule, mixed(plan, population), engine, training, participation, seed, living),
        Evaluator(population, sets, classes, local, name == "batched", training.precision),
        data,
        accelerators.describe(device),
        threads,
        name,
        deterministic,
        ipex.__version__ if ipex else None,
        _facts(plan, factor),
        [] if living is None else [_told(plan, failure) for failure in living.failures()],
    )


def _shares(plan: Plan, dataset: Dataset) -> tuple[NodeData, dict[str, list[tuple[Any, Any]]]]:
    """What each node trains on, and what of its own it is measured on, by the metric's name."""
    config, seed = plan.config.data, plan.config.run.seed
    ood_nodes = (config.backdoor_node_idx or ()) if config.backdoor else ()
    shares = config.train_test_val or (1.0,)
    parts = share_out(dataset, plan.topology, config, ood_nodes, seed, least=len(shares))
    local = {}
    if config.train_test_val:
        cut = split(parts, dataset.train_y, dataset.labels, shares, seed)
        parts = cut.pop("train")
        local = {
            f"local_{name}_acc": [dataset.ask(dataset.train(s), dataset.train_y[s]) for s in samples]
            for name, samples in cut.items()
        }
    return place(dataset, parts, config, ood_nodes, seed), local


def _set_threads(plan: Plan, parameters: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = plan.config.run.threads or (1 if parameters < SMALL_MODEL else cores)
    torch.set_num_threads(threads)
    return threads


def _choose_engine(plan: Plan, before: str | None, size: int, device: torch.device) -> str:
    config = plan.config
    chosen = engines.choose(config.run.engine, config.obstacle(), before, size, device.type)
    if before not in (None, chosen):
        _log.warning(
            f"{plan.result.name}: its rounds so far were computed by the engine {before}; those by {chosen} "
            f"equal what {before} would have given only to rounding"
        )
    return chosen


def _proximal(plan: Plan, population: Population) -> Proximal | None:
    config = plan.config
    if not (config.training.train and config.training.prox_coeff):
        return None
    return Proximal(population, neighbours(plan.topology, config.complete), config.training.prox_coeff)


def _augmentation(plan: Plan, dataset: Dataset, data: NodeData) -> Augmentation | None:
    config = plan.config.data
    if not config.augment:
        return None
    fixed = data.ood_samples if config.ood_kind == "trigger" else np.zeros_like(data.ood_samples)
    return Augmentation(data.index, fixed, dataset.black, plan.config.run.seed)


def mixed(plan: Plan, population: Population) -> torch.Tensor:
    """The columns that the algorithm works on, a view: float buffers too, where it averages."""
    convex = EXPERIMENTS[plan.config.algorithm.algorithm].convex
    return population.X[:, : population.size if convex else population.trained]


def _rule(
    plan: Plan, population: Population, data: NodeData, living: Living | None, proximal: Proximal | None
) -> Rule:
    config, chosen, X = plan.config, plan.config.algorithm, mixed(plan, population)

    def build(topology: Topology, models: torch.Tensor) -> Rule:
        if not chosen.averages:
            return build_rule(chosen.algorithm, topology, models, config.options())
        whole = models is X
        if proximal and not whole:
            proximal.draw_to(_of_part(plan.topology.n, topology, config.complete))
        return Decentralized(
            topology,
            population,
            config.strategy,
            data.samples[topology.numbers],
            config.run.seed,
            chosen.drop_probability,
            chosen.loss_rule or EXPERIMENTS[chosen.algorithm].loss_rules[0],
            config.training.train and config.training.prox_coeff > 0,
            None if whole else models,
        )

    return build(plan.topology, X) if living is None else Failing(build, living, plan.topology, X)


def _of_part(n: int, part: Topology, complete: bool) -> list[NDArray[np.int64]]:
    """The neighbours that are left of each of n nodes; none of one that is not in the part."""
    found = [np.empty(0, np.int64)] * n
    for node, others in zip(part.numbers, neighbours(part, complete), strict=True):
        found[node] = part.numbers[others]
    return found


def _lr_factor(plan: Plan, rule: Rule) -> float:
    asked = plan.config.algorithm.lr_correction
    if isinstance(asked, str):
        return rule.lr_factor if asked == "auto" else 1.0
    return asked


def _trees(plan: Plan, topology: Topology) -> tuple[trees.Tree, ...]:
    """Those that the algorithm runs over, on the graph or what is left of it; none where it needs none."""
    chosen = plan.config.algorithm
    if "tree" not in EXPERIMENTS[chosen.algorithm].reads:
        return ()
    return trees.choose(topology, chosen.tree, chosen.tree_root, plan.config.run.seed)


def _facts(plan: Plan, factor: float) -> dict[str, Any]:
    over = _trees(plan, plan.topology)
    if not over:
        return {}
    # A neighbour's value is there in its own round, unless messages travel while the next round computes.
    delay = max(tree.diameter() for tree in over) - (not plan.config.algorithm.overlap)
    return {"tree": " and ".join(tree.name for tree in over), "lr_factor": factor, "max_delay": delay}


def _told(plan: Plan, failure: Failure) -> dict[str, Any]:
    over = _trees(plan, plan.topology.part(failure.left)[0])
    tree = {"tree": " and ".join(tree.name for tree in over)} if over else {}
    return {"round": failure.round, "nodes": list(failure.failed), **tree}
