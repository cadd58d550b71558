"""What a sweep would cost: how many experiments, how long, how much disk and memory. Nothing is run."""

import math
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dml.data.images import fetch_command, lacking
from dml.errors import DamagedFileError
from dml.models.registry import build
from dml.plan import Plan
from dml.results import reader

STEP_S = 100e-6
"""Seconds of one step or forward pass of a model of a few thousand parameters on one core."""

FLOPS = 30e9
"""Operations a second of one core on a larger model; both were measured on 2 cores with AVX-512, 2026-11."""

START_S = 5.0
"""Seconds until the workers have started and imported torch."""

WORKER_MEMORY = 400 << 20
"""Bytes of a worker that has imported torch and holds nothing yet."""


def forecast(plans: list[Plan], workers: int, folder: Path) -> str:
    """The forecast as text.

    Args:
        plans: the experiments of the sweep.
        workers: experiments at a time.
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
    seconds = sum(_work(plan) for plan in left) * scale / max(1, min(workers, len(left) or 1))
    seconds += START_S if left else 0
    disk = sum(_disk(plan) for plan in left)
    memory = min(workers, len(left)) * (WORKER_MEMORY + max((_memory(plan) for plan in left), default=0))
    factors: dict[str, set[object]] = {
        "data sets": {plan.config.data.dataset for plan in plans},
        "seeds": {plan.config.run.seed for plan in plans},
        "topologies": {plan.topology.family for plan in plans},
        "strategies": {plan.config.strategy.aggregation_strategy for plan in plans},
    }
    lines = [f"{len(plans)} experiments: " + ", ".join(f"{len(v)} {k}" for k, v in factors.items())]
    lines += [f"done already: {len(done)}; to run: {len(left)}"]
    lines += [f"damaged: {message}" for message in damaged]
    data_dir = plans[0].config.data.data_dir
    missing = lacking((plan.config.data.dataset for plan in plans), data_dir)
    if missing:
        lines += [f"data missing: {', '.join(missing)}; fetch them with: {fetch_command(missing, data_dir)}"]
    lines += [
        f"time: about {_duration(seconds)} on {workers} workers ({basis})",
        f"disk: about {disk / 1e6:.0f} MB in {folder}",
        f"memory: about {memory / 2**30:.1f} GiB",
        "nothing was run (--dry_run)",
    ]
    return "\n".join(lines)


def _seconds(path: Path) -> float:
    return float(reader.load(path).arrays["time/round_s"].sum())


def _parameters(plan: Plan) -> int:
    data, training = plan.config.data.spec(), plan.config.training
    return _size(training.model, data.shape, data.classes, tuple(training.settings().items()))


@cache
def _size(name: str, shape: tuple[int, ...], classes: int, settings: tuple[tuple[str, Any], ...]) -> int:
    with torch.device("meta"):
        model = build(name, shape, classes, dict(settings))
    return sum(p.numel() for p in model.parameters())


def _work(plan: Plan) -> float:
    """Seconds on one core: steps, and a forward pass of each test sample at each measurement."""
    config, n, size = plan.config, plan.topology.n, _parameters(plan)
    data = config.data.spec()
    samples, tests = data.sizes
    steps = config.run.rounds * plan.epochs * n * math.ceil(samples / n / config.training.batch_size)
    passes = plan.points * n
    seen = data.answers * (3 * samples * config.run.rounds * plan.epochs + passes * tests)
    flops = 2 * size * seen
    return steps * STEP_S + passes * STEP_S + flops / FLOPS


def _disk(plan: Plan) -> int:
    """Bytes of the result file, packed about threefold, and of the checkpoint where it is kept."""
    n, classes = plan.topology.n, plan.config.data.spec().classes
    rows = (plan.points + 1) * n * 4 * (7 + 3 * classes) // 3
    return rows + 30_000 + (_memory(plan) if plan.config.run.keep_checkpoint else 0)


def _memory(plan: Plan) -> int:
    """Bytes of the population."""
    return 4 * _parameters(plan) * plan.topology.n


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 3 * 86400 else f"{seconds / 86400:,.0f} days"
