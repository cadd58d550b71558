"""Keeps the candidates of a search in a JSON file, so that a later search does not run them again."""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import dml
from dml.errors import DamagedFileError, UnwritableFileError
from dml.files import beside, read_text
from dml.quadratics.setting import Setting
from dml.quadratics.tuning import Candidate, Try

MAX_BYTES = 1_000_000_000
"""Size of the largest file that is read: some million candidates."""

SECONDS = 2.0
"""The shortest time between two writes of the file."""


class Cache:
    """The file of candidates. A candidate is reused only with the same code, numpy and torch.

    If two processes write one file, that of the last one remains: candidates may be lost, but none is wrong.

    Args:
        path: the file; None keeps nothing.

    Raises:
        DamagedFileError: the file holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._known, self._code = path, {}, _code()
        self._lock, self._written = threading.Lock(), time.monotonic()
        if path is not None and path.exists():
            try:
                known = json.loads(read_text(path, MAX_BYTES))
                self._known = {key: Candidate(**value) for key, value in known.items()}
            except OSError as error:
                raise DamagedFileError(f"{path} cannot be read ({error.strerror})") from error
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise DamagedFileError(f"{path} holds no candidates; it was not changed") from error

    def wrap(self, attempt: Try, setting: Setting) -> Try:
        """A function that takes candidates of a cell from the file, and runs missing ones by `attempt`."""
        text = setting.to_json()

        def known_or_run(lrs: Sequence[float], limit: int) -> list[Candidate]:
            keys = [self._key(text, lr, limit) for lr in lrs]
            missing = [lr for lr, key in zip(lrs, keys, strict=True) if key not in self._known]
            if missing:
                for new in attempt(missing, limit):
                    self._known[self._key(text, new.lr, limit)] = new
                self.write(SECONDS)
            return [self._known[key] for key in keys]

        return known_or_run

    def _key(self, text: str, lr: float, limit: int) -> str:
        return hashlib.sha256(json.dumps([self._code, text, lr, limit]).encode()).hexdigest()[:32]

    def write(self, after: float = 0.0) -> None:
        """Writes the file, unless it was written less than `after` seconds ago."""
        with self._lock:
            if self._path is None or time.monotonic() - self._written < after:
                return
            text = json.dumps({k: asdict(c) for k, c in dict(self._known).items()})
            try:
                with beside(self._path) as new:
                    new.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UnwritableFileError(f"{self._path} cannot be written ({error.strerror})") from error
            self._written = time.monotonic()


def _code() -> str:
    """A hash of the code and the libraries' versions, which affect the numbers as well as a setting does."""
    root = Path(dml.__file__).parent
    parts = [f"numpy {np.__version__} torch {torch.__version__}".encode()]
    parts += [path.read_bytes() for path in sorted(root.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
