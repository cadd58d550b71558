"""Finds the results of earlier runs of an experiment, and continues from them."""

import json
import logging
from dataclasses import dataclass

import numpy as np
import torch

from dml import code_hash
from dml.errors import DamagedFileError, OtherCodeError
from dml.execution.execution import Execution
from dml.plan import Plan
from dml.population import Population
from dml.results import checkpoint, provenance, reader
from dml.results.record import Record, first_difference
from dml.results.status import Status
from dml.shards import SharedEngine
from dml.training.engines import ENGINES
from dml.training.trainer import Trainer

_log = logging.getLogger(__name__)


def earlier_result(plan: Plan) -> reader.Loaded | None:
    """The result file of the experiment, if there is one.

    Raises:
        DamagedFileError: it cannot be read, or holds another experiment.
    """
    if not plan.result.exists():
        return None
    earlier = reader.load(plan.result)
    if earlier.attributes["experiment_id"] != plan.identity.id:
        raise DamagedFileError(
            f"{plan.result} holds experiment {earlier.attributes['experiment_id']}; it was not changed: "
            "move it away to compute this one"
        )
    if not earlier.has_digest:
        _log.info(f"{plan.result.name} has no digest, as it is older: damage to it would not be noticed")
    if earlier.segments and earlier.segments[-1]["engine"] not in ENGINES:
        engine = earlier.segments[-1]["engine"]
        raise DamagedFileError(f"{plan.result} names the engine {engine}; it was not changed: move it away")
    return earlier


def check_code(plan: Plan, earlier: reader.Loaded, code: str, commit: str) -> None:
    """Checks that an unfinished result may go on with the code of this call.

    It may with the code that computed its last rounds. It may with other code only if the versions of its
    parts are equal, and the code is that of a commit, so that both can be found again.

    Args:
        plan: the experiment.
        earlier: its result file.
        code: the hash of this call's code.
        commit: its state in git.

    Raises:
        OtherCodeError: it may not.
    """
    last = str(earlier.attributes.get("code_sha256", code_hash.UNKNOWN)).split()[-1:]
    if code == code_hash.UNKNOWN or last == [code]:
        return
    begun = f"{plan.result.name} was begun by other code"
    if json.loads(earlier.attributes["numbers_version"]) != plan.config.versions():
        why = "and the versions of its parts differ"
    elif " " in commit or commit == provenance.UNKNOWN:
        why = f"and the code of this call is that of no commit (git: {commit})"
    else:
        _log.info(f"{begun}; it goes on, as the versions of its parts are equal and the code is committed")
        return
    raise OtherCodeError(f"{begun}, {why}; --fresh computes it again")


@dataclass(frozen=True)
class State:
    """The state of a run that a checkpoint replaces.

    Args:
        population: the models.
        engine: the engine, which trains them.
        execution: the execution, which moves them.
        record: the record of a run that starts from the beginning.
        here: the rows of X that this process has.
    """

    population: Population
    engine: Trainer | SharedEngine
    execution: Execution
    record: Record
    here: slice


def restore(plan: Plan, earlier: reader.Loaded | None, state: State) -> Record | None:
    """Restores the last checkpoint; later rounds are computed again.

    Args:
        plan: the experiment.
        earlier: its result file.
        state: the state, which is changed in place.

    Returns:
        The measurements until the checkpoint; None if there is nothing to continue from.

    Raises:
        DamagedFileError: the checkpoint cannot be read, or does not fit the experiment.
    """
    path = checkpoint.path_of(plan.result)
    saved = checkpoint.read(path, plan.identity.id)
    if saved is None or earlier is None or _lacks_its_last_row(plan, saved.rounds):
        return None
    if saved.rounds > earlier.attributes["rounds_done"]:
        raise DamagedFileError(f"{path} is ahead of its result file; it was not changed: move it away")
    record = earlier.record()
    record.keep(saved.rounds, plan.measured_every, saved.edge_bytes, saved.updates)
    X, rows = state.population.X, plan.rows.total
    shapes = {"X": (rows, X.shape[1]), "edge_bytes": tuple(state.record.edge_bytes.shape)}
    try:
        for name, shape in shapes.items():
            if getattr(saved, name).shape != shape:
                raise ValueError(f"{name} has the shape {getattr(saved, name).shape}")
        if saved.X.dtype != np.float32 or saved.edge_bytes.dtype != np.int64:
            raise ValueError(f"X and edge_bytes are {saved.X.dtype} and {saved.edge_bytes.dtype}")
        with torch.no_grad():
            X.copy_(torch.from_numpy(saved.X[state.here]))
        state.population.load_buffers([buffer[state.here] for buffer in saved.buffers])
        state.engine.load_state(saved.algorithm)
        state.execution.load_state(saved.algorithm)
    except (KeyError, ValueError, IndexError, RuntimeError, TypeError, OverflowError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DamagedFileError(
            f"{path} does not fit its experiment ({why}); it was not changed: move it away"
        ) from error
    return record


def _lacks_its_last_row(plan: Plan, rounds: int) -> bool:
    """Whether the last round asked for was done without a measurement, by a run with more rounds.

    It can only be measured before its aggregation, so the rounds are computed again.
    """
    every = plan.measured_every
    return every is not None and rounds == plan.config.run.rounds and rounds % every != 0


def difference(plan: Plan, earlier: reader.Loaded | None, record: Record) -> tuple[int, int] | None:
    """The first (round, epoch) that gave different numbers when it was computed again; logs a warning."""
    if earlier is None or earlier.attributes["status"] == Status.DIVERGED:
        return None
    where = first_difference(earlier.record(), record)
    if where is not None:
        _log.warning(
            f"{plan.result.name}: round {where[0]} gave different numbers than before; have library "
            "versions, machine type, threads or engine changed? (see the file's segments)"
        )
    return where
