"""Job scripts and their chains, with stand-ins for qsub and sbatch that check their words.

Neither Polaris nor Aurora can be reached from here. tests/slurm runs the same on a real Slurm.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import ROOT

from dml import command_line, config

CHAIN = ROOT / "scripts" / "submit_chain.sh"
JOBS = sorted((ROOT / "scripts").glob("*/*.pbs")) + sorted((ROOT / "scripts").glob("*/*.sbatch"))
SWEEPS = [job for job in JOBS if job.stem == "bd_scheduler"]
SHARED = [job for job in JOBS if job.stem == "one_experiment"]
EXAMPLES = [*JOBS, CHAIN, *(ROOT / "docs").glob("*.md"), *(ROOT / "parsl_configs").glob("*.md")]

# Hosts (least, most) and hours of ALCF's queues, as its user guides give them in 2026.
QUEUES = {
    "aurora": {
        "debug": (1, 2, 1),
        "debug-scaling": (2, 256, 1),
        "capacity": (1, 16, 168),
        "prod": (256, 10624, 24),
    },
    "polaris": {
        "debug": (1, 2, 1),
        "debug-scaling": (1, 10, 1),
        "prod": (10, 496, 24),
        "preemptable": (1, 10, 72),
        "capacity": (1, 4, 168),
    },
}

# Takes what OpenPBS's qsub takes of it, refuses all else, and numbers the jobs.
QSUB = """#!{python}
import argparse, pathlib, re, shlex, sys

parser = argparse.ArgumentParser(allow_abbrev=False)
for option in "ANqvWkSJMm":
    parser.add_argument("-" + option)
parser.add_argument("-l", action="append", default=[])
parser.add_argument("-j", choices=["oe", "eo", "n"])
parser.add_argument("-r", choices=["y", "n"])
parser.add_argument("job")
words = parser.parse_args()
lines = pathlib.Path(words.job).read_text().splitlines()
inside = " ".join(line[5:] for line in lines if line.startswith("#PBS"))
told = parser.parse_args([*shlex.split(inside), words.job])
if not words.A:
    sys.exit("qsub: Account is required")
if told.k not in (None, "doe", "oed", "d", "oe"):
    sys.exit("qsub: illegal -k value")
log = pathlib.Path("qsub-log")
jobs = log.read_text().splitlines() if log.exists() else []
if words.W and not re.fullmatch("depend=afterany:[0-9]+[.]server", words.W):
    sys.exit("qsub: illegal -W value")
if words.W and words.W.partition(":")[2] not in [line.split()[0] for line in jobs]:
    sys.exit("qsub: Unknown Job Id")
if len(jobs) == {most}:
    sys.exit("qsub: would exceed queue's limit")
resources = dict(item.split("=", 1) for item in ",".join([*told.l, *words.l]).split(","))
hosts = int(resources["select"].partition(":")[0])
hours, minutes, seconds = map(int, resources["walltime"].split(":"))
queues = {queues}
for machine in queues:
    if machine in words.job:
        least, longest, most_hours = queues[machine][words.q]
        if not least <= hosts <= longest:
            sys.exit(f"qsub: queue {{words.q}} has jobs of {{least}} to {{longest}} hosts")
        if hours + minutes / 60 > most_hours:
            sys.exit(f"qsub: queue {{words.q}} has jobs of up to {{most_hours}} hours")
jobs.append(f"{{len(jobs) + 1}}.server {{words.W}} {{words.v}} {{words.job}}")
log.write_text("\\n".join(jobs) + "\\n")
print(jobs[-1].split()[0])
"""

# Looks like two clusters in one, where --parsable adds the cluster's name.
SBATCH = """#!/bin/bash
echo "$*" >> sbatch-log
echo "$(wc -l < sbatch-log);cluster"
"""


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, str]:
    """The environment in which qsub and sbatch are stand-ins, which take at most 3 jobs."""
    (tmp_path / "bin").mkdir()
    qsub = QSUB.format(python=sys.executable, queues=QUEUES, most=3)
    for name, text in {"qsub": qsub, "sbatch": SBATCH}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def chain(environment: dict[str, str], folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/bash", str(CHAIN), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job.parent.name}/{job.name}")
def test_a_job_submitted_from_another_folder_says_what_to_do(job: Path, tmp_path: Path):
    environment = {"PATH": "/usr/bin:/bin", "PBS_O_WORKDIR": str(tmp_path), "SLURM_SUBMIT_DIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", job], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert (
        said == f"error: {tmp_path} is not the folder of distributed_ml: cd there, then submit this job again"
    )


@pytest.mark.parametrize("job", SWEEPS, ids=lambda job: f"{job.parent.name}/{job.name}")
def test_a_job_calls_the_sweep_with_the_environments_python(job: Path, tmp_path: Path):
    """Stand-ins for `module` and `conda`, and a Python that prints its words."""
    (tmp_path / "src" / "experiments").mkdir(parents=True)
    (tmp_path / "src" / "experiments" / "bd_scheduler.py").touch()
    python = tmp_path / "an env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\necho "$TMPDIR"; printf "%s\\n" "$@"; pwd; exit 75\n')
    where = {"PBS_O_WORKDIR": str(tmp_path), "SLURM_SUBMIT_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    environment = where | {
        "VENV": str(tmp_path / "an env"),
        "FLAGS": "--preset paper",
        "BASH_ENV": str(tmp_path / "b"),
    }
    (tmp_path / "b").write_text("module() { :; }; conda() { :; }\n")
    words = ["--preset", "paper"] if job.suffix == ".sbatch" else []
    call = ["bash", str(job), *words]
    missing = subprocess.run(call, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert f"there is no {python}" in missing.stderr
    python.chmod(0o755)
    done = subprocess.run(call, env=environment, cwd="/", capture_output=True, text=True, check=False)
    site = job.parent.name
    wanted = [
        "/tmp",
        "src/experiments/bd_scheduler.py",
        "--parsl_config",
        site,
        "--preset",
        "paper",
        str(tmp_path),
    ]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (75, wanted, "")


# Stand-ins for srun and mpiexec print what they are given, and where the processes are to meet.
LAUNCHER = """#!/bin/bash
echo "${0##*/} $* at ${MASTER_ADDR-}:${MASTER_PORT-}"
exit 75
"""
SCONTROL = """#!/bin/bash
[ "$*" = "show hostnames n[1-2]" ] && printf 'n1\\nn2\\n'
"""


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("job", SHARED, ids=lambda job: job.name)
def test_a_job_shares_one_experiment_among_its_processes(job: Path, hosts: int, tmp_path: Path):
    folder = tmp_path / "src" / "experiments"
    folder.mkdir(parents=True)
    (folder / "decentralized_main.py").touch()
    made = {"srun": LAUNCHER, "mpiexec": LAUNCHER, "scontrol": SCONTROL, "env/bin/python": ""}
    for name, text in made.items():
        (tmp_path / "bin" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "hosts").write_text("n1\n" * 3 + "n2\n" * 3 * (hosts - 1))
    python = tmp_path / "bin" / "env" / "bin" / "python"
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "VENV": str(python.parents[1]),
        "PBS_O_WORKDIR": str(tmp_path),
        "PBS_NODEFILE": str(tmp_path / "hosts"),
        "PBS_JOBID": "1234.server",
        "FLAGS": "--rounds 3",
        "RANKS": "2",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NUM_NODES": str(hosts),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_ID": "1234",
    }
    words = ["--rounds", "3"] if job.suffix == ".sbatch" else []
    done = subprocess.run(
        ["bash", job, *words], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    launcher = f"mpiexec -n {2 * hosts} --ppn 2" if job.suffix == ".pbs" else "srun --kill-on-bad-exit=1"
    meeting = "n1:21234" if hosts == 2 else ":"
    said = f"{launcher} {python} src/experiments/decentralized_main.py --rounds 3 at {meeting}\n"
    assert (done.returncode, done.stdout, done.stderr) == (75, said, "")


@pytest.mark.parametrize("job", SHARED, ids=lambda job: job.name)
def test_an_example_in_a_job_that_shares_an_experiment_has_flags_that_exist(job: Path):
    calls = re.findall(r"^#   (?:sbatch|qsub) .*$", job.read_text(), re.MULTILINE)
    assert len(calls) >= 2
    for call in calls:
        words = shlex.split(call)
        flags = words[words.index(f"scripts/mpi/{job.name}") + 1 :] if job.suffix == ".sbatch" else []
        if "-v" in words:
            flags = words[words.index("-v") + 1].partition("FLAGS=")[2].split()
        config.make(command_line.parse(config.fields(), flags, prog="", description=""))


@pytest.mark.parametrize(
    "job", [job for job in JOBS if job.suffix == ".pbs"], ids=lambda job: job.parent.name
)
def test_the_output_of_a_pbs_job_is_there_while_it_runs(job: Path):
    assert "#PBS -k doe" in job.read_text().splitlines()


def test_a_chain_of_pbs_jobs_waits_for_the_one_before_however_it_ends(
    commands: dict[str, str], tmp_path: Path
):
    job = ROOT / "scripts" / "polaris" / "bd_scheduler.pbs"
    done = chain(commands, tmp_path, 3, "-A", "us", "-q", "capacity", "-v", "FLAGS=--preset paper", job)
    assert (done.stdout, done.stderr) == ("1.server\n2.server\n3.server\n", "")
    assert (tmp_path / "qsub-log").read_text().splitlines() == [
        f"1.server None FLAGS=--preset paper {job}",
        f"2.server depend=afterany:1.server FLAGS=--preset paper {job}",
        f"3.server depend=afterany:2.server FLAGS=--preset paper {job}",
    ]
    refused = chain(commands, tmp_path, 1, "-A", "us", "-q", "capacity", job)
    assert refused.returncode == 1
    assert "0 of 1 jobs were submitted; qsub refused the next one" in refused.stderr
    assert "would exceed" in refused.stderr


def test_a_chain_of_slurm_jobs_has_the_flags_after_the_job(commands: dict[str, str], tmp_path: Path):
    job = ROOT / "scripts" / "slurm" / "bd_scheduler.sbatch"
    done = chain(commands, tmp_path, 2, "-p", "gpu", job, "--preset", "paper")
    assert (done.stdout, done.stderr) == ("1\n2\n", "")
    assert (tmp_path / "sbatch-log").read_text().splitlines() == [
        f"--parsable -p gpu {job} --preset paper",
        f"--parsable --dependency=afterany:1 -p gpu {job} --preset paper",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give the number of jobs, and the job"),
        (("2",), "give the number of jobs, and the job"),
        (("x", "a.pbs"), "N x: must be a whole number from 1 to 999"),
        (("0", "a.pbs"), "N 0: must be a whole number"),
        (("2", "-A", "us"), "no job among: -A us"),
        (("2", "absent.pbs"), "absent.pbs: there is no such file; run this from the repository's folder"),
    ],
)
def test_a_wrong_chain_submits_nothing(
    words: tuple[str, ...], said: str, commands: dict[str, str], tmp_path: Path
):
    done = chain(commands, tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "qsub-log").exists()


def test_a_chain_without_the_batch_system_says_so(tmp_path: Path):
    job = ROOT / "scripts" / "aurora" / "bd_scheduler.pbs"
    done = chain({"PATH": str(tmp_path)}, tmp_path, 2, job)
    assert done.returncode == 2
    assert "there is no qsub on this machine" in done.stderr


def examples() -> list[str]:
    """All calls of qsub, and of chains of PBS jobs, in the docs and in the job scripts."""
    found = []
    for file in EXAMPLES:
        text = re.sub(r"\\\n#?\s*", " ", file.read_text())
        for line in text.splitlines():
            line = line.removeprefix("#").strip()
            if re.match(r"(qsub|scripts/submit_chain\.sh \d+) .*\.pbs$", line):
                found.append(line)
    return found


@pytest.mark.parametrize("example", sorted(set(examples())))
def test_a_documented_call_is_one_that_the_queue_takes(
    example: str, commands: dict[str, str], tmp_path: Path
):
    words = example.replace("$DML_DATA", "/data")
    qsub = tmp_path / "bin" / "qsub"
    qsub.write_text(qsub.read_text().replace("len(jobs) == 3", "len(jobs) == 99"))
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    done = subprocess.run(
        shlex.split(words), cwd=tmp_path, env=commands, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_such_examples():
    assert len(examples()) >= 8
