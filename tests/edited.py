"""Changes to result files and checkpoints, as if the changed content had been written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from dml.results import sealed


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """The open file; when the block ends, its digest is made to fit what the file then holds."""
    with h5py.File(path, "r+") as file:
        yield file
        if sealed.DIGEST in file.attrs:
            file.flush()
            file.attrs[sealed.DIGEST] = np.bytes_(sealed.read(file).digest())
