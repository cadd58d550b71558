"""Checks what a result file says before it is used: types, ranges, and whether its parts fit together.

A digest tells that a file is as it was written; these checks also hold for older files, which have none.
"""

import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dml.config import fields
from dml.field_types import MAX_COUNT
from dml.results.record import EVALUATED, OTHER_BYTES, PER_CLASS, SERIES, SINGLES
from dml.results.status import Status
from dml.walks.figures import FIGURES

_TEXTS: tuple[str, ...] = ("experiment_id", "graph_id", "topology_source", "topology_family")
_JSON: dict[str, type] = {"numbers_version": dict, "config": dict, "reads": list, "segments": list}
_NUMBERS: tuple[str, ...] = ("auc_points", "auc_test", "auc_ood", "auc_asr")
_MORE_TEXTS: tuple[str, ...] = (
    "row_kind", "judged_by", "tree", "code_sha256", "plan_sha256", "visits", "visit_costs", "lossy_because",
)  # fmt: skip
_MORE_NUMBERS = (
    "forecast_ood", "lr_factor", "max_delay", "simulated_s", "refused_models", "refused_headers", "cut",
    "wire_to_nodes", "wire_from_nodes", "messages_to_nodes", "messages_from_nodes", *FIGURES,
)  # fmt: skip
_FIELDS = ("dataset", "aggregation_strategy", "algorithm", "seed", "backdoor", "backdoor_node_idx", "rounds")
"""The fields of the configuration that summaries and pictures need."""

REQUIRED: tuple[str, ...] = ("schema_version", "status", "rounds_done", *_TEXTS, *_JSON, *_NUMBERS)
"""The attributes that every result file has."""

_ARRAYS = (
    "topology/edges", "topology/weights", "topology/degree",
    "data/samples", "data/label_counts", "data/ood_samples",
)  # fmt: skip
"""The arrays that every result file has, besides those that a record is made from."""

_TOLD = (
    "time/steps", "time/hops", "time/link_bytes", "time/port_bytes",
    "time/simulated_s", "metrics/simulated_s",
)  # fmt: skip
"""What rounds cost, and the times that follow from it: a file has all of them, or only times."""

_WHOLE = (
    "data/", "communication/", "metrics/per_class/", "topology/edges", "topology/degree",
    "topology/distance_to_ood", "metrics/round", "metrics/epoch", "time/steps", "time/hops",
)  # fmt: skip
"""The beginnings of the names of datasets of whole numbers."""
_LARGEST = 2**64
_LOWEST = {"topology/distance_to_ood": -1, "metrics/epoch": -1}
"""The smallest possible number in them, if it is not 0."""


def check_attributes(found: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the attributes at the root of a file, and returns its configuration.

    Raises:
        ValueError: one of them is missing, or cannot be right.
    """
    for name in REQUIRED:
        if name not in found:
            raise ValueError(f"the attribute {name} is missing")
    for name in (*_TEXTS, *(name for name in _MORE_TEXTS if name in found)):
        _need(isinstance(found[name], str), name, found[name], "a text")
    judged_by = found.get("judged_by", "nodes")
    _need(judged_by in ("nodes", *SINGLES), "judged_by", judged_by, f"nodes, or one of {', '.join(SINGLES)}")
    sums = [name for name in found if name.startswith(("auc_", "final_", "worst_"))]
    for name in (*sums, *(name for name in _MORE_NUMBERS if name in found)):
        _need(type(found[name]) in (int, float), name, found[name], "a number")
    _need(type(found["auc_points"]) is int and found["auc_points"] >= 0, "auc_points", found, "a count")
    status = found["status"]
    _need(isinstance(status, str) and status in set(Status), "status", status, ", ".join(Status))
    json_of = {name: _json(found, name, kind) for name, kind in _JSON.items()}
    config: dict[str, Any] = json_of["config"]
    _check_config(config, json_of["reads"])
    rounds = found["rounds_done"]
    right = f"from 0 to the {config['rounds']} rounds of its configuration"
    _need(type(rounds) is int and 0 <= rounds <= config["rounds"], "rounds_done", rounds, right)
    versions = json_of["numbers_version"].values()
    _need(all(type(v) is int for v in versions), "numbers_version", found, "whole numbers")
    for segment in json_of["segments"]:
        right = "a list of entries with an engine"
        _need(isinstance(segment, dict) and isinstance(segment.get("engine"), str), "segments", found, right)
        start = segment.get("from_round", 0)
        _need(type(start) is int and 0 <= start <= MAX_COUNT, "segments", found, "entries with a round")
    for failure in _json(found, "failures", list) if "failures" in found else ():
        fits = isinstance(failure, dict) and type(failure.get("round")) is int
        _need(fits and isinstance(failure.get("nodes"), list), "failures", found, "rounds with nodes")
    return config


def _need(fits: bool, name: str, value: Any, right: str) -> None:
    if not fits:
        shown = value.get(name) if isinstance(value, Mapping) else value
        raise ValueError(f"the attribute {name} is {str(shown)[:60]}, and must be {right}")


def _json(found: Mapping[str, Any], name: str, kind: type) -> Any:
    try:
        value = _DECODER.decode(found[name])
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the attribute {name} is not what was written ({reason})") from None
    _need(isinstance(value, kind), name, found, "a JSON object" if kind is dict else "a JSON list")
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _check_config(config: Mapping[str, Any], reads: list[Any]) -> None:
    """Refuses a configuration that lacks a field, or has a value that its field cannot have."""
    for name in (*reads, *_FIELDS):
        _need(isinstance(name, str), "reads", name, "names of fields")
        if name not in config:
            raise ValueError(f"its configuration lacks {name}")
    kinds = _kinds()
    for name, value in config.items():
        if name in kinds and not _fits(value, kinds[name]):
            raise ValueError(f"its configuration has {str(value)[:60]} for {name}")


def _fits(value: Any, kinds: frozenset[type]) -> bool:
    if isinstance(value, list):
        return tuple in kinds and all(_fits(item, kinds - {tuple}) for item in value)
    if isinstance(value, float):
        return float in kinds and math.isfinite(value)
    if type(value) is int:
        return (int in kinds or float in kinds) and abs(value) < _LARGEST
    return type(value) in kinds


@cache
def _kinds() -> Mapping[str, frozenset[type]]:
    """The types that the value of each field may have in JSON; a list may hold values of the other types."""
    return {flag: frozenset(_types(info.annotation)) for _, flag, info in fields()}


def _types(annotation: Any) -> typing.Iterator[type]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        yield from map(type, arguments)
    elif origin is Annotated:
        yield from _types(arguments[0])
    elif origin in (tuple, typing.Union, types.UnionType):
        if origin is tuple:
            yield tuple
        for argument in arguments:
            yield from _types(argument)
    elif annotation in (bool, int, float, types.NoneType):
        yield annotation
    elif annotation is not Ellipsis:
        # Paths and other values are text in JSON.
        yield str


def check_arrays(a: Mapping[str, NDArray[Any]], metrics: tuple[str, ...], rounds: int) -> None:
    """Checks the datasets of a file.

    Args:
        a: the datasets by path.
        metrics: the names of the metrics per node, without ``metrics/``.
        rounds: the number of rounds that the file holds.

    Raises:
        KeyError: a dataset is missing.
        ValueError: one has a shape that does not fit the others, or an impossible value.
    """
    for name in (*_ARRAYS, *(_TOLD if any(name in a for name in _TOLD[:-2]) else ())):
        a[name]
    (n,), (rows,), m = a["topology/degree"].shape, a["metrics/round"].shape, len(a["topology/edges"])
    shapes: dict[str, tuple[int, ...]] = {"topology/edges": (m, 2), "topology/weights": (m,)}
    shapes |= {f"topology/{name}": (n,) for name in ("betweenness", "distance_to_ood")}
    shapes |= {f"data/{name}": (n,) for name in ("samples", "ood_samples", "label_counts")}
    shapes |= {"metrics/epoch": (rows,), "communication/bytes_sent": (rounds, n)}
    shapes |= {f"metrics/{name}": (rows, n) for name in metrics}
    shapes |= {f"metrics/per_class/{name}": (rows, n) for name in PER_CLASS}
    shapes |= {f"{model}/{name}": (rows,) for model in SINGLES for name in EVALUATED}
    shapes |= {f"metrics/{name}": (rows,) for name in SERIES}
    shapes |= {"communication/server_bytes": (rounds, 2), "communication/edge_bytes": (m, 2)}
    shapes |= {f"communication/{name}": (rounds,) for name in OTHER_BYTES}
    walks = next((array.shape[1:] for name, array in a.items() if name.startswith("walks/")), ())
    shapes |= {f"walks/{name}": (rows, *walks) for name in (*EVALUATED, "consensus_distance")}
    shapes |= {"time/round_s": (rounds,), "time/simulated_s": (rounds,), "time/steps": (rounds, n)}
    shapes |= {f"time/{name}": (rounds, 2) for name in ("hops", "link_bytes", "port_bytes")}
    longer = {"data/label_counts", *(f"metrics/per_class/{name}" for name in PER_CLASS)}
    for name, shape in shapes.items():
        if name in a and (a[name].shape[:-1] if name in longer else a[name].shape) != shape:
            raise ValueError(f"{name} has the shape {a[name].shape}, which does not fit the others")
    if len({a[f"metrics/per_class/{name}"].shape for name in PER_CLASS}) > 1:
        raise ValueError("metrics/per_class has several numbers of classes")
    _check_values(a, n, rounds)


def _check_values(a: Mapping[str, NDArray[Any]], n: int, rounds: int) -> None:
    for name, array in a.items():
        whole = name.startswith(_WHOLE)
        if array.dtype.kind not in ("iu" if whole else "fiu"):
            raise ValueError(f"{name} holds values of the type {array.dtype}")
        if whole and array.size and array.min() < _LOWEST.get(name, 0):
            raise ValueError(f"{name} holds {array.min()}")
    for name, end in (("topology/edges", n), ("metrics/round", rounds + 1)):
        if a[name].size and a[name].max() >= end:
            raise ValueError(f"{name} holds {a[name].max()}, and must be below {end}")
    weights, seconds = a["topology/weights"], a["time/round_s"]
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError("topology/weights holds values that are no probabilities")
    if not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise ValueError("time/round_s holds values that are no times")
    for name in _TOLD[2:4]:
        if name in a and not (np.isfinite(a[name]) & (a[name] >= 0)).all():
            raise ValueError(f"{name} holds values that are no numbers of bytes")
