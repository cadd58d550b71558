"""When the time of a batch job is over: Slurm and PBS are asked for it."""

import contextlib
import os
import re
import subprocess
import time
from datetime import datetime

from dml.errors import one_line

_SPAN = re.compile(r"(?:(\d{1,4})-)?(?:(\d{1,5}):)?(\d{1,6}):(\d\d)")

_PATIENCE = 20.0
"""Seconds for an answer of the batch system."""


def seconds(text: str) -> float:
    """A span of time as batch systems write it: D-HH:MM:SS, HH:MM:SS or MM:SS.

    Raises:
        ValueError: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or not text.isascii():
        raise ValueError(
            f"{one_line(text)} is not a time such as 1:30:00 (hours, minutes, seconds) or 2-00:00:00 (days)"
        )
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def job() -> str:
    """The id of the batch job that this process belongs to, or nothing."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""


def end_of_job() -> float | None:
    """When this batch job ends, by ``time.time()``; None outside a job, or if nobody can tell."""
    if "SLURM_JOB_ID" in os.environ:
        return _end_by_slurm(os.environ["SLURM_JOB_ID"])
    if "PBS_JOBID" in os.environ:
        return _end_by_pbs(os.environ["PBS_JOBID"])
    return None


def _end_by_slurm(number: str) -> float | None:
    left = _answer("squeue", "-h", "-j", number, "-o", "%L").strip()
    with contextlib.suppress(ValueError):  # It may be UNLIMITED, or nothing.
        return time.time() + seconds(left)
    with contextlib.suppress(ValueError):
        return float(os.environ.get("SLURM_JOB_END_TIME", ""))
    return None


def _end_by_pbs(number: str) -> float | None:
    """By the job's start if it is told, since PBS renews the time that was used only now and then."""
    lines = (line.partition("=") for line in _answer("qstat", "-f", number).splitlines())
    told = {name.strip(): value.strip() for name, _, value in lines}
    with contextlib.suppress(KeyError, ValueError):
        walltime = seconds(told["Resource_List.walltime"])
        with contextlib.suppress(KeyError, ValueError):
            return datetime.strptime(told["stime"], "%a %b %d %H:%M:%S %Y").timestamp() + walltime
        return time.time() + walltime - seconds(told["resources_used.walltime"])
    return None


def _answer(*command: str) -> str:
    """What a command prints; nothing if it fails, is not there or does not answer."""
    try:
        called = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return called.stdout
