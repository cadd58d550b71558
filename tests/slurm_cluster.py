"""A Slurm cluster of this machine alone, for tests: munged, slurmctld and two slurmd, in their own folder.

    with Cluster(folder) as cluster:
        job = cluster.sbatch("--nodes=2", "--wrap=srun hostname")
        cluster.wait(job)                   # until it has ended
        cluster.state(job)                  # "COMPLETED"

The daemons need root and the packages slurm-wlm and munge (:func:`why_not` says what is missing). They
listen on free ports of the loopback interface, and share nothing with another Slurm of this machine.
"""

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("n1", "n2")
CORES = 4
"""Cores that each node is said to have; the machine may have fewer, as Slurm does not bind the jobs here."""
GPUS = 2
"""GPUs that each node is said to have: files that are there on every machine."""

ENDED = {
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "PREEMPTED",
}

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
KillWait=30
OverTimeLimit=0
MpiDefault=none
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=test Nodes={names} Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=1000 "
    "Gres=gpu:{gpus} State=UNKNOWN"
)


def why_not() -> str | None:
    """Why there can be no cluster on this machine, as a plain line; None if there can be one."""
    if os.geteuid() != 0:
        return "tests of Slurm start its daemons, which needs root"
    missing = [name for name in DAEMONS if _daemon(name) is None]
    if missing:
        return f"tests of Slurm need {', '.join(missing)}: apt-get install slurm-wlm munge"
    return None


class Cluster:
    """While it is entered, a cluster of two nodes (n1 and n2) of 4 cores and 2 GPUs each.

    Args:
        folder: for the daemons' files; it must be empty, and its path short, as sockets are made there.

    Attributes:
        environment: with which Slurm's commands find this cluster.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        for key in [key for key in self.environment if key.startswith(("SLURM_", "SBATCH_"))]:
            if key != "SLURM_CONF":
                del self.environment[key]
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            guard = [sys.executable, __file__, str(self.folder)]
            self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def call(self, *command: object, check: bool = True, **options: object) -> str:
        """What a command prints that finds this cluster."""
        words = [str(word) for word in command]
        options = {"env": self.environment, "timeout": 60, **options}
        done = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def sbatch(self, *words: object, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
        """Submits a job with the words of sbatch, from a folder, and returns the job's id."""
        given = {**self.environment, **(environment or {})}
        return self.call("sbatch", "--parsable", *words, cwd=cwd, env=given).strip()

    def job(self, job: str) -> dict[str, str]:
        """What the controller knows about a job: JobState, ExitCode, Restarts, NodeList, ...

        It forgets a job some minutes after its end.
        """
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", job)))

    def state(self, job: str) -> str:
        """The state of a job, such as RUNNING."""
        return self.job(job)["JobState"]

    def wait(self, job: str, *states: str, seconds: float = 240) -> dict[str, str]:
        """Waits until a job has one of the states, or until it has ended, and returns its `job`."""
        wanted = set(states) or ENDED
        until = time.monotonic() + seconds
        while (found := self.job(job))["JobState"] not in wanted:
            assert time.monotonic() < until, f"job {job} is still {found['JobState']} ({found['Reason']})"
            time.sleep(0.3)
        return found

    def jobs(self) -> list[str]:
        """The ids of the jobs that wait, run, or are about to end."""
        return self.call("squeue", "--noheader", "--format=%i").split()

    def cancel_all(self) -> None:
        """Kills all jobs, and waits until none is left."""
        until = time.monotonic() + 60
        while (jobs := self.jobs()) and time.monotonic() < until:
            self.call("scancel", "--quiet", *jobs, check=False)
            time.sleep(0.3)
            _kill(self.folder, "SLURM_JOB_ID")  # Slurm itself would wait for KillWait seconds.

    def stop(self) -> None:
        """Ends all jobs and all daemons, whatever state they are in."""
        with contextlib.suppress(Exception):
            self.cancel_all()
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(10)
        _kill(self.folder, "SLURM_CONF")
        self._guard.communicate(b"stopped")

    def _start(self) -> None:
        folder, host = self.folder, socket.gethostname().partition(".")[0]
        ports = _free_ports(1 + len(NODES))
        nodes = [
            NODE.format(name=name, host=host, port=port, cores=CORES, gpus=GPUS)
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        conf = CONF.format(
            host=host,
            folder=folder,
            controller_port=ports[0],
            nodes="\n".join(nodes),
            names=",".join(NODES),
        )
        (folder / "slurm.conf").write_text(conf)
        (folder / "gres.conf").write_text(f"Name=gpu File=/dev/tty[0-{GPUS - 1}]\n")
        for name in ("state", *NODES):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        own = {name: f"{folder}/munge.{name}" for name in ("socket", "log", "pid", "seed")}
        files = ["--socket", own["socket"], "--log-file", own["log"], "--pid-file", own["pid"]]
        self._daemon(
            "munged", "--foreground", "--force", "--key-file", key, *files, "--seed-file", own["seed"]
        )
        self._until("munged", lambda: Path(own["socket"]).exists())
        self._daemon("slurmctld", "-D", "-i")
        for name in NODES:
            self._daemon("slurmd", "-D", "-N", name)
        self._until(
            "Slurm", lambda: self.call("sinfo", "-h", "-N", "-o", "%T", check=False).split() == ["idle"] * 2
        )

    def _daemon(self, name: str, *words: object) -> None:
        command = [str(_daemon(name)), *map(str, words)]
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons.append(
                subprocess.Popen(
                    command, env=self.environment, stdout=out, stderr=out, preexec_fn=_end_with_parent
                )
            )

    def _until(self, what: str, ready: Callable[[], bool], seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not ready():
            ended = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if ended or time.monotonic() > until:
                logs = [
                    f"{log.name}: {log.read_text()[-2000:]}"
                    for log in self.folder.glob("*.*")
                    if log.suffix in (".log", ".out")
                ]
                raise RuntimeError(f"{what} does not start; ended: {ended}\n" + "\n".join(logs))
            time.sleep(0.1)


def _kill(folder: Path, variable: str) -> None:
    """Kills the processes of the cluster of that folder that have a variable in their environment."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            ours = environment.get("SLURM_CONF") == str(folder / "slurm.conf")
            if ours and variable in environment and process.pid != os.getpid():
                process.kill()


def _guard(folder: Path) -> None:
    """Stops the cluster of a process that was killed, and so did not."""
    if not sys.stdin.buffer.read():
        for _ in range(3):
            _kill(folder, "SLURM_CONF")
            time.sleep(0.5)
        shutil.rmtree(folder, ignore_errors=True)


def _daemon(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _end_with_parent() -> None:
    """Tests that are killed leave no daemons."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
