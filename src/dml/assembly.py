"""The parts of one experiment, made and put together: data, models, training, algorithm, evaluation."""

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dml import accelerators, capacity, experiment_batches, experiment_events
from dml.algorithms.node_failures import Failure, FailureSchedule
from dml.data.build import Material, material
from dml.data.ood import NodeData
from dml.execution.execution import Execution
from dml.execution.rounds import Rounds
from dml.experiment_rule import columns, neighbours, rule_of
from dml.models.registry import build_model
from dml.plan import Plan
from dml.population import Population, starts
from dml.ranks.ranks import ALONE, Ranks
from dml.shards import SharedEngine, SharedEvaluator
from dml.topology import Topology
from dml.training import batch_statistics, engines
from dml.training.augment import Augmentation
from dml.training.build import engine_of
from dml.training.evaluate import Evaluator
from dml.training.proximal import Proximal
from dml.training.trainer import Trainer

_log = logging.getLogger(__name__)

SMALL_MODEL = 1_000_000
"""Parameters below which a second thread costs more than it brings."""


Source = Callable[[Plan], Material]
"""Gives the data of an experiment."""


def whole(plan: Plan) -> Material:
    """The data of all nodes, from the data set."""
    return material(plan.config.data, plan.topology, plan.config.run.seed)


@dataclass(frozen=True)
class Parts:
    """What a run needs.

    Args:
        population: the models.
        engine: trains them.
        execution: what moves them.
        evaluate: measures them.
        data: what each node trains on.
        machine: what the run computes on, for the file: accelerator, threads, engine, deterministic, ipex.
        facts: about the algorithm and, for an asynchronous one, its graph, for the file: tree, lr_factor,
            max_delay, graph_diameter, ...
        failures: what fails when, for the file: round, nodes, and the tree that is taken then.
    """

    population: Population
    engine: Trainer | SharedEngine
    execution: Execution
    evaluate: Evaluator | SharedEvaluator
    data: NodeData
    machine: Mapping[str, Any]
    facts: Mapping[str, Any]
    failures: Sequence[Mapping[str, Any]]


def assemble(
    plan: Plan,
    engine_before: str | None,
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
    source: Source = whole,
) -> Parts:
    """Makes the parts of an experiment.

    Args:
        plan: the experiment.
        engine_before: the engine of the rounds that are there already; None without any.
        dtype: of the models; that of experiments is float32.
        ranks: the processes that share the experiment, of which this one trains and measures its own nodes.
        source: gives the data; those of the nodes of other processes need not be there.

    Raises:
        InputError: data, model or accelerator do not go together, or there is not enough memory or disk.
    """
    config, seed = plan.config, plan.config.run.seed
    given = source(plan)
    data, local = given.nodes, given.local
    device = accelerators.choose(config.run.accelerator, ranks.place, ranks.places, shown=ranks.shown)
    if config.training.precision == "bf16" and accelerators.emulates_bf16(device):
        _log.warning(
            f"{plan.result.name}: this CPU has no bfloat16 instructions, "
            "so --precision bf16 is several times slower than fp32"
        )
    ipex = accelerators.extension(device) if config.run.ipex else None
    classes = plan.dataset.classes
    shape, settings = given.shape, config.training.model_options.model_dump()
    build = partial(build_model, config.training.model, shape, classes, settings)
    size = capacity.check(build, plan, device, ranks.size)
    threads = set_threads(plan, size, ranks.places)
    deterministic = accelerators.prepare(device)
    events = config.algorithm.described.events
    same = config.training.init == "same"
    keys = experiment_events.starts_of(plan) if events else starts(plan.rows.total, seed, same=same)
    n, own = plan.topology.n, keys[ranks.here(len(keys))]
    population = Population(build, own, device=device, dtype=dtype, frozen=keys[0])
    if ipex:
        accelerators.extend(ipex, population)
    name = _choose_engine(plan, engine_before, size, device)
    execution, engine, factor = _execution(plan, population, data, name, given.black, ranks)
    sets, precision = given.tests, config.training.precision
    statistics = None
    if config.algorithm.options.recomputes_buffers:
        x = batch_statistics.samples_of(data, seed)
        statistics = batch_statistics.BatchStatistics(population, x, precision)
    own_sets = {metric: pairs[ranks.here(n)] for metric, pairs in local.items()}
    batched = name == "batched"
    evaluate = Evaluator(population, sets, classes, own_sets, batched, precision, statistics)
    facts = _facts(plan, plan.topology)
    figures = experiment_events.figures(plan) if events else {}
    return Parts(
        population,
        engine,
        execution,
        evaluate if ranks.size == 1 else SharedEvaluator(evaluate, population, ranks, n),
        data,
        {
            "accelerator": accelerators.describe(device),
            "threads": threads,
            "engine": name,
            "deterministic": deterministic,
            "ipex": ipex.__version__ if ipex else None,
            **_places(ranks, device, n),
        },
        facts | ({"lr_factor": factor} if facts else {}) | figures,
        _failures(plan),
    )


def _execution(
    plan: Plan,
    population: Population,
    data: NodeData,
    name: str,
    black: NDArray[np.float32] | None,
    ranks: Ranks,
) -> tuple[Execution, Trainer | SharedEngine, float]:
    """What moves the models, what trains them, and the factor on the learning rate."""
    config, topology = plan.config, plan.topology
    training, seed = config.training, config.run.seed
    if config.algorithm.described.events:
        augmentation = augmentation_of(plan, black, data)
        events, engine = experiment_events.events_of(plan, population, data, name, augmentation)
        return events, engine, config.algorithm.options.lr_factor(1.0)
    if config.algorithm.described.one_model:
        return *experiment_batches.batches_of(plan, population, data, augmentation_of(plan, black, data)), 1.0
    proximal = None
    if config.draws_to_neighbours:
        near = neighbours(topology, config.complete)
        proximal = Proximal(population, near, training.prox_coeff)
    schedule = None
    if config.algorithm.failing_nodes:
        schedule = FailureSchedule(topology.n, config.algorithm.failing_nodes)
    rule = rule_of(config, topology, population, data.samples, schedule, proximal, ranks)
    factor = config.algorithm.options.lr_factor(rule.lr_factor)
    here = ranks.here(topology.n)
    own = data.of(here)
    engine = engine_of(
        name,
        population,
        own,
        training,
        seed=seed,
        shuffle=config.data.shuffle,
        # If the rule gives the momentum of each round, there is none to keep.
        keep_optimizers=training.keep_optimizer and rule.momentum() is None,
        proximal=proximal,
        augmentation=augmentation_of(plan, black, own),
        names=np.arange(here.start, here.stop),
    )
    rounds = Rounds(
        rule,
        columns(config, population),
        -(-data.samples // training.batch_size),
        training,
        training.rate(factor),
        config.participation(topology.n),
        schedule,
    )
    return rounds, engine if ranks.size == 1 else SharedEngine(engine, ranks, topology.n), factor


def _places(ranks: Ranks, device: torch.device, n: int) -> dict[str, list[dict[str, str | int]]]:
    """Where each of several processes computes, and for how many nodes; nothing of one process."""
    if ranks.size == 1:
        return {}
    hosts, devices = ranks.texts(socket.gethostname()), ranks.texts(accelerators.describe(device))
    nodes = np.diff(ranks.ends(n)).tolist()
    each = zip(hosts, devices, nodes, strict=True)
    return {"ranks": [{"host": host, "accelerator": name, "nodes": k} for host, name, k in each]}


def set_threads(plan: Plan, parameters: int, processes: int = 1) -> int:
    """Sets and returns the number of torch's threads for a model of so many parameters.

    Args:
        plan: the experiment.
        parameters: of one model.
        processes: how many share the cores of this host.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // processes)
    threads = plan.config.run.threads or (1 if parameters < SMALL_MODEL else share)
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


def augmentation_of(plan: Plan, black: NDArray[np.float32] | None, data: NodeData) -> Augmentation | None:
    """What changes training images; None if nothing does, as ``black`` is None then."""
    config = plan.config.data
    if black is None:
        return None
    fixed = data.ood_samples if config.ood_kind == "trigger" else np.zeros_like(data.ood_samples)
    return Augmentation(data.index, fixed, black, plan.config.run.seed)


def _failures(plan: Plan) -> list[dict[str, Any]]:
    if plan.config.algorithm.described.events:
        return experiment_events.failures(plan)
    schedule = FailureSchedule(plan.topology.n, plan.config.algorithm.failing_nodes)
    return [_told(plan, failure) for failure in schedule.failures()]


def _told(plan: Plan, failure: Failure) -> dict[str, Any]:
    facts = _facts(plan, plan.topology.subgraph(failure.remaining)[0])
    tree = {"tree": facts["tree"]} if "tree" in facts else {}
    return {"round": failure.round, "nodes": list(failure.failed), **tree}


def _facts(plan: Plan, topology: Topology) -> dict[str, str | int]:
    return plan.config.algorithm.options.facts(topology, plan.config.run.seed)
