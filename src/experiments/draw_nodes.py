#!/usr/bin/env python
"""Draws the graphs of experiments with each node coloured by what it has learned.

python src/experiments/draw_nodes.py results/quickstart/digits-barabasi_albert-n33-m2-*.h5
"""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ValidationError

from dml import command_line
from dml.results.config import NodePictureConfig


def draw(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE [FILE ...]")],
    metric: str = "ood_acc",
    round: int | None = None,  # noqa: A002  (the name of the flag)
    out: Path = Path("nodes.png"),
) -> int:
    """Draws the graphs of experiments with each node coloured by what it has learned.

    Args:
        files: result files, one panel each; OOD nodes have a red ring, and nodes without a value are grey
        metric: the metric that colours the nodes: a name below /metrics of the files
        round: the round after whose training it was measured; None is the end, or the last that has values
        out: the picture, as png, pdf or svg; it replaces a file that is there
    """
    try:
        config = NodePictureConfig(files=files, metric=metric, round=round, out=out)
    except ValidationError as error:
        raise error.errors()[0]["ctx"]["error"] from None
    # Only now, as it takes a second to import.
    from dml.results.node_picture import draw_nodes

    draw_nodes(config.files, config.metric, config.round, config.out)
    print(config.out)
    return 0


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(draw, use_underscores=True, prog="draw_nodes.py"))
