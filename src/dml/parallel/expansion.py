"""Expands a sweep into the list of experiments that a preset or a file, and the flags, describe."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from dml.config import NOT_NUMBERS, ExperimentConfig, fields, make
from dml.errors import InputError
from dml.parallel.ceiling import with_ceiling
from dml.parallel.config import SweepConfig
from dml.parallel.presets.choose import choose_cases
from dml.parallel.presets.sweeps import SWEEPS
from dml.parallel.table import OOD_RANK, Table, in_file, tables_of
from dml.plan import Plan, make_plan
from dml.results.identity import files_by_id
from dml.topology import Topology, read

_log = logging.getLogger(__name__)

_REPLACING = {
    "datasets": "dataset",
    "seeds": "seed",
    "topologies": "topology_file",
    "strategies": "aggregation_strategy",
    "algorithms": "algorithm",
    "ood_ranks": OOD_RANK,
}
"""The scheduler's flags that replace the values of a key."""

SOON = 10_000
"""The largest number of combinations that is checked without a message, because it takes little time."""


def experiments(sweep: SweepConfig, flags: Mapping[str, Any]) -> list[Plan]:
    """All experiments of the sweep, in the order in which they are started.

    A flag is applied to the experiments that read it.

    Args:
        sweep: the factors.
        flags: the flags that were given for the experiments, by name.

    Raises:
        InputError: a value is wrong, or no experiment of the sweep reads a flag or key.
    """
    path = sweep.sweep
    try:
        given, sweep, flags = _chosen(sweep, flags)
    except InputError as error:
        flag = next((flag for flag, key in _REPLACING.items() if key == error.field), error.field)
        raise InputError(flag, error.value, error.right) from None
    tables = [_with_flags(table, sweep, flags) for table in given]
    try:
        if sweep.ceiling:
            tables = with_ceiling(tables)
        count = sum(table.size for table in tables)
        if count > SOON and sweep.limit is None:
            _log.info(f"checking {count:,} combinations")
        reads = _reads(tables)
        _check_read(reads, {**flags, **({OOD_RANK: sweep.ood_ranks} if sweep.ood_ranks else {})})
        if sweep.control and OOD_RANK not in reads:
            raise InputError("control", True, "no experiment of this sweep has OOD data, so all are controls")
        # A key of the file is not wrong only because the command line replaces the strategies that read it.
        own = sweep.model_copy(update={"strategies": (), "ood_ranks": ()})
        for table in given if path else ():
            keys = {**table.fixed, **table.factors}
            _check_read(_reads([_with_flags(table, own, flags)]), keys)
        # A file is checked to its end, whatever the limit.
        plans = _plans(tables, sweep)
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
    """The sweep's tables, and the flags that replace some of their values."""
    path = sweep.sweep
    given = tables_of(path, SweepConfig.model_fields) if path else SWEEPS[sweep.preset].tables
    asked = {key: values for flag, key in _REPLACING.items() if (values := getattr(sweep, flag))}
    kept, served = choose_cases(given, asked | {flag: (value,) for flag, value in flags.items()})
    left = {flag: () for flag, key in _REPLACING.items() if key in served}
    return kept, sweep.model_copy(update=left), {k: v for k, v in flags.items() if k not in served}


def _with_flags(table: Table, sweep: SweepConfig, flags: Mapping[str, Any]) -> Table:
    """The table with the values of the command line instead of its own."""
    factors = {key: values for flag, key in _REPLACING.items() if (values := getattr(sweep, flag))}
    fixed = {"threads": table.fixed.get("threads", 1), **flags, "out_dir": sweep.folder}
    dropped = frozenset({"backdoor_node_idx"} if sweep.ood_ranks else ())
    return table.replaced(factors, fixed, dropped)


def _reads(tables: Sequence[Table]) -> set[str]:
    """The keys that at least one experiment reads. Graphs and numbers do not affect this."""
    read = set(NOT_NUMBERS)
    numbers = {flag for _, flag, info in fields() if info.annotation in (int, float)}
    for table in tables:
        for values in table.combinations(once={"topology_file", OOD_RANK, *numbers}):
            config = _config(values)
            read |= config.reads() | config.records() | ({OOD_RANK} if config.data.backdoor else set())
    return read


def _check_read(read: Collection[str], keys: Mapping[str, Any]) -> None:
    for key, value in keys.items():
        if key not in read:
            shown = value if isinstance(value, tuple) else (value,)
            raise InputError(key, shown, "has no effect in any experiment of this sweep, so leave it out")


def _config(values: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration of one combination; OOD nodes that are given by rank are still missing."""
    flags = {key: value for key, value in values.items() if key != OOD_RANK}
    if isinstance(flags.get("backdoor_node_idx"), str | int):
        flags["backdoor_node_idx"] = (flags["backdoor_node_idx"],)
    if isinstance(flags.get("train_test_val"), str):
        value = flags["train_test_val"]
        raise InputError("train_test_val", value, "one value is a list, so write [[0.8, 0.2]]")
    return make(flags, drop_unread=True)


def combinations(sweep: SweepConfig, flags: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Plan]]:
    """All combinations of a sweep, each with its experiment; :func:`experiments` must have checked them."""
    given, sweep, flags = _chosen(sweep, flags)
    yield from _planned([_with_flags(table, sweep, flags) for table in given], files_by_id(sweep.folder))


def _plans(tables: Sequence[Table], sweep: SweepConfig) -> Iterator[Plan]:
    there = files_by_id(sweep.folder)
    for values, planned in _planned(tables, there):
        yield planned
        if planned.config.data.backdoor and sweep.control:
            yield make_plan(_config({**values, "backdoor": False}), planned.topology, there)


def _planned(tables: Sequence[Table], there: Mapping[str, Path]) -> Iterator[tuple[dict[str, Any], Plan]]:
    graph = cache(read)
    for table in tables:
        for values in table.combinations():
            found = _resolved(values, table.factors.get(OOD_RANK, ()), graph)
            if found is None:
                continue
            try:
                planned = make_plan(*found, there)
            except InputError as error:
                if not (table.only_where_admitted and error.field == "topology_file"):
                    raise
            else:
                yield values, planned


def _resolved(
    values: Mapping[str, Any], ranks: Sequence[int], graph: Callable[[str, int], Topology]
) -> tuple[ExperimentConfig, Topology] | None:
    """The configuration and the graph of one combination; None if another rank gives the same experiment."""
    config = _config(values)
    topology = graph(config.topology.topology_file, config.run.seed)
    if OOD_RANK in values and config.data.backdoor:
        possible = [rank for rank in ranks if rank <= topology.n]
        if not possible:
            right = f"{config.topology.topology_file} has no more than {topology.n} nodes"
            raise InputError(OOD_RANK, ranks, right)
        # In a complete graph all nodes are equivalent, so one rank is enough.
        if values[OOD_RANK] not in (possible[:1] if config.complete else possible):
            return None
        config = _with_ood_on(config, topology, values[OOD_RANK])
    return config, topology


def _distinct(plans: Iterator[Plan], limit: int | None) -> list[Plan]:
    """Each experiment once, with the largest number of rounds that any combination asks for.

    Two combinations may be the same experiment, as a graph can be given by a file and by its generator.
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
