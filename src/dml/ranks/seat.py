"""Which of several processes this one is: as a launcher (mpiexec, torchrun, srun) says in the environment.

Nothing here imports torch, so that a command line can refuse at once.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dml.errors import InputError

Names = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]

LAUNCHERS: dict[str, Names] = {
    "torchrun": (("RANK",), ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    "mpiexec of Open MPI": (
        ("OMPI_COMM_WORLD_RANK",),
        ("OMPI_COMM_WORLD_SIZE",),
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    # PALS is the launcher of Cray; MPICH and Intel MPI have the names that begin with MPI_.
    "mpiexec": (
        ("PMI_RANK", "PALS_RANKID"),
        ("PMI_SIZE", "PALS_SIZE"),
        ("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "PALS_LOCAL_RANKID"),
        ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "PALS_LOCAL_SIZE"),
    ),
    # Of a step: SLURM_NTASKS is also set where a batch script runs, which is one process.
    "srun": (
        ("SLURM_PROCID",),
        ("SLURM_STEP_NUM_TASKS",),
        ("SLURM_LOCALID",),
        ("SLURM_STEP_TASKS_PER_NODE",),
    ),
}
"""By launcher, the variables that tell the rank, how many there are, and the same on this host."""


@dataclass(frozen=True)
class Seat:
    """A process among those that share an experiment.

    Args:
        rank: its number, from 0.
        size: how many there are.
        place: its number among those on this host, from 0.
        places: how many of them are on this host.
        shown: whether a launcher has started it, which may show it an accelerator of its own.
    """

    rank: int
    size: int
    place: int
    places: int
    shown: bool = True


def seat(environment: Mapping[str, str] = os.environ) -> Seat | None:
    """The seat that a launcher has given to this process; None if none has, or it is the only one.

    Args:
        environment: the variables.

    Raises:
        InputError: what they say cannot be.
    """
    for launcher, names in LAUNCHERS.items():
        rank, size, place, places = (_number(environment, of) for of in names)
        if rank is None or size is None or size == 1:
            continue
        place, places = (rank if place is None else place), (size if places is None else places)
        if not (0 <= rank < size and 0 <= place < places <= size):
            told = f"{launcher} says rank {rank} of {size}, and {place} of {places} on this host"
            raise InputError("shards", None, f"{told}, which cannot be")
        return Seat(rank, size, place, places)
    return None


def _number(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The number that the first of some variables begins with (Slurm writes 2(x3)); None without any."""
    for name in names:
        digits = environment.get(name, "").partition("(")[0].partition(",")[0]
        if digits.isascii() and digits.isdigit():
            return int(digits)
    return None
