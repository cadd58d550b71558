"""The command line that fetches data sets."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from dml import command_line
from dml.data.catalogue import DATASET_ALIASES, DATASETS, datasets_to_fetch
from dml.data.config import DataConfig
from dml.data.data_dir import default_data_dir, fetch_command
from dml.data.load import load_dataset
from dml.data.pairs import KeptPairs
from dml.data.source import HubPairs
from dml.data.stage import stage
from dml.errors import EXIT_FAILED, ArgumentError, InputError
from dml.field_types import Positional, UserPath
from dml.files import check_writable
from dml.section import Section

DESCRIPTION = "Fetches data sets over the network and keeps them for runs, which never use a network."

KEPT = [name for name, source in DATASETS.items() if source.hub]
"""The data sets that must be fetched; all others come with the project."""


class FetchConfig(Section):
    """The data sets to fetch, and their source."""

    names: Annotated[tuple[str, ...], Positional("NAME")] = Field(
        (), description=", ".join(KEPT) + "; --to alone takes all that are there"
    )
    data_dir: UserPath = Field(
        default_factory=default_data_dir,
        validate_default=True,
        description="folder of the data sets; $DML_DATA sets its default",
    )
    source: UserPath | None = Field(
        None,
        description="a local copy instead of the network: parquet files, a folder of images, or the hub's "
        "cache",
    )

    to: UserPath | None = Field(
        None,
        description="instead of fetching, copy data sets that are in the data folder to this one, such as a "
        "host's own disk; each host of a job needs its own copy",
    )

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # A published name, such as cifar10_vgg, stands for its data set.
        found = tuple(str(DATASET_ALIASES.get(name, {}).get("dataset", name)) for name in names)
        for name in found:
            if name not in DATASETS:
                raise ArgumentError("NAME", name, "no such data set; choose from: " + ", ".join(KEPT))
        return found


def main(argv: Sequence[str]) -> int:
    """Fetches data sets and prints the paths of their files.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code: 0, or 1 if the network could not be used.
    """
    config = command_line.parse_section(FetchConfig, argv, prog="fetch_data.py", description=DESCRIPTION)
    if config.to is not None:
        return _copy(config, config.to)
    data_dir, source = config.data_dir, config.source
    if not config.names:
        raise ArgumentError("NAME", None, f"name at least one ({', '.join(KEPT)})")
    if source is not None and len(config.names) > 1:
        raise InputError("source", source, "holds one data set, so give one name")
    check_writable(data_dir, "data_dir")
    from dml.data.fetch import NoNetworkError, fetch_dataset

    for name in config.names:
        if name not in KEPT:
            print(f"{name} comes with distributed_ml", file=sys.stderr)
            continue
        if source is None and not datasets_to_fetch([name], data_dir):
            # This raises an error if the files are damaged.
            _check(name, data_dir)
            print(f"{name} is there already", file=sys.stderr)
        else:
            try:
                found = fetch_dataset(name, data_dir, source)
            except NoNetworkError as error:
                hint = f"without a network, copy its files here and run fetch_data.py {name} --source PATH"
                print(f"error: {error}; {hint}", file=sys.stderr)
                return EXIT_FAILED
            train, test = found.sizes
            print(f"{name}: {train} training and {test} test {found.kind}", file=sys.stderr)
        print(data_dir / name)
    return 0


def _check(name: str, data_dir: Path) -> None:
    """Raises InputError if the files of a data set that has been fetched are damaged."""
    if isinstance(DATASETS[name].hub, HubPairs):
        KeptPairs(data_dir / name, name, f"run: {fetch_command([name], data_dir)}").load()
    else:
        load_dataset(DataConfig(dataset=name, data_dir=data_dir), seed=0)


def _copy(config: FetchConfig, to: Path) -> int:
    """Copies data sets to a folder, and prints the paths of the copies."""
    if config.source is not None:
        raise InputError("source", config.source, "excludes --to; give one")
    check_writable(to, "to")
    names = [name for name in config.names or KEPT if name in KEPT]
    if not config.names:
        names = [name for name in names if not datasets_to_fetch([name], config.data_dir)]
        if not names:
            right = f"holds none of {', '.join(KEPT)}: fetch them on a machine with a network first"
            raise InputError("data_dir", config.data_dir, right)
    for name in names:
        print(stage(name, config.data_dir, to))
    return 0
