"""Sites of Slurm and PBS, inside a job and from a login node: made and checked without such a cluster."""

import os
import re
from pathlib import Path

import pytest
from parsl import Config
from parsl.providers import LocalProvider, PBSProProvider, SlurmProvider
from scripts import Script

from dml.errors import InputError
from dml.parallel.address import address_of
from dml.parallel.cluster import with_defaults
from dml.parallel.sites import load_site

FOLDER = Path(__file__).parents[2] / "parsl_configs"
ADDRESS = {"address": "10.0.0.1"}
JOBS = {
    **ADDRESS,
    "jobs": "3",
    "hosts": "2",
    "walltime": "02:30:00",
    "account": "us",
    "cores": "32",
    "memory": "64",
}


@pytest.fixture(params=["slurm", "pbs"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A site outside any job."""
    for variable in list(os.environ):
        if variable.startswith(("SLURM_", "PBS_")):
            monkeypatch.delenv(variable)
    return str(request.param)


@pytest.fixture
def job(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A site inside a job of two hosts with 8 cores each, and 4 GPUs where the system says so."""
    (tmp_path / "nodes").write_text("x1\nx1\nx2\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "8"}
    for name, value in (
        variables if system == "slurm" else {"PBS_NODEFILE": str(tmp_path / "nodes")}
    ).items():
        monkeypatch.setenv(name, value)
    return system


def made(name: str, options: dict[str, str], folder: Path) -> Config:
    return load_site(name, FOLDER).config(options, folder / ".parsl")


def refusal(name: str, options: dict[str, str], folder: Path) -> str:
    with pytest.raises(InputError) as error:
        made(name, options, folder)
    return str(error.value)


def test_inside_a_job_the_workers_are_on_its_hosts(job: str, tmp_path: Path) -> None:
    (executor,) = made(job, {**ADDRESS, "accelerators": "4"}, tmp_path).executors
    assert isinstance(executor.provider, LocalProvider)
    assert executor.provider.nodes_per_block == 2
    assert executor.available_accelerators == ["0", "1", "2", "3"]
    assert executor.max_workers_per_node == 4
    assert executor.encrypted
    script = executor.provider.launcher("work 'here'", 1, 2, "/run")
    start = {"slurm": "srun .*--nodes=2 --ntasks=2 --ntasks-per-node=1", "pbs": "mpiexec .*-n 2 --hostfile"}
    assert re.search(start[job], script)
    assert "export TMPDIR=/tmp\nwork 'here'\n" in script


def test_without_accelerators_each_core_of_the_job_has_a_worker_of_one_thread(
    job: str, tmp_path: Path
) -> None:
    (executor,) = made(job, ADDRESS, tmp_path).executors
    assert (executor.max_workers_per_node, executor.available_accelerators) == (8, [])
    assert "export OMP_NUM_THREADS=1" in executor.provider.worker_init
    (executor,) = made(job, {**ADDRESS, "workers": "3", "affinity": "list:0-1:2-3:4-7"}, tmp_path).executors
    assert (executor.max_workers_per_node, executor.cpu_affinity) == (3, "list:0-1:2-3:4-7")


def test_slurm_says_how_many_gpus_the_job_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ID": "7", "NUM_NODES": "1"}.items():
        monkeypatch.setenv(f"SLURM_JOB_{name}", value)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    assert made("slurm", ADDRESS, tmp_path).executors[0].available_accelerators == ["0", "1"]
    none = made("slurm", {**ADDRESS, "accelerators": "0", "workers": "1"}, tmp_path).executors[0]
    assert none.available_accelerators == []


def test_an_experiment_may_have_several_accelerators_and_the_cores_of_all(job: str, tmp_path: Path) -> None:
    options = {"accelerators": "4", "accelerators_per_experiment": "2", "affinity": "list:0-1:2-3:4-5:6-7"}
    (executor,) = made(job, ADDRESS | options, tmp_path).executors
    assert executor.available_accelerators == ["0,1", "2,3"]
    assert executor.max_workers_per_node == 2
    assert executor.cpu_affinity == "list:0-1,2-3:4-5,6-7"
    assert "export DML_SHARDS=2" in executor.provider.worker_init
    (executor,) = made(job, ADDRESS | {"accelerators": "4"}, tmp_path).executors
    assert "DML_SHARDS" not in executor.provider.worker_init


def test_from_a_login_node_jobs_are_submitted_with_what_was_asked_for(system: str, tmp_path: Path) -> None:
    queue = {"slurm": {"partition": "gpu"}, "pbs": {"queue": "gpu", "select": "ngpus=4"}}[system]
    further = {"slurm": "--qos=high", "pbs": "-l place=scatter"}[system]
    options = (
        JOBS | queue | {"accelerators": "4", "scheduler_options": further, "worker_init": "module load x"}
    )
    (executor,) = made(system, options, tmp_path).executors
    provider = executor.provider
    assert isinstance(provider, {"slurm": SlurmProvider, "pbs": PBSProProvider}[system])
    assert (provider.init_blocks, provider.max_blocks, provider.nodes_per_block) == (3, 3, 2)
    # Parsl writes the script and calls sbatch or qsub, whose words are looked at here.
    provider.script_dir, called = str(tmp_path), []
    provider.execute_wait = lambda command, timeout=None: (
        called.append(command) or (0, "Submitted batch job 7\n", "")
    )
    assert provider.submit("work", 1)
    command, file = called[0].rsplit(maxsplit=1)
    script = Path(file).read_text()
    lines = set(script.splitlines())
    if system == "slurm":
        wanted = {"--partition=gpu", "--account=us", "--nodes=2", "--time=150", "--mem=64g", "--qos=high"}
        wanted |= {"--gpus-per-node=4", "--cpus-per-task=32", "--exclusive", "--ntasks-per-node=1"}
        assert {f"#SBATCH {words}" for words in wanted} <= lines
    else:
        assert command.split() == ["qsub", "-q", "gpu", "-A", "us"]
        select = "#PBS -l select=2:ncpus=32:mem=64gb:ngpus=4"
        assert {select, "#PBS -l walltime=02:30:00", "#PBS -l place=scatter"} <= lines
        # A job of Parsl runs no login shell, so `module` must come from somewhere.
        assert script.index(". /etc/profile") < script.index("module load x")
    assert script.index("module load x") < script.index("export PATH=") < script.index("set -e")


def test_hosts_may_be_shared(tmp_path: Path) -> None:
    (executor,) = made("slurm", {**JOBS, "accelerators": "1", "exclusive": "no"}, tmp_path).executors
    assert "--exclusive" not in executor.provider.scheduler_options
    assert "exclusive=maybe: must be yes or no" in refusal("slurm", JOBS | {"exclusive": "maybe"}, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"is not set, so this is not a .* job; .*jobs=N"),
        ({"account": "us"}, "account=us: is for the jobs that this command submits: add jobs=N"),
        ({"hosts": "2"}, "hosts=2: is for the jobs that this command submits"),
        ({**JOBS, "jobs": "many"}, "jobs=many: must be a whole number of at least 1"),
        ({**JOBS, "hosts": "0"}, "hosts=0: must be a whole number"),
        ({**JOBS, "memory": "1.5"}, "memory=1.5: must be a whole number"),
        ({**JOBS, "walltime": "90"}, "walltime=90: must be HH:MM:SS"),
        ({**JOBS, "accelerators": "4", "workers": "2"}, "workers=2: there is one worker for each"),
        (
            {**JOBS, "accelerators": "4", "accelerators_per_experiment": "3"},
            "accelerators_per_experiment=3: must divide the 4 accelerators of a host",
        ),
        ({**JOBS, "accelerators_per_experiment": "2"}, "needs the number of a host's accelerators"),
        ({**JOBS, "accelerators": "-1"}, "accelerators=-1: must be a whole number"),
        ({**JOBS, "accelerators": "4", "affinity": "list:0:1"}, "each of 4 accelerators or 4 workers, not 2"),
        ({**JOBS, "accelerators": "1", "address": "", "interface": "no0"}, "no network interface no0 "),
    ],
)
def test_a_wrong_option_is_refused(system: str, options: dict[str, str], words: str, tmp_path: Path) -> None:
    assert re.search(words, refusal(system, options, tmp_path))


def test_a_login_node_cannot_know_the_cores_of_a_host(tmp_path: Path) -> None:
    assert "give workers=N, or accelerators=N" in refusal("slurm", JOBS | {"cores": ""}, tmp_path)
    assert "give cores=N" in refusal("pbs", JOBS | {"cores": ""}, tmp_path)


def test_a_hosts_name_that_only_it_understands_is_no_address_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostbyname", lambda name: "127.0.1.1")
    assert address_of("", one_host=True) == "127.0.1.1"
    with pytest.raises(
        ValueError, match=r"stands for 127\.0\.1\.1, which others do not reach .*interfaces: lo"
    ):
        address_of("", one_host=False)


def test_a_copy_of_a_site_gives_its_own_defaults(tmp_path: Path) -> None:
    text = (FOLDER / "slurm.py").read_text()
    mine = text.replace('accelerators=""', 'partition="big", jobs="2", walltime="08:00:00", accelerators="4"')
    (tmp_path / "mine.py").write_text(mine)
    (executor,) = made(str(tmp_path / "mine.py"), ADDRESS, tmp_path).executors
    assert executor.max_workers_per_node == 4
    assert (executor.provider.partition, executor.provider.walltime) == ("big", "08:00:00")
    with pytest.raises(ValueError, match="there is no option tiles"):
        with_defaults({"a": ("", "")}, tiles="2")


def test_a_dry_run_needs_no_job(system: str, script: Script) -> None:
    quick = ("--preset", "quickstart", "--dry_run", "--parsl_config", system)
    assert "the speed of this site's workers is not known" in script("bd_scheduler.py", *quick).stdout
    assert " on 9 workers " in script("bd_scheduler.py", *quick, "--workers", 9).stdout
