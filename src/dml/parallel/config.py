"""The configuration of a sweep: its factors, and where it runs."""

import math
from pathlib import Path
from typing import Annotated, Self

import psutil
from pydantic import Field, field_validator, model_validator

from dml.algorithms.registry import ALGORITHMS
from dml.coefficients.strategies import STRATEGIES
from dml.data.catalogue import DATASET_ALIASES, dataset_names, is_dataset
from dml.errors import InputError, one_line
from dml.field_types import MAX_COUNT, UserPath, one_of
from dml.parallel.criterion import Criterion
from dml.parallel.limits import LEAST_MARGIN, Limits
from dml.parallel.presets.sweeps import SWEEPS
from dml.parallel.walltime import end_of_job, seconds
from dml.section import Section


class SweepConfig(Section):
    """A sweep: every combination of its factors, and where it runs."""

    preset: Annotated[str, one_of(SWEEPS, "preset")] = Field(
        "digits",
        description="the table of experiments: " + "; ".join(f"{p} = {v.about}" for p, v in SWEEPS.items()),
    )
    sweep: UserPath | None = Field(
        None,
        description="a YAML file of flags and their values, instead of a preset; lists are crossed",
    )
    datasets: tuple[str, ...] = Field((), description="data sets, instead of the preset's")
    seeds: tuple[int, ...] = Field((), description="seeds, instead of the preset's")
    topologies: tuple[str, ...] = Field((), description="files or generators, instead of the preset's")
    strategies: tuple[Annotated[str, one_of(STRATEGIES, "strategy")], ...] = Field(
        (), description="aggregation strategies, instead of the preset's"
    )
    algorithms: tuple[Annotated[str, one_of(ALGORITHMS, "algorithm")], ...] = Field(
        (), description="algorithms, instead of the preset's"
    )
    ood_ranks: tuple[Annotated[int, Field(ge=1, le=MAX_COUNT)], ...] = Field(
        (),
        description="put OOD data on the node of highest degree (1), of second-highest degree (2), ..., in "
        "one experiment each, instead of the preset's",
    )
    control: bool = Field(False, description="also run every combination without OOD data")
    ceiling: bool = Field(
        False,
        description="also train on the data of every combination in one place (centralized, and traversal) "
        "and by fedavg; all experiments then start from one model (--init same)",
    )
    tune_lr: Criterion | None = Field(
        None,
        description="instead of running the sweep, search for the learning rate of each combination that is "
        "best by this value, in factors of 2 from the sweep's own, and write a sweep file with them; worst, "
        "final and auc are taken on the nodes' validation shares (--train_test_val with three shares), or on "
        "the test set if there are none",
    )
    limit: int | None = Field(None, ge=1, le=MAX_COUNT, description="run only the first LIMIT experiments")
    out_dir: UserPath | None = Field(None, description="folder of the results")
    parsl_config: str = Field(
        "local", description="the site: a name in parsl_configs/, or a path to a .py file"
    )
    site_options: tuple[str, ...] = Field((), description="options of the site, as key=value")
    workers: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="the number of workers, an option of the site (local: one per core)",
    )
    grace: float = Field(
        25.0,
        gt=0,
        le=86400,
        description="seconds that workers have to end their round and save it when all must end",
    )
    walltime: str | None = Field(
        None,
        description="the time that this call has, as H:MM:SS (default: until the end of the Slurm or PBS job "
        "in which it runs)",
    )
    margin: float | None = Field(
        None,
        ge=0,
        description="seconds before the end of a job from which nothing new starts, and what runs is saved "
        "(default: twice the longest round so far, at least 60)",
    )
    max_jobs: int = Field(
        10, ge=1, le=MAX_COUNT, description="how many jobs may be submitted for the workers in all"
    )
    fresh: bool = Field(
        False,
        description="compute all experiments again from round 0; files that are there are moved to "
        "<out_dir>/replaced/<time>",
    )
    dry_run: bool = Field(
        False, description="say what would run, how long it takes, and how much disk and memory; run nothing"
    )

    @field_validator("datasets")
    @classmethod
    def _known_datasets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or (name not in DATASET_ALIASES and not is_dataset(name)):
                there = ", ".join(dataset_names())
                raise ValueError(
                    f"{one_line(name)} is not a data set; choose from: {there}; or give a folder"
                )
        return names

    @field_validator("walltime")
    @classmethod
    def _walltime(cls, text: str | None) -> str | None:
        if text is not None:
            seconds(text)
        return text

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError("seeds are whole numbers from 0 to 2**32 - 1")
        return seeds

    @model_validator(mode="after")
    def _there_is_time(self) -> Self:
        margin = LEAST_MARGIN if self.margin is None else self.margin
        if self.walltime is not None and seconds(self.walltime) <= margin:
            raise InputError(
                "walltime", self.walltime, f"must be longer than the margin of {margin:g} s (--margin)"
            )
        return self

    @model_validator(mode="after")
    def _no_flag_excludes_another(self) -> Self:
        for flag in ("control", "ceiling", "limit") if self.tune_lr else ():
            if getattr(self, flag):
                raise InputError(flag, getattr(self, flag), "excludes --tune_lr; give one")
        if self.sweep and "preset" in self.model_fields_set:
            raise InputError("preset", self.preset, "excludes --sweep; give one")
        if self.sweep and self.sweep.stem in SWEEPS and self.out_dir is None:
            folder = f"results/{self.sweep.stem} is the folder of the preset of that name"
            raise InputError("sweep", self.sweep, f"{folder}: rename the file, or add --out_dir")
        return self

    def limits(self) -> Limits:
        """The limits of a call that has begun when this process did."""
        if self.walltime is None:
            ends_at = end_of_job() or math.inf
        else:
            ends_at = psutil.Process().create_time() + seconds(self.walltime)
        return Limits(self.max_jobs, self.grace, ends_at, self.margin)

    @property
    def name(self) -> str:
        """The preset, or the name of the sweep's file."""
        return self.sweep.stem if self.sweep else self.preset

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return self.out_dir or Path("results") / (f"{self.name}-tuning" if self.tune_lr else self.name)
