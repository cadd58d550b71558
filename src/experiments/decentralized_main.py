#!/usr/bin/env python
"""Runs one experiment: trains a model on every node of a graph, and writes one HDF5 file.

python src/experiments/decentralized_main.py
python src/experiments/decentralized_main.py --topology_file barabasi_albert:n=33,m=2 --backdoor \\
    --aggregation_strategy degCent --softmax --rounds 40
"""

import sys
from pathlib import Path

from dml import command_line, config, plan
from dml.data import images
from dml.topology import trees

DESCRIPTION = "One decentralized learning experiment: a model on every node of a graph, one HDF5 file."


def main() -> int:
    """Parses the flags, runs the experiment, prints its summary and path."""
    given = command_line.parse(
        config.fields(), sys.argv[1:], prog="decentralized_main.py", description=DESCRIPTION
    )
    experiment = config.make(given)
    planned = plan.make(experiment)
    images.check_there([experiment.data.dataset], experiment.data.data_dir)
    rounds = experiment.run.rounds
    print(
        f"{planned.topology.source}: {planned.topology.n} nodes, {len(planned.topology.edges)} edges; "
        f"{experiment.data.dataset}, {config.label_of(experiment.flat())}, {rounds} rounds",
        file=sys.stderr,
    )
    if "tree" in experiment.reads():
        chosen = experiment.algorithm
        over = trees.choose(planned.topology, chosen.tree, chosen.tree_root, experiment.run.seed)
        print(f"relayed over {' and '.join(tree.name for tree in over)}", file=sys.stderr)

    # Only now what takes seconds to import: all that can be refused without it has been.
    from dml.errors import DamagedFileError
    from dml.experiment import Stopped, run
    from dml.progress import Progress
    from dml.results import load
    from dml.results.lock import LockedError
    from dml.results.record import Record
    from dml.results.run_text import run_text
    from dml.signals import stop_on_signals

    try:
        before = load(planned.result).attributes["rounds_done"] if planned.result.exists() else 0
        with (
            stop_on_signals("stopping after this round; Ctrl-C again stops at once") as stop,
            Progress("round", rounds, min(before, rounds)) as bar,
        ):

            def show(record: Record) -> None:
                iid, ood = record.means("test_acc"), record.means("ood_acc")
                note = f"IID {iid[-1]:.3f}  OOD {ood[-1]:.3f} before the aggregation" if len(iid) else ""
                bar.update(record.rounds, note)

            path = run(experiment, stop=stop, progress=show)
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (LockedError, DamagedFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    result = load(path)
    if before > rounds:
        print(
            f"the file holds {before} rounds already, and {rounds} were asked for: nothing was run",
            file=sys.stderr,
        )
    elif before == rounds:
        print("all rounds were there already: nothing was run", file=sys.stderr)
    if result.attributes["status"] == "diverged":
        print("warning: a node's training loss is no longer finite; try a smaller --lr", file=sys.stderr)
    print(run_text(result))
    print(f"\n{show_path(path)}")
    return 0


def show_path(path: Path) -> str:
    """A path as a user types it: relative where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    command_line.guard(main)
