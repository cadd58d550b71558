"""Sites of a PBS job: made and checked without their machines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dml.errors import InputError
from dml.parallel.affinity import affinity_groups
from dml.parallel.sites import load_site

FOLDER = Path(__file__).parents[2] / "parsl_configs"
CLUSTERS = {"aurora": 12, "polaris": 4}
ONE_TASK = """
import sys
from pathlib import Path

import parsl
from dml.parallel.sites import load_site
from dml.parallel.owner import Heartbeat
from dml.parallel.watch import watch_executors

def seen():
    import os
    return [os.environ[key] for key in ("ZE_AFFINITY_MASK", "ZE_FLAT_DEVICE_HIERARCHY", "TMPDIR")]

options = {"address": "127.0.0.1", "affinity": "none"} | dict(word.split("=", 1) for word in sys.argv[2:])
config = load_site("aurora", Path(sys.argv[1])).config(options, Path(".parsl"))
config.executors[0].max_workers_per_node = 1  # of the 12, which is enough to see
with Heartbeat("beat") as heart:
    watch_executors(config, heart.owner)
    with parsl.load(config):
        print(*parsl.python_app(seen)().result())
"""
ADDRESS = {"address": "10.0.0.1"}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_text("x1000\nx1000\nx1001\nx1001\nx1002\n")
    monkeypatch.setenv("PBS_NODEFILE", str(nodes))


def cores(group: str) -> set[int]:
    found: set[int] = set()
    for text in group.split(","):
        first, _, last = text.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def refusal(name: str, options: dict[str, str], run_dir: Path) -> InputError:
    with pytest.raises(InputError) as error:
        load_site(name, FOLDER).config(options, run_dir)
    return error.value


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_has_a_worker_for_each_group_of_cores(name: str, each: int, tmp_path: Path) -> None:
    options = ADDRESS | {"workers_per_accelerator": str(each)}
    config = load_site(name, FOLDER).config(options, tmp_path)
    (executor,) = config.executors
    workers = CLUSTERS[name] * each
    groups = [cores(group) for group in affinity_groups(executor.cpu_affinity)]
    assert len(groups) == len(executor.available_accelerators) == executor.max_workers_per_node == workers
    assert len(set().union(*groups)) == sum(map(len, groups)), "no core has two workers"
    assert {len(group) for group in groups} == {16 // each}
    for group in groups:  # a core goes with its second thread
        half = {"aurora": 104, "polaris": 32}[name]
        assert {core + half for core in group if core < half} == {core for core in group if core >= half}
    assert executor.address == "10.0.0.1"
    assert executor.encrypted
    assert executor.provider.nodes_per_block == 3, "hosts, not lines of the node file"


@pytest.mark.usefixtures("job")
def test_auroras_reserved_cores_have_no_worker(tmp_path: Path) -> None:
    (executor,) = load_site("aurora", FOLDER).config(ADDRESS, tmp_path).executors
    used = set().union(*map(cores, affinity_groups(executor.cpu_affinity)))
    assert not used & {0, 52, 104, 156}


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(("hierarchy", "last"), [("COMPOSITE", "5.1"), ("FLAT", "11")])
def test_auroras_tiles_are_named_in_the_hierarchy_that_the_workers_see(
    hierarchy: str, last: str, tmp_path: Path
) -> None:
    options = ADDRESS | {
        "hierarchy": hierarchy,
        "workers_per_accelerator": "2",
        "worker_init": "module load m",
    }
    (executor,) = load_site("aurora", FOLDER).config(options, tmp_path).executors
    names = executor.available_accelerators
    assert names[::2] == names[1::2], "neighbours share a tile, as they share its cores"
    assert len(set(names)) == 12
    assert names[-1] == last
    lines = executor.provider.worker_init.splitlines()
    assert lines[0] == "module load m"
    assert {f"export ZE_FLAT_DEVICE_HIERARCHY={hierarchy}", "export TMPDIR=/tmp"} <= set(lines[1:])
    assert f'export PATH={Path(sys.executable).parent}:"$PATH"' in lines


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("each", [1, 2, 3])
def test_polaris_workers_get_gpus_that_exist(each: int, tmp_path: Path) -> None:
    options = ADDRESS | {"workers_per_accelerator": str(each)}
    (executor,) = load_site("polaris", FOLDER).config(options, tmp_path).executors
    pool = len(executor.available_accelerators)
    # What Parsl's process_worker_pool.py does with a name where nvidia-smi lists 4 GPUs.
    gpus = [int(name) // (pool // 4) for name in executor.available_accelerators]
    assert gpus == [gpu for gpu in range(4) for _ in range(each)]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("name", "first", "last"), [("aurora", "0.0,0.1", "5.0,5.1"), ("polaris", "0,1", "2,3")]
)
def test_an_experiment_may_have_two_accelerators_and_the_cores_of_both(
    name: str, first: str, last: str, tmp_path: Path
) -> None:
    options = ADDRESS | {"accelerators_per_experiment": "2"}
    (executor,) = load_site(name, FOLDER).config(options, tmp_path).executors
    names = executor.available_accelerators
    assert (names[0], names[-1], len(names)) == (first, last, CLUSTERS[name] // 2)
    groups = [cores(group) for group in affinity_groups(executor.cpu_affinity)]
    assert [len(group) for group in groups] == [32] * executor.max_workers_per_node == [32] * len(names)
    refused = refusal(name, options | {"workers_per_accelerator": "2"}, tmp_path)
    assert refused.right == "excludes workers_per_accelerator=2"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("aurora", {"ncpus=208", "home:flare"}), ("polaris", {"ncpus=32:ngpus=4", "home:eagle"})],
)
def test_from_a_login_node_jobs_ask_for_what_the_facility_documents(
    name: str, wanted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    options = ADDRESS | {"jobs": "2", "hosts": "2", "account": "us"}
    provider = load_site(name, FOLDER).config(options, tmp_path).executors[0].provider
    monkeypatch.setattr(provider, "execute_wait", lambda command, timeout=None: (0, "7.server\n", ""))
    provider.script_dir = str(tmp_path)
    provider.submit("work", 1)
    (script,) = [path.read_text() for path in tmp_path.glob("parsl.*")]
    assert all(words in script for words in {*wanted, "#PBS -l select=2:", "-l place=scatter"}), script
    assert "mpiexec --cpu-bind none" in script


def test_a_clusters_workers_start_through_its_launcher_and_see_their_accelerator(tmp_path: Path) -> None:
    """Aurora's site on this machine, with a stand-in for mpiexec that runs the command once, here."""
    (tmp_path / "mpiexec").write_text('#!/bin/bash\necho "$*" > mpiexec-called\nexec env -i "${@: -2}"\n')
    (tmp_path / "mpiexec").chmod(0o755)
    (tmp_path / "nodes").write_text("localhost\nlocalhost\n")
    (tmp_path / "scheduler.py").write_text(ONE_TASK)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PBS_NODEFILE": str(tmp_path / "nodes"),
        "ZE_FLAT_DEVICE_HIERARCHY": "FLAT",  # as the module sets it
    }
    command = [sys.executable, "scheduler.py", str(FOLDER)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    tile, hierarchy, temporary = done.stdout.split()
    assert (tile, hierarchy) == ("0.0", "COMPOSITE"), done.stderr
    assert Path(temporary).parent == Path("/tmp")
    assert (tmp_path / "mpiexec-called").read_text().startswith("--cpu-bind none --ppn 1 -n 1 --hostfile ")
    assert not list(tmp_path.glob("parsl*")), "Parsl's files are below its own folder"


QSUB = """#!/bin/bash
echo "$*" >> qsub-called
job=${@: -1}
PBS_O_WORKDIR=$PWD PBS_NODEFILE=$PWD/nodes
env -i PATH=$PWD:/usr/bin:/bin PBS_O_WORKDIR="$PBS_O_WORKDIR" PBS_NODEFILE="$PBS_NODEFILE" \\
    bash -c 'cd / && exec bash "$0"' "$job" > "$PBS_O_WORKDIR/job.log" 2>&1 &
echo 7.server
"""


@pytest.mark.slow
def test_from_a_login_node_a_job_finds_all_it_needs_without_the_users_environment(tmp_path: Path) -> None:
    """Aurora's site with stand-ins for qsub and mpiexec; they check what they are told, but are not PBS."""
    (tmp_path / "mpiexec").write_text('#!/bin/bash\nexec env -i "${@: -2}"\n')
    (tmp_path / "qsub").write_text(QSUB)
    (tmp_path / "qstat").write_text('#!/bin/bash\necho \'{"Jobs": {"7.server": {"job_state": "R"}}}\'\n')
    (tmp_path / "qdel").write_text("#!/bin/bash\n")
    for name in ("mpiexec", "qsub", "qstat", "qdel"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "nodes").write_text("localhost\n")
    (tmp_path / "scheduler.py").write_text(ONE_TASK)
    environment = {key: value for key, value in os.environ.items() if key != "PBS_NODEFILE"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    command = [sys.executable, "scheduler.py", str(FOLDER), "jobs=1", "account=us", "queue=capacity"]
    command.append(f"worker_init=export PATH={tmp_path}:$PATH")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)
    log = (tmp_path / "job.log").read_text()
    tile, hierarchy, temporary = done.stdout.split()
    assert (tile, hierarchy) == ("0.0", "COMPOSITE"), done.stderr + log
    assert temporary.startswith("/tmp")
    assert (tmp_path / "qsub-called").read_text().startswith("-q capacity -A us ")


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("options", "flag", "words"),
    [
        ({"affinity": "list:1-8:9-16"}, "site_options", "12 accelerators or 12 workers, not 2"),
        ({"affinity": "list:1-8:x"}, "site_options", "must be list:a-b,c-d:... or one of none"),
        ({"affinity": "tight"}, "site_options", "must be list:a-b,c-d:... or one of none"),
        ({"workers_per_accelerator": "9"}, "site_options", "too few cores"),
        ({"workers_per_accelerator": "0"}, "site_options", "whole number of at least 1"),
        ({"workers_per_accelerator": "two"}, "site_options", "whole number of at least 1"),
        ({"hierarchy": "flat"}, "site_options", "must be COMPOSITE or FLAT"),
        ({"address": "", "interface": "no0"}, "parsl_config", "no network interface no0 .*interfaces: lo"),
        (
            {"tiles": "3"},
            "site_options",
            "aurora takes: hierarchy, workers_per_accelerator, accelerators_per_experiment",
        ),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, str], flag: str, words: str, tmp_path: Path) -> None:
    error = refusal("aurora", ADDRESS | options, tmp_path)
    assert error.field == flag
    with pytest.raises(InputError, match=words):
        raise error


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_outside_a_job_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    error = refusal(name, ADDRESS, tmp_path)
    assert (error.field, error.value) == ("parsl_config", name)
    assert "$PBS_NODEFILE is not set" in error.right
    assert "qsub" in error.right
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "absent"))
    assert "absent" in refusal(name, ADDRESS, tmp_path).right
    (tmp_path / "absent").write_text("\n")
    assert "names no host" in refusal(name, ADDRESS, tmp_path).right


@pytest.mark.parametrize("site", CLUSTERS)
def test_the_job_script_is_bash(site: str) -> None:
    script = FOLDER.parent / "scripts" / site / "bd_scheduler.pbs"
    subprocess.run(["bash", "-n", script], check=True)
    assert f"--parsl_config {site}" in script.read_text()
