"""Save the paper's twelve topologies for each seed.

Call it from anywhere:  python src/create_topo/backdoor_topo.py [--seeds 0 1 2] [--out_dir topologies]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from dml.errors import InputError


@dataclass
class Arguments:
    """Save the paper's twelve topologies for each seed as numpy text adjacency matrices."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds to draw the random graphs with."""
    out_dir: Path = Path("topologies")
    """Folder to save them in; files that are there are never changed."""


def main() -> int:
    """Parse the command line, save, print what was saved; the exit status."""
    import tyro

    arguments = tyro.cli(Arguments, use_underscores=True)
    from dml.topology import folder, make, presets

    try:
        _refuse_wrong_seeds(arguments.seeds)
        drawn = [make(text) for seed in arguments.seeds for text in presets.paper(seed)]
        print(
            folder.save_all({folder.file_name(topology): topology for topology in drawn}, arguments.out_dir)
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(arguments.out_dir)
    return 0


def _refuse_wrong_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise InputError("seeds", None, "name at least one")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise InputError("seeds", seed, "a seed is a whole number from 0 to 4294967295")


if __name__ == "__main__":
    sys.exit(main())
