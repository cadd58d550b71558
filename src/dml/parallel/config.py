"""The scheduler's own flags, beside those of the experiments that it starts."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from dml.algorithms.registry import ALGORITHMS
from dml.coefficients.strategies import STRATEGIES
from dml.data.catalogue import DATASET_ALIASES, dataset_names, is_dataset
from dml.parallel.presets import PRESETS
from dml.section import MAX_COUNT, Section, UserPath, one_of


class SweepConfig(Section):
    """A sweep: every combination of its factors, and where it runs."""

    preset: Annotated[str, one_of(PRESETS, "preset")] = Field(
        "digits",
        description="the table of experiments: " + "; ".join(f"{p} = {v.about}" for p, v in PRESETS.items()),
    )
    sweep: UserPath | None = Field(
        None,
        description="a YAML file in place of a preset: flags and their values, lists of which are crossed",
    )
    datasets: tuple[str, ...] = Field((), description="data sets, in place of the preset's")
    seeds: tuple[int, ...] = Field((), description="seeds, in place of the preset's")
    topologies: tuple[str, ...] = Field((), description="files or generators, in place of the preset's")
    strategies: tuple[Annotated[str, one_of(STRATEGIES, "strategy")], ...] = Field(
        (), description="aggregation strategies, in place of the preset's"
    )
    algorithms: tuple[Annotated[str, one_of(ALGORITHMS, "algorithm")], ...] = Field(
        (), description="algorithms, in place of the preset's"
    )
    ood_ranks: tuple[Annotated[int, Field(ge=1, le=MAX_COUNT)], ...] = Field(
        (),
        description="OOD data on the node of highest degree (1), of second highest (2) .., one experiment "
        "each, in place of the preset's",
    )
    control: bool = Field(False, description="also run every combination without OOD data")
    tune_lr: Literal["worst_test", "final_test", "auc_test", "worst_ood", "final_ood", "auc_ood"] | None = (
        Field(
            None,
            description="in place of the sweep, find the learning rate of each combination that is best by "
            "this value, from the sweep's own by factors of 2; the sweep's file with them is written",
        )
    )
    limit: int | None = Field(None, ge=1, le=MAX_COUNT, description="run only the first so many experiments")
    out_dir: UserPath | None = Field(None, description="folder of the results")
    parsl_config: str = Field(
        "local", description="the site: a name in parsl_configs/, or a path to a .py file"
    )
    site_options: tuple[str, ...] = Field((), description="options of the site, as key=value")
    workers: int | None = Field(None, ge=1, description="the site's option of that name (local: one a core)")
    dry_run: bool = Field(
        False, description="say what would run, how long, how much disk and memory; run nothing"
    )

    @field_validator("datasets")
    @classmethod
    def _known_datasets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in DATASET_ALIASES and not is_dataset(name):
                there = ", ".join(dataset_names())
                raise ValueError(f"{name} is no data set; there are: {there}, or name a folder")
        return names

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError("seeds are whole numbers from 0 to 2**32 - 1")
        return seeds
