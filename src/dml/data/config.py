"""The part of an experiment's configuration that says which data, on which node."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dml.data.tiny_mem import COEFFICIENTS, TOKENS
from dml.section import Section

CLASSIFICATION, NEXT_TOKEN = "classification", "next token"
"""What a model is asked about a sample: its label, or at every place the token after it."""


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is loaded.

    Args:
        shape: of one input: channels, height, width; of a sequence of tokens its length.
        labels: kinds of samples, by which they are dealt out to the nodes.
        defaults: flags whose default this data set decides (learning rate, model ..).
        reads: flags of :class:`DataConfig` that this data set alone reads.
        sizes: how many training and test samples it has.
        task: what a model is asked.
        tokens: how many there are, where the task is the next one.
    """

    shape: tuple[int, ...]
    labels: int
    defaults: Mapping[str, object]
    reads: frozenset[str] = frozenset()
    sizes: tuple[int, int] = (0, 0)
    task: str = CLASSIFICATION
    tokens: int = 0

    @property
    def classes(self) -> int:
        """The answers that a model chooses from: its outputs."""
        return self.tokens if self.task == NEXT_TOKEN else self.labels

    @property
    def answers(self) -> int:
        """How many answers a model gives to one sample."""
        return self.shape[0] - 1 if self.task == NEXT_TOKEN else 1


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
        sizes=(1437, 360),
    ),
    "tiny_mem": DatasetSpec(
        shape=(150,),
        labels=5,
        defaults={"model": "decoder", "optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 5},
        reads=frozenset(
            {"task_type", "data_dis", "tiny_mem_num_labels", "num_example", "num_test", "length", "modulo"}
            | {"max_ctx", "trigger"}
        ),
        task=NEXT_TOKEN,
        tokens=TOKENS,
    ),
}


def _default_data_dir() -> Path:
    return Path(os.environ.get("DML_DATA", "~/.cache/distributed_ml"))


class DataConfig(Section):
    """Which data each node holds, and where the out-of-distribution (OOD) data are."""

    dataset: str = Field("digits", description="the data set: " + ", ".join(DATASETS))
    data_dir: Path = Field(
        default_factory=_default_data_dir, description="folder of the data sets, or $DML_DATA"
    )
    label_alpha: float = Field(
        100.0,
        gt=0,
        description="Dirichlet concentration of the labels on each node: 1000 is even, 1 is skewed",
    )
    sample_alpha: float = Field(
        100.0,
        gt=0,
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
    task_type: Literal["multiply", "sum"] = Field(
        "multiply", description="how tiny_mem's numbers follow on each other: c v mod --modulo, or c + v"
    )
    data_dis: Literal["evens", "primes"] = Field(
        "evens", description="the coefficients c of tiny_mem: 2, 4 .. 18, or the first hundred primes"
    )
    tiny_mem_num_labels: int = Field(5, ge=1, description="how many of the coefficients tiny_mem takes")
    num_example: int = Field(5000, ge=2, description="sequences of tiny_mem for each coefficient")
    num_test: int = Field(
        default_factory=lambda values: max(1, min(1000, values["num_example"] // 5)),
        ge=1,
        description="how many of these are for the test (default: 1000, or a fifth where that is less)",
    )
    length: int = Field(20, ge=1, description="numbers in a sequence of tiny_mem")
    modulo: int = Field(16381, ge=2, lt=2**40, description="of --task_type multiply")
    max_ctx: int = Field(150, ge=2, description="tokens in a sequence of tiny_mem, padding included")
    trigger: int = Field(
        100,
        ge=0,
        description="the digits after which a triggered sequence of tiny_mem holds the token 2 alone",
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

    @field_validator("tiny_mem_num_labels")
    @classmethod
    def _coefficients(cls, count: int, earlier: ValidationInfo) -> int:
        kind = earlier.data.get("data_dis", "primes")
        if count > len(COEFFICIENTS[kind]):
            raise ValueError(f"must be at most {len(COEFFICIENTS[kind])}: {kind} has no more")
        return count

    @field_validator("num_test")
    @classmethod
    def _leaves_some(cls, count: int, earlier: ValidationInfo) -> int:
        if count >= earlier.data.get("num_example", count + 1):
            raise ValueError("must be below --num_example, which is " + str(earlier.data["num_example"]))
        return count

    def spec(self) -> DatasetSpec:
        """What is known of the data set, with these fields."""
        spec = DATASETS[self.dataset]
        if self.dataset != "tiny_mem":
            return spec
        labels, test = self.tiny_mem_num_labels, self.num_test
        sizes = (labels * (self.num_example - test), labels * test)
        return replace(spec, shape=(self.max_ctx,), labels=labels, sizes=sizes)

    def settings(self) -> dict[str, Any]:
        """The fields that the data set alone reads, for its loader."""
        return {flag: getattr(self, flag) for flag in DATASETS[self.dataset].reads}

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        spec = DATASETS[self.dataset]
        fields = {"dataset", "label_alpha", "sample_alpha", "backdoor"}
        fields |= {"ood_test_proportion", "shuffle"} | spec.reads
        if spec.task == CLASSIFICATION:
            fields.add("many_to_one")
        if self.task_type == "sum":
            fields.discard("modulo")
        return fields | ({"backdoor_node_idx", "backdoor_proportion"} if self.backdoor else set())
