"""A sweep written out: the experiments that a preset and its flags stand for."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dml import config as experiment_config
from dml import plan
from dml.coefficients.strategies import STRATEGIES
from dml.errors import InputError
from dml.parallel.config import SweepConfig
from dml.parallel.presets import PRESETS
from dml.plan import Plan
from dml.topology import Topology, read

FACTORS = {
    "dataset": "--datasets",
    "seed": "--seeds",
    "topology_file": "--topologies",
    "aggregation_strategy": "--strategies",
    "backdoor": "the preset, and --control",
    "backdoor_node_idx": "the preset",
}
"""Flags of a single run that a sweep varies, and what sets them there."""


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """The scheduler's flags: its own, then those of the single run that are no factors."""
    for flag, info in SweepConfig.model_fields.items():
        yield "sweep", flag, info
    for section, flag, info in experiment_config.fields():
        if flag not in FACTORS and flag not in SweepConfig.model_fields:
            yield section, flag, info


def shown_defaults() -> dict[str, str]:
    """What the help says of the flags that the presets set."""
    flags = {flag for preset in PRESETS.values() for flag in preset.fixed}
    return {
        flag: ", ".join(f"{name} {p.fixed[flag]}" for name, p in PRESETS.items() if flag in p.fixed)
        for flag in flags
    } | {"threads": "1 a worker", "out_dir": "results/<preset>"}


def refuse_factors(argv: Sequence[str]) -> None:
    """Raises InputError on a flag of the single run that a sweep varies."""
    for word in argv:
        flag = word.removeprefix("--").split("=")[0].replace("-", "_").removeprefix("no_")
        if word.startswith("--") and flag in FACTORS:
            raise InputError(flag, None, f"a sweep varies it: it is set by {FACTORS[flag]}")


def make(given: Mapping[str, Any]) -> tuple[SweepConfig, dict[str, Any]]:
    """The scheduler's own configuration, and the flags that are meant for the experiments.

    Raises:
        InputError: a value that cannot be right.
    """
    own = {flag: value for flag, value in given.items() if flag in SweepConfig.model_fields}
    try:
        sweep = SweepConfig(**own)
    except ValidationError as error:
        raise experiment_config.input_error(error) from None
    return sweep, {flag: value for flag, value in given.items() if flag not in own}


def out_dir(sweep: SweepConfig) -> Path:
    """The folder of the results."""
    return sweep.out_dir or Path("results") / sweep.preset


def experiments(sweep: SweepConfig, flags: Mapping[str, Any]) -> list[Plan]:
    """Every experiment of the sweep, in the order in which they are started.

    A flag goes to the experiments that read it.

    Args:
        sweep: the factors.
        flags: of the experiments, by name, those alone that were given.

    Raises:
        InputError: a value that cannot be right, or a flag that no experiment of the sweep reads.
    """
    fixed = {**PRESETS[sweep.preset].fixed, "threads": 1, **flags, "out_dir": out_dir(sweep)}
    _check_read(sweep, fixed, flags)
    return list(islice(_plans(sweep, fixed), sweep.limit))


def _check_read(sweep: SweepConfig, fixed: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Refuses a flag that no experiment reads; what is read does not depend on seed and topology."""
    preset = PRESETS[sweep.preset]
    read_by_some = set(experiment_config.NOT_NUMBERS)
    for dataset in sweep.datasets or preset.datasets:
        for strategy in sweep.strategies or preset.strategies:
            values = {**fixed, "dataset": dataset, "aggregation_strategy": strategy, "backdoor": True}
            read_by_some |= experiment_config.make(values, drop_unread=True).reads()
    for flag, value in flags.items():
        if flag not in read_by_some:
            raise InputError(flag, value, "no experiment of this sweep reads it, so leave it out")


def _plans(sweep: SweepConfig, fixed: Mapping[str, Any]) -> Iterator[Plan]:
    preset = PRESETS[sweep.preset]

    @cache
    def graph(text: str, seed: int) -> Topology:
        try:
            return read(text, seed=seed)
        except InputError as error:
            raise InputError("topologies", error.value, error.right) from None

    seen: set[str] = set()
    for seed in sweep.seeds or preset.seeds:
        for dataset in sweep.datasets or preset.datasets:
            for text in sweep.topologies or preset.topologies(seed):
                topology = graph(text, seed)
                nodes = topology.most_connected(min(preset.ood_ranks, topology.n))
                for strategy in sweep.strategies or preset.strategies:
                    try:
                        STRATEGIES[strategy].check(topology)
                    except InputError as error:
                        raise InputError("strategies", error.value, error.right) from None
                    on = nodes[:1] if STRATEGIES[strategy].complete else nodes
                    common = {
                        **fixed,
                        "seed": seed,
                        "dataset": dataset,
                        "topology_file": text,
                        "aggregation_strategy": strategy,
                    }
                    cases: list[dict[str, Any]] = [
                        {"backdoor": True, "backdoor_node_idx": (int(k),)} for k in on
                    ]
                    for case in [*cases, *([{"backdoor": False}] if sweep.control else [])]:
                        config = experiment_config.make({**common, **case}, drop_unread=True)
                        planned = plan.make(config, topology)
                        # The same graph given twice, say as a file and as its generator, is run once.
                        if planned.identity.id not in seen:
                            seen.add(planned.identity.id)
                            yield planned
