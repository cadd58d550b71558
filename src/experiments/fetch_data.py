#!/usr/bin/env python
"""Fetches image data sets, once, where there is a network (a login node); runs never touch the network.

python src/experiments/fetch_data.py mnist cifar10
python src/experiments/fetch_data.py mnist --source ~/Downloads/mnist    # from files that are here already
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from dml import command_line
from dml.data.catalogue import DATASET_ALIASES, DATASETS, datasets_to_fetch
from dml.data.config import DataConfig
from dml.data.load import load_dataset
from dml.errors import ArgumentError, InputError


def fetch_data(
    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME...", help_behavior_hint="")
    ],
    data_dir: Annotated[
        Path, tyro.conf.arg(help_behavior_hint="(default: ~/.cache/distributed_ml)")
    ] = Path(),
    source: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None,
) -> int:
    """Fetches image data sets over the network and keeps them for runs, which never use one.

    Args:
        names: mnist, fmnist, cifar10, cifar100
        data_dir: folder of the data sets, or $DML_DATA
        source: a local copy to use instead of the network: parquet files, a folder of images, the hub's cache
    """
    if data_dir == Path():
        data_dir = DataConfig().data_dir
    wanted = [_dataset(name) for name in names]
    if not wanted:
        raise ArgumentError("NAME", None, "name at least one of " + ", ".join(_on_the_hub()))
    if source is not None and len(wanted) > 1:
        raise InputError("source", source, "is one data set; name that one alone")
    from dml.data.fetch import NoNetworkError, fetch_dataset

    for name in wanted:
        if name not in _on_the_hub():
            print(f"{name} comes with distributed_ml", file=sys.stderr)
            continue
        if source is None and not datasets_to_fetch([name], data_dir):
            # Loading refuses damaged files.
            load_dataset(DataConfig(dataset=name, data_dir=data_dir), seed=0)
            print(f"{name} is there already", file=sys.stderr)
        else:
            try:
                found = fetch_dataset(name, data_dir, source)
            except NoNetworkError as error:
                print(f"error: {error}", file=sys.stderr)
                hint = "without a network: copy the files here, then run fetch_data.py NAME --source PATH"
                print(hint, file=sys.stderr)
                return 1
            train, test = len(found.train_y), len(found.test_y)
            print(f"{name}: {train} training and {test} test images", file=sys.stderr)
        print(data_dir / name)
    return 0


def _on_the_hub() -> list[str]:
    return [name for name, data in DATASETS.items() if data.hub]


def _dataset(name: str) -> str:
    """The data set of a published name, such as cifar10_vgg."""
    name = str(DATASET_ALIASES.get(name, {}).get("dataset", name))
    if name not in DATASETS:
        raise ArgumentError("NAME", name, "no such data set; there are: " + ", ".join(_on_the_hub()))
    return name


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(fetch_data, use_underscores=True, prog="fetch_data.py"))
