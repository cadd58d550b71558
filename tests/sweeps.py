"""A sweep without workers, for tests of its numbers rather than of its processes."""

from pathlib import Path

from dml import experiment
from dml.parallel import expansion
from dml.parallel.flags import parse


def run_sweep_here(folder: Path, *words: object) -> dict[str, Path]:
    """Runs the experiments of a sweep one after another in this process.

    Args:
        folder: where the files go.
        *words: of the command line of bd_scheduler.py.

    Returns:
        The result files by their names.
    """
    line = [*map(str, words), "--threads", "1", "--out_dir", str(folder)]
    sweep, flags = parse(line, prog="", description="")
    paths = [experiment.run(plan.config) for plan in expansion.experiments(sweep, flags)]
    return {path.name: path for path in paths}
