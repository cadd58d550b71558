"""Estimates what a sweep costs in time, disk and memory, without running anything."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dml import capacity
from dml.algorithms.registry import DEFAULT
from dml.data.catalogue import datasets_to_fetch
from dml.data.data_dir import fetch_command
from dml.errors import DamagedFileError
from dml.messages import count
from dml.models.cost import Cost, cost_of
from dml.plan import Plan
from dml.results import reader
from dml.results.record import METRICS, PER_CLASS
from dml.results.status import finished
from dml.training.engines import choose

# These constants were fitted by hand to eleven timings on one thread of an AMD EPYC with AVX-512 (2026-11):
# MLPs, CNN, VGG16, ResNets, MobileNetV2, ViT and decoder. Each timing is the minimum of five in processor
# time, while other work used both cores. The constants reproduce the timings within a factor of 1.6 in
# training and 2 in evaluation. In wall-clock time on the same busy machine, the work took up to 1.8 and 2.4
# times as long as estimated.

STEP_S = 100e-6
"""Seconds per step, or per forward pass of a test set, besides its arithmetic."""

BATCHED_STEP_S = 10e-6
"""Seconds per node for a step that all nodes take at once, besides its arithmetic."""

PARAMETER_S = 1.5e-9
"""Seconds per parameter and step, for the gradient and the optimiser."""

OPERATIONS = 180e9
"""Operations per second in matrix products and convolutions."""

WRITTEN_S = 0.9e-9
"""Seconds per number that a layer outputs."""

PASSES = 3
"""The cost of a training step in forward passes: the backward pass counts as two."""

START_S = 3.0
"""Seconds until the workers have started and imported torch."""

WORKER_MEMORY = 400 << 20
"""Bytes of a worker that has imported torch and holds no data yet."""


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a sweep.

    Args:
        done: the number of experiments that are done.
        left: the number of experiments still to run.
        damaged: a message per result file that cannot be read.
        workers: the number of experiments at a time; None if the site's hosts and accelerators decide.
        seconds: the time on these workers; on one CPU core if ``workers`` is None.
        disk: bytes of the files that will be written.
        memory: bytes of all workers; of one worker if ``workers`` is None.
    """

    done: int
    left: int
    damaged: list[str]
    workers: int | None
    seconds: float
    disk: int
    memory: int


def estimate(plans: Sequence[Plan], workers: int | None, fresh: bool = False) -> Estimate:
    """Estimates the cost of a sweep; finished experiments tell how long the others take on this machine.

    Args:
        plans: the experiments of the sweep.
        workers: the number of experiments at a time; None if the site's hosts and accelerators decide. Then
            only the time on one CPU core can be estimated.
        fresh: whether finished experiments are run again.
    """
    damaged: list[str] = []
    ratios: dict[str, float] = {}
    for plan in plans:
        try:
            if plan.result.exists() and finished(reader.attributes(plan.result), plan.config.run.rounds):
                ratios[plan.identity.id] = _seconds(plan.result) / _work(plan)
        except DamagedFileError as error:
            damaged.append(str(error))
    left = [plan for plan in plans if fresh or plan.identity.id not in ratios]
    at_once = min(workers or 1, len(left) or 1)
    seconds = sum(_work(plan) for plan in left) * (median(ratios.values()) if ratios else 1.0) / at_once
    per_worker = WORKER_MEMORY + max((_memory(plan) for plan in left), default=0)
    return Estimate(
        done=len(plans) - len(left),
        left=len(left),
        damaged=damaged,
        workers=workers,
        seconds=seconds + (START_S if left else 0),
        disk=sum(_disk(plan) for plan in left),
        memory=min(at_once, len(left)) * per_worker,
    )


def text(cost: Estimate, plans: Sequence[Plan], folder: Path) -> str:
    """The size of the sweep and the estimate, in words.

    Args:
        cost: the estimate.
        plans: the experiments of the sweep.
        folder: the folder of the results.
    """
    factors: dict[str, set[object]] = {
        "data set": {plan.config.data.dataset for plan in plans},
        "seed": {plan.config.run.seed for plan in plans},
        "topology": {plan.topology.family for plan in plans},
        "strategy": {
            plan.config.strategy.aggregation_strategy
            for plan in plans
            if plan.config.algorithm.described.strategies
        },
        "algorithm": {name for plan in plans if (name := plan.config.algorithm.algorithm) != DEFAULT},
    }
    counts = ", ".join(count(len(values), name) for name, values in factors.items() if values)
    lines = [
        f"{count(len(plans), 'experiment')}: {counts}",
        f"done already: {cost.done}; to run: {cost.left}",
    ]
    lines += [f"damaged: {message}" for message in cost.damaged]
    data_dir = plans[0].config.data.data_dir
    missing = datasets_to_fetch((plan.config.data.dataset for plan in plans), data_dir)
    if missing:
        lines += [f"data missing: {', '.join(missing)}; fetch them with: {fetch_command(missing, data_dir)}"]
    basis = (
        f"from the {cost.done} that are done" if cost.done else "from steps and model size, on a core of 2026"
    )
    took = f"time: about {_duration(cost.seconds)}"
    if cost.workers:
        took += f" on {count(cost.workers, 'worker')} ({basis})"
    else:
        took += " on one CPU core; the speed of this site's workers is not known"
    lines += [
        took,
        f"disk: about {cost.disk / 1e6:.0f} MB in {folder}",
        f"memory: about {cost.memory / 2**30:.1f} GiB" + ("" if cost.workers else " per worker"),
        "nothing was run (--dry_run)",
    ]
    return "\n".join(lines)


def _seconds(path: Path) -> float:
    return float(reader.load(path).arrays["time/round_s"].sum())


def _cost(plan: Plan) -> Cost:
    data, training = plan.dataset, plan.config.training
    return cost_of(
        training.model, data.shape, data.classes, tuple(training.model_options.model_dump().items())
    )


def _work(plan: Plan) -> float:
    """Seconds on one core for all steps, and for a forward pass of each test sample per measurement."""
    config, n, cost = plan.config, plan.topology.n, _cost(plan)
    samples, tests = plan.dataset.sizes
    passes = math.ceil(samples / n / config.training.batch_size)
    rounds = float(config.run.rounds * plan.epochs)
    if config.training.train and config.training.local_steps:
        rounds *= config.training.local_steps / passes
    steps = rounds * n * passes
    measured = (plan.points + 1) * n
    forward = cost.operations / OPERATIONS + cost.written * WRITTEN_S
    seen = PASSES * samples * rounds + tests * measured
    engine = choose(config.run.engine, config.obstacle(), None, cost.size + cost.frozen, "cpu")
    step = BATCHED_STEP_S if engine == "batched" else STEP_S
    return steps * (step + cost.size * PARAMETER_S) + measured * STEP_S + seen * forward


def _disk(plan: Plan) -> int:
    """Bytes of the result file, compressed about threefold, and of the checkpoint if it is kept."""
    data, n = plan.config.data, plan.topology.n
    # Some records also have the consensus distance and metrics on each node's own data.
    metrics = len(METRICS) + 1 + len((data.train_test_val or ())[1:])
    rows = (plan.points + 1) * n * 4 * (metrics + len(PER_CLASS) * plan.dataset.judged) // 3
    kept = capacity.checkpoint_bytes(_cost(plan).size, plan) if plan.config.run.keep_checkpoint else 0
    return rows + 60_000 + kept


def _memory(plan: Plan) -> int:
    """Bytes of the models with their optimisers, of the data, and of a training step."""
    cost = _cost(plan)
    # Only one model at a time has gradients.
    a_step = 4 * (cost.size + cost.written * plan.config.training.batch_size) if plan.epochs else 0
    return capacity.training_bytes(cost.size, plan, cost.frozen) + capacity.data_bytes(plan) + a_step


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 3 * 86400 else f"{seconds / 86400:,.0f} days"
