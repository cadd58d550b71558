"""The program of the other ranks of an experiment, which :mod:`dml.ranks.launch` starts.

python -m dml.other_rank FOLDER RANK SIZE
"""

import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from dml.guard import guard
from dml.ranks import launch
from dml.ranks.join import joined, quiet
from dml.ranks.seat import Seat


def main(argv: Sequence[str]) -> int:
    """Takes part in an experiment until it is done, or until rank 0 ends.

    Args:
        argv: the folder in which the ranks meet, the number of this one, and how many there are.
    """
    folder, (rank, size) = Path(argv[0]), map(int, argv[1:])
    leaving = threading.Event()
    launch.end_with_parent(leaving, folder)
    quiet()
    # Rank 0 decides when all of them stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Imported here, because it takes seconds.
    from dml import config, experiment

    chosen = config.from_flat(json.loads((folder / launch.FLAGS).read_text(encoding="utf-8")))
    with joined(Seat(rank, size, rank, size, shown=False), chosen.run.accelerator, folder) as ranks:
        experiment.take_part(chosen, ranks)
    leaving.set()
    return 0


if __name__ == "__main__":
    guard(lambda: main(sys.argv[1:]))
