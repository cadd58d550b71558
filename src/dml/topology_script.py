"""The command line of the scripts that save a table of topologies as files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dml import command_line
from dml.field_types import UserPath
from dml.guard import guard
from dml.section import Section


class FolderConfig(Section):
    """The folder of the topologies."""

    out_dir: UserPath = Field(
        Path("topologies"), description="folder to save them in; existing files are never changed"
    )


class SeededConfig(FolderConfig):
    """The folder of the topologies, and the seeds of random ones."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(
        (), description="seeds to draw the random graphs with"
    )


def run(table: str, about: str, seeds: tuple[int, ...] = ()) -> None:
    """Reads the flags, saves the graphs, prints what was saved and where, and exits.

    Args:
        table: a key of ``dml.topology.presets.TABLES``, or ``examples``, which are the same for every seed.
        about: the docstring of the script, whose first line is that of ``--help``.
        seeds: the default of ``--seeds``; if it is empty, there is no such flag.
    """
    guard(lambda: _main(table, about, seeds, sys.argv))


def _main(table: str, about: str, default_seeds: tuple[int, ...], argv: Sequence[str]) -> int:
    config = command_line.parse_section(
        SeededConfig if default_seeds else FolderConfig,
        argv[1:],
        prog=Path(argv[0]).name,
        description=about.strip().partition("\n")[0],
        defaults={"seeds": " ".join(map(str, default_seeds))},
    )
    # Imported here, because networkx takes longer to import than everything above.
    from dml.topology import folder, make, presets

    if isinstance(config, SeededConfig):
        seeds = config.seeds or default_seeds
        drawn = [make(text, seed) for seed in seeds for text in presets.TABLES[table]]
        topologies = {folder.file_name(topology): topology for topology in drawn}
    else:
        topologies = presets.examples()
    print(folder.save_all(topologies, config.out_dir))
    print(config.out_dir)
    return 0
