"""Files of tables, parquet and arrow, in the folders in which people share data sets.

Hugging Face ``datasets`` reads them. It takes a second to import, so it is imported only where it is used.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dml.data.decode import Origin, quiet
from dml.errors import InputError
from dml.files import check_regular

if TYPE_CHECKING:
    import datasets


@contextmanager
def tables_in(
    path: Path, origin: Origin, splits: Mapping[str, str], scratch: Path | None = None
) -> Iterator[dict[str, "datasets.Dataset"] | None]:
    """Opens the tables of a folder; they can be read until the block ends.

    Args:
        path: the folder.
        origin: the field that names the folder.
        splits: how the names of the files of ``train`` and ``test`` begin.
        scratch: a folder for intermediate files.

    Yields:
        The tables of ``train`` and ``test``; None if the folder holds no files of tables.

    Raises:
        InputError: a split is missing, or a file is damaged.
        OSError: a folder cannot be listed.
    """
    for ending in ("parquet", "arrow"):
        files = [p for p in path.rglob(f"*.{ending}") if not p.name.startswith(".")]
        found = {split: _files_of_split(files, path, name) for split, name in splits.items()}
        if any(found.values()):
            named = {splits[split]: own for split, own in found.items()}
            check_both(named, path, f"{{}}*.{ending}", origin)
            _check_files(found, origin)
            library = datasets_library(offline=True)
            with tempfile.TemporaryDirectory(prefix=".convert-", dir=scratch) as cache, quiet():
                yield {s: _open(library, own, ending, path, origin, cache) for s, own in found.items()}
            return
    yield None


def _open(
    library: Any, files: list[Path], ending: str, path: Path, origin: Origin, cache: str
) -> "datasets.Dataset":
    try:
        if ending == "parquet":
            return library.Dataset.from_parquet([str(p) for p in files], cache_dir=cache)
        return library.concatenate_datasets([library.Dataset.from_file(str(p)) for p in files])
    except Exception as error:
        # datasets wraps some errors of pyarrow; the cause says more.
        why = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        damaged = ", ".join(p.name for p in files)
        raise origin.error(f"{damaged} in {path} cannot be read ({why})") from None


def datasets_library(*, offline: bool) -> Any:
    """The ``datasets`` package.

    Args:
        offline: keeps it from using the network and from showing progress bars.

    Raises:
        InputError: it is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError as error:
        right = f"data sets of the hub need the packages of requirements-hpc.txt ({error})"
        raise InputError("dataset", None, right) from None
    if offline:
        datasets.disable_progress_bars()
    return datasets


def _files_of_split(files: list[Path], root: Path, split: str) -> list[Path]:
    """``train-00000-of-00001.parquet``, ``train/0.parquet`` and ``mnist-train.arrow`` belong to ``train``."""
    return sorted(
        p
        for p in files
        if p.name.startswith(split) or f"-{split}" in p.name or (p.parent != root and p.parent.name == split)
    )


def check_both(splits: dict[str, list[Path]], path: Path, pattern: str, origin: Origin) -> None:
    """Refuses a folder that lacks the files of a split.

    Args:
        splits: the files of the training data, then those of the test data, by the split's name.
        path: the folder.
        pattern: what the names of such files look like, with {} for the split's name.
        origin: the field that names the folder.
    """
    for split, files in splits.items():
        if not files:
            kind = "training" if split == "train" else "test"
            raise origin.error(f"has no {kind} split: {path} lacks {pattern.format(split)}")


def _check_files(splits: dict[str, list[Path]], origin: Origin) -> None:
    for file in (file for files in splits.values() for file in files):
        try:
            check_regular(file)
        except OSError as error:
            raise origin.error(f"{file} cannot be read ({error.strerror})") from None
