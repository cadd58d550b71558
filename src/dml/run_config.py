"""The part of an experiment's configuration that says how long it runs, who takes part, and where."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dml.execution.participation import PATTERNS
from dml.execution.participation import parse as parse_rates
from dml.field_types import MAX_COUNT, Texts, UserPath, one_of, says
from dml.section import Section

MAX_THREADS = 4 * (os.cpu_count() or 1)
"""The largest number of threads; more would only wait for one another."""


class RunConfig(Section):
    """The length of an experiment, participation, measurements, and where it runs and writes."""

    rounds: int = Field(10, ge=1, le=MAX_COUNT, description="communication rounds")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of all random numbers")
    participation: float = Field(1.0, gt=0, le=1, description="share of the nodes that take part in a round")
    participation_pattern: Annotated[str, one_of(PATTERNS, "pattern")] = Field(
        "uniform",
        description="who takes part: a fixed share (uniform), or each node by its own probability, constant "
        "(stationary) or with a period (staircase, sine, interleaved_sine)",
    )
    participation_low: float = Field(
        0.0, ge=0, le=1, description="lowest probability under the patterns staircase and sine"
    )
    participation_period: int = Field(
        50, ge=1, le=MAX_COUNT, description="rounds of a period under the patterns that have one"
    )
    node_participation: Texts = Field(
        (),
        description="rates of single nodes, as NODE@RATE, under all patterns but uniform",
    )
    eval_every: Annotated[
        Literal["epoch"] | Annotated[int, Field(ge=1, le=MAX_COUNT)],
        says("must be epoch, or a number of rounds of at least 1"),
    ] = Field(
        "epoch",
        description="measure the models after each local epoch (epoch), or after the last epoch of every "
        "K-th round (a number K)",
    )
    out_dir: UserPath = Field(Path("results/single"), description="folder of the results")
    checkpoint_every: int = Field(10, ge=1, le=MAX_COUNT, description="rounds between checkpoints")
    checkpoint_minutes: float = Field(15.0, gt=0, description="minutes between checkpoints, at most")
    keep_checkpoint: bool = Field(
        True, description="keep the checkpoint at the end, so that more rounds can continue from it"
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=MAX_THREADS,
        description="torch threads (default: 1 below a million parameters, otherwise all cores)",
    )
    shards: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="processes on this machine that share the nodes, each with an accelerator of its own and "
        "a share of the threads (default: 1, or as many as a launcher like mpiexec has started)",
    )
    engine: Literal["auto", "loop", "batched"] = Field(
        "auto",
        description="train nodes one after another (loop) or all at once (batched), with the same numbers "
        "but for rounding; auto takes the faster one, but stays with the engine of a file's last rounds",
    )
    accelerator: str = Field("auto", description="what the models train on: auto, cpu, cuda:0, xpu:0, ...")
    ipex: bool = Field(
        False, description="use the kernels of intel_extension_for_pytorch, on a CPU or on Intel's GPUs"
    )

    @field_validator("node_participation")
    @classmethod
    def _ordered(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{node}@{rate:g}" for node, rate in sorted(parse_rates(given).items()))


PARTICIPATION = {
    "participation",
    "participation_pattern",
    "participation_low",
    "participation_period",
    "node_participation",
}
"""The fields that say who takes part."""

NUMBERS = {"seed", "eval_every"} | PARTICIPATION
"""The fields of :class:`RunConfig` that change numbers; more rounds only add to them."""
