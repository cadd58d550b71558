"""One experiment from its configuration to its result file."""

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dml import assembly
from dml import plan as planning
from dml.config import ExperimentConfig
from dml.data.ood import NodeData
from dml.errors import DamagedFileError, InputError
from dml.plan import Plan
from dml.results import checkpoint, provenance, reader
from dml.results.checkpoint import Checkpoint
from dml.results.lock import locked
from dml.results.record import FINAL, Record, first_difference
from dml.results.writer import COMPLETE, DIVERGED, RUNNING, Result
from dml.theory import ood_forecast
from dml.training.evaluate import Scores

_log = logging.getLogger(__name__)


class Stopped(RuntimeError):
    """The run was asked to stop; its checkpoint is written, and the same call goes on from it."""


class _Diverged(Exception):
    """A node's training loss is no longer finite."""


def run(
    config: ExperimentConfig,
    *,
    stop: Callable[[], str | None] = lambda: None,
    progress: Callable[[Record], None] = lambda record: None,
) -> Path:
    """Runs an experiment, or what is missing of it; the path of its result file.

    Killed at any moment and called again it goes on from the last checkpoint, and ends with the same
    numbers bit for bit. Asked for more rounds it continues; for fewer than there are, it does nothing.

    Args:
        config: the experiment.
        stop: asked after each round; a reason makes the run write its checkpoint and stop.
        progress: called after each round with what was measured so far.

    Raises:
        InputError: a value that cannot be right.
        LockedError: another process runs this experiment.
        DamagedFileError: its result or checkpoint file cannot be read.
        UnwritableFileError: they cannot be written.
        Stopped: ``stop`` gave a reason.
    """
    plan = planning.make(config)
    folder = plan.result.parent
    was_there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("out_dir", config.run.out_dir, f"cannot be made ({error.strerror})") from None
    try:
        with locked(plan.result, plan.identity.id):
            earlier = _earlier(plan)
            if earlier and reader.finished(earlier.attributes, config.run.rounds):
                return plan.result
            return _Run(plan, earlier).to_the_end(stop, progress)
    except InputError:
        if not was_there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _earlier(plan: Plan) -> reader.Loaded | None:
    if not plan.result.exists():
        return None
    earlier = reader.load(plan.result)
    if earlier.attributes["experiment_id"] != plan.identity.id:
        raise DamagedFileError(
            f"{plan.result} holds experiment {earlier.attributes['experiment_id']}; it was left as it is: "
            "move it away to compute this one"
        )
    return earlier


class _Run:
    """The parts of one run, put together, and its rounds."""

    def __init__(self, plan: Plan, earlier: reader.Loaded | None) -> None:
        self.plan, self.earlier = plan, earlier
        segments = earlier.segments if earlier else []
        parts = assembly.assemble(plan, segments[-1]["engine"] if segments else None)
        self.population, self.rounds, self.evaluate = parts.population, parts.rounds, parts.evaluate
        self._facts, self._failures = dict(parts.facts), parts.failures
        self.result = self._result(parts.data)
        self._restore()
        segment = provenance.segment(
            parts.accelerator,
            parts.threads,
            parts.engine,
            self.result.record.rounds,
            parts.deterministic,
            parts.ipex,
        )
        self.result.segments.append(segment)

    def _result(self, data: NodeData) -> Result:
        config, topology = self.plan.config, self.plan.topology
        strategy = config.strategy.aggregation_strategy if config.algorithm.averages else None
        return Result(
            experiment_id=self.plan.identity.id,
            config=config,
            topology=topology,
            samples=data.samples,
            label_counts=data.label_counts,
            ood_samples=data.ood_samples,
            betweenness=topology.n <= 512 or strategy in ("betCent", "betCent_sim"),
            all_to_all=config.complete or config.algorithm.algorithm == "allreduce",
            record=Record(edge_bytes=np.zeros((len(topology.edges), 2), np.int64)),
            segments=self.earlier.segments if self.earlier else [],
        )

    def _restore(self) -> None:
        """Goes back to the last checkpoint, if there is one; rows beyond it are computed anew."""
        path = checkpoint.path_of(self.plan.result)
        saved = checkpoint.read(path, self.plan.identity.id)
        if saved is None or self.earlier is None or self._lacks_its_last_row(saved.rounds):
            return
        if saved.rounds > self.earlier.attributes["rounds_done"]:
            raise DamagedFileError(f"{path} is ahead of its result file; it was left as it is: move it away")
        record = self.earlier.record()
        record.keep(saved.rounds, self._every, saved.edge_bytes)
        try:
            for name, own in (("X", self.population.X), ("edge_bytes", self.result.record.edge_bytes)):
                if getattr(saved, name).shape != tuple(own.shape):
                    raise ValueError(f"{name} has the shape {getattr(saved, name).shape}")
            with torch.no_grad():
                self.population.X.copy_(torch.from_numpy(saved.X))
            self.population.load_buffers(saved.buffers)
            self.rounds.load_state(saved.algorithm)
        except (KeyError, ValueError, IndexError, RuntimeError, TypeError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise DamagedFileError(
                f"{path} does not fit its experiment ({why}); it was left as it is: move it away"
            ) from error
        self.result.record = record

    @property
    def _every(self) -> int | None:
        """Rounds between measurements, or None for every epoch."""
        every = self.plan.config.run.eval_every
        return None if every == "epoch" else every

    def _lacks_its_last_row(self, rounds: int) -> bool:
        """Whether the last round asked for was done, in a run that was to go further, without being measured.

        It can only be measured before its aggregation, so the rounds are computed anew.
        """
        return self._every is not None and rounds == self.plan.config.run.rounds and rounds % self._every != 0

    def to_the_end(self, stop: Callable[[], str | None], progress: Callable[[Record], None]) -> Path:
        """The rounds that are missing."""
        run, record = self.plan.config.run, self.result.record
        saved_at = time.monotonic()
        try:
            for number in range(record.rounds, run.rounds):
                self._tell_failures(number)
                started = time.perf_counter()
                traffic = self.rounds.advance(number, self._measurer(number))
                record.add_round(traffic.sent, traffic.edges, time.perf_counter() - started)
                progress(record)
                reason = stop() if number + 1 < run.rounds else None
                minutes = (time.monotonic() - saved_at) / 60
                if reason or (number + 1) % run.checkpoint_every == 0 or minutes >= run.checkpoint_minutes:
                    self._save(RUNNING)
                    saved_at = time.monotonic()
                if reason:
                    raise Stopped(f"stopped after round {number + 1} of {run.rounds}: {reason}")
        except _Diverged:
            self._save(DIVERGED)
            return self.plan.result
        missing = np.full(self.plan.topology.n, np.nan, np.float32)
        record.add(run.rounds - 1, FINAL, missing, missing, self._scores())
        self._compare_with_earlier()
        self._save(COMPLETE)
        return self.plan.result

    def _measurer(self, number: int) -> Callable[[int, NDArray[np.float32], NDArray[np.float32]], None]:
        run, last = self.plan.config.run, max(0, self.plan.epochs - 1)

        def after_epoch(epoch: int, loss: NDArray[np.float32], accuracy: NDArray[np.float32]) -> None:
            # NaN stands for a node that did not train, so only those that did are asked.
            diverged = self.plan.epochs > 0 and not np.isfinite(loss[self.rounds.selected(number)]).all()
            on_grid = run.eval_every == "epoch" or (
                epoch == last and ((number + 1) % run.eval_every == 0 or number + 1 == run.rounds)
            )
            if on_grid or diverged:
                self.result.record.add(number, epoch, loss, accuracy, self._scores())
            if diverged:
                raise _Diverged

        return after_epoch

    def _tell_failures(self, number: int) -> None:
        """A line for what fails at the start of a round."""
        for failure in self._failures:
            if failure["round"] == number:
                nodes = ", ".join(map(str, failure["nodes"]))
                who = f"node {nodes} fails" if len(failure["nodes"]) == 1 else f"nodes {nodes} fail"
                tree = f", over {failure['tree']}" if "tree" in failure else ""
                name = self.plan.result.name
                _log.info(f"{name}: round {number}: {who}; the other nodes start again{tree}")

    def _scores(self) -> Scores:
        """Of the models as they are now, with what the algorithm tells of its last round."""
        scores = self.evaluate()
        return replace(scores, more=scores.more | self.rounds.measures())

    def _save(self, status: str) -> None:
        """First the result, then the checkpoint: rows beyond a checkpoint can be dropped, not invented."""
        self.result.status = status
        forecast = ood_forecast(
            self.plan.config, self.plan.topology, self.result.samples, self.result.record.rounds
        )
        self.result.facts = self._facts | ({} if forecast is None else {"forecast_ood": forecast})
        if self._failures:
            # The round in which a run diverges has begun, and is not done.
            begun = self.result.record.rounds + (status == DIVERGED)
            happened = [failure for failure in self._failures if failure["round"] < begun]
            self.result.facts |= {"failures": json.dumps(happened)}
        self.result.segments[-1]["finished"] = provenance.now()
        # Rounds computed anew, for want of a checkpoint, replace a longer result once they have caught up.
        done = self.earlier.attributes["rounds_done"] if self.earlier else 0
        if status != RUNNING or self.result.record.rounds >= done:
            self.result.write(self.plan.result)
        path = checkpoint.path_of(self.plan.result)
        if status != RUNNING and not self.plan.config.run.keep_checkpoint:
            path.unlink(missing_ok=True)
            return
        if status == DIVERGED:
            return
        Checkpoint(
            self.plan.identity.id,
            self.result.record.rounds,
            self.population.X.cpu().numpy(),
            self.population.buffers(),
            self.rounds.state(),
            self.result.record.edge_bytes,
        ).write(path)

    def _compare_with_earlier(self) -> None:
        """Rounds computed anew, for want of a checkpoint, must come out as they did before."""
        if self.earlier is None or self.earlier.attributes["status"] == DIVERGED:
            return
        where = first_difference(self.earlier.record(), self.result.record)
        if where is not None:
            self.result.segments[-1]["differs_from_earlier_at"] = where
            _log.warning(
                f"{self.plan.result.name}: round {where[0]} gave other numbers than before; have library "
                "versions, machine type, threads or engine changed? (see the file's segments)"
            )
