"""One experiment that the processes of a job share, on a real Slurm: the numbers are those of one process."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scripts import ROOT
from slurm_cluster import Cluster

from dml import config, experiment, results
from dml.plan import make_plan
from dml.results import checkpoint

pytestmark = pytest.mark.slow

JOB = ROOT / "scripts" / "mpi" / "one_experiment.sbatch"
FLAGS = {"topology_file": "cycle:n=5", "rounds": 2, "engine": "loop", "threads": 1}


@pytest.mark.parametrize("hosts", [1, 2])
def test_the_processes_of_a_job_share_one_experiment(hosts: int, slurm: Cluster, tmp_path: Path):
    alone = make_plan(config.make({**FLAGS, "out_dir": tmp_path / "alone"}))
    experiment.run(alone.config)
    options = [f"--nodes={hosts}", f"--ntasks-per-node={2 // hosts}", f"--output={tmp_path / 'log'}"]
    words = [f"--{flag}={value}" for flag, value in {**FLAGS, "out_dir": tmp_path / "job"}.items()]
    # Both nodes are this machine, where their names are not known, and reach its loopback address.
    meeting = {"MASTER_ADDR": "127.0.0.1"} if hosts > 1 else {}
    environment = {"VENV": sys.prefix, **meeting}
    job = slurm.sbatch(*options, JOB, *words, cwd=ROOT, environment=environment)
    assert slurm.wait(job)["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    (file,) = (tmp_path / "job").glob("*.h5")
    assert len(results.load(file).segments[-1]["ranks"]) == 2
    models = [checkpoint.read(checkpoint.path_of(path), alone.identity.id) for path in (file, alone.result)]
    assert models[0] is not None
    assert models[1] is not None
    np.testing.assert_array_equal(models[0].X, models[1].X)
