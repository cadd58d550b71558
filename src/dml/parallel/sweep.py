"""A sweep written out: the experiments that a preset, or a file, and its flags stand for."""

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
from dml.parallel.table import OOD_RANK, Table, in_file
from dml.parallel.table import read as read_tables
from dml.plan import Plan
from dml.topology import Topology, read

FACTORS = {
    "dataset": "--datasets",
    "seed": "--seeds",
    "topology_file": "--topologies",
    "aggregation_strategy": "--strategies",
    "backdoor": "the preset, and --control",
    "backdoor_node_idx": "--ood_ranks, or in a --sweep file",
}
"""Flags of a single run that a sweep varies, and what sets them there."""

_REPLACING = {
    "datasets": "dataset",
    "seeds": "seed",
    "topologies": "topology_file",
    "strategies": "aggregation_strategy",
    "ood_ranks": OOD_RANK,
}
"""The scheduler's flags that stand for the values of a key."""


_LISTS = {"backdoor_node_idx", "train_test_val"}
"""Flags whose one value may be a list; in a table it stands in a list of such values."""


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
        shown[flag] = "; ".join(f"{', '.join(names)} {value}" for value, names in by_value.items())
    return shown | {"threads": "1 a worker", "out_dir": "results/<preset, or name of the file>"}


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
    if sweep.sweep and "preset" in given:
        raise InputError("preset", sweep.preset, "and --sweep exclude each other; give one")
    return sweep, {flag: value for flag, value in given.items() if flag not in own}


def out_dir(sweep: SweepConfig) -> Path:
    """The folder of the results."""
    return sweep.out_dir or Path("results") / (sweep.sweep.stem if sweep.sweep else sweep.preset)


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
    given = read_tables(path) if path else PRESETS[sweep.preset].tables
    tables = [_with_flags(table, sweep, flags) for table in given]
    try:
        _check_read(tables, {**flags, **({OOD_RANK: sweep.ood_ranks} if sweep.ood_ranks else {})})
        if path:
            # A key that only strategies read which the command line has replaced is no mistake of the file.
            own = sweep.model_copy(update={"strategies": (), "ood_ranks": ()})
            for table in given:
                _check_read([_with_flags(table, own, flags)], {**table.fixed, **table.factors})
        return list(islice(_plans(tables), sweep.limit))
    except InputError as error:
        flag = next((flag for flag, key in _REPLACING.items() if key == error.flag), error.flag)
        typed = error.flag in flags or (flag in _REPLACING and getattr(sweep, flag))
        if path and not typed:
            raise in_file(path, error) from None
        raise InputError(flag, error.value, error.right) from None


def _with_flags(table: Table, sweep: SweepConfig, flags: Mapping[str, Any]) -> Table:
    """The table with the values of the command line in place of its own."""
    factors = {key: values for flag, key in _REPLACING.items() if (values := getattr(sweep, flag))}
    if sweep.control and table.fixed.get("backdoor"):
        factors["backdoor"] = (True, False)
    fixed = {"threads": table.fixed.get("threads", 1), **flags, "out_dir": out_dir(sweep)}
    dropped = frozenset({"backdoor_node_idx"} if sweep.ood_ranks else ())
    return table.replaced(factors, fixed, dropped)


def _check_read(tables: Sequence[Table], keys: Mapping[str, Any]) -> None:
    """Refuses a key that no experiment reads; what is read does not depend on seed and topology."""
    read_by_some = set(experiment_config.NOT_NUMBERS)
    for table in tables:
        for values in table.combinations(once=frozenset({"seed", "topology_file", OOD_RANK})):
            config = _config(values)
            read_by_some |= config.reads() | ({OOD_RANK} if config.data.backdoor else set())
    for key, value in keys.items():
        if key not in read_by_some:
            shown = value if isinstance(value, tuple) else (value,)
            raise InputError(key, shown, "no experiment of this sweep reads it, so leave it out")


def _config(values: Mapping[str, Any]) -> experiment_config.ExperimentConfig:
    """The configuration of one combination, on whatever node its OOD data are to be."""
    flags = {key: value for key, value in values.items() if key != OOD_RANK}
    for key in _LISTS & flags.keys():
        flags[key] = flags[key] if isinstance(flags[key], list | tuple) else (flags[key],)
    return experiment_config.make(flags, drop_unread=True)


def _plans(tables: Sequence[Table]) -> Iterator[Plan]:
    graph = cache(read)
    # The same graph given twice, say as a file and as its generator, is run once.
    seen: set[str] = set()
    for table in tables:
        ranks = table.factors.get(OOD_RANK, ())
        for values in table.combinations():
            config = _config(values)
            topology = graph(config.topology.topology_file, config.run.seed)
            if OOD_RANK in values and config.data.backdoor:
                rank = values[OOD_RANK]
                if min(ranks) > topology.n:
                    right = f"{config.topology.topology_file} has no more than {topology.n} nodes"
                    raise InputError(OOD_RANK, ranks, right)
                # On the complete graph all nodes are alike, so the first says it all.
                complete = STRATEGIES[config.strategy.aggregation_strategy].complete
                if rank > topology.n or (complete and rank != ranks[0]):
                    continue
                config = _with_ood_on(config, topology, rank)
            planned = plan.make(config, topology)
            if planned.identity.id not in seen:
                seen.add(planned.identity.id)
                yield planned


def _with_ood_on(
    config: experiment_config.ExperimentConfig, topology: Topology, rank: int
) -> experiment_config.ExperimentConfig:
    node = int(topology.most_connected(rank)[rank - 1])
    return config.model_copy(update={"data": config.data.model_copy(update={"backdoor_node_idx": (node,)})})
