"""Save the eight example topologies.

Call it from anywhere:  python src/create_topo/create_topologies.py [--out_dir topologies]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from dml.errors import InputError


@dataclass
class Arguments:
    """Save the eight example topologies as numpy text adjacency matrices."""

    out_dir: Path = Path("topologies")
    """Folder to save them in; files that are there are never changed."""


def main() -> int:
    """Parse the command line, save, print what was saved; the exit status."""
    import tyro

    arguments = tyro.cli(Arguments, use_underscores=True)
    from dml.topology import folder, presets

    try:
        print(folder.save_all(presets.examples(), arguments.out_dir))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(arguments.out_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
