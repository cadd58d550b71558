"""Finds what the experiments of a folder have in common, and how variants of one strategy differ."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo

from dml.algorithms.config import AlgorithmConfig
from dml.algorithms.registry import ALGORITHMS
from dml.clock.config import OF_ROUNDS, ClockConfig
from dml.config import fields, label_of
from dml.results.config import Over

TUNED = ("lr", "momentum", "nesterov", "keep_optimizer")
"""Fields that are tuned for each method when methods are compared, so their values may differ by method."""

_SCHEDULE = ("gamma", "eta_min", "T_0", "T_mult")
_FACTORS = {"topology_file", "aggregation_strategy", "softmax", "softmax_coeff", "seed", "backdoor"}
_FACTORS |= {"backdoor_node_idx", "backdoor_proportion", "scheduler", *_SCHEDULE, "algorithm"}


def _plain(info: FieldInfo) -> Any:
    """The default of a field as a result file holds it."""
    return list(info.default) if isinstance(info.default, tuple) else info.default


_OPTIONS = {
    field: _plain(info)
    for fields in (AlgorithmConfig.model_fields, *(a.options.model_fields for a in ALGORITHMS.values()))
    for field, info in fields.items()
    if field not in ("algorithm", "drop_probability", "failing_nodes")
} | {"busy": ClockConfig.model_fields["busy"].default}
"""The options of algorithms and their defaults. Any other value makes a variant of an algorithm."""

_SWITCHES = (
    "participation", "local_steps", "keep_optimizer", "drop_probability", "failing_nodes", "self_weight",
    "aggregation_order", "lr_schedule", "prox_coeff", "augment", "precision", "train_test_val", "ood_kind",
    "random_bd", "random_data_placement", "partition", "label_placement", *OF_ROUNDS,
)  # fmt: skip
_OFF = {flag: _plain(info) for _, flag, info in fields() if flag in _SWITCHES}
"""The defaults of fields that have no effect until they are given another value. Such a default is no part of
the settings, so that an experiment that does not read the field stands among those that do."""


_LENGTHS = ("rounds", "eval_every", "round_ends_after")
"""Fields that only say how long a run goes on and how often it is measured. At equal cost, experiments that
differ in them are compared."""


@dataclass
class Described:
    """An experiment as a table describes it.

    Args:
        settings: the fields that are not factors of a sweep, and their values.
        variant: the values that distinguish variants of its strategy or algorithm, in words.
        tuned: the fields of ``TUNED`` that it reads, and their values.
        is_algorithm: whether it has the name of an algorithm and not of an aggregation strategy.
        lengths: the fields of ``_LENGTHS`` that are no settings, and their values.
    """

    settings: dict[str, Any]
    variant: str
    tuned: dict[str, Any]
    is_algorithm: bool
    lengths: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def settings_json(self) -> str:
        """The settings as JSON, by which experiments are grouped."""
        return json.dumps(self.settings, sort_keys=True)


def describe(
    config: Mapping[str, Any], reads: Iterable[str], rounds: int, over: Over = "rounds"
) -> Described:
    """Describes an experiment from the content of its result file.

    Args:
        config: all fields of its configuration.
        reads: the fields that affect its numbers.
        rounds: the number of rounds that it has done or was asked for.
        over: over what AUCs are formed; at equal ``seconds`` or ``bytes``, the fields of ``_LENGTHS`` are
            neither settings nor words of a variant.
    """
    timed = {field for field in OF_ROUNDS if field in config}
    told = {field for field in {*reads, *timed} if field not in _OFF or config[field] != _OFF[field]}
    settings = {field: config[field] for field in sorted(told - _FACTORS - {*TUNED} - _OPTIONS.keys())}
    settings |= {"rounds": rounds, "ood": config["backdoor_proportion"] if config["backdoor"] else 0}
    lengths = {}
    if over != "rounds":
        lengths = {name: config[name] for name in _LENGTHS if name in told} | {"rounds": rounds}
        told -= {*_LENGTHS}
        settings = {name: value for name, value in settings.items() if name not in _LENGTHS}
        settings |= {"auc_over": over}
    words = []
    if "softmax" in told:
        words.append(f"s={config['softmax_coeff']:g}" if config["softmax"] else "sum")
    if "scheduler" in told and config["scheduler"]:
        words += [
            config["scheduler"],
            *(f"{field}={config[field]:g}" for field in _SCHEDULE if field in told),
        ]
    usual = _usual(config["algorithm"])
    words += [_words(f, config[f]) for f in sorted(told & usual.keys()) if config[f] != usual[f]]
    tuned = {field: config[field] for field in TUNED if field in told}
    return Described(
        settings, " ".join(words), tuned, label_of(config) != config["aggregation_strategy"], lengths
    )


@cache
def _usual(algorithm: str) -> Mapping[str, Any]:
    """The defaults of all options under one algorithm. Another one may have an option of the same name."""
    own = ALGORITHMS[algorithm].options.model_fields if algorithm in ALGORITHMS else {}
    return _OPTIONS | {field: _plain(info) for field, info in own.items() if field in _OPTIONS}


def assign_tuned_fields(experiments: Iterable[Described]) -> None:
    """Moves each tuned field into the settings or the variant of each experiment, in place.

    Among otherwise equal experiments, a field belongs to the settings if all that read it have the same
    value, and always for plain strategies. If the values of algorithms differ, it belongs to the variant.
    """
    groups: dict[str, list[Described]] = {}
    for experiment in experiments:
        # A run and its control must be described alike.
        groups.setdefault(control_of(experiment.settings_json), []).append(experiment)
    for group in groups.values():
        for field in TUNED:
            values = {experiment.tuned[field] for experiment in group if field in experiment.tuned}
            for experiment in group:
                if len(values) == 1:
                    experiment.settings |= {field: next(iter(values))}
                elif field in experiment.tuned and not experiment.is_algorithm:
                    experiment.settings |= {field: experiment.tuned[field]}
                elif experiment.tuned.get(field):
                    words = _words(field, experiment.tuned[field])
                    experiment.variant = f"{experiment.variant} {words}".strip()


def tell_lengths_apart(experiments: Iterable[tuple[str, Described]]) -> None:
    """Moves a length into the variant of otherwise equal experiments that differ in it, in place.

    Args:
        experiments: each with its topology and the name of its strategy or algorithm as one text.
    """
    groups: dict[tuple[str, str, str], list[Described]] = {}
    for name, experiment in experiments:
        if not experiment.lengths:
            continue
        groups.setdefault((control_of(experiment.settings_json), name, experiment.variant), []).append(
            experiment
        )
    for group in groups.values():
        for length in _LENGTHS:
            if len({experiment.lengths.get(length) for experiment in group}) > 1:
                for experiment in group:
                    words = _words(length, experiment.lengths.get(length))
                    experiment.variant = f"{experiment.variant} {words}".strip()


@cache
def control_of(settings: str) -> str:
    """The settings (JSON) of the same experiment without OOD data. For a control they are its own."""
    return json.dumps(json.loads(settings) | {"ood": 0}, sort_keys=True)


def _words(field: str, value: Any) -> str:
    if value is True:
        return field
    return f"{field}={value:.4g}" if isinstance(value, float) else f"{field}={value}"
