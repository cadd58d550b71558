"""The folder of the data sets, and the command that fetches one into it."""

import os
from collections.abc import Sequence
from pathlib import Path

from dml.errors import InputError


def default_data_dir() -> Path:
    """The folder in which data sets are kept unless the user names another."""
    return Path(os.path.expanduser(os.environ.get("DML_DATA") or "~/.cache/distributed_ml"))


def fetch_command(names: Sequence[str], data_dir: Path) -> str:
    """The command that a user types to fetch data sets.

    Args:
        names: the data sets.
        data_dir: the folder that they belong in.
    """
    where = "" if data_dir == default_data_dir() else f" --data_dir {data_dir}"
    return f"python src/experiments/fetch_data.py {' '.join(names)}{where}"


def not_fetched(names: Sequence[str], data_dir: Path) -> InputError:
    """The error about data sets that are not in the folder, with the command that fetches them."""
    verb = "is" if len(names) == 1 else "are"
    command = fetch_command(names, data_dir)
    return InputError(
        "dataset", names, f"{verb} not in {data_dir}; on a machine with a network, run: {command}"
    )
