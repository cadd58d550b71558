"""Image data sets on disk: four arrays that are memory-mapped, so that many processes share one copy.

``<data_dir>/<name>/`` holds ``train_x.npy``, ``test_x.npy`` (uint8, [N, channels, height, width]),
``train_y.npy``, ``test_y.npy`` (int64) and ``meta.json``. It is written beside and renamed.
A folder of the user's own is converted at its first use, into ``<data_dir>/folders/<its name>-<digest>/``.
Nothing here touches the network: :mod:`dml.data.fetch` does, when it is asked to.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dml.data.config import DATASETS, FOLDER, PRESETS, DatasetSpec, default_data_dir, known
from dml.errors import InputError

_log = logging.getLogger(__name__)

FORMAT = 1
PARTS = ("train_x", "train_y", "test_x", "test_y")


@dataclass(frozen=True)
class Images:
    """A data set as it is kept.

    Args:
        train_x, test_x: pixels, uint8, [N, channels, height, width].
        train_y, test_y: labels 0 .. L - 1, int64, [N].
        classes: the names of the labels; made up where the source has none.
    """

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.int64]
    classes: tuple[str, ...]

    def fingerprint(self) -> str:
        """A hash of the content: the same whatever kind of files it came from."""
        digest = hashlib.sha256(str((self.train_x.shape, self.test_x.shape, len(self.classes))).encode())
        for part in PARTS:
            array: NDArray[np.uint8] = np.ascontiguousarray(getattr(self, part)).view(np.uint8)
            digest.update(array.data)
        return digest.hexdigest()[:16]


def spec_of(name: str, data_dir: Path) -> DatasetSpec:
    """What is known of a data set before its data are loaded; a user's folder is converted if need be.

    Where a named set is there with other sizes than usual (a part of it, say), the spec has its fingerprint.

    Raises:
        InputError: the folder cannot be used, or the files of the data set are damaged.
    """
    if name in DATASETS:
        spec = DATASETS[name]
        if not spec.images or not (place_of(name, data_dir) / "meta.json").exists():
            return spec
        meta = _meta(name, place_of(name, data_dir))
        if meta.sizes == spec.sizes:
            return spec
        return replace(spec, sizes=meta.sizes, fingerprint=meta.fingerprint)
    path = Path(name).expanduser().absolute()
    meta = _meta(name, _converted(path, name, data_dir.absolute(), _state(path, name)))
    return replace(
        FOLDER, shape=meta.shape, labels=meta.labels, sizes=meta.sizes, fingerprint=meta.fingerprint
    )


def load(name: str, data_dir: Path) -> Images:
    """The arrays of a data set, memory-mapped.

    Raises:
        InputError: it is not there, or its files are damaged.
    """
    if name in DATASETS:
        check_there([name], data_dir)
        path = place_of(name, data_dir)
    else:
        source = Path(name).expanduser().absolute()
        path = _converted(source, name, data_dir.absolute(), _state(source, name))
    meta = _meta(name, path)
    try:
        arrays = {part: np.load(path / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(name, path, error) from None
    images = Images(
        arrays["train_x"],
        np.array(arrays["train_y"]),
        arrays["test_x"],
        np.array(arrays["test_y"]),
        meta.classes,
    )
    for x, y, size in zip(
        (images.train_x, images.test_x), (images.train_y, images.test_y), meta.sizes, strict=True
    ):
        fits = x.shape == (size, *meta.shape) and x.dtype == np.uint8 and y.shape == (size,)
        if not (fits and y.dtype == np.int64 and y.min() >= 0 and y.max() < meta.labels):
            raise _damaged(name, path, ValueError("the arrays are not those that meta.json names"))
    return images


def place_of(name: str, data_dir: Path) -> Path:
    """Where a named data set is kept."""
    return data_dir / name


def lacking(names: Iterable[str], data_dir: Path) -> list[str]:
    """Those of the data sets that must be fetched first, each once."""
    kept = [name for name in dict.fromkeys(names) if name in DATASETS and DATASETS[name].images]
    return [name for name in kept if not (place_of(name, data_dir) / "meta.json").exists()]


def fetch_command(names: Sequence[str], data_dir: Path) -> str:
    """What the user types to get data sets."""
    default = default_data_dir()
    where = "" if data_dir == default else f" --data_dir {data_dir}"
    return f"python src/experiments/fetch_data.py {' '.join(names)}{where}"


def check_there(names: Iterable[str], data_dir: Path) -> None:
    """Refuses data sets that are not there, with the command that fetches them.

    Raises:
        InputError: naming them.
    """
    missing = lacking(names, data_dir)
    if missing:
        command, where = fetch_command(missing, data_dir), data_dir
        raise InputError("dataset", missing, f"not in {where}; where there is a network, run: {command}")


def write(path: Path, images: Images, source: str) -> None:
    """Keeps a data set at ``path``, all at once; what is there is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        for part in PARTS:
            np.save(beside / f"{part}.npy", getattr(images, part))
        meta = {
            "format": FORMAT,
            "shape": images.train_x.shape[1:],
            "classes": images.classes,
            "sizes": (len(images.train_y), len(images.test_y)),
            "fingerprint": images.fingerprint(),
            "source": source,
        }
        (beside / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        _replace(beside, path, meta["fingerprint"])
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace(new: Path, path: Path, fingerprint: object) -> None:
    """A folder cannot be renamed onto one that holds files: other data are moved away first."""
    for _ in range(10):
        try:
            new.rename(path)
            return
        except OSError:
            # Another process may have made the same meanwhile, and read it already: it stays.
            if _fingerprint(path) == fingerprint:
                return
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            try:
                path.rename(old)
            except FileNotFoundError:
                continue
            shutil.rmtree(old, ignore_errors=True)
    raise OSError(f"{path} cannot be replaced")


def _fingerprint(path: Path) -> object:
    """Of the data at a place, whatever their meta.json says; None if they cannot be opened."""
    try:
        classes = json.loads((path / "meta.json").read_text(encoding="utf-8"))["classes"]
        arrays = {part: np.load(path / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}
        return Images(**arrays, classes=tuple(classes)).fingerprint()
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


@dataclass(frozen=True)
class _Meta:
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    sizes: tuple[int, int]
    fingerprint: str

    @property
    def labels(self) -> int:
        return len(self.classes)


def _meta(name: str, path: Path) -> _Meta:
    try:
        found = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, not {FORMAT}")
        train, test = found["sizes"]
        meta = _Meta(tuple(found["shape"]), tuple(found["classes"]), (train, test), found["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(name, path, error) from None
    spec = known(name)
    if spec and spec.shape and (meta.shape, meta.labels) != (spec.shape, spec.labels):
        raise _damaged(name, path, ValueError(f"images of {meta.shape} in {meta.labels} classes"))
    return meta


def _damaged(name: str, path: Path, error: Exception) -> InputError:
    again = f"run: {fetch_command([name], path.parent)}" if name in DATASETS else "call again"
    why = (str(error).splitlines() or [""])[0] or type(error).__name__
    return InputError("dataset", name, f"its files in {path} are damaged ({why}); remove them and {again}")


def _state(path: Path, name: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of all that lies near the top of a folder: cheap, and another when it changes."""
    if not path.is_dir():
        if path.exists():
            raise InputError("dataset", name, "is a file; give the folder that holds it")
        names = ", ".join([*DATASETS, *PRESETS])
        raise InputError("dataset", name, f"no such folder; give one of images, or one of: {names}")
    near = [path, *path.glob("*"), *path.glob("*/*")]
    return tuple(sorted(_stamp(p, path, name) for p in near if not p.name.startswith(".")))


def _stamp(path: Path, root: Path, name: str) -> tuple[str, int, int]:
    try:
        # Of a link to nothing its own: only where it should be an image it does harm.
        found = path.stat() if path.exists() else path.lstat()
    except OSError as error:
        raise _unreadable(name, path, error) from None
    return str(path.relative_to(root)), found.st_size if path.is_file() else 0, found.st_mtime_ns


def _unreadable(name: str, path: Path, error: OSError) -> InputError:
    return InputError("dataset", name, f"{error.filename or path} cannot be read ({error.strerror or error})")


@lru_cache(maxsize=16)
def _converted(path: Path, name: str, data_dir: Path, state: tuple[tuple[str, int, int], ...]) -> Path:
    """Where the converted form of a user's folder is kept; it is made if it is not there."""
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    digest = hashlib.sha256(json.dumps([str(path), sorted(_stamp(p, path, name) for p in files)]).encode())
    target = data_dir / "folders" / f"{path.name}-{digest.hexdigest()[:12]}"
    if (target / "meta.json").exists():
        return target
    from dml.data.fetch import from_folder

    _log.info(f"{name}: converting its images, once, into {target}")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".convert-", dir=data_dir)
    except OSError as error:
        raise _unwritable(data_dir, error) from None
    with scratch:
        try:
            images = from_folder(path, name, scratch=Path(scratch.name))
        except OSError as error:
            raise _unreadable(name, path, error) from None
    try:
        write(target, images, str(path))
    except OSError as error:
        raise _unwritable(data_dir, error) from None
    return target


def _unwritable(data_dir: Path, error: OSError) -> InputError:
    return InputError("data_dir", data_dir, f"cannot be written ({error.strerror or error})")
