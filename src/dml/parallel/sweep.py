"""A sweep written out: the experiments that a preset, or a file, and its flags stand for."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from dml import config as experiment_config
from dml import plan
from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.parallel import cases
from dml.parallel.config import SweepConfig
from dml.parallel.presets import PRESETS
from dml.parallel.table import OOD_RANK, Table, in_file
from dml.parallel.table import read as read_tables
from dml.plan import Plan
from dml.section import input_error
from dml.topology import Topology, read

_log = logging.getLogger(__name__)

FACTORS = {
    "dataset": "--datasets",
    "seed": "--seeds",
    "topology_file": "--topologies",
    "aggregation_strategy": "--strategies",
    "algorithm": "--algorithms",
    "backdoor": "the preset, and --control",
    "backdoor_node_idx": "--ood_ranks, or in a --sweep file",
}
"""Flags of a single run that a sweep varies, and what sets them there."""

_REPLACING = {
    "datasets": "dataset",
    "seeds": "seed",
    "topologies": "topology_file",
    "strategies": "aggregation_strategy",
    "algorithms": "algorithm",
    "ood_ranks": OOD_RANK,
}
"""The scheduler's flags that stand for the values of a key."""


SOON = 10_000
"""Combinations that are checked before anybody wonders."""


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """The scheduler's flags: its own, then those of the single run that are no factors."""
    for flag, info in SweepConfig.model_fields.items():
        yield "sweep", flag, info
    for section, flag, info in experiment_config.fields():
        if flag not in FACTORS and flag not in SweepConfig.model_fields:
            yield section, flag, info


def shown_defaults() -> dict[str, str]:
    """What the help says of the flags that the presets set."""
    fixed = {name: preset.tables[0].fixed for name, preset in PRESETS.items()}
    flags = {flag for values in fixed.values() for flag in values}
    shown = {}
    for flag in flags:
        by_value: dict[Any, list[str]] = {}
        for name, values in fixed.items():
            if flag in values:
                by_value.setdefault(values[flag], []).append(name)
        count = sum(map(len, by_value.values()))
        shown[flag] = "; ".join(
            f"{value}" if len(names) == len(fixed) else f"{value} in {_some(names)}"
            for value, names in by_value.items()
        ) + ("" if count == len(fixed) else "; else as in a single run")
    return (
        experiment_config.shown_defaults()
        | shown
        | {"threads": "1 a worker", "out_dir": "results/<preset, or name of the file>"}
    )


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} of the presets"


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
        raise input_error(error, SweepConfig) from None
    if sweep.tune_lr:
        for flag in ("control", "limit"):
            if getattr(sweep, flag):
                raise InputError(flag, getattr(sweep, flag), "excludes --tune_lr; give one")
    if sweep.sweep and "preset" in given:
        raise InputError("preset", sweep.preset, "excludes --sweep; give one")
    if sweep.sweep and sweep.sweep.stem in PRESETS and sweep.out_dir is None:
        folder = f"results/{sweep.sweep.stem} is the folder of the preset of that name"
        raise InputError("sweep", sweep.sweep, f"{folder}: rename the file, or add --out_dir")
    return sweep, {flag: value for flag, value in given.items() if flag not in own}


def out_dir(sweep: SweepConfig) -> Path:
    """The folder of the results."""
    return sweep.out_dir or Path("results") / (f"{name(sweep)}-tuning" if sweep.tune_lr else name(sweep))


def name(sweep: SweepConfig) -> str:
    """The preset, or what the sweep's file is called."""
    return sweep.sweep.stem if sweep.sweep else sweep.preset


def experiments(sweep: SweepConfig, flags: Mapping[str, Any]) -> list[Plan]:
    """Every experiment of the sweep, in the order in which they are started.

    A flag goes to the experiments that read it.

    Args:
        sweep: the factors.
        flags: of the experiments, by name, those alone that were given.

    Raises:
        InputError: a value that cannot be right, or a flag or key that no experiment of the sweep reads.
    """
    path = sweep.sweep
    given, sweep, flags = _chosen(sweep, flags)
    tables = [_with_flags(table, sweep, flags) for table in given]
    count = sum(table.size for table in tables)
    if count > SOON and sweep.limit is None:
        _log.info(f"checking {count:,} combinations")
    try:
        reads = _reads(tables)
        _check_read(reads, {**flags, **({OOD_RANK: sweep.ood_ranks} if sweep.ood_ranks else {})})
        if sweep.control and OOD_RANK not in reads:
            raise InputError("control", True, "no experiment of this sweep has OOD data, so all are controls")
        # A key that only strategies read which the command line has replaced is no mistake of the file.
        own = sweep.model_copy(update={"strategies": (), "ood_ranks": ()})
        for table in given if path else ():
            keys = {**table.fixed, **table.factors}
            _check_read(_reads([_with_flags(table, own, flags)]), keys)
        # A file is checked to its end, whatever the limit.
        plans = _plans(tables, sweep.control)
        return _distinct(plans, None if path else sweep.limit)[: sweep.limit]
    except InputError as error:
        flag = next((flag for flag, key in _REPLACING.items() if key == error.field), error.field)
        typed = error.field in flags or (flag in SweepConfig.model_fields and getattr(sweep, flag))
        if path and not typed:
            raise in_file(path, error) from None
        raise InputError(flag, error.value, error.right) from None


def _chosen(
    sweep: SweepConfig, flags: Mapping[str, Any]
) -> tuple[Sequence[Table], SweepConfig, Mapping[str, Any]]:
    """The sweep's tables, and the flags that are to replace some of their values."""
    path = sweep.sweep
    given = read_tables(path, SweepConfig.model_fields) if path else PRESETS[sweep.preset].tables
    asked = {key: values for flag, key in _REPLACING.items() if (values := getattr(sweep, flag))}
    kept, served = cases.narrowed(given, asked | {flag: (value,) for flag, value in flags.items()})
    left = {flag: () for flag, key in _REPLACING.items() if key in served}
    return kept, sweep.model_copy(update=left), {k: v for k, v in flags.items() if k not in served}


def _with_flags(table: Table, sweep: SweepConfig, flags: Mapping[str, Any]) -> Table:
    """The table with the values of the command line in place of its own."""
    factors = {key: values for flag, key in _REPLACING.items() if (values := getattr(sweep, flag))}
    fixed = {"threads": table.fixed.get("threads", 1), **flags, "out_dir": out_dir(sweep)}
    dropped = frozenset({"backdoor_node_idx"} if sweep.ood_ranks else ())
    return table.replaced(factors, fixed, dropped)


def _reads(tables: Sequence[Table]) -> set[str]:
    """The keys that some experiment reads; which these are does not depend on graphs and numbers."""
    read = set(experiment_config.NOT_NUMBERS)
    numbers = {flag for _, flag, info in experiment_config.fields() if info.annotation in (int, float)}
    for table in tables:
        for values in table.combinations(once={"topology_file", OOD_RANK, *numbers}):
            config = _config(values)
            read |= config.reads() | ({OOD_RANK} if config.data.backdoor else set())
    return read


def _check_read(read: Collection[str], keys: Mapping[str, Any]) -> None:
    for key, value in keys.items():
        if key not in read:
            shown = value if isinstance(value, tuple) else (value,)
            raise InputError(key, shown, "no experiment of this sweep reads it, so leave it out")


def _config(values: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration of one combination, on whatever node its OOD data are to be."""
    flags = {key: value for key, value in values.items() if key != OOD_RANK}
    if isinstance(flags.get("backdoor_node_idx"), str | int):
        flags["backdoor_node_idx"] = (flags["backdoor_node_idx"],)
    if isinstance(flags.get("train_test_val"), str):
        value = flags["train_test_val"]
        raise InputError("train_test_val", value, "is a list itself, so write [[0.8, 0.2]]")
    return experiment_config.make(flags, drop_unread=True)


def combinations(sweep: SweepConfig, flags: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Plan]]:
    """Every combination of a sweep that :func:`experiments` has found right, and its experiment."""
    given, sweep, flags = _chosen(sweep, flags)
    graph = cache(read)
    for table in (_with_flags(table, sweep, flags) for table in given):
        for values in table.combinations():
            planned = _plan(values, table.factors.get(OOD_RANK, ()), graph)
            if planned:
                yield values, planned


def _plans(tables: Sequence[Table], control: bool) -> Iterator[Plan]:
    graph = cache(read)
    for table in tables:
        for values in table.combinations():
            planned = _plan(values, table.factors.get(OOD_RANK, ()), graph)
            if planned is None:
                continue
            yield planned
            if planned.config.data.backdoor and control:
                yield plan.make(_config({**values, "backdoor": False}), planned.topology)


def _plan(
    values: Mapping[str, Any], ranks: Sequence[int], graph: Callable[[str, int], Topology]
) -> Plan | None:
    """The experiment of one combination; None where it says no more than another one of the ranks."""
    config = _config(values)
    topology = graph(config.topology.topology_file, config.run.seed)
    if OOD_RANK in values and config.data.backdoor:
        possible = [rank for rank in ranks if rank <= topology.n]
        if not possible:
            right = f"{config.topology.topology_file} has no more than {topology.n} nodes"
            raise InputError(OOD_RANK, ranks, right)
        # On the complete graph all nodes are alike, so the first says it all.
        if values[OOD_RANK] not in (possible[:1] if config.complete else possible):
            return None
        config = _with_ood_on(config, topology, values[OOD_RANK])
    return plan.make(config, topology)


def _distinct(plans: Iterator[Plan], limit: int | None) -> list[Plan]:
    """Each experiment once, with the most rounds that are asked of it.

    The same graph may be given twice, say as a file and as its generator.
    """
    found: dict[str, Plan] = {}
    for planned in plans:
        known = found.get(planned.identity.id)
        if known is None or known.config.run.rounds < planned.config.run.rounds:
            found[planned.identity.id] = planned
        if len(found) == limit:
            break
    return list(found.values())


def _with_ood_on(config: ExperimentConfig, topology: Topology, rank: int) -> ExperimentConfig:
    node = int(topology.most_connected(rank)[rank - 1])
    return config.model_copy(update={"data": config.data.model_copy(update={"backdoor_node_idx": (node,)})})
