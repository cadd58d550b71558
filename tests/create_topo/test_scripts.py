"""The scripts as a user calls them: by path, from another working directory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scripts import run_here

from dml import topology_script
from dml.topology import folder, load, make
from dml.topology.presets import TABLES, examples

SCRIPTS = Path(__file__).parents[2] / "src" / "create_topo"

# script: its table, and the seeds for which the sweep was published
TABLE_SCRIPTS = {
    "backdoor_topo.py": ("paper", (0, 1, 2)),
    "hetero_label_topo.py": ("hetero_label", (0,)),
    "softmax_topo.py": ("softmax", (0,)),
    "neg_soft_topo.py": ("neg_soft", (0, 1, 2)),
    "scale_nodes_topo.py": ("scale_nodes", (0,)),
    "heterogeneous_topo.py": ("heterogeneous", (0,)),
    "timing_topo.py": ("timing", (0,)),
}


def call(cwd, script, *arguments):
    return run_here(SCRIPTS / script, arguments, cwd)


def test_every_script_is_tested_here():
    assert {path.name for path in SCRIPTS.glob("*.py")} == {"create_topologies.py", *TABLE_SCRIPTS}


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


@pytest.mark.parametrize("script", TABLE_SCRIPTS)
def test_a_script_saves_its_table_for_its_seeds(tmp_path, script):
    table, seeds = TABLE_SCRIPTS[script]
    done = call(tmp_path, script)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "topologies"
    assert max(map(len, lines)) <= 80
    drawn = [make(text, seed) for seed in seeds for text in TABLES[table]]
    # between the heading and the legend, one line a graph
    assert [line.split()[0] for line in lines[1:-2]] == [folder.file_name(topology) for topology in drawn]
    saved = {path.stem: load(path) for path in (tmp_path / "topologies").iterdir()}
    assert len(saved) == len(drawn)
    for expected in drawn:
        loaded = saved[folder.file_name(expected)]
        assert (loaded.graph_id, loaded.source) == (expected.graph_id, expected.source)
        assert np.array_equal(loaded.edges, expected.edges)
        assert loaded.weights.tobytes() == expected.weights.tobytes()


def test_other_seeds_into_another_folder(tmp_path):
    done = call(tmp_path, "backdoor_topo.py", "--seeds", "0", "12", "--out_dir", "deep/er")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    saved = sorted(load(path).source for path in (tmp_path / "deep" / "er").iterdir())
    assert saved == sorted(f"{text},seed={seed}" for text in TABLES["paper"] for seed in (0, 12))
    assert (tmp_path / "deep" / "er" / "barabasi_albert-n33-m2-seed0.txt").is_file()


def test_another_graph_of_that_name_stops_everything(tmp_path):
    (tmp_path / "topology_8.txt").write_text("mine")
    done = call(tmp_path, "create_topologies.py", "--out_dir", ".")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --out_dir topology_8.txt: holds something else")
    assert [path.name for path in tmp_path.iterdir()] == ["topology_8.txt"]
    assert (tmp_path / "topology_8.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds"], "--seeds: name at least one"),
        (["--seeds", "0", "-1"], "--seeds -1: must be at least 0"),
        (["--seeds", "0", "one"], "--seeds one: must be a valid integer"),
        (["--seeds", "4294967296"], "--seeds 4294967296: "),
        (["--seeds", "9" * 5000], "--seeds 999"),
        (["--out_dir", ""], "--out_dir : must be a path"),
        (["--out_dir", "file"], "--out_dir file: "),
        (["--out_dir", "file/under"], "--out_dir file/under: "),
    ],
)
def test_wrong_arguments_exit_2_and_write_nothing(tmp_path, arguments, message):
    (tmp_path / "file").touch()
    done = call(tmp_path, "softmax_topo.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: " + message)
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("timing_topo.py", ["--seed", "x"]),
        ("timing_topo.py", ["--seeds", "x"]),
        # the examples have no seed to draw with
        ("create_topologies.py", ["--seeds", "0"]),
    ],
)
def test_a_wrong_flag_or_value_is_told_before_anything_heavy_is_imported(tmp_path, script, arguments):
    command = [sys.executable, "-X", "importtime", str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "dml.topology_script" in imported
    assert not {"torch", "networkx", "pandas", "scipy", "h5py"} & imported


def test_ctrl_c_ends_it_without_a_traceback(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["timing_topo.py"])
    monkeypatch.setattr(folder, "save_all", interrupted)
    with pytest.raises(SystemExit) as ended:
        topology_script.run("timing", "", seeds=(0,))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
