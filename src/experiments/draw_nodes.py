#!/usr/bin/env python
"""Draws the graphs of experiments with each node coloured by what it has learned.

python src/experiments/draw_nodes.py results/quickstart/digits-barabasi_albert-n33-m2-*.h5
"""

from pathlib import Path
from typing import Annotated

import tyro

from dml import command_line
from dml.errors import ArgumentError, InputError

FORMATS = (".png", ".pdf", ".svg")


def draw_nodes(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE [FILE ...]")],
    metric: str = "ood_acc",
    round: int | None = None,  # noqa: A002  (the name of the flag)
    out: Path = Path("nodes.png"),
) -> int:
    """Draws the graphs of experiments with each node coloured by what it has learned.

    Args:
        files: result files, one panel each; nodes with OOD data have a red ring, without a value grey
        metric: what the colour says: a name under /metrics of the files
        round: after whose training it was measured; None is the end, or the last that has any
        out: the picture, as png, pdf or svg; one that is there is replaced
    """
    return _draw(tuple(file.expanduser() for file in files), metric, round, out.expanduser())


def _draw(files: tuple[Path, ...], metric: str, number: int | None, out: Path) -> int:
    # A sweep's own table, which results/quickstart/*.h5 names too.
    files = tuple(file for file in files if file.name != "summary.h5")
    if not files:
        raise ArgumentError("FILE", None, "name at least one result file")
    if out.suffix.lower() not in FORMATS:
        raise InputError("out", out, f"must end with {', '.join(FORMATS)}")
    for file in files:
        if not file.is_file():
            there = "is a folder" if file.is_dir() else "no such file"
            raise ArgumentError("FILE", file, f"{there}; give result files, as results/single/*.h5")
    if not out.absolute().parent.is_dir():
        raise InputError("out", out, "is in a folder that is not there")
    from dml.results import load
    from dml.results.node_picture import draw

    try:
        results = [load(file) for file in files]
    except FileNotFoundError as error:
        raise ArgumentError("FILE", error.args[0], "is not there any more") from None
    try:
        draw(results, metric, number, out)
    except OSError as error:
        raise InputError("out", out, f"cannot be written ({error.strerror})") from None
    print(out)
    return 0


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(draw_nodes, use_underscores=True, prog="draw_nodes.py"))
