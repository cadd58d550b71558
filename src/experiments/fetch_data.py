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
from dml.data import images
from dml.data.config import DATASETS, PRESETS, DataConfig
from dml.errors import ArgumentError, InputError


def fetch_data(
    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME..")],
    data_dir: Annotated[
        Path, tyro.conf.arg(help_behavior_hint="(default: ~/.cache/distributed_ml)")
    ] = Path(),
    source: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
) -> int:
    """Fetches image data sets, where there is a network, and keeps them for runs, which never use one.

    Args:
        names: mnist, fmnist, cifar10, cifar100
        data_dir: folder of the data sets, or $DML_DATA
        source: a local copy (parquet files, a folder of images, the hub's cache), in place of the network
    """
    if data_dir == Path():
        data_dir = DataConfig().data_dir
    wanted = [_dataset(name) for name in names]
    if not wanted:
        raise ArgumentError("NAME", None, "name at least one of " + ", ".join(_kept()))
    if source is not None and len(wanted) > 1:
        raise InputError("source", source, "is one data set; name that one alone")
    from dml.data import fetch

    failed = 0
    for name in wanted:
        path = images.place_of(name, data_dir)
        if name not in _kept():
            print(f"{name} comes with distributed_ml", file=sys.stderr)
            continue
        if source is None and not images.lacking([name], data_dir):
            images.load(name, data_dir)
            print(f"{name} is there already", file=sys.stderr)
            print(path)
            continue
        try:
            found = fetch.from_hub(name) if source is None else fetch.from_source(name, source)
            images.write(path, found, str(source or fetch.HUB[name].id))
        except fetch.NoNetworkError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
            break
        except OSError as error:
            raise InputError("data_dir", data_dir, f"cannot be written ({error.strerror or error})") from None
        print(f"{name}: {len(found.train_y)} training and {len(found.test_y)} test images", file=sys.stderr)
        print(path)
    if failed:
        print(
            "without a network: copy the files here, then fetch_data.py NAME --source PATH", file=sys.stderr
        )
    return failed


def _kept() -> list[str]:
    return [name for name, spec in DATASETS.items() if spec.images]


def _dataset(name: str) -> str:
    """The data set of a published name, such as cifar10_vgg."""
    name = str(PRESETS.get(name, {}).get("dataset", name))
    if name not in DATASETS:
        raise ArgumentError("NAME", name, "no such data set; there are: " + ", ".join(_kept()))
    return name


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(fetch_data, use_underscores=True, prog="fetch_data.py"))
