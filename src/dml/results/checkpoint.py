"""The checkpoint of an experiment: everything that is needed to continue after a round, bit for bit."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml.errors import DamagedFileError
from dml.results import files, sealed
from dml.results.sealed import Content

_log = logging.getLogger(__name__)


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
        """Writes the file with its digest; it replaces an old one at once."""
        file = Content(
            {
                "": {
                    "experiment_id": np.bytes_(self.experiment_id),
                    "rounds": self.rounds,
                    "updates": self.updates,
                }
            }
        )
        file.put("X", self.X)
        for number, buffer in enumerate(self.buffers):
            file.put(f"buffers/{number}", buffer)
        for name, value in self.algorithm.items():
            file.put(f"algorithm/{name}", value)
        file.put("edge_bytes", self.edge_bytes)
        file.write(path)


def path_of(result: Path) -> Path:
    """The path of the checkpoint that belongs to a result file."""
    return result.with_suffix(".ckpt")


def rounds(path: Path) -> int:
    """The number of rounds in a checkpoint; 0 if there is none, or if it cannot be read."""
    try:
        with files.read(path) as file:
            return int(file.attrs["rounds"])
    except (FileNotFoundError, DamagedFileError):
        return 0


def read(path: Path, experiment_id: str) -> Checkpoint | None:
    """Reads a checkpoint; None if there is none.

    Raises:
        DamagedFileError: it cannot be read, or belongs to another experiment.
    """
    if not path.exists():
        return None
    with files.read(path) as file:
        content = sealed.read(file)
        root, arrays = content.root, content.arrays
        if (found := sealed.text(root["experiment_id"])) != experiment_id:
            raise ValueError(f"it is the checkpoint of experiment {found}")
        for name in ("rounds", "updates"):
            if type(root[name]) is not int or root[name] < 0:
                raise ValueError(f"the attribute {name} is {root[name]}")
        if not content.verify():
            _log.info(f"{path.name} has no digest, as it is older: damage to it would not be noticed")
        buffers, algorithm = _below(arrays, "buffers/"), _below(arrays, "algorithm/")
        return Checkpoint(
            experiment_id,
            root["rounds"],
            arrays["X"],
            [buffers[str(number)] for number in range(len(buffers))],
            algorithm,
            arrays["edge_bytes"],
            root["updates"],
        )


def _below(arrays: Mapping[str, NDArray[Any]], group: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(group): array for name, array in arrays.items() if name.startswith(group)}
