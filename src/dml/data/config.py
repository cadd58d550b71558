"""The part of an experiment's configuration that says which data, on which node."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from dml.section import Section


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is loaded.

    Args:
        shape: of one input: channels, height, width.
        labels: number of classes.
        defaults: flags whose default this data set decides (learning rate, model ..).
        reads: flags of :class:`DataConfig` that this data set alone reads.
    """

    shape: tuple[int, ...]
    labels: int
    defaults: Mapping[str, object]
    reads: frozenset[str] = frozenset()


DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        shape=(1, 8, 8),
        labels=10,
        defaults={
            "model": "mlp",
            "optimizer": "sgd",
            "lr": 0.05,
            "batch_size": 16,
            "epochs": 5,
            "label_alpha": 1000.0,
            "sample_alpha": 1000.0,
            "ood_test_proportion": 0.5,
        },
    ),
}


MAX_ALPHA = 1e9
"""Far beyond it Dirichlet draws overflow; shares differ by 1 in 30,000 there already."""


def _default_data_dir() -> Path:
    return Path(os.environ.get("DML_DATA") or "~/.cache/distributed_ml")


class DataConfig(Section):
    """Which data each node holds, and where the out-of-distribution (OOD) data are."""

    dataset: str = Field("digits", description="the data set: " + ", ".join(DATASETS))
    data_dir: Path = Field(
        default_factory=_default_data_dir, description="folder of the data sets, or $DML_DATA"
    )
    label_alpha: float = Field(
        100.0,
        gt=0,
        le=MAX_ALPHA,
        description="Dirichlet concentration of the labels on each node: 1000 is even, 1 is skewed",
    )
    sample_alpha: float = Field(
        100.0,
        gt=0,
        le=MAX_ALPHA,
        description="Dirichlet concentration of the nodes' amounts of data: 1000 is even, 1 is skewed",
    )
    backdoor: bool = Field(False, description="put OOD (backdoored) data on --backdoor_node_idx")
    backdoor_node_idx: tuple[int, ...] | None = Field(
        None, description="nodes that hold OOD data, counted from 0 (default: the node of highest degree)"
    )
    backdoor_proportion: float = Field(
        0.1, gt=0, lt=1, description="share of an OOD node's training data that carries the trigger"
    )
    many_to_one: bool = Field(
        True, description="triggered data are labelled 0; otherwise (label + 1) mod the number of labels"
    )
    ood_test_proportion: float = Field(
        0.1, gt=0, lt=1, description="share of the test data that becomes the OOD test set"
    )
    shuffle: bool = Field(
        True,
        description="a new batch order every epoch; otherwise the published fixed order, triggered data last",
    )

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError("no such data set; there are: " + ", ".join(DATASETS))
        return name

    @field_validator("backdoor_node_idx")
    @classmethod
    def _nodes(cls, nodes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if nodes is None:
            return None
        if not nodes or min(nodes) < 0 or len(set(nodes)) != len(nodes):
            raise ValueError("must be one or more different nodes, counted from 0")
        return tuple(sorted(nodes))

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        fields = {"dataset", "label_alpha", "sample_alpha", "backdoor", "many_to_one"}
        fields |= {"ood_test_proportion", "shuffle"} | DATASETS[self.dataset].reads
        return fields | ({"backdoor_node_idx", "backdoor_proportion"} if self.backdoor else set())
