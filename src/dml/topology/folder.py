"""Many topologies into one folder: all of them are saved, or none."""

import os
from collections.abc import Mapping
from pathlib import Path

from dml.errors import InputError
from dml.topology.describe import component_diameters
from dml.topology.files import encode, is_saved, write
from dml.topology.graph import Topology

LEGEND = "n nodes, m edges, deg highest degree, parts components, diam of the largest one"


def save_all(topologies: Mapping[str, Topology], out_dir: Path) -> str:
    """Save each topology as ``<out_dir>/<name>.txt``.

    Returns:
        What `table` says of them.

    Raises:
        InputError: a file of that name holds something else, or the folder cannot be written: none is saved.
    """
    contents = {out_dir / f"{name}.txt": encode(topology) for name, topology in topologies.items()}
    missing = {path: content for path, content in contents.items() if not is_saved(path, content)}
    _make_writable(out_dir)
    for path, content in missing.items():
        write(path, content)
    return table(topologies)


def file_name(topology: Topology) -> str:
    """A name, without ending, that tells topologies and their seeds apart."""
    return topology.label if topology.seed is None else f"{topology.label}-seed{topology.seed}"


def table(topologies: Mapping[str, Topology]) -> str:
    """One line a topology, 80 columns wide for the paper's longest names, and what the columns are."""
    lines = [["file (.txt)", "n", "m", "deg", "parts", "diam"]]
    for name, topology in topologies.items():
        diameters = component_diameters(topology)
        numbers = (topology.n, topology.m, topology.degree.max(), len(diameters), diameters[0])
        lines.append([name, *map(str, numbers)])
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        " ".join([first.ljust(wide[0]), *(word.rjust(w) for word, w in zip(rest, wide[1:], strict=True))])
        for first, *rest in lines
    ]
    return "\n".join([*rows, LEGEND])


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "out_dir", folder, f"cannot be made ({error.strerror}); name another folder"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError("out_dir", folder, "cannot be written; name another folder")
