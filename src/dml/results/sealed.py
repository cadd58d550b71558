"""Files with a digest of all that they hold, so that no damage to them goes unnoticed.

HDF5's own checksums cover neither attributes nor arrays that are not compressed. So the attribute ``digest``
of a result file or a checkpoint, which is written last, holds two SHA-256 sums: one of all datasets and the
attributes of groups, in order of their paths, and one of the attributes at the root and the first sum. Tables
read thousands of files, and check the second sum only, for which no dataset is read.
"""

import hashlib
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dml.results import files

DIGEST = "digest"

_ROOT = ""
_MOST_PACKED = 1100
"""More than the bytes that gzip can make of one; a dataset that claims more was never written."""
_SLACK = 64 << 10
_BESIDE = 1 << 20
"""Bytes of arrays from which on a thread of its own saves more time than it takes."""


@dataclass
class Content:
    """The content of a file.

    Args:
        attributes: the attributes of each group by name; the key of the file's root is the empty text.
        arrays: the datasets by path.
    """

    attributes: dict[str, dict[str, Any]] = field(default_factory=lambda: {_ROOT: {}})
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    _options: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def root(self) -> dict[str, Any]:
        """The attributes of the file's root."""
        return self.attributes[_ROOT]

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def put(self, name: str, value: Any, **options: Any) -> None:
        """Adds a dataset.

        Args:
            name: its path in the file.
            value: an array, or what numpy makes one of.
            options: those of :meth:`h5py.Group.create_dataset`, such as ``compression``.
        """
        self.arrays[name], self._options[name] = np.asarray(value), options

    def put_attribute(self, group: str, name: str, value: Any) -> None:
        """Adds an attribute of a group that has a dataset."""
        self.attributes.setdefault(group, {})[name] = value

    def write(self, path: Path, size: int | None = None) -> None:
        """Writes the file with its digest; it replaces an old one at once.

        Args:
            path: the path of the file.
            size: bytes that are reserved on the disk; by default those of all arrays.

        Raises:
            UnwritableFileError: it cannot be written; an old file is still there.
        """
        files.write(path, self._fill, self.size if size is None else size)

    def _fill(self, file: h5py.File) -> None:
        # Large arrays are hashed beside the writing, since neither needs the interpreter for long.
        hashing = _Hashing(self)
        beside = self.size > _BESIDE
        if beside:
            hashing.start()
            hashing.begun.wait()
        else:
            hashing.run()
        for name, value in self.root.items():
            file.attrs[name] = value
        for name, array in self.arrays.items():
            files.put(file, name, array, **self._options[name])
        for group, attributes in self.attributes.items():
            for name, value in attributes.items() if group else ():
                file[group].attrs[name] = value
        if beside:
            # Also beside the waiting for the disk, which takes longer than the hash on most.
            file.flush()
            os.fsync(file.id.get_vfd_handle())
            hashing.join()
            if not hashing.found:
                raise RuntimeError("its digest could not be computed")
        # Text of a fixed length: HDF5 can wait for ever on damage to the heap that holds other text.
        file.attrs[DIGEST] = np.bytes_(digest_of(self.root, hashing.found))

    def verify(self) -> bool:
        """Whether the content is what was written; False if the file has no digest, as older ones.

        Raises:
            ValueError: the content does not match the digest.
        """
        if DIGEST not in self.root:
            return False
        if self.root[DIGEST] != self.digest():
            raise ValueError(_CHANGED)
        return True

    def digest(self) -> str:
        """The value of the attribute ``digest`` that belongs to this content."""
        return digest_of(self.root, _sum_of_data(self, threading.Event()))


def packed(array: NDArray[Any]) -> dict[str, Any]:
    """The options of a compressed dataset; an empty array cannot be cut into chunks."""
    return {"compression": "gzip", "compression_opts": 4, "shuffle": True} if array.size else {}


_CHANGED = "its content does not match its digest, so it was damaged or changed after it was written"


class _Hashing(threading.Thread):
    """Computes the first sum of some content.

    Attributes:
        begun: set once the first large array is being hashed.
        found: the sum, once the thread has ended.
    """

    def __init__(self, content: Content) -> None:
        super().__init__(name="digest", daemon=True)
        self.begun, self.found, self._content = threading.Event(), "", content

    def run(self) -> None:
        try:
            self.found = _sum_of_data(self._content, self.begun)
        finally:
            self.begun.set()


def read(file: h5py.File) -> Content:
    """Reads everything that a file holds. It is not compared with the digest (:meth:`Content.verify`).

    Raises:
        ValueError: a dataset is not of numbers, or claims to be larger than the file can hold.
    """
    content, whole = Content(), file.id.get_filesize()
    content.attributes[_ROOT] = _attributes(file)
    if DIGEST in content.root:
        content.root[DIGEST] = text(content.root[DIGEST])

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if found := _attributes(item):
            content.attributes[name] = found
        if isinstance(item, h5py.Dataset):
            _check_size(name, item, whole)
            packed = item.compression is not None
            options = {"compression": item.compression, "compression_opts": item.compression_opts}
            content.put(name, item[()], **(options | {"shuffle": item.shuffle} if packed else {}))

    file.visititems(collect)
    return content


def verify_root(attributes: Mapping[str, Any]) -> bool:
    """Whether the root's attributes are what was written; False if there is no digest, as in older files.

    Raises:
        ValueError: they do not match the digest.
    """
    if DIGEST not in attributes:
        return False
    digest = text(attributes[DIGEST])
    if digest != digest_of(attributes, digest.partition(" ")[0]):
        raise ValueError(_CHANGED)
    return True


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    return {name: plain(value) for name, value in item.attrs.items()}


def plain(value: Any) -> Any:
    """A number of numpy as one of Python; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def text(value: Any) -> str:
    """Text of any length that was stored as text or, in ASCII, as bytes."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _check_size(name: str, item: h5py.Dataset, whole: int) -> None:
    """Refuses a dataset before room is made for it in memory."""
    if item.dtype.kind not in "biuf":
        raise ValueError(f"{name} does not hold numbers")
    stored = item.id.get_storage_size()
    if stored > whole or math.prod(item.shape) * item.dtype.itemsize > _MOST_PACKED * stored:
        raise ValueError(f"{name} claims to be {item.shape}, and the file has {whole:,} bytes")


def _sum_of_data(content: Content, begun: threading.Event) -> str:
    """The sum over all datasets and the attributes of groups, in hexadecimal digits."""
    total = hashlib.sha256()
    for name in sorted({*content.arrays, *content.attributes} - {_ROOT}):
        for key, value in sorted(content.attributes.get(name, {}).items()):
            total.update(_encode(f"{name}@{key}", value))
        if name in content.arrays:
            array = np.ascontiguousarray(content.arrays[name])
            total.update(f"{name}\0{array.dtype.str}\0{content.arrays[name].shape}\0".encode())
            if array.nbytes > _SLACK:
                # From here on, the interpreter's lock is free.
                begun.set()
            total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def digest_of(attributes: Mapping[str, Any], data: str) -> str:
    """The value of the attribute ``digest``.

    Args:
        attributes: the attributes at the root; a digest among them does not count.
        data: the first sum, in hexadecimal digits.
    """
    total = hashlib.sha256(data.encode())
    for name in sorted(attributes.keys() - {DIGEST}):
        total.update(_encode(name, attributes[name]))
    return f"{data} {total.hexdigest()}"


def _encode(name: str, value: Any) -> bytes:
    """A name and its value as bytes that no other name and value have."""
    value = plain(value)
    kind = type(value).__name__
    if isinstance(value, str):
        content, kind = value, "str"
    elif isinstance(value, np.ndarray):
        content = f"{value.dtype.str} {value.shape} {value.tolist()!r}"
    else:
        content = repr(value)
    encoded = content.encode("utf-8", "surrogateescape")
    return f"{name}\0{kind}\0{len(encoded)}\0".encode("utf-8", "surrogateescape") + encoded
