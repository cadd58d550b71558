"""The command line that runs one experiment."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from dml import code_hash, command_line, config
from dml.data.catalogue import check_fetched
from dml.errors import EXIT_AGAIN, EXIT_FAILED, InputError
from dml.messages import count
from dml.plan import Plan, check_shards, make_plan
from dml.ranks.seat import Seat, seat
from dml.section import Section
from dml.shown_defaults import shown_defaults
from dml.signals import StopRequest, stop_on_signals

if TYPE_CHECKING:
    from dml.experiment import Assemble
    from dml.ranks.join import Join
    from dml.results import Loaded

    Assembling = Callable[[StopRequest], Assemble]

Text = Callable[["Loaded"], str]
"""What is printed about a result."""

DESCRIPTION = "Runs one experiment: trains a model on every node of a graph, and writes one HDF5 file."


class CallConfig(Section):
    """The flags of one call, which are no part of an experiment."""

    fresh: bool = Field(
        False,
        description="compute the experiment again from round 0; files that are there are moved to "
        "<out_dir>/replaced/<time>",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the experiment, and prints its summary and the path of its file.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code: 0 after a result, 1 if another process runs the experiment, 75 if asked to stop.
    """
    given = command_line.parse(
        [*config.fields(), *(("run", flag, info) for flag, info in CallConfig.flags())],
        argv,
        prog="decentralized_main.py",
        description=DESCRIPTION,
        defaults=shown_defaults(),
    )
    fresh = bool(given.pop("fresh", False))
    planned, own = make_plan(config.make(given)), seat()
    check_fetched([planned.config.data.dataset], planned.config.data.data_dir)
    if own is not None:
        check_seat(planned, own)
        if own.rank:
            return _take_part(planned, own)
    return run(planned, fresh=fresh, own=own)


def check_seat(planned: Plan, own: Seat) -> None:
    """Refuses processes of a launcher that cannot share the experiment.

    Raises:
        InputError: they cannot, or they are not as many as ``--shards`` says.
    """
    asked = planned.config.run.shards
    if asked not in (None, own.size):
        raise InputError(
            "shards", asked, f"the launcher has started {count(own.size, 'process')}; leave it out"
        )
    check_shards(planned.config, planned.topology.n, own.size)


def _take_part(planned: Plan, own: Seat) -> int:
    """Computes the part of a process that a launcher has started besides the first one."""
    from dml import experiment
    from dml.ranks.join import joined, quiet

    quiet()
    with stop_on_signals() as stop, joined(own, planned.config.run.accelerator) as ranks:
        try:
            experiment.take_part(planned.config, ranks, stop)
        except experiment.Stopped:
            return EXIT_AGAIN
    return 0


def run(
    planned: Plan,
    *,
    fresh: bool = False,
    text: Text | None = None,
    own: Seat | None = None,
    assembling: "Assembling | None" = None,
    joining: "Join | None" = None,
) -> int:
    """Runs an experiment, and prints what it has found and the path of its file.

    Args:
        planned: the experiment.
        fresh: compute it again from round 0.
        text: what is printed about the result; None for the summary of ``decentralized_main.py``.
        own: the seat of this process among those of a launcher, if there are several.
        assembling: what makes the parts of the run, given the request to stop; None for those of one process.
        joining: gives the processes that share it; None for those of the seat or of ``--shards``.

    Returns:
        The exit code, as that of :func:`main`.
    """
    with stop_on_signals("stopping after this round; Ctrl-C again stops at once") as stop:
        _announce(planned)
        return _run_or_stop(planned, stop, fresh, lambda: _run(planned, stop, text, own, assembling, joining))


def _run_or_stop(
    planned: Plan,
    stop: StopRequest,
    fresh: bool,
    work: Callable[[], int],
) -> int:
    # Imported here, because it takes seconds, and most wrong calls have been refused by now.
    from dml.code_hash import code_sha256
    from dml.experiment import Stopped
    from dml.results.lock import LockedError
    from dml.results.replaced import Replacing

    replacing = Replacing(planned.config.run.out_dir) if fresh else None
    code = code_sha256(planned.config) if fresh else ""
    try:
        if replacing:
            replacing.experiment(planned.result, planned.identity.id, code)
        if reason := stop():
            raise Stopped(f"stopped before the first round: {reason}")
        exit_code = work()
        if replacing:
            replacing.finish()
        return exit_code
    except Stopped as stopped:
        if replacing:
            replacing.keep(planned.identity.id, code)
        print(f"{stopped}; run the same command to continue", file=sys.stderr)
        return EXIT_AGAIN
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED


def _announce(planned: Plan) -> None:
    """Prints a line about the experiment that will run."""
    chosen, topology = planned.config, planned.topology
    print(
        f"{topology.source}: {count(topology.n, 'node')}, {count(topology.m, 'edge')}; "
        f"{chosen.data.dataset}, {config.label_of(chosen.flat())}, {count(chosen.run.rounds, 'round')}",
        file=sys.stderr,
    )
    facts = chosen.algorithm.options.facts(topology, chosen.run.seed)
    if "tree" in facts:
        print(f"relayed over {facts['tree']}", file=sys.stderr)


def _run(
    planned: Plan,
    stop: StopRequest,
    text: Text | None,
    own: Seat | None,
    assembling: "Assembling | None",
    joining: "Join | None",
) -> int:
    from dml import experiment
    from dml.progress import Progress
    from dml.ranks import join, launch
    from dml.results import load
    from dml.results.record import Record
    from dml.results.run_text import run_text
    from dml.results.status import Status

    rounds, described = planned.config.run.rounds, planned.config.algorithm.described
    # Where a round ends with an aggregation, it is measured before that.
    when = "" if described.events or described.one_model else " before the aggregation"
    flags, accelerator = planned.config.flat(), planned.config.run.accelerator
    ranks = launch.shared(planned.config.run.shards or 1, flags, accelerator)
    if own is not None:
        ranks = join.launched(own, accelerator)
    ranks = joining or ranks
    before = load(planned.result).attributes["rounds_done"] if planned.result.exists() else 0
    with Progress("round", rounds, min(before, rounds)) as bar:

        def show(record: Record) -> None:
            iid, ood = record.means("test_acc"), record.means("ood_acc")
            # Without OOD data, the OOD accuracy is that of chance.
            learned = f"  OOD {ood[-1]:.3f}" if planned.config.data.backdoor and len(ood) else ""
            bar.update(record.rounds, f"IID {iid[-1]:.3f}{learned}{when}" if len(iid) else "")

        assemble = assembling(stop) if assembling else None
        path = experiment.run(planned.config, stop=stop, progress=show, join=ranks, assemble=assemble)
    result = load(path)
    if before > rounds:
        print(
            f"the file already has {count(before, 'round')}, and {rounds} were asked for: nothing was run",
            file=sys.stderr,
        )
    elif before == rounds:
        print("the file already has all rounds: nothing was run", file=sys.stderr)
    if before >= rounds:
        _tell_code(planned, result)
    if result.attributes["status"] == Status.DIVERGED:
        print("warning: a node's training loss is no longer finite; try a smaller --lr", file=sys.stderr)
    elif result.attributes["status"] == Status.STALLED and before == result.attributes["rounds_done"]:
        print(f"warning: it stalled in round {before} of {rounds}: nothing was run", file=sys.stderr)
    print((text or run_text)(result))
    print(f"\n{_as_typed(path)}")
    return 0


def _tell_code(planned: Plan, result: "Loaded") -> None:
    """Prints a line if a result that is kept was computed by other code."""
    now = code_hash.code_sha256(planned.config)
    if now not in (result.attributes.get("code_sha256"), code_hash.UNKNOWN):
        print("1 result by other code; --fresh computes it again", file=sys.stderr)


def _as_typed(path: Path) -> str:
    """A path as a user would type it: relative, if it is below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
