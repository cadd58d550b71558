"""Sweeps on a real Slurm: wherever they run, and whatever ends their jobs, the numbers are the same."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import ROOT, SCRIPTS
from slurm_cluster import Cluster
from sweeps import run_sweep_here

from dml import results

pytestmark = pytest.mark.slow

JOB = ROOT / "scripts" / "slurm" / "bd_scheduler.sbatch"

# Both nodes of the cluster are this machine, so its loopback address is one that they reach.
HERE = "address=127.0.0.1"

SWEEP = ("--preset", "quickstart", "--limit", 5, "--rounds", 60, "--epochs", 1)
LONG = ("--preset", "quickstart", "--limit", 3, "--rounds", 100, "--checkpoint_every", 1)
"""About 10 s of a core for each experiment."""

LONGER = ("--preset", "quickstart", "--limit", 2, "--rounds", 250, "--checkpoint_every", 1)
"""Long enough for a time limit, which Slurm enforces 60 to 90 s after the start of a job."""

# Keeps the exit code of what it runs. Slurm tells all processes of a job to end, this one included.
KEEPS_CODE = """#!/bin/bash
trap : TERM
[ -e "$CODES" ] || sleep "$LATE"
bash "$@"
code=$?
echo $code >> "$CODES"
exit $code
"""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The results of SWEEP, one after another in this process."""
    return run_sweep_here(tmp_path_factory.mktemp("calm"), *SWEEP)


@pytest.fixture(scope="module")
def long_calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The results of LONG, which nobody disturbed."""
    return run_sweep_here(tmp_path_factory.mktemp("long-calm"), *LONG)


def flags(out: Path, sweep: tuple[object, ...], *options: str) -> list[str]:
    return [*map(str, sweep), "--out_dir", str(out), "--site_options", HERE, *options]


def assert_same(calm: dict[str, Path], out: Path) -> None:
    for name, path in calm.items():
        assert results.differences(path, out / name) == [], name
    assert not (out / ".parsl").exists(), "Parsl's files are gone"


def pools_that_worked(logs: Path) -> int:
    """The number of hosts with workers that ran a task."""
    workers = [log for log in logs.rglob("worker_*.log") if "Completed executor task" in log.read_text()]
    return len({log.parent for log in workers})


def until(ready: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def rounds_of(out: Path) -> int:
    """The rounds that all results of a folder hold."""
    return sum(
        results.load(path).attributes["rounds_done"] for path in out.glob("*.h5") if path.name[0] not in ".s"
    )


@pytest.mark.parametrize("nodes", [1, 2])
def test_inside_a_job_its_nodes_work(slurm: Cluster, calm: dict[str, Path], tmp_path: Path, nodes: int):
    given = flags(tmp_path / "out", SWEEP, f"log_root={tmp_path / 'logs'}", "accelerators=0", "workers=1")
    job = slurm.sbatch("-N", nodes, f"--output={tmp_path / 'log'}", JOB, *given, cwd=ROOT)
    found = slurm.wait(job)
    assert found["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    assert pools_that_worked(tmp_path / "logs") == nodes
    assert_same(calm, tmp_path / "out")
    assert not list(ROOT.glob("parsl*.nodes"))


@pytest.mark.parametrize(("jobs", "hosts"), [(1, 1), (1, 2), (2, 1)])
def test_from_the_login_node_its_jobs_work(
    slurm: Cluster, calm: dict[str, Path], tmp_path: Path, jobs: int, hosts: int
):
    options = [f"jobs={jobs}", f"hosts={hosts}", "workers=1", "walltime=00:10:00", "partition=test"]
    given = flags(tmp_path / "out", SWEEP, *options, f"log_root={tmp_path / 'logs'}")
    command = [sys.executable, str(SCRIPTS / "bd_scheduler.py"), "--parsl_config", "slurm", *given]
    done = subprocess.run(
        command, cwd=tmp_path, env=slurm.environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert pools_that_worked(tmp_path / "logs") == jobs * hosts
    assert_same(calm, tmp_path / "out")
    until(lambda: slurm.jobs() == [], "the jobs are still there", 60)


TASKS = """
import sys
from pathlib import Path

import parsl
from dml.parallel.owner import Heartbeat
from dml.parallel.sites import load_site, options_of
from dml.parallel.watch import watch_executors

def seen(seconds):
    import os, time
    time.sleep(seconds)
    stage = os.path.expandvars(os.environ["DML_STAGE"])
    return os.environ["SLURMD_NODENAME"] + " " + os.environ["CUDA_VISIBLE_DEVICES"] + " " + stage

site = load_site("slurm", Path(sys.argv[1]))
config = site.config(options_of(site, sys.argv[3:]), Path(".parsl").absolute())
with Heartbeat(Path("beat").absolute()) as heart:
    watch_executors(config, heart.owner)
    with parsl.load(config) as kernel:
        app = parsl.python_app(seen, data_flow_kernel=kernel)
        print(*sorted({future.result() for future in [app(2) for _ in range(int(sys.argv[2]))]}), sep="\\n")
"""


@pytest.mark.parametrize(
    ("together", "wanted"), [(1, ["n1 0", "n1 1", "n2 0", "n2 1"]), (2, ["n1 0,1", "n2 0,1"])]
)
@pytest.mark.parametrize("mode", ["inside", "login"])
def test_each_worker_has_gpus_of_its_own(
    slurm: Cluster, tmp_path: Path, mode: str, together: int, wanted: list[str]
):
    """The GPUs are none, but Slurm counts them, and Parsl names them to its workers."""
    (tmp_path / "tasks.py").write_text(TASKS)
    command = [sys.executable, "tasks.py", str(ROOT / "parsl_configs"), str(4 * len(wanted)), HERE]
    command += [f"accelerators_per_experiment={together}", "stage=/disk/$SLURM_JOB_ID"]
    if mode == "inside":
        words = [
            "-N",
            2,
            "--ntasks-per-node=1",
            "--gpus-per-node=2",
            "--output=out",
            f"--wrap={' '.join(command)}",
        ]
        job = slurm.sbatch(*words, cwd=tmp_path)
        assert slurm.wait(job)["JobState"] == "COMPLETED"
        said = (tmp_path / "out").read_text()
    else:
        said = slurm.call(*command, "jobs=1", "hosts=2", "accelerators=2", cwd=tmp_path, timeout=120)
    # Variables of the path are those of the workers' hosts.
    seen = [re.sub(r" /disk/\d+$", "", line) for line in said.splitlines()]
    assert seen[-len(wanted) :] == wanted


@pytest.fixture
def submit(slurm: Cluster, tmp_path: Path) -> Callable[..., str]:
    """Submits a sweep inside a job that keeps its exit codes in a file."""
    (tmp_path / "keeps_code.sh").write_text(KEEPS_CODE)

    def call(*words: object, nodes: int = 1, late: int = 0, sweep: tuple[object, ...] = LONG) -> str:
        out, path = tmp_path / "out", f"{tmp_path}:{os.environ['PATH']}"
        environment = {"CODES": f"{tmp_path}/codes", "LATE": str(late), "PATH": path}
        line = ["-N", nodes, "--open-mode=append", "--requeue", f"--output={tmp_path / 'log'}", *words]
        job = [tmp_path / "keeps_code.sh", JOB, *flags(out, sweep, "accelerators=0", "workers=1")]
        return slurm.sbatch(*line, *job, cwd=ROOT, environment=environment)

    return call


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_sweep_that_is_cancelled_goes_on(
    slurm: Cluster, submit: Callable[..., str], long_calm: dict[str, Path], tmp_path: Path, nodes: int
):
    job = submit(nodes=nodes)
    until(lambda: len(list((tmp_path / "out").glob("*.ckpt"))) >= nodes, "no checkpoint")
    slurm.call("scancel", job)
    assert slurm.wait(job)["JobState"] == "CANCELLED"
    assert (tmp_path / "codes").read_text() == "75\n"
    told = (tmp_path / "log").read_text()
    assert "of 3 experiments are done, " in told
    assert "run the same command to continue" in told
    before = rounds_of(tmp_path / "out")
    assert 0 < before < 300
    again = submit(nodes=nodes)
    assert slurm.wait(again)["JobState"] == "COMPLETED"
    assert (tmp_path / "codes").read_text() == "75\n0\n"
    assert_same(long_calm, tmp_path / "out")
    assert sum(len(results.load(tmp_path / "out" / name).segments) for name in long_calm) > 3, "went on"


def requeue(slurm: Cluster, job: str, *changes: str) -> None:
    """Starts a job again, without the two minutes that Slurm lets it wait in case its host has failed."""
    slurm.call("scontrol", "requeue", job)
    until(lambda: slurm.job(job)["Reason"] == "BeginTime", "the job does not wait", 60)
    slurm.call("scontrol", "update", f"JobId={job}", "StartTime=now", *changes)


def test_a_sweep_that_is_requeued_goes_on(
    slurm: Cluster, submit: Callable[..., str], long_calm: dict[str, Path], tmp_path: Path
):
    job = submit()
    until(lambda: bool(list((tmp_path / "out").glob("*.ckpt"))), "no checkpoint")
    requeue(slurm, job)
    found = slurm.wait(job)
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1")
    assert (tmp_path / "codes").read_text() == "75\n0\n"
    assert_same(long_calm, tmp_path / "out")


def test_a_sweep_that_is_out_of_time_goes_on(slurm: Cluster, submit: Callable[..., str], tmp_path: Path):
    """Slurm itself ends it, as the sweep cannot ask for the job's time: squeue does not answer.

    Limits are whole minutes, which Slurm checks every 30 s: the sweep starts late in the first.
    """
    (tmp_path / "squeue").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    job = submit("--time=1", late=50, sweep=LONGER)
    assert slurm.wait(job)["JobState"] == "TIMEOUT"
    assert (tmp_path / "codes").read_text() == "75\n"
    assert 0 < rounds_of(tmp_path / "out") < 500
    requeue(slurm, job, "TimeLimit=15")
    assert slurm.wait(job, seconds=480)["JobState"] == "COMPLETED"
    first = (*LONGER[:3], 1, *LONGER[4:])  # only one of them, as they take long
    assert_same(run_sweep_here(tmp_path / "calm", *first), tmp_path / "out")


def test_in_a_chain_each_job_goes_on_and_the_last_finds_all_done(
    slurm: Cluster, long_calm: dict[str, Path], tmp_path: Path
):
    out = tmp_path / "out"
    call = [ROOT / "scripts" / "submit_chain.sh", 3, f"--output={tmp_path}/%j", JOB, *flags(out, LONG)]
    first, second, third = slurm.call(*call, cwd=ROOT).split()
    assert slurm.job(second)["Dependency"].startswith(f"afterany:{first}")
    until(lambda: bool(list(out.glob("*.ckpt"))), "no checkpoint")
    assert slurm.state(second) == slurm.state(third) == "PENDING"
    slurm.call("scancel", first)
    assert slurm.wait(second)["JobState"] == "COMPLETED"
    assert_same(long_calm, out)
    files = {path: path.stat().st_mtime_ns for path in out.glob("*-*.h5")}
    assert len(files) == 3
    last = slurm.wait(third, seconds=60)
    assert last["JobState"] == "COMPLETED"
    assert "3 of 3 experiments done already" in (tmp_path / third).read_text()
    assert last["RunTime"] < "00:00:30"
    assert files == {path: path.stat().st_mtime_ns for path in files}
