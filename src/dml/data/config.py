"""The part of an experiment's configuration that says which data each node holds: fields only, no files."""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from dml.data.catalogue import DATASETS, dataset_names, find_source, is_dataset
from dml.data.data_dir import default_data_dir
from dml.data.dataset import CLASSIFICATION
from dml.data.partitions.registry import PARTITIONS
from dml.field_types import MAX_COUNT, UserPath, one_of
from dml.section import ChosenBy, Section

OFFSET_VERSION = 2
"""Version of the placement with an offset: the first one rotated the parts in the other direction."""


class DataConfig(Section):
    """Which data set, how it is dealt out to the nodes, and which of them hold OOD data."""

    dataset: str = Field(
        "digits",
        description="the data set: "
        + ", ".join(dataset_names())
        + ", or a folder of images: train*.parquet and test*.parquet, or train/<class>/ and test/<class>/",
    )
    dataset_options: Annotated[SerializeAsAny[Section], ChosenBy("dataset", DATASETS, find_source)] = (
        Section()
    )
    data_dir: UserPath = Field(
        default_factory=default_data_dir,
        validate_default=True,
        description="folder of the data sets; $DML_DATA sets its default",
    )
    partition: Annotated[str, one_of(PARTITIONS, "partition")] = Field(
        "budgets",
        description="how data are dealt out to the nodes: "
        + "; ".join(f"{name} = {partition.about}" for name, partition in PARTITIONS.items()),
    )
    partition_options: Annotated[SerializeAsAny[Section], ChosenBy("partition", PARTITIONS)] = Section()
    train_test_val: tuple[float, ...] | None = Field(
        None,
        description="cut each node's data by label into these shares: training and test, or training, "
        "validation and test (the last is the test share)",
    )
    backdoor: bool = Field(
        False, description="put OOD data on the nodes --backdoor_node_idx; --ood_kind says which"
    )
    backdoor_node_idx: tuple[int, ...] | None = Field(
        None, description="nodes that hold OOD data, counted from 0 (default: the node of highest degree)"
    )
    backdoor_proportion: float = Field(
        0.1, gt=0, lt=1, description="share of an OOD node's training data that is OOD"
    )
    ood_kind: Literal["trigger", "heldout_class", "rotated"] = Field(
        "trigger",
        description="OOD data: images with a trigger and the label that it commands, a class that only OOD "
        "nodes hold, or images rotated by 90 degrees with their own labels",
    )
    ood_class: int = Field(
        0, ge=0, le=MAX_COUNT, description="the class that --ood_kind heldout_class holds out"
    )
    random_bd: bool = Field(
        False, description="put the trigger anywhere in an image; otherwise at the top left"
    )
    random_data_placement: bool = Field(
        True,
        description="leave the nodes' parts of the data where they are drawn; otherwise (also: "
        "--non_random_data_placement) put the largest on the most central node",
    )
    centrality_metric_data_placement: Literal[
        "degree", "betweenness", "closeness", "harmonic", "pagerank"
    ] = Field("degree", description="the centrality of that placement")
    offset_clients_data_placement: int = Field(
        0, ge=0, le=MAX_COUNT, description="how many places that placement is rotated by"
    )
    label_placement: Literal["drawn", "clustered", "mixed"] = Field(
        "drawn",
        description="leave the nodes' parts of the data where they are drawn, or place them so that "
        "neighbours' labels are alike (clustered) or unlike (mixed)",
    )
    many_to_one: bool = Field(
        True,
        description="label triggered data 0; otherwise with their label + 1, modulo the number of labels",
    )
    ood_test_proportion: float = Field(
        0.1, gt=0, lt=1, description="share of the test data that becomes the OOD test set"
    )
    augment: bool = Field(
        False,
        description="crop training images at random (padding 4) and flip them, differently in every pass",
    )
    shuffle: bool = Field(
        True,
        description="use a new batch order in every epoch; otherwise the published fixed order, with "
        "triggered data last",
    )

    @field_validator("dataset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if not name or not is_dataset(name):
            there = ", ".join(dataset_names())
            raise ValueError(f"no such data set; choose one of: {there}, or give a folder")
        return name

    @field_validator("train_test_val")
    @classmethod
    def _are_shares(cls, shares: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if shares is not None and (
            len(shares) not in (2, 3) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6
        ):
            raise ValueError("must be 2 or 3 shares above 0 whose sum is 1")
        return shares

    @field_validator("backdoor_node_idx")
    @classmethod
    def _are_nodes(cls, nodes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if nodes is None:
            return None
        if not nodes or min(nodes) < 0 or len(set(nodes)) != len(nodes):
            raise ValueError("must be one or more different nodes, counted from 0")
        return tuple(sorted(nodes))

    @model_validator(mode="after")
    def _has_one_placement(self) -> "DataConfig":
        if not self.random_data_placement:
            by_size = "--no_random_data_placement puts the largest part on the most central node, and "
            if PARTITIONS[self.partition].equal_sizes:
                raise ValueError(
                    f"{by_size}those of partition {self.partition} are all of one size; leave it out"
                )
            if self.label_placement != "drawn":
                raise ValueError(f"{by_size}label_placement places the parts by their labels; leave one out")
        return self

    def reads(self) -> set[str]:
        """The fields that change this experiment's numbers."""
        source = find_source(self.dataset)
        fields = {"dataset", "partition", "train_test_val", "backdoor", "ood_kind", "shuffle"}
        fields |= {"random_data_placement", "label_placement"}
        fields |= self.options_read()
        fields |= {"augment"} if source.augmented_scale else set()
        fields |= {"ood_class"} if self.ood_kind == "heldout_class" else {"ood_test_proportion"}
        if self.ood_kind == "trigger" and source.task == CLASSIFICATION:
            fields |= {"many_to_one", "random_bd"}
        if self.backdoor:
            fields |= {"backdoor_node_idx"}
            fields |= {"backdoor_proportion"} if self.ood_kind != "heldout_class" else set()
        if not self.random_data_placement:
            fields |= {"centrality_metric_data_placement", "offset_clients_data_placement"}
        return fields

    def versions(self) -> dict[str, int]:
        """The versions of the parts that decide which data each node holds, by part."""
        dataset = self.dataset if self.dataset in DATASETS else "folder"
        parts = {
            f"data {dataset}": find_source(self.dataset).version,
            f"partition {self.partition}": PARTITIONS[self.partition].version,
        }
        if not self.random_data_placement and self.offset_clients_data_placement:
            parts["placement with an offset"] = OFFSET_VERSION
        return parts
