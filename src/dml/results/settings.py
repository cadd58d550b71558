"""What the experiments of a folder have in common, and what tells variants of one strategy apart."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dml.algorithms.config import AlgorithmConfig
from dml.algorithms.registry import ALGORITHMS
from dml.config import LATER

_SCHEDULE = ("gamma", "eta_min", "T_0", "T_mult")
_FACTORS = {"topology_file", "aggregation_strategy", "softmax", "softmax_coeff", "seed", "backdoor"}
_FACTORS |= {"backdoor_node_idx", "backdoor_proportion", "scheduler", *_SCHEDULE, "algorithm"}

TUNED = ("lr", "momentum", "nesterov", "keep_optimizer")
"""Fields that belong to a method where methods are compared, each with its own best values."""

_OWN = {
    flag: info.default
    for fields in (AlgorithmConfig.model_fields, *(a.options.model_fields for a in ALGORITHMS.values()))
    for flag, info in fields.items()
    if flag not in ("algorithm", "drop_probability", "failing_nodes")
}
"""An algorithm's options, which make variants of it, and their defaults."""

_NEUTRAL = LATER | {"participation": 1.0}
"""Values that say nothing: files from before a field was added stand among those that hold them."""


@dataclass
class Told:
    """What one experiment is told by.

    Args:
        settings: all that is no factor of its sweep.
        variant: in words, what makes it another variant of its strategy or algorithm.
        tuned: its values of ``TUNED``, as far as it reads them.
        method: whether it runs another algorithm than the strategies'.
    """

    settings: dict[str, Any]
    variant: str
    tuned: dict[str, Any]
    method: bool

    @property
    def text(self) -> str:
        """The settings as JSON."""
        return json.dumps(self.settings, sort_keys=True)


def of(config: dict[str, Any], reads: set[str], rounds: int) -> Told:
    """What a file tells of its experiment.

    Args:
        config: its fields.
        reads: those that decide its numbers.
        rounds: that count: those done, or asked for.
    """
    left = sorted(reads - _FACTORS - set(TUNED) - _OWN.keys())
    settings = {f: config[f] for f in left if f not in _NEUTRAL or config[f] != _NEUTRAL[f]}
    settings |= {"rounds": rounds, "ood": config["backdoor_proportion"] if config["backdoor"] else 0}
    words = []
    if "softmax" in reads:
        words.append(f"s={config['softmax_coeff']:g}" if config["softmax"] else "sum")
    if "scheduler" in reads:
        words += [config["scheduler"], *(f"{f}={config[f]:g}" for f in _SCHEDULE if f in reads)]
    words += [_words(f, config[f]) for f in sorted(reads & _OWN.keys()) if config[f] != _OWN[f]]
    tuned = {f: config[f] for f in TUNED if f in reads}
    return Told(settings, " ".join(words), tuned, config.get("algorithm", "decentralized") != "decentralized")


def share(all_of_them: Iterable[Told]) -> None:
    """Puts learning rates and momenta where they belong: to the settings where all otherwise equal ones have
    the same, and for the strategies; else to the variants.
    """
    groups: dict[str, list[Told]] = {}
    for told in all_of_them:
        # A run and its control are told alike.
        groups.setdefault(json.dumps(told.settings | {"ood": 0}, sort_keys=True), []).append(told)
    for group in groups.values():
        for flag in TUNED:
            values = {told.tuned[flag] for told in group if flag in told.tuned}
            for told in group:
                if len(values) == 1:
                    told.settings |= {flag: next(iter(values))}
                elif flag in told.tuned and not told.method:
                    told.settings |= {flag: told.tuned[flag]}
                elif told.tuned.get(flag):
                    told.variant = f"{told.variant} {_words(flag, told.tuned[flag])}".strip()


def _words(flag: str, value: Any) -> str:
    if value is True:
        return flag
    return f"{flag}={value:.4g}" if isinstance(value, float) else f"{flag}={value}"
