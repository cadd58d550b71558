"""The scripts as a user calls them: by path, from another working directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from dml.topology import load
from dml.topology.presets import examples, paper

SCRIPTS = Path(__file__).parents[2] / "src" / "create_topo"


def call(cwd, script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_examples_are_saved_and_shown(tmp_path):
    done = call(tmp_path, "create_topologies.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "topologies"
    assert "topology_4  10 16   5     1    3" in lines
    saved = {path.stem: load(path) for path in (tmp_path / "topologies").iterdir()}
    for name, expected in examples().items():
        assert saved.pop(name).weights.tobytes() == expected.weights.tobytes()
    assert not saved
    assert call(tmp_path, "create_topologies.py").stdout == done.stdout


def test_twelve_a_seed_in_80_columns(tmp_path):
    done = call(tmp_path, "backdoor_topo.py", "--seeds", "0", "12", "--out_dir", "deep/er")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    saved = sorted(load(path).source for path in (tmp_path / "deep" / "er").iterdir())
    assert saved == sorted(paper(0) + paper(12))
    assert (tmp_path / "deep" / "er" / "barabasi_albert-n33-m2-seed0.txt").is_file()


def test_another_graph_of_that_name_stops_everything(tmp_path):
    (tmp_path / "topology_8.txt").write_text("mine")
    done = call(tmp_path, "create_topologies.py", "--out_dir", ".")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("--out_dir topology_8.txt: holds something else")
    assert [path.name for path in tmp_path.iterdir()] == ["topology_8.txt"]
    assert (tmp_path / "topology_8.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds"], "--seeds: name at least one"),
        (["--seeds", "0", "-1"], "--seeds -1: "),
        (["--out_dir", "file"], "--out_dir file: cannot be made"),
        (["--out_dir", "file/under"], "--out_dir file/under: cannot be made"),
    ],
)
def test_wrong_arguments_exit_2_and_write_nothing(tmp_path, arguments, message):
    (tmp_path / "file").touch()
    done = call(tmp_path, "backdoor_topo.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
