"""The part of an experiment's configuration that says which data, on which node."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dml.data.tiny_mem import COEFFICIENTS, TOKENS
from dml.section import MAX_COUNT, Section, UserPath

Scale = tuple[tuple[float, ...], tuple[float, ...]]

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
        images: it is kept as files of images in ``--data_dir`` (:mod:`dml.data.images`).
        scale: mean and standard deviation of a channel (or of each) that turn pixels in [0, 1] into inputs.
        augmented_scale: the same with ``--augment``.
        fingerprint: of the content, where the name alone does not tell it.
        task: what a model is asked.
        tokens: how many there are, where the task is the next one.
    """

    shape: tuple[int, ...]
    labels: int
    defaults: Mapping[str, object]
    reads: frozenset[str] = frozenset()
    sizes: tuple[int, int] = (0, 0)
    images: bool = False
    scale: Scale = ((0.0,), (1.0,))
    augmented_scale: Scale = ((0.0,), (1.0,))
    fingerprint: str | None = None
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


_MNIST = {"model": "mnist_mlp", "optimizer": "sgd", "lr": 0.01, "batch_size": 64, "epochs": 5}
_CIFAR = {"optimizer": "adam", "lr": 1e-4, "batch_size": 64, "epochs": 5}
_HALF: Scale = ((0.5,), (0.5,))
_CIFAR_STATISTICS: Scale = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def _mnist() -> DatasetSpec:
    return DatasetSpec((1, 28, 28), 10, _MNIST, sizes=(60_000, 10_000), images=True)


def _cifar(labels: int, model: str) -> DatasetSpec:
    return DatasetSpec(
        shape=(3, 32, 32),
        labels=labels,
        defaults=_CIFAR | {"model": model},
        reads=frozenset({"augment"}),
        sizes=(50_000, 10_000),
        images=True,
        scale=_HALF,
        augmented_scale=_CIFAR_STATISTICS,
    )


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
    "mnist": _mnist(),
    "fmnist": _mnist(),
    "cifar10": _cifar(10, "cnn"),
    "cifar100": _cifar(100, "vgg16"),
    "tiny_mem": DatasetSpec(
        shape=(150,),
        labels=5,
        defaults={"model": "decoder", "optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 5},
        reads=frozenset(
            {"task_type", "data_dis", "tiny_mem_num_labels", "num_example", "num_test", "length", "modulo"}
            | {"max_ctx", "trigger"}
        ),
        sizes=(20_000, 5_000),
        task=NEXT_TOKEN,
        tokens=TOKENS,
    ),
}

PRESETS: dict[str, Mapping[str, object]] = {
    "cifar10_augment": {"dataset": "cifar10", "augment": True, "model": "cnn"},
    "cifar10_dropout": {"dataset": "cifar10", "model": "cnn_dropout"},
    "cifar10_vgg": {"dataset": "cifar10", "model": "vgg16"},
    "cifar10_augment_vgg": {"dataset": "cifar10", "augment": True, "model": "vgg16"},
    "cifar10_resnet18": {"dataset": "cifar10", "model": "resnet18"},
    "cifar10_mobile": {"dataset": "cifar10", "model": "mobilenetv2"},
    "cifar10_vit": {"dataset": "cifar10", "model": "vit"},
    "cifar100_vgg": {"dataset": "cifar100", "model": "vgg16"},
}
"""The published names that stand for a data set, its augmentation and a model."""

FOLDER = DatasetSpec(
    shape=(),
    labels=0,
    defaults={"model": "mlp", "optimizer": "sgd", "lr": 0.01, "batch_size": 64, "epochs": 5},
    reads=frozenset({"augment"}),
    images=True,
)
"""A folder of the user's own; shape, labels and sizes are read from it (``images.spec_of``)."""


def known(name: str) -> DatasetSpec | None:
    """What is known of a data set by its name alone; None for a name that is neither one's nor a folder's."""
    if name in DATASETS:
        return DATASETS[name]
    return FOLDER if os.sep in name or Path(name).is_dir() else None


def absolute(name: str) -> str:
    """The name of a data set for a process of another working directory: a folder by its absolute path."""
    return name if name in DATASETS else str(Path(name).expanduser().absolute())


MAX_ALPHA = 1e9
"""Far beyond it Dirichlet draws overflow; shares differ by 1 in 30,000 there already."""


def default_data_dir() -> Path:
    """Where data sets are kept unless the user says otherwise."""
    return Path(os.path.expanduser(os.environ.get("DML_DATA") or "~/.cache/distributed_ml"))


class DataConfig(Section):
    """Which data each node holds, and where the out-of-distribution (OOD) data are."""

    dataset: str = Field(
        "digits",
        description="the data set: "
        + ", ".join([*DATASETS, *PRESETS])
        + ", or a folder of images: train*.parquet and test*.parquet, or train/<class>/ and test/<class>/",
    )
    data_dir: UserPath = Field(
        default_factory=default_data_dir, description="folder of the data sets, or $DML_DATA"
    )
    partition: Literal["budgets", "equal"] = Field(
        "budgets",
        description="how data are dealt out: budgets by --sample_alpha and a mixture of labels a node, or "
        "equal amounts, each label's by shares of the nodes",
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
    train_test_val: tuple[float, ...] | None = Field(
        None,
        description="cut each node's data by label into these shares: training and test, or training, "
        "validation and test (the last is the test share)",
    )
    backdoor: bool = Field(False, description="put OOD data (by default backdoored) on --backdoor_node_idx")
    backdoor_node_idx: tuple[int, ...] | None = Field(
        None, description="nodes that hold OOD data, counted from 0 (default: the node of highest degree)"
    )
    backdoor_proportion: float = Field(
        0.1, gt=0, lt=1, description="share of an OOD node's training data that is OOD"
    )
    ood_kind: Literal["trigger", "heldout_class", "rotated"] = Field(
        "trigger",
        description="OOD data: images with a trigger and its label, a class that the OOD nodes alone hold, "
        "or images rotated by 90 degrees with their own labels",
    )
    ood_class: int = Field(0, ge=0, description="the class that --ood_kind heldout_class holds out")
    random_bd: bool = Field(False, description="the trigger lies anywhere in an image; otherwise top left")
    random_data_placement: bool = Field(
        True,
        description="the nodes' parts of the data as they are drawn; otherwise (also: "
        "--non_random_data_placement) the largest on the most central node",
    )
    centrality_metric_data_placement: Literal[
        "degree", "betweenness", "closeness", "harmonic", "pagerank"
    ] = Field("degree", description="the centrality of that placement")
    offset_clients_data_placement: int = Field(
        0, ge=0, description="how many places that placement is rotated by"
    )
    label_placement: Literal["drawn", "clustered", "mixed"] = Field(
        "drawn",
        description="the nodes' parts of the data as they are drawn, or so that neighbours' labels are alike "
        "(clustered) or unlike (mixed)",
    )
    many_to_one: bool = Field(
        True, description="triggered data are labelled 0; otherwise (label + 1) mod the number of labels"
    )
    ood_test_proportion: float = Field(
        0.1, gt=0, lt=1, description="share of the test data that becomes the OOD test set"
    )
    augment: bool = Field(
        False, description="training images are cropped at random (padding 4) and flipped, anew in each pass"
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
    tiny_mem_num_labels: int = Field(
        5, ge=1, le=MAX_COUNT, description="how many of the coefficients tiny_mem takes"
    )
    num_example: int = Field(
        5000, ge=2, le=MAX_COUNT, description="sequences of tiny_mem for each coefficient"
    )
    num_test: int = Field(
        default_factory=lambda values: max(1, min(1000, values["num_example"] // 5)),
        ge=1,
        le=MAX_COUNT,
        description="how many of these are for the test (default: 1000, or a fifth where that is less)",
    )
    length: int = Field(20, ge=1, le=MAX_COUNT, description="numbers in a sequence of tiny_mem")
    modulo: int = Field(16381, ge=2, lt=2**40, description="of --task_type multiply")
    max_ctx: int = Field(
        150, ge=2, le=MAX_COUNT, description="tokens in a sequence of tiny_mem, padding included"
    )
    trigger: int = Field(
        100,
        ge=0,
        le=MAX_COUNT,
        description="the digits after which a triggered sequence of tiny_mem holds the token 2 alone",
    )

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        if known(name) is None:
            raise ValueError(
                "no such data set; there are: " + ", ".join([*DATASETS, *PRESETS]) + ", or name a folder"
            )
        return name

    @field_validator("train_test_val")
    @classmethod
    def _shares(cls, shares: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if shares is not None and (
            len(shares) not in (2, 3) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6
        ):
            raise ValueError("must be 2 or 3 shares above 0 whose sum is 1")
        return shares

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

    @model_validator(mode="after")
    def _one_placement(self) -> "DataConfig":
        if not self.random_data_placement:
            by_size = "--no_random_data_placement puts the largest part on the most central node, and "
            if self.partition == "equal":
                raise ValueError(by_size + "those of --partition equal are all of one size; leave it out")
            if self.label_placement != "drawn":
                raise ValueError(
                    by_size + "--label_placement places the parts by their labels; leave one out"
                )
        return self

    def spec(self) -> DatasetSpec:
        """What is known of the data set, with these fields; a user's folder is converted if need be.

        Raises:
            InputError: the folder cannot be used, or the files of the data set are damaged.
        """
        # Here, as images are described by this module.
        from dml.data.images import spec_of

        spec = spec_of(self.dataset, self.data_dir)
        if self.dataset != "tiny_mem":
            return spec
        labels, test = self.tiny_mem_num_labels, self.num_test
        sizes = (labels * (self.num_example - test), labels * test)
        return replace(spec, shape=(self.max_ctx,), labels=labels, sizes=sizes)

    def settings(self) -> dict[str, Any]:
        """The fields that the data set alone reads, for its loader."""
        return {flag: getattr(self, flag) for flag in (known(self.dataset) or FOLDER).reads}

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        spec = known(self.dataset) or FOLDER
        fields = {"dataset", "label_alpha", "partition", "shuffle", "backdoor", "ood_kind"}
        fields |= {"train_test_val", "random_data_placement", "label_placement"} | spec.reads
        if self.partition == "budgets":
            fields |= {"sample_alpha"}
        if self.task_type == "sum":
            fields.discard("modulo")
        fields |= {
            "trigger": {"ood_test_proportion"},
            "rotated": {"ood_test_proportion"},
            "heldout_class": {"ood_class"},
        }[self.ood_kind]
        if self.ood_kind == "trigger" and spec.task == CLASSIFICATION:
            fields |= {"many_to_one", "random_bd"}
        if self.backdoor:
            fields |= {"backdoor_node_idx"}
            fields |= {"backdoor_proportion"} if self.ood_kind != "heldout_class" else set()
        if not self.random_data_placement:
            fields |= {"centrality_metric_data_placement", "offset_clients_data_placement"}
        return fields
