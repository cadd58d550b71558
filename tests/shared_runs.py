"""Several processes that run one experiment after another together, started once.

python tests/shared_runs.py FOLDER RANK SIZE
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from dml import experiment
from dml.config import make
from dml.models.dropout import Dropout
from dml.models.registry import MODELS
from dml.models.spec import BATCH_NORM, ModelSpec
from dml.ranks.join import joined
from dml.ranks.ranks import Ranks
from dml.ranks.seat import Seat

CASES = "cases.json"


def normed(shape: tuple[int, ...], labels: int) -> nn.Module:
    """A model with all that a row of X may not hold: frozen parameters, integer buffers and dropout."""
    layers = (
        nn.Flatten(),
        nn.Linear(64, 24),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        Dropout(0.2),
        nn.Linear(24, labels),
    )
    layers[1].requires_grad_(False)
    return nn.Sequential(*layers)


NORMED = ModelSpec(normed, "digits", lambda shape: True, single=BATCH_NORM)
"""Whoever runs cases with the model of the name normed puts it into the registry, and takes it out again."""


def run_together(folder: Path, size: int, cases: Mapping[str, Mapping[str, object]]) -> dict[str, Path]:
    """Runs each case by as many processes; the result file of each.

    Args:
        folder: for the files; it exists.
        size: how many processes.
        cases: the flags of an experiment by the name of a case.
    """
    (folder / CASES).write_text(json.dumps(cases))
    processes = [
        subprocess.Popen([sys.executable, __file__, str(folder), str(rank), str(size)])
        for rank in range(size)
    ]
    codes = [process.wait(timeout=400) for process in processes]
    assert codes == [0] * size
    return {name: next((folder / name).glob("*.h5")) for name in cases}


def main(folder: Path, rank: int, size: int) -> None:
    """The part of one process."""
    cases = json.loads((folder / CASES).read_text())
    MODELS["normed"] = NORMED
    with joined(Seat(rank, size, rank, size), "cpu", folder) as ranks:

        @contextmanager
        def join(missing: bool) -> Iterator[Ranks]:
            ranks.largest(int(missing))
            yield ranks

        for name, flags in cases.items():
            config = make({**flags, "out_dir": folder / name}, drop_unread=True)
            if rank:
                experiment.take_part(config, ranks)
            else:
                experiment.run(config, join=join)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
