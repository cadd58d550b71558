"""The sweeps by name: tables of factors. Everything else about an experiment is fixed by the preset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dml.topology import presets

_SIX = ("unweighted", "unweighted_fl", "weighted", "random", "degCent", "betCent")


@dataclass(frozen=True)
class Preset:
    """One sweep.

    Args:
        about: in a few words, for the help.
        datasets, seeds, strategies: factors.
        topologies: the graphs of a seed, as generators.
        ood_ranks: OOD data on this many nodes, one experiment each, from the highest degree down. A
            strategy that replaces the graph by the complete one runs on the first of them alone.
        fixed: flags of every experiment.
    """

    about: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    topologies: Callable[[int], list[str]]
    strategies: tuple[str, ...]
    ood_ranks: int
    fixed: Mapping[str, Any]


_FIXED = {"rounds": 40, "softmax": True, "softmax_coeff": 10.0}

PRESETS: dict[str, Preset] = {
    "digits": Preset(
        about="the paper's matrix on digits, 756 experiments",
        datasets=("digits",),
        seeds=(0, 1, 2),
        topologies=presets.paper,
        strategies=_SIX,
        ood_ranks=4,
        fixed=_FIXED,
    ),
    "paper": Preset(
        about="the paper's matrix on its own five data sets, 3,780 experiments",
        datasets=("mnist", "fmnist", "tiny_mem", "cifar10_vgg", "cifar100_vgg"),
        seeds=(0, 1, 2),
        topologies=presets.paper,
        strategies=_SIX,
        ood_ranks=4,
        # Checkpoints of all would take terabytes; without one, more rounds are computed anew.
        fixed={
            **_FIXED,
            "label_alpha": 1000.0,
            "sample_alpha": 1000.0,
            "num_example": 33000,
            "keep_checkpoint": False,
        },
    ),
    "quickstart": Preset(
        about="3 topologies x 6 strategies on digits, about a minute",
        datasets=("digits",),
        seeds=(0,),
        topologies=presets.quickstart,
        strategies=_SIX,
        ood_ranks=1,
        fixed=_FIXED,
    ),
}
