"""What a sweep would cost: how many experiments, how long, how much disk and memory. Nothing is run."""

import math
from pathlib import Path
from statistics import median

from dml import room
from dml.config import label_of
from dml.data.catalogue import datasets_to_fetch
from dml.data.data_dir import fetch_command
from dml.errors import DamagedFileError
from dml.models.cost import Cost, cost_of
from dml.plan import Plan
from dml.results import reader
from dml.results.record import METRICS, PER_CLASS
from dml.training.engines import choose

# Fitted by hand to eleven timings on one thread of an AMD EPYC with AVX-512, 2026-11, each the least of five
# in processor time while other work held both cores: MLPs, CNN, VGG16, ResNets, MobileNetV2, ViT, decoder.
# They meet these within a factor of 1.6 in training and 2 in evaluation. By the clock, on the same machine
# while it was busy, it took up to 1.8 and 2.4 times as long as they say.

STEP_S = 100e-6
"""Seconds of a step, or of a forward pass of a test set, beyond its arithmetic."""

BATCHED_STEP_S = 10e-6
"""The same of a node's share of a step that all nodes take at once."""

PARAMETER_S = 1.5e-9
"""Seconds that a step takes for each parameter: its gradient, and the optimiser."""

OPERATIONS = 180e9
"""Operations a second in matrix products and convolutions."""

WRITTEN_S = 0.9e-9
"""Seconds for each number that a layer gives out."""

PASSES = 3
"""A training step in forward passes: going back takes two more."""

START_S = 3.0
"""Seconds until the workers have started and imported torch."""

WORKER_MEMORY = 400 << 20
"""Bytes of a worker that has imported torch and holds nothing yet."""


def forecast(plans: list[Plan], workers: int | None, folder: Path) -> str:
    """The forecast as text.

    Args:
        plans: the experiments of the sweep.
        workers: experiments at a time; None where the site's hosts and accelerators decide, and the time of
            one CPU core is all that can be said.
        folder: of the results; those that are there already tell how long one takes.
    """
    damaged, known = [], []
    done: set[str] = set()
    for plan in plans:
        try:
            if plan.result.exists() and reader.finished(
                reader.attributes(plan.result), plan.config.run.rounds
            ):
                known.append(_seconds(plan.result) / _work(plan))
                done.add(plan.identity.id)
        except DamagedFileError as error:
            damaged.append(str(error))
    left = [plan for plan in plans if plan.identity.id not in done]
    scale = median(known) if known else 1.0
    basis = f"as the {len(known)} that are done" if known else "by steps and model size, on cores as of 2026"
    at_once = min(workers or 1, len(left) or 1)
    seconds = sum(_work(plan) for plan in left) * scale / at_once
    seconds += START_S if left else 0
    disk = sum(_disk(plan) for plan in left)
    memory = min(at_once, len(left)) * (WORKER_MEMORY + max((_memory(plan) for plan in left), default=0))
    factors: dict[str, set[object]] = {
        "data set": {plan.config.data.dataset for plan in plans},
        "seed": {plan.config.run.seed for plan in plans},
        "topology": {plan.topology.family for plan in plans},
        "strategy": {label_of(plan.config.flat()) for plan in plans},
    }
    counts = ", ".join(_count(len(values), name) for name, values in factors.items())
    lines = [f"{_count(len(plans), 'experiment')}: {counts}"]
    lines += [f"done already: {len(done)}; to run: {len(left)}"]
    lines += [f"damaged: {message}" for message in damaged]
    data_dir = plans[0].config.data.data_dir
    missing = datasets_to_fetch((plan.config.data.dataset for plan in plans), data_dir)
    if missing:
        lines += [f"data missing: {', '.join(missing)}; fetch them with: {fetch_command(missing, data_dir)}"]
    took = f"time: about {_duration(seconds)} of a CPU core; what this site's workers take is not known"
    if workers:
        took = f"time: about {_duration(seconds)} on {_count(workers, 'worker')} ({basis})"
    lines += [
        took,
        f"disk: about {disk / 1e6:.0f} MB in {folder}",
        f"memory: about {memory / 2**30:.1f} GiB" + ("" if workers else " a worker"),
        "nothing was run (--dry_run)",
    ]
    return "\n".join(lines)


def _seconds(path: Path) -> float:
    return float(reader.load(path).arrays["time/round_s"].sum())


def _cost(plan: Plan) -> Cost:
    data, training = plan.dataset, plan.config.training
    return cost_of(training.model, data.shape, data.classes, tuple(training.settings().items()))


def _work(plan: Plan) -> float:
    """Seconds on one core: steps, and a forward pass of each test sample at each measurement."""
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
    engine = choose(config.run.engine, config.obstacle(), None, cost.size, "cpu")
    step = BATCHED_STEP_S if engine == "batched" else STEP_S
    return steps * (step + cost.size * PARAMETER_S) + measured * STEP_S + seen * forward


def _disk(plan: Plan) -> int:
    """Bytes of the result file, packed about threefold, and of the checkpoint where it is kept."""
    data, n = plan.config.data, plan.topology.n
    # Beside those of every record: the consensus distance, and each node's own shares.
    metrics = len(METRICS) + 1 + len((data.train_test_val or ())[1:])
    rows = (plan.points + 1) * n * 4 * (metrics + len(PER_CLASS) * plan.dataset.classes) // 3
    kept = room.checkpoint(_cost(plan).size, plan) if plan.config.run.keep_checkpoint else 0
    return rows + 30_000 + kept


def _memory(plan: Plan) -> int:
    """Bytes of the models with their optimisers, of the data, and of a training step."""
    cost = _cost(plan)
    # The gradients are of one model at a time.
    a_step = 4 * (cost.size + cost.written * plan.config.training.batch_size) if plan.epochs else 0
    return room.held(cost.size, plan) + room.data(plan) + a_step


def _count(number: int, name: str) -> str:
    """With the plural of the name."""
    several = name[:-1] + "ies" if name.endswith("y") else name + "s"
    return f"{number} {name if number == 1 else several}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 3 * 86400 else f"{seconds / 86400:,.0f} days"
