"""Saves several topologies in one folder: either all of them or none."""

from collections.abc import Mapping
from pathlib import Path

from dml.files import check_writable
from dml.topology.describe import component_diameters
from dml.topology.files import encode, is_saved, write
from dml.topology.graph import Topology

LEGEND = "n nodes, m edges, deg highest degree, parts components, diam of the largest one"


def save_all(topologies: Mapping[str, Topology], out_dir: Path) -> str:
    """Saves each topology as ``<out_dir>/<name>.txt``.

    Returns:
        The `table` of the topologies.

    Raises:
        InputError: one of the files exists with other content, or the folder cannot be written. Nothing is
            saved then.
    """
    contents = {out_dir / f"{name}.txt": encode(topology) for name, topology in topologies.items()}
    missing = {path: content for path, content in contents.items() if not is_saved(path, content)}
    check_writable(out_dir)
    for path, content in missing.items():
        write(path, content)
    return table(topologies)


def file_name(topology: Topology) -> str:
    """A file name, without its ending, that differs between topologies and between seeds."""
    return topology.label if topology.seed is None else f"{topology.label}-seed{topology.seed}"


def table(topologies: Mapping[str, Topology]) -> str:
    """A table with one line per topology, at most 80 columns wide for the paper's names, and a legend."""
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
