#!/usr/bin/env python
"""Makes one table of a folder of results: printed, summary.csv, summary.h5 and a picture.

python src/experiments/compile_results.py results/quickstart
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from dml import command_line
from dml.errors import UnwritableFileError


def report(folder: Path) -> int:
    """Prints the table of a folder and writes its files; 1 if a file could not be read."""
    from dml.results import methods, picture, tables
    from dml.results import report as reporting

    runs = tables.collect(tables.result_files(folder))
    for message in runs.damaged:
        print(f"error: {message}", file=sys.stderr)
    if runs.running:
        print(
            f"{len(runs.running)} experiments have not ended and are left out, as {runs.running[0].name}; "
            "the call that started them ends them",
            file=sys.stderr,
        )
    if runs.table.empty and not runs.diverged:
        print(f"no finished experiment in {folder}", file=sys.stderr)
        return 1
    table = tables.summarise(runs)
    print(reporting.text(table))
    agreement = tables.forecast_agreement(runs)
    if agreement:
        print(
            f"\nForecast without training (docs/algorithms.md): rank correlation {agreement[0]:.2f} with the "
            f"OOD AUC,\nover {agreement[1]} experiments."
        )
    compared = methods.text(runs.table)
    if compared:
        print(f"\n{compared}")
    written = [folder / "summary.csv", folder / "summary.h5", folder / "ood_auc.png"]
    try:
        reporting.write_csv(table, written[0])
        reporting.write_hdf5(table, written[1])
        left_out = picture.draw(table, written[2])
    except (OSError, UnwritableFileError) as error:
        print(f"error: {folder} cannot be written ({error})", file=sys.stderr)
        return 1
    if left_out:
        print(f"{written[2]} has no room for these, which the table has:", file=sys.stderr)
        print("\n".join(left_out), file=sys.stderr)
    print("\n" + "\n".join(map(str, written)))
    return 1 if runs.damaged else 0


def compile_results(directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]) -> int:
    """Makes one table of a folder of results: printed, summary.csv, summary.h5 and a picture.

    Args:
        directory: folder of result files, as results/quickstart
    """
    directory = directory.expanduser()
    if not directory.is_dir():
        # A word without a flag.
        there = "is a file" if directory.exists() else "no such folder"
        print(f"error: DIR {directory}: {there}; give a folder that holds result files", file=sys.stderr)
        return 2
    return report(directory)


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(compile_results, use_underscores=True, prog="compile_results.py"))
