"""One experiment as a user calls it: from anywhere, right or wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scripts import SCRIPTS, Script

from dml import results

FAST = ("--topology_file", "cycle:n=4", "--rounds", 2, "--epochs", 1)


def test_one_experiment_from_any_folder_with_an_empty_path(process: Script, tmp_path: Path):
    bare = {"PATH": "", **{key: os.environ.get(key, "") for key in ("DML_DATA", "PYTHONPATH")}}
    called = process("decentralized_main.py", *FAST, env=bare)
    assert called.returncode == 0, called.stderr
    path = tmp_path / called.stdout.splitlines()[-1]
    assert path.parent == tmp_path / "results" / "single"
    assert path.is_file()
    assert "IID test set" in called.stdout
    assert "this is a control" in called.stdout
    assert "round 2/2" in called.stderr
    assert max(len(line) for line in called.stdout.splitlines()[:-1]) <= 80


def test_the_summary_tells_ood_accuracy_by_hops(script: Script):
    called = script("decentralized_main.py", *FAST, "--backdoor", "--backdoor_node_idx", 1)
    assert "OOD data on node 1" in called.stdout
    assert "2 hops" in called.stdout


@pytest.mark.parametrize("algorithm", ["decentralized", "async_gossip", "traversal"])
def test_progress_tells_the_ood_accuracy_of_experiments_with_ood_data_alone(script: Script, algorithm: str):
    for words, told in (((), False), (("--backdoor",), True)):
        called = script("decentralized_main.py", *FAST[:4], "--algorithm", algorithm, *words)
        (line,) = [line for line in called.stderr.splitlines() if line.startswith("round 2/2")]
        assert "IID 0." in line
        assert ("OOD" in line) == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--algorithm", "traversal", "--mode", "cut=9"), "--mode cut=9: mlp has the cuts cut=1"),
        (("--algorithm", "traversal", "--mode", "legacy3"), "--mode legacy3: mlp is no perceptron of three"),
        (
            ("--algorithm", "traversal", "--orchestrator", 4),
            "--orchestrator 4: the graph has the nodes 0 to 3",
        ),
        (("--algorithm", "fedavg", "--server", 4), "--server 4: is not a node; nodes are 0 to 3"),
        (
            ("--algorithm", "mifa", "--participation_pattern", "staircase", "--participation", 1e-300),
            "--participation_pattern staircase: selects nobody for ever",
        ),
        (
            ("--algorithm", "centralized", "--topology_file", "cycle:n=2000"),
            "--topology_file cycle:n=2000: has 2000 nodes for 1437 training samples",
        ),
    ],
)
def test_what_one_model_and_servers_cannot_do_is_one_line_before_anything_starts(
    script: Script, tmp_path: Path, words: tuple[object, ...], told: str
):
    called = script("decentralized_main.py", *FAST[:2], *words)
    assert called.returncode == 2
    (line,) = called.stderr.splitlines()
    assert line.startswith(f"error: {told}")
    assert called.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_second_call_runs_nothing_and_fewer_rounds_cut_nothing(script: Script, tmp_path: Path):
    first = script("decentralized_main.py", *FAST)
    path = tmp_path / first.stdout.splitlines()[-1]
    before = path.read_bytes()
    again = script("decentralized_main.py", *FAST)
    assert "nothing was run" in again.stderr
    assert again.stdout == first.stdout
    fewer = script("decentralized_main.py", *FAST[:2], "--rounds", 1, "--epochs", 1)
    assert fewer.returncode == 0
    assert "already has 2 rounds, and 1 were asked for" in fewer.stderr
    assert path.read_bytes() == before


def _file(folder: Path, text: str) -> str:
    path = folder / "graph.txt"
    path.write_text(text)
    return str(path)


WRONG = [
    (("--lr", "-1"), "--lr -1"),
    (("--rounds", "0"), "--rounds 0"),
    (("--rounds", "many"), "--rounds many"),
    (("--label_alpha", "0"), "--label_alpha 0"),
    (("--sample_alpha", "-2"), "--sample_alpha -2"),
    (("--backdoor", "--backdoor_proportion", "1.0"), "--backdoor_proportion 1.0"),
    (("--backdoor", "--backdoor_node_idx", "16"), "--backdoor_node_idx 16"),
    (("--backdoor", "--backdoor_node_idx", "-1"), "--backdoor_node_idx"),
    (("--aggregation_strategy", "best"), "--aggregation_strategy best"),
    (("--dataset", "imagenet"), "--dataset imagenet"),
    (("--model", "resnet"), "--model resnet"),
    (("--model", "mnist_mlp"), "--model mnist_mlp"),
    (("--softmax",), "--softmax"),
    (("--aggregation_strategy", "betCent_sim", "--no_softmax"), "--no_softmax: must be on, because"),
    (
        ("--aggregation_strategy", "eigenvector", "--topology_file", "erdos_renyi:n=9,p=0"),
        "--aggregation_strategy eigenvector: is not defined on a disconnected graph",
    ),
    (("--scheduler", "CA"), "--scheduler CA"),
    (("--aggregation_strategy", "degCent", "--softmax", "--T_0", "5"), "--T_0 5"),
    (("--aggregation_strategy", "degCent", "--scheduler", "CA", "--T_0", "2.5"), "--T_0 2.5"),
    (("--out_dir", "/dev/null/x"), "--out_dir /dev/null/x"),
    (("--topology_file", "missing.txt"), "--topology_file missing.txt"),
    (("--topology_file", "barabasi:n=4"), "--topology_file barabasi:n=4"),
    (("--topology_file", "cycle:n=4,k=2"), "--topology_file cycle:n=4,k=2"),
    (("--topology_file", "cycle:n=1"), "--topology_file cycle:n=1"),
    (("--accelerator", "abacus"), "--accelerator abacus"),
    (("--topology_file", "cycle:n=2000"), "--topology_file cycle:n=2000"),
    (("--nosuch", "1"), "--nosuch"),
    (("--batch_size", "99999999999999999999"), "--batch_size 99999999999999999999"),
    (("--threads", "100000"), "--threads 100000"),
    (("--label_alpha", "1e308"), "--label_alpha"),
    (("--backdoor", "--backdoor_node_idx"), "--backdoor_node_idx: name at least one"),
    (("--topology_file", "/dev/zero"), "--topology_file /dev/zero"),
    (("--topology_file", "complete:n=4400"), "--topology_file complete:n=4400"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=[w[1] for w in WRONG])
def test_a_wrong_argument_is_named_and_nothing_is_written(
    script: Script, tmp_path: Path, arguments: tuple[str, ...], named: str
):
    called = script("decentralized_main.py", *arguments)
    assert called.returncode == 2, called.stderr
    assert named in called.stderr
    assert "Traceback" not in called.stderr
    assert "http" not in called.stderr
    assert called.stdout == ""
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("0 1\n1 0\n1 1\n", "square"),
        ("0 1\n0 0\n", "symmetric"),
        ("0\n", "one node"),
        ("0 2\n2 0\n", "[0, 1]"),
        ("0 -0.5\n-0.5 0\n", "[0, 1]"),
        ("0 nan\nnan 0\n", "nan"),
        ("0 a\na 0\n", "number"),
    ],
)
def test_a_wrong_topology_file_is_refused(script: Script, tmp_path: Path, text: str, why: str):
    called = script("decentralized_main.py", "--topology_file", _file(tmp_path, text))
    assert called.returncode == 2
    assert "--topology_file" in called.stderr
    assert "graph.txt" in called.stderr
    assert why in called.stderr.lower() or why in called.stderr
    assert not (tmp_path / "results").exists()


def test_a_wrong_argument_is_refused_before_torch_is_imported():
    """Importing torch takes a second; a typing error is answered without it."""
    probe = (
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "sys.argv = ['x', '--topology_file', 'missing.txt']\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPTS / 'decentralized_main.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 2\n"
        "heavy = {'torch', 'scipy', 'pandas', 'parsl', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    called = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, cwd="/"
    )
    assert called.returncode == 0, called.stderr


def test_a_saved_graph_and_its_generator_are_one_experiment(script: Script, tmp_path: Path):
    np.savetxt(
        tmp_path / "cycle.txt", np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]), fmt="%d"
    )
    first = script("decentralized_main.py", *FAST)
    second = script("decentralized_main.py", "--topology_file", "cycle.txt", *FAST[2:])
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1]
    assert "nothing was run" in second.stderr


def test_a_reader_of_the_messages_that_leaves_does_not_end_the_work(tmp_path: Path):
    command = f"{sys.executable} {SCRIPTS / 'decentralized_main.py'} --rounds 30 --epochs 1 2>&1 | head -1"
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, timeout=120)
    (path,) = tmp_path.glob("results/single/*.h5")
    assert results.load(path).attributes["status"] == "complete"


def test_a_tilde_is_the_home_folder_also_where_no_shell_saw_it(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    called = script("decentralized_main.py", *FAST, "--out_dir=~/found")
    assert called.returncode == 0
    assert list((tmp_path / "found").glob("*.h5"))
    assert not (tmp_path / "~").exists()


def test_a_full_disk_is_told_without_a_traceback(tmp_path: Path):
    command = f"ulimit -f 40; exec {sys.executable} {SCRIPTS / 'decentralized_main.py'} --rounds 30"
    called = subprocess.run(
        ["/bin/bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert called.returncode == 1
    assert "cannot be written" in called.stderr
    assert "Traceback" not in called.stderr
    assert not list(tmp_path.rglob("*.tmp*"))


def test_a_stalled_run_is_a_result_that_is_kept(script: Script, tmp_path: Path):
    call = (*FAST[:4], "--algorithm", "async_gossip", "--max_events", 5)
    first = script("decentralized_main.py", *call)
    assert first.returncode == 0
    assert "it stalled in round 2 of 2: --max_events 5" in first.stderr
    assert "nothing was run" not in first.stderr
    path = tmp_path / first.stdout.splitlines()[-1]
    result = results.load(path)
    assert (result.attributes["status"], result.attributes["rounds_done"]) == ("stalled", 2)
    # The fifth event ends no update, and the final row is measured although no round was due to be.
    assert result.arrays["metrics/epoch"].tolist() == [-1]
    assert result.arrays["metrics/updates"].tolist() == [4]
    again = script("decentralized_main.py", *call)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "warning: it stalled in round 2 of 2: nothing was run" in again.stderr
