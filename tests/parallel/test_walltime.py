"""Batch systems are asked when their job ends; stand-ins for their commands answer as the real ones do."""

import time
from pathlib import Path

import pytest

from dml.parallel import walltime

QSTAT = """Job Id: 123.server
    Job_Name = sweep
    resources_used.walltime = 00:10:00
    job_state = R
    Resource_List.nodect = 2
    Resource_List.walltime = 01:00:00
{stime}    Variable_List = PBS_O_HOME=/home/me,PBS_O_SHELL=/bin/bash,
	A=B
"""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:40", 40), ("90:00", 5400), ("1:30:00", 5400), ("2-03:04:05", 183845), (" 12:00:00\n", 43200)],
)
def test_a_span_is_read_as_batch_systems_write_it(text: str, seconds: float) -> None:
    assert walltime.seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90",
        "1h",
        "UNLIMITED",
        "-1:00",
        "1:0",
        "1:2:3:04",
        "nan",
        "99999-00:00:00",
        "9" * 17 + ":00:00",
        "\uff11:00",
    ],
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time such as 1:30:00"):
        walltime.seconds(text)


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH; this process is in no job."""
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def command(folder: Path, name: str, wanted: str, answer: str) -> None:
    """A stand-in that answers if it is called with these words."""
    (folder / "answer").write_text(answer)
    script = f'#!/bin/sh\n[ "$*" = "{wanted}" ] || exit 1\ncat "{folder}/answer"\n'
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def test_outside_a_job_there_is_no_end(batch: Path) -> None:
    assert walltime.end_of_job() is None
    assert walltime.job() == ""


def test_slurm_tells_what_is_left(batch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    command(batch, "squeue", "-h -j 77 -o %L", "1-00:00:30\n")
    assert walltime.end_of_job() == pytest.approx(time.time() + 86430, abs=5)
    assert walltime.job() == "77"


def test_without_an_answer_slurms_variable_counts(batch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    command(batch, "squeue", "-h -j 77 -o %L", "UNLIMITED\n")
    assert walltime.end_of_job() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1800000000")
    assert walltime.end_of_job() == 1800000000


def test_what_a_command_prints_before_it_fails_is_no_answer(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    (batch / "squeue").write_text("#!/bin/sh\necho 10:00\nexit 1\n")
    (batch / "squeue").chmod(0o755)
    assert walltime.end_of_job() is None


def test_pbs_tells_when_the_job_began(batch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_JOBID", "123.server")
    begun = time.time() - 1200
    stime = time.strftime("    stime = %a %b %d %H:%M:%S %Y\n", time.localtime(begun))
    command(batch, "qstat", "-f 123.server", QSTAT.format(stime=stime))
    assert walltime.end_of_job() == pytest.approx(begun + 3600, abs=2)
    # Older servers tell the time that was used instead.
    command(batch, "qstat", "-f 123.server", QSTAT.format(stime=""))
    assert walltime.end_of_job() == pytest.approx(time.time() + 3000, abs=5)


def test_a_batch_system_that_does_not_answer_is_not_waited_for(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PBS_JOBID", "123.server")
    assert walltime.end_of_job() is None  # There is no qstat.
    monkeypatch.setattr(walltime, "_PATIENCE", 0.2)
    (batch / "qstat").write_text("#!/bin/sh\nexec sleep 30\n")
    (batch / "qstat").chmod(0o755)
    started = time.monotonic()
    assert walltime.end_of_job() is None
    assert time.monotonic() - started < 5
