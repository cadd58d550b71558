"""Folders of images as data sets. Each is converted once, into ``<data_dir>/folders/<its name>-<digest>/``.

The digest covers the names, sizes and times of the files: a folder that has changed is converted again.
"""

import hashlib
import json
import logging
import tempfile
from functools import lru_cache, partial
from pathlib import Path

from dml.data.dataset import Dataset, DatasetSpec, Scale
from dml.data.images import KeptImages, write_images
from dml.data.kept import is_kept
from dml.data.source import DataSource
from dml.errors import InputError
from dml.files import FILE, FOLDER, folder_for, objection_to_path, what_is_at
from dml.section import Section

_log = logging.getLogger(__name__)

Stamp = tuple[str, int, int]
"""A file's path below the folder, its size, and its time of modification."""

_UNIT: Scale = ((0.0,), (1.0,))


def folder_source(name: str) -> DataSource[Section]:
    """The data source of a folder of images.

    Its ``describe`` and ``load`` convert the folder if that has not been done yet, and raise InputError if
    the folder cannot be used or the converted form cannot be written.

    Args:
        name: the path of the folder, as the user gave it.
    """
    return DataSource(
        describe=partial(_describe, name),
        load=partial(_load, name),
        options=Section,
        defaults={"model": "mlp", "optimizer": "sgd", "lr": 0.01, "batch_size": 64, "epochs": 5},
        scale=_UNIT,
        augmented_scale=_UNIT,
    )


def _describe(name: str, options: Section, data_dir: Path) -> DatasetSpec:
    meta = _converted(name, data_dir).meta()
    return DatasetSpec(meta.shape, len(meta.classes), meta.sizes, fingerprint=meta.fingerprint)


def _load(name: str, options: Section, data_dir: Path, seed: int) -> Dataset:
    return _converted(name, data_dir).load()


def _converted(name: str, data_dir: Path) -> KeptImages:
    path = Path(name).expanduser().absolute()
    return KeptImages(_convert(path, name, data_dir.absolute(), _state(path, name)), name, "call again")


def _state(path: Path, name: str) -> tuple[Stamp, ...]:
    """The stamps of everything near the top of a folder: a cheap way to notice a change."""
    objection = objection_to_path(path)
    if objection:
        raise InputError("dataset", name, objection)
    found = what_is_at(path)
    if found == FILE:
        raise InputError("dataset", name, "is a file; give the folder that holds it")
    if found != FOLDER:
        raise InputError("dataset", name, f"{found}; give a folder of images, or the name of a data set")
    near = [path, *path.glob("*"), *path.glob("*/*")]
    return tuple(sorted(_stamp(p, path, name) for p in near if not p.name.startswith(".")))


def _stamp(path: Path, root: Path, name: str) -> Stamp:
    try:
        # A dangling link gets a stamp of its own: it is an error only if an image should be there.
        found = path.stat() if path.exists() else path.lstat()
    except OSError as error:
        raise _unreadable(name, path, error) from None
    return str(path.relative_to(root)), found.st_size if path.is_file() else 0, found.st_mtime_ns


@lru_cache(maxsize=16)
def _convert(path: Path, name: str, data_dir: Path, state: tuple[Stamp, ...]) -> Path:
    """The folder of the converted form of a folder in this state, which is made if it does not exist."""
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    digest = hashlib.sha256(json.dumps([str(path), sorted(_stamp(p, path, name) for p in files)]).encode())
    target = data_dir / "folders" / f"{path.name[:60]}-{digest.hexdigest()[:12]}"
    if is_kept(target):
        return target
    # PIL and the reader of tables are needed only here.
    from dml.data.decode import Origin
    from dml.data.image_files import read_image_folder

    _log.info(f"{name}: converting its images, once, into {target}")
    with folder_for(data_dir, "data_dir"):
        try:
            scratch = tempfile.TemporaryDirectory(prefix=".convert-", dir=data_dir)
        except OSError as error:
            raise _unwritable(data_dir, error) from None
        with scratch:
            try:
                images = read_image_folder(path, Origin("dataset", name), scratch=Path(scratch.name))
            except OSError as error:
                raise _unreadable(name, path, error) from None
        try:
            write_images(target, images, str(path))
        except OSError as error:
            raise _unwritable(data_dir, error) from None
    return target


def _unreadable(name: str, path: Path, error: OSError) -> InputError:
    return InputError("dataset", name, f"{error.filename or path} cannot be read ({error.strerror or error})")


def _unwritable(data_dir: Path, error: OSError) -> InputError:
    return InputError("data_dir", data_dir, f"cannot be written ({error.strerror or error})")
