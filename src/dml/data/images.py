"""Image data sets on disk: four arrays; the images are memory-mapped, so that processes share one copy.

A folder holds ``train_x.npy``, ``test_x.npy`` (uint8, [N, channels, height, width]), ``train_y.npy``,
``test_y.npy`` (int64) and ``meta.json``. It is written under another name and then renamed.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.data.dataset import Dataset
from dml.errors import InputError
from dml.files import check_regular, read_text

FORMAT = 1
MAX_META = 10_000_000
"""Size of the largest ``meta.json`` that is read."""

PARTS = ("train_x", "train_y", "test_x", "test_y")


@dataclass(frozen=True)
class Images:
    """An image data set as it is kept on disk.

    Args:
        train_x, test_x: pixels, uint8, [N, channels, height, width].
        train_y, test_y: labels 0 to L - 1, int64, [N].
        classes: the names of the labels; numbers if the source has no names.
    """

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.int64]
    classes: tuple[str, ...]

    def fingerprint(self) -> str:
        """A hash of the content, which does not depend on the kind of files it came from."""
        digest = hashlib.sha256(str((self.train_x.shape, self.test_x.shape, len(self.classes))).encode())
        for part in PARTS:
            array: NDArray[np.uint8] = np.ascontiguousarray(getattr(self, part)).view(np.uint8)
            digest.update(array.data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Meta:
    """The content of ``meta.json``, the small file next to the arrays.

    Args:
        shape: the shape of an image: channels, height, width.
        classes: the names of the labels.
        sizes: the numbers of training and test images.
        fingerprint: a hash of the content.
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...]
    sizes: tuple[int, int]
    fingerprint: str


@dataclass(frozen=True)
class KeptImages:
    """The folder of an image data set.

    Args:
        path: the folder.
        name: the data set as the user named it.
        remedy: what to do after its damaged files have been removed, as the end of a sentence.
    """

    path: Path
    name: str
    remedy: str

    def meta(self) -> Meta:
        """The facts that are known without opening the arrays.

        Raises:
            InputError: the file is damaged.
        """
        try:
            found = json.loads(read_text(self.path / "meta.json", MAX_META))
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}, not {FORMAT}")
            train, test = found["sizes"]
            return Meta(tuple(found["shape"]), tuple(found["classes"]), (train, test), found["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self.damaged(error) from None

    def load(self) -> Dataset:
        """The arrays; the images are memory-mapped.

        Raises:
            InputError: the files are damaged.
        """
        meta = self.meta()
        try:
            arrays = _open(self.path)
        except (OSError, ValueError, EOFError) as error:
            raise self.damaged(error) from None
        for split, size in zip(("train", "test"), meta.sizes, strict=True):
            x, y = arrays[f"{split}_x"], arrays[f"{split}_y"]
            fits = size and x.shape == (size, *meta.shape) and x.dtype == np.uint8 and y.shape == (size,)
            if not (fits and y.dtype == np.int64 and y.min() >= 0 and y.max() < len(meta.classes)):
                raise self.damaged("the arrays are not those that meta.json describes")
        train_y, test_y = np.array(arrays["train_y"]), np.array(arrays["test_y"])
        return Dataset(arrays["train_x"], train_y, arrays["test_x"], test_y, len(meta.classes))

    def damaged(self, why: Exception | str) -> InputError:
        """An error that names the data set, its folder, the first line of the reason, and the remedy."""
        reason = (str(why).splitlines() or [""])[0] or type(why).__name__
        right = f"its files in {self.path} are damaged ({reason}); remove them and {self.remedy}"
        return InputError("dataset", self.name, right)


def is_kept(path: Path) -> bool:
    """Whether a folder holds a data set."""
    return (path / "meta.json").exists()


def write_images(path: Path, images: Images, source: str) -> None:
    """Writes a data set as the folder ``path``, which appears complete and replaces a different one.

    Args:
        path: the folder.
        images: the data set.
        source: a note on where the data set came from.

    Raises:
        OSError: the folder cannot be written.
    """
    with _folder_beside(path) as new:
        for part in PARTS:
            np.save(new / f"{part}.npy", getattr(images, part))
        meta = {
            "format": FORMAT,
            "shape": images.train_x.shape[1:],
            "classes": images.classes,
            "sizes": (len(images.train_y), len(images.test_y)),
            "fingerprint": images.fingerprint(),
            "source": source,
        }
        (new / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def copy_images(source: Path, path: Path) -> None:
    """Copies the folder of a data set; the copy appears complete and replaces a different one.

    Raises:
        OSError: the copy cannot be written.
    """
    with _folder_beside(path) as new:
        shutil.copytree(source, new, dirs_exist_ok=True)


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, which gets this path when the block ends, and is removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True
    ) as scratch:
        # The outer folder is readable by its owner only, so the data set gets a folder within it.
        new = Path(scratch) / "new"
        new.mkdir()
        yield new
        _replace(new, path)


def _replace(new: Path, path: Path) -> None:
    """Renames a folder to a path. A full folder there cannot be overwritten, so it is moved away first."""
    for attempt in range(10):
        try:
            new.rename(path)
            return
        except OSError:
            # If another process has meanwhile written the same data, keep them: somebody may read them.
            if _content(path) == _content(new):
                return
            old = new.with_name(f"old-{attempt}")
            try:
                path.rename(old)
            except FileNotFoundError:
                continue
            shutil.rmtree(old, ignore_errors=True)
    raise OSError(f"{path} cannot be replaced")


def _content(path: Path) -> tuple[dict[str, Any], str] | None:
    """A folder's meta.json, without the note, and a hash of its arrays; None if the folder is damaged."""
    try:
        meta = json.loads(read_text(path / "meta.json", MAX_META))
        meta.pop("source")
        return meta, Images(**_open(path), classes=tuple(meta["classes"])).fingerprint()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None


def _open(path: Path) -> dict[str, NDArray[Any]]:
    for part in PARTS:
        check_regular(path / f"{part}.npy")
    return {part: np.load(path / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}
