"""The checkpoint of an experiment: everything that is needed to continue after a round, bit for bit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dml.results import files


@dataclass(frozen=True)
class Checkpoint:
    """The state of an experiment after some rounds.

    Args:
        experiment_id: the id of the experiment.
        rounds: the number of rounds that have been done.
        X: the population, [rows, P].
        buffers: integer buffers of the models, arrays [rows, ...].
        algorithm: the state of the engine and of the execution, by name.
        edge_bytes: the bytes sent over each edge so far, [m, 2].
        updates: the number of local trainings that have been finished.
    """

    experiment_id: str
    rounds: int
    X: NDArray[Any]
    buffers: list[NDArray[Any]]
    algorithm: dict[str, NDArray[Any]]
    edge_bytes: NDArray[np.int64]
    updates: int = 0

    def write(self, path: Path) -> None:
        """Writes the file; it replaces an old one at once."""
        arrays = [self.X, *self.buffers, *self.algorithm.values(), self.edge_bytes]
        files.write(path, self._fill, sum(array.nbytes for array in arrays))

    def _fill(self, file: h5py.File) -> None:
        file.attrs["experiment_id"] = self.experiment_id
        file.attrs["rounds"] = self.rounds
        file.attrs["updates"] = self.updates
        files.put(file, "X", self.X)
        for number, buffer in enumerate(self.buffers):
            files.put(file, f"buffers/{number}", buffer)
        for name, value in self.algorithm.items():
            files.put(file, f"algorithm/{name}", value)
        files.put(file, "edge_bytes", self.edge_bytes)


def path_of(result: Path) -> Path:
    """The path of the checkpoint that belongs to a result file."""
    return result.with_suffix(".ckpt")


def rounds(path: Path) -> int:
    """The number of rounds in a checkpoint; 0 if there is none, or if it cannot be read."""
    try:
        with h5py.File(path) as file:
            return int(file.attrs["rounds"])
    except (OSError, KeyError, ValueError, TypeError):
        return 0


def read(path: Path, experiment_id: str) -> Checkpoint | None:
    """Reads a checkpoint; None if there is none.

    Raises:
        DamagedFileError: it cannot be read, or belongs to another experiment.
    """
    if not path.exists():
        return None
    with files.read(path) as file:
        if file.attrs["experiment_id"] != experiment_id:
            raise ValueError(f"it is the checkpoint of experiment {file.attrs['experiment_id']}")
        buffers = file.get("buffers", {})
        return Checkpoint(
            experiment_id,
            int(file.attrs["rounds"]),
            file["X"][()],
            [buffers[str(number)][()] for number in range(len(buffers))],
            {name: value[()] for name, value in file.get("algorithm", {}).items()},
            file["edge_bytes"][()],
            int(file.attrs["updates"]),
        )
