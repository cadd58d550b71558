"""The command line of the scripts that save a table of topologies as files."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from dml import command_line
from dml.errors import InputError


def run(table: str, about: str, seeds: tuple[int, ...] = ()) -> None:
    """Reads the flags, saves the graphs, prints what was saved and where, and exits.

    Args:
        table: of ``dml.topology.presets.TABLES``; or ``examples``, which are the same for every seed.
        about: what ``--help`` says first.
        seeds: default of ``--seeds``; where there is none there is no such flag.
    """
    command_line.guard(lambda: _main(table, about, seeds))


def _main(table: str, about: str, default_seeds: tuple[int, ...]) -> int:
    flags = _parse(about, default_seeds)
    seeds = _seeds(flags.seeds) if default_seeds else []
    if not flags.out_dir:
        raise InputError("out_dir", "", "name a folder")
    out_dir = Path(os.path.expanduser(flags.out_dir))
    # Only now: networkx takes longer than all of the above.
    from dml.topology import folder, make, presets

    if table == "examples":
        topologies = presets.examples()
    else:
        drawn = [make(text, seed) for seed in seeds for text in presets.TABLES[table]]
        topologies = {folder.file_name(topology): topology for topology in drawn}
    print(folder.save_all(topologies, out_dir))
    print(out_dir)
    return 0


def _parse(about: str, seeds: tuple[int, ...]) -> Any:
    """The flags as text, so that a wrong value is refused in the words of the other commands."""
    number = tyro.conf.arg(help="seeds to draw the random graphs with", metavar="INT [INT ...]")
    path = tyro.conf.arg(
        help="folder to save them in; files that are there are never changed", metavar="PATH"
    )
    fields: list[Any] = [("out_dir", Annotated[str, path], "topologies")]
    if seeds:
        fields.insert(0, ("seeds", Annotated[tuple[str, ...], number], tuple(map(str, seeds))))
    flags = dataclasses.make_dataclass("Flags", fields)
    return tyro.cli(flags, prog=Path(sys.argv[0]).name, description=about, use_underscores=True)


def _seeds(words: tuple[str, ...]) -> list[int]:
    if not words:
        raise InputError("seeds", None, "name at least one")
    for word in words:
        # Python refuses to read a number of thousands of digits at all.
        if not (word.isdecimal() and len(word) <= 10 and int(word) < 2**32):
            raise InputError("seeds", word, "a seed is a whole number from 0 to 4294967295")
    return [int(word) for word in words]
