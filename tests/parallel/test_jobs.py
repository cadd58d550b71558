"""Jobs that end are replaced until a number is used up; nobody waits when none is left and none will come."""

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from parsl.jobs.error_handlers import noop_error_handler
from parsl.jobs.states import JobState, JobStatus

from dml.errors import FailingWorkersError, LostWorkersError, NoMoreWorkersError
from dml.parallel import jobs as module
from dml.parallel.jobs import Jobs
from dml.parallel.limits import Limits

ENDED = [JobState.TIMEOUT, JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED, JobState.MISSING]


class Executor:
    """As much of a HighThroughputExecutor as jobs need: its blocks, and how another one is submitted."""

    label = "site"

    def __init__(self, blocks: int) -> None:
        self.provider = SimpleNamespace(init_blocks=blocks)
        self.block_error_handler: Any = None
        self.blocks_to_job_id: dict[str, str] = {}
        self.status_facade: dict[str, JobStatus] = {}

    def scale_out_facade(self, number: int) -> None:
        for _ in range(number):
            block = str(len(self.status_facade))
            self.blocks_to_job_id[block] = f"40{block}"
            self.status_facade[block] = JobStatus(JobState.PENDING)


def started(jobs: Jobs, blocks: int = 1, strategy: str = "none") -> tuple[Executor, Any]:
    """A configuration with which Parsl has started the jobs."""
    executor = Executor(blocks)
    config = SimpleNamespace(executors=[executor], strategy=strategy)
    jobs.prepare(config)
    executor.scale_out_facade(executor.provider.init_blocks)
    return executor, config


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING, JobState.HELD, JobState.UNKNOWN])
def test_a_job_that_waits_or_runs_is_left_alone(state: JobState) -> None:
    jobs = Jobs(Limits(1))
    executor, config = started(jobs)
    executor.status_facade["0"] = JobStatus(state)
    jobs.look(config)
    assert len(executor.status_facade) == 1


@pytest.mark.parametrize("state", ENDED)
def test_when_all_have_ended_however_they_did_workers_are_lost_and_then_start_again(state: JobState) -> None:
    jobs = Jobs(Limits(3))
    for _ in range(2):
        executor, config = started(jobs)
        executor.status_facade["0"] = JobStatus(state)
        with pytest.raises(LostWorkersError, match="job 400 ") as lost:
            jobs.look(config)
        assert not isinstance(lost.value, NoMoreWorkersError)
    executor, config = started(jobs)
    executor.status_facade["0"] = JobStatus(state)
    with pytest.raises(NoMoreWorkersError, match=r"job 400 .*, and --max_jobs 3 allows no other"):
        jobs.look(config)
    with pytest.raises(NoMoreWorkersError):
        started(jobs)


def test_before_any_job_is_submitted_nothing_is_lost() -> None:
    jobs, executor = Jobs(Limits(1)), Executor(1)
    config: Any = SimpleNamespace(executors=[executor], strategy="none")
    jobs.prepare(config)
    jobs.look(config)


def test_one_of_two_is_replaced_once_while_the_other_works() -> None:
    jobs = Jobs(Limits(3))
    executor, config = started(jobs, blocks=2)
    executor.status_facade["0"] = JobStatus(JobState.TIMEOUT)
    for _ in range(3):
        jobs.look(config)
    assert len(executor.status_facade) == 3
    # No other is allowed, so what is left goes on alone.
    executor.status_facade["1"] = JobStatus(JobState.TIMEOUT)
    jobs.look(config)
    assert len(executor.status_facade) == 3
    executor.status_facade["2"] = JobStatus(JobState.TIMEOUT)
    with pytest.raises(
        NoMoreWorkersError, match="all 3 jobs have ended: the last one, job 402, reached its walltime"
    ):
        jobs.look(config)


def test_no_more_are_started_than_allowed() -> None:
    executor, _ = started(Jobs(Limits(2)), blocks=5)
    assert len(executor.status_facade) == 2


def test_none_is_submitted_after_the_end_of_the_time() -> None:
    jobs = Jobs(Limits(9, ends_at=time.time() + 0.2, margin=0.0))
    executor, config = started(jobs, blocks=2)
    time.sleep(0.3)
    executor.status_facade["0"] = JobStatus(JobState.COMPLETED)
    jobs.look(config)
    assert len(executor.status_facade) == 2
    executor.status_facade["1"] = JobStatus(JobState.COMPLETED)
    with pytest.raises(NoMoreWorkersError, match="the time of this call is over"):
        jobs.look(config)


def test_a_strategy_of_parsls_own_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(Limits(9))
    executor, config = started(jobs, strategy="simple")
    executor.status_facade["0"] = JobStatus(JobState.TIMEOUT)
    jobs.look(config)
    monkeypatch.setattr(module, "SETTLE", 0.0)
    with pytest.raises(LostWorkersError):
        jobs.look(config)


def test_a_strategy_of_parsls_own_has_the_same_time_after_each_of_its_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SETTLE", 0.2)
    jobs = Jobs(Limits(9))
    executor, config = started(jobs, strategy="simple")
    for state in (JobState.TIMEOUT, JobState.RUNNING, JobState.TIMEOUT):
        executor.status_facade["0"] = JobStatus(state)
        jobs.look(config)
        if state == JobState.RUNNING:
            time.sleep(0.3)


def test_a_strategy_of_parsls_own_submits_others_by_itself() -> None:
    jobs = Jobs(Limits(9))
    executor, config = started(jobs, blocks=2, strategy="simple")
    executor.status_facade["0"] = JobStatus(JobState.TIMEOUT)
    jobs.look(config)
    assert len(executor.status_facade) == 2


def test_after_a_new_start_jobs_of_the_same_numbers_are_replaced_as_well() -> None:
    jobs = Jobs(Limits(9))
    for _ in range(2):
        executor, config = started(jobs, blocks=2)
        executor.status_facade["0"] = JobStatus(JobState.TIMEOUT)
        jobs.look(config)
        assert len(executor.status_facade) == 3


def test_if_one_of_the_jobs_was_not_refused_workers_are_started_again() -> None:
    jobs = Jobs(Limits(9))
    executor, config = started(jobs, blocks=2)
    executor.status_facade["0"] = JobStatus(JobState.TIMEOUT)
    del executor.blocks_to_job_id["1"]
    executor.status_facade["1"] = JobStatus(JobState.FAILED, "Failed to start block 1: busy")
    with pytest.raises(LostWorkersError, match="all 2 jobs have ended"):
        jobs.look(config)


def test_a_job_that_is_refused_is_told_and_ends_the_call_if_there_is_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = Jobs(Limits(9))
    executor, config = started(jobs, blocks=1)
    said = "Could not read job ID; recode=1, stdout=, stderr=sbatch: error: invalid partition specified: gpux"
    executor.status_facade["1"] = JobStatus(JobState.FAILED, f"Failed to start block 1: {said}")
    for _ in range(2):
        jobs.look(config)
    assert caplog.messages == [
        "a job could not be submitted, and the others go on: sbatch: error: invalid partition specified: gpux"
    ]
    del executor.status_facade["0"]
    with pytest.raises(FailingWorkersError) as refused:
        jobs.look(config)
    assert str(refused.value) == (
        "a job could not be submitted: sbatch: error: invalid partition specified: gpux"
    )


def test_parsl_itself_does_nothing_when_jobs_fail() -> None:
    executor, _ = started(Jobs(Limits(1)))
    assert executor.block_error_handler is noop_error_handler


def test_the_reason_is_the_last_line_of_what_the_job_said(tmp_path: Any) -> None:
    (tmp_path / "err").write_text("loading modules\nmodule: no such module frameworks\n")
    jobs = Jobs(Limits(1))
    executor, config = started(jobs)
    executor.status_facade["0"] = JobStatus(JobState.MISSING, "no\nworkers", stderr_path=f"{tmp_path}/err")
    with pytest.raises(NoMoreWorkersError) as lost:
        jobs.look(config)
    why = "job 400 ended before its workers could connect (module: no such module frameworks, in "
    assert str(lost.value).startswith(why)


def test_the_reason_is_what_the_pool_said_when_it_ended_itself(tmp_path: Any) -> None:
    with (tmp_path / "err").open("w") as err:
        code = "from dml.parallel.parsl_private import end_pool; end_pool('worker 0 was killed')"
        assert subprocess.run([sys.executable, "-c", code], stderr=err, check=False).returncode == 1
        err.write("a warning of Python\n")
    jobs = Jobs(Limits(2))
    executor, config = started(jobs)
    executor.status_facade["0"] = JobStatus(JobState.FAILED, stderr_path=f"{tmp_path}/err")
    with pytest.raises(LostWorkersError) as lost:
        jobs.look(config)
    assert str(lost.value) == "job 400 failed (worker 0 was killed)"
