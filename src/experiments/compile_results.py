#!/usr/bin/env python
"""Makes one table of a folder of results: printed, summary.csv, summary.h5 and a picture.

python src/experiments/compile_results.py results/quickstart
"""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ValidationError

from dml import command_line
from dml.results.config import CompileConfig


def compile_results(directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]) -> int:
    """Makes one table of a folder of results: printed, summary.csv, summary.h5 and a picture.

    Args:
        directory: folder of result files, such as results/quickstart
    """
    try:
        config = CompileConfig(folder=directory)
    except ValidationError as error:
        raise error.errors()[0]["ctx"]["error"] from None
    # Only now, as it takes a second to import.
    from dml.results.report import compile_folder

    compiled = compile_folder(config.folder)
    if compiled.text:
        print(compiled.text)
    return 0 if compiled.complete else 1


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(compile_results, use_underscores=True, prog="compile_results.py"))
