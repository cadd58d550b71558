"""One experiment from its configuration to its result file."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dml import assembly, code_hash, resume, shards
from dml.assembly import Parts
from dml.config import ExperimentConfig
from dml.execution.execution import Stalled, drive
from dml.files import folder_for
from dml.measurements import Diverged, Measurements
from dml.plan import Plan, make_plan
from dml.ranks.join import Join, alone
from dml.ranks.ranks import Ranks
from dml.results import checkpoint, other_clock, provenance, reader
from dml.results.checkpoint import Checkpoint
from dml.results.leftovers import remove_leftovers
from dml.results.lock import locked
from dml.results.record import Record
from dml.results.status import Status, finished
from dml.results.writer import Result
from dml.theory import OodForecast

_log = logging.getLogger(__name__)


Assemble = Callable[[Plan, str | None], Parts]
"""(experiment, engine of its earlier rounds) -> its parts, as :func:`dml.assembly.assemble`."""


class Stopped(RuntimeError):
    """The run was asked to stop; its checkpoint is written, and the same call continues from it."""


def run(
    config: ExperimentConfig,
    *,
    stop: Callable[[], str | None] = lambda: None,
    progress: Callable[[Record], None] = lambda record: None,
    commit: str | None = None,
    join: Join = alone,
    assemble: Assemble | None = None,
) -> Path:
    """Runs an experiment, or what is missing of it.

    Killed at any moment and called again, it continues from the last checkpoint and ends with the same
    numbers, bit for bit. Asked for more rounds, it continues; asked for no more than there are, it does
    nothing, except that the simulated time of synchronous rounds is computed again for another clock.

    Args:
        config: the experiment.
        stop: asked after each round; a reason makes the run write its checkpoint and stop.
        progress: called after each round with what has been measured so far.
        commit: the state of the code in git, if somebody has asked git already.
        join: gives the processes that share the experiment, of which this is the first, if there is something
            to compute; the others call :func:`take_part`.
        assemble: makes the parts of the run where it is not :func:`dml.assembly.assemble`.

    Returns:
        The path of the result file.

    Raises:
        InputError: a value that cannot be right.
        LockedError: another process runs this experiment.
        DamagedFileError: its result or checkpoint file cannot be read.
        UnwritableFileError: they cannot be written.
        OtherCodeError: it was begun by other code, and must not go on.
        LostRankError: one of several processes has ended before the experiment did.
        Stopped: ``stop`` gave a reason.
    """
    plan = make_plan(config)
    with folder_for(plan.result.parent), locked(plan.result, plan.identity.id):
        earlier = resume.earlier_result(plan)
        if earlier is not None and other_clock.differs(earlier.config, plan.config):
            other_clock.recompute(plan.result, plan.config)
            earlier = resume.earlier_result(plan)
        missing = earlier is None or not finished(earlier.attributes, config.run.rounds)
        if missing:
            state = provenance.git_state() if commit is None else commit
            code = code_hash.code_sha256(plan.config)
            if earlier is not None:
                resume.check_code(plan, earlier, code, state)
        with join(missing) as ranks:
            if missing:
                _Run(plan, earlier, code, state, ranks, assemble).to_the_end(stop, progress)
        remove_leftovers(plan.result)
    return plan.result


def take_part(
    config: ExperimentConfig,
    ranks: Ranks,
    stop: Callable[[], str | None] = lambda: None,
    assemble: Assemble | None = None,
) -> None:
    """Computes the part of one of the other processes that share an experiment; it writes nothing.

    Args:
        config: the experiment.
        ranks: the processes.
        stop: asked after each round; a reason makes all of them stop.
        assemble: as in :func:`run`.

    Raises:
        LostRankError: another process has ended before the experiment did.
        Stopped: one of the processes was asked to stop.
    """
    plan = make_plan(config)
    # Rank 0 has the lock by now, and writes nothing before all have read what there is.
    if ranks.largest(0)[0]:
        run = _Run(plan, resume.earlier_result(plan), "", "", ranks, assemble)
        run.to_the_end(stop, lambda record: None)


class _Run:
    """The parts of one run, put together, and its rounds.

    Args:
        plan: the experiment.
        earlier: its result file, if there is one.
        code: the hash of the code.
        commit: its state in git.
        ranks: the processes that share it; all of them do the same, and rank 0 alone writes.
        assemble: makes the parts; None for those that all processes make alike.
    """

    def __init__(
        self,
        plan: Plan,
        earlier: reader.Loaded | None,
        code: str,
        commit: str,
        ranks: Ranks,
        assemble: Assemble | None = None,
    ) -> None:
        self._plan, self._earlier, self._ranks = plan, earlier, ranks
        segments = earlier.segments if earlier else []
        before = segments[-1]["engine"] if segments else None
        made = assemble(plan, before) if assemble else assembly.assemble(plan, before, ranks=ranks)
        self._parts = parts = made
        self._result = _result_of(plan, parts, segments)
        here = ranks.here(plan.rows.total)
        state = resume.State(parts.population, parts.engine, parts.execution, self._result.record, here)
        self._result.record = resume.restore(plan, earlier, state) or self._result.record
        self._measurements = Measurements(plan, parts.execution, parts.evaluate, self._result.record)
        self._forecast = OodForecast(plan.config, plan.topology, parts.data.samples)
        segment = provenance.segment(parts.machine, self._result.record.rounds, code, commit)
        self._result.segments.append(segment)

    def to_the_end(self, stop: Callable[[], str | None], progress: Callable[[Record], None]) -> None:
        """The rounds that are missing."""
        run, record, execution = self._plan.config.run, self._result.record, self._parts.execution
        saved_at = time.monotonic()
        try:
            for number in range(record.rounds, run.rounds):
                self._tell_failures(number)
                started = time.perf_counter()
                steps = execution.advance(number, self._measurements.of_round(number))
                record.add_round(drive(steps, self._parts.engine.train), time.perf_counter() - started)
                progress(record)
                reason = stop() if number + 1 < run.rounds else None
                late = (time.monotonic() - saved_at) / 60 >= run.checkpoint_minutes
                stopped, late = map(bool, self._ranks.largest(bool(reason), late))
                if stopped or (number + 1) % run.checkpoint_every == 0 or late:
                    self._save(Status.RUNNING)
                    saved_at = time.monotonic()
                if stopped:
                    reason = reason or "another process of it was asked to"
                    raise Stopped(f"stopped after round {number + 1} of {run.rounds}: {reason}")
        except Diverged:
            self._save(Status.DIVERGED)
            return
        except Stalled as stalled:
            record.add_round(stalled.interval, time.perf_counter() - started)
            name = self._plan.result.name
            _log.warning(f"{name}: it stalled in round {record.rounds} of {run.rounds}: {stalled}")
            self._measurements.final()
            self._save(Status.STALLED)
            return
        self._measurements.final()
        where = resume.difference(self._plan, self._earlier, record)
        if where is not None:
            self._result.segments[-1]["differs_from_earlier_at"] = where
        self._save(Status.COMPLETE)

    def _tell_failures(self, number: int) -> None:
        """A line for what fails at the start of a round."""
        for failure in self._parts.failures:
            if failure["round"] == number:
                nodes = ", ".join(map(str, failure["nodes"]))
                who = f"node {nodes} fails" if len(failure["nodes"]) == 1 else f"nodes {nodes} fail"
                go_on = "go on" if self._plan.config.algorithm.described.events else "start again"
                tree = f", over {failure['tree']}" if "tree" in failure else ""
                name = self._plan.result.name
                _log.info(f"{name}: round {number}: {who}; the other nodes {go_on}{tree}")

    def _save(self, status: Status) -> None:
        """First the result, then the checkpoint: rows beyond a checkpoint can be dropped, not invented."""
        result, plan, writes = self._result, self._plan, self._ranks.rank == 0
        result.status, result.facts = status, self._facts(status)
        result.segments[-1]["finished"] = provenance.now()
        on_wire = self._ranks.on_wire()
        if on_wire is not None:
            result.segments[-1]["wire_bytes_sent"] = on_wire
        # Rounds computed again, for want of a checkpoint, replace a longer result once they have caught up.
        done = self._earlier.attributes["rounds_done"] if self._earlier else 0
        if writes and (status != Status.RUNNING or result.record.rounds >= done):
            result.write(plan.result)
        path = checkpoint.path_of(plan.result)
        if status != Status.RUNNING and not plan.config.run.keep_checkpoint:
            if writes:
                path.unlink(missing_ok=True)
        elif status not in (Status.DIVERGED, Status.STALLED):
            # Every process gives its part of it.
            whole = self._checkpoint()
            if writes:
                whole.write(path)

    def _facts(self, status: Status) -> dict[str, object]:
        """What was found out, for the attributes of the file."""
        rounds = self._result.record.rounds
        forecast = self._forecast.after(rounds)
        facts = (
            self._parts.execution.facts()
            | dict(self._parts.facts)
            | ({} if forecast is None else {"forecast_ood": forecast})
        )
        if self._parts.failures:
            # The round in which a run diverges has begun, and is not done.
            begun = rounds + (status == Status.DIVERGED)
            happened = [failure for failure in self._parts.failures if failure["round"] < begun]
            facts["failures"] = json.dumps(happened)
        return facts

    def _checkpoint(self) -> Checkpoint:
        parts, record = self._parts, self._result.record
        X, *buffers = (
            shards.rows_of_all(self._ranks, rows, self._plan.rows.total)
            for rows in (parts.population.X.cpu().numpy(), *parts.population.buffers())
        )
        return Checkpoint(
            self._plan.identity.id,
            record.rounds,
            X,
            buffers,
            parts.engine.state() | parts.execution.state(),
            record.edge_bytes,
            record.updates,
        )


def _result_of(plan: Plan, parts: Parts, segments: list[dict[str, object]]) -> Result:
    """The result file of a run that has not begun."""
    config, topology = plan.config, plan.topology
    # Where nodes have models, what the algorithm delivers is one more measure of the same run.
    judged_by = config.algorithm.options.delivers if parts.execution.walk_rows() else "nodes"
    strategies = config.algorithm.described.strategies
    return Result(
        experiment_id=plan.identity.id,
        config=config,
        topology=topology,
        samples=parts.data.samples,
        label_counts=parts.data.label_counts,
        ood_samples=parts.data.ood_samples,
        betweenness=topology.n <= 512 or (strategies and config.strategy.described.needs_betweenness),
        all_to_all=config.all_to_all,
        record=Record(edge_bytes=np.zeros((len(topology.edges), 2), np.int64), judged_by=judged_by),
        segments=segments,
    )
