"""peer.py and launch_peers.py as a user calls them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from scripts import SCRIPTS, Script

from dml import results

RING = ("--topology_file", "cycle:n=4", "--epochs", "1", "--engine", "loop")


@pytest.fixture
def prepared(script: Script, tmp_path: Path) -> Path:
    """The file of four peers on a ring."""
    assert script("launch_peers.py", *RING, "--rounds", 2, "--prepare", tmp_path / "ring").returncode == 0
    return tmp_path / "ring" / "peers.yaml"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--node", 4), "error: --node 4: there is no such node; nodes are 0 to 3"),
        ((), "error: --node: say which node this process is, 0 to 3"),
        (("--node", 1, "--topology_file", "cycle:n=5"), "has 4 nodes, and cycle:n=5 has 5"),
        (("--node", 1, "--lr", 0.3), "was cut for the experiment"),
        (("--node", 1, "--algorithm", "relaysgd"), "relays sums from node to node"),
        (("--node", 1, "--shards", 2), "a peer is one process for one node"),
        (("--node", 1, "--topology_file", "two_islands.txt"), "is not connected"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(
    script: Script, prepared: Path, tmp_path: Path, words: tuple[object, ...], line: str
):
    (tmp_path / "two_islands.txt").write_text("0 1 0 0\n1 0 0 0\n0 0 0 1\n0 0 1 0\n")
    found = script("peer.py", "--peers", prepared, *words)
    assert found.returncode == 2
    assert line in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_peer_refuses_the_part_of_another_node(script: Script, prepared: Path):
    (prepared.parent / "part_2.safetensors").rename(prepared.parent / "part_1.safetensors")
    found = script("peer.py", "--peers", prepared, "--node", 1)
    assert found.returncode == 2
    assert "is the part of node 2 of 4, and this is node 1 of 4" in found.stderr


def test_a_node_whose_port_is_taken_is_refused_in_one_line(script: Script, prepared: Path):
    port = yaml.safe_load(prepared.read_text())["nodes"][1]["port"]
    with socket.create_server(("127.0.0.1", port)):
        found = script("peer.py", "--peers", prepared, "--node", 1)
    assert found.returncode == 2
    why = "is in use by another program on 127.0.0.1; give another"
    assert found.stderr == f"error: --peers: node 1, port {port}: {why}\n"


def test_a_part_holds_the_samples_of_its_node_alone(prepared: Path):
    from safetensors.numpy import load_file

    parts = [load_file(prepared.parent / f"part_{node}.safetensors")["index"] for node in range(4)]
    everything = np.concatenate(parts)
    assert len(everything) == len(np.unique(everything)) == 1437
    content = yaml.safe_load(prepared.read_text())
    assert len({node["port"] for node in content["nodes"]}) == 4


def _peers(
    prepared: Path, changed: dict[int, tuple[object, ...]], nodes: Sequence[int] = range(4)
) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, SCRIPTS / "peer.py", "--node", str(node), "--peers", prepared]
            + [str(word) for word in changed.get(node, ())],
            cwd=prepared.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in nodes
    ]


@pytest.mark.slow
def test_peers_with_other_rounds_end_and_name_the_field(prepared: Path):
    peers = _peers(prepared, {2: ("--rounds", 3)})
    told = [peer.communicate(timeout=200)[1] for peer in peers]
    assert [peer.returncode for peer in peers] == [2] * 4
    assert all("rounds" in lines for lines in told), told
    assert "all peers need the same" in told[1]


@pytest.mark.slow
def test_a_second_process_of_a_node_is_refused_and_the_first_goes_on(prepared: Path):
    port = yaml.safe_load(prepared.read_text())["nodes"][1]["port"]
    (first,) = _peers(prepared, {}, nodes=[1])
    while not any(one.laddr.port == port for one in psutil.Process(first.pid).net_connections()):
        assert first.poll() is None
        time.sleep(0.05)
    (second,) = _peers(prepared, {}, nodes=[1])
    told = second.communicate(timeout=60)[1]
    assert second.returncode == 2
    assert told.startswith(f"error: --peers: node 1, port {port}: is in use")
    assert told.count("\n") == 1
    peers = [first, *_peers(prepared, {}, nodes=[0, 2, 3])]
    told_by_all = [peer.communicate(timeout=200)[1] for peer in peers]
    assert [peer.returncode for peer in peers] == [0] * 4, told_by_all


@pytest.mark.slow
def test_the_launcher_compares_with_one_process(process: Script):
    found = process("launch_peers.py", *RING, "--rounds", 2, "--compare", "--deadline", 30)
    assert found.returncode == 0, found.stderr
    assert "largest difference of the models from those of one process: 0 (engine loop)" in found.stdout


@pytest.mark.slow
def test_after_a_kill_the_same_call_goes_on_with_the_same_numbers(process: Script, tmp_path: Path):
    words = (*RING, "--rounds", 60, "--checkpoint_every", 3, "--deadline", 3, "--measure", "all")
    command = [sys.executable, SCRIPTS / "launch_peers.py", *map(str, words), "--out_dir", "shared"]
    launcher = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list((tmp_path / "shared").glob("*.ckpt")):
        assert time.monotonic() < end
        assert launcher.poll() is None
        time.sleep(0.02)
    victim = next(
        child.pid
        for child in psutil.Process(launcher.pid).children()
        if child.cmdline()[-4:-2] == ["--node", "2"]
    )
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    _, told = launcher.communicate(timeout=60)
    assert launcher.returncode == 75, told
    assert time.monotonic() - started < 20
    assert "node 2 has ended (killed by signal 9)" in told
    assert "run the same command to continue" in told
    assert process("launch_peers.py", *words, "--out_dir", "shared").returncode == 0
    assert process("decentralized_main.py", *words[:10], "--out_dir", "alone").returncode == 0
    shared, alone = (next((tmp_path / folder).glob("*.h5")) for folder in ("shared", "alone"))
    assert results.differences(alone, shared) == []


@pytest.mark.slow
def test_peers_end_with_their_launcher(tmp_path: Path):
    words = (*RING, "--rounds", 100_000, "--checkpoint_every", 1, "--out_dir", "shared")
    command = [sys.executable, SCRIPTS / "launch_peers.py", *map(str, words)]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    launcher = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(temporary)}
    )
    end = time.monotonic() + 120
    while not list(tmp_path.glob("shared/*.ckpt")):
        assert time.monotonic() < end
        assert launcher.poll() is None
        time.sleep(0.05)
    peers = psutil.Process(launcher.pid).children()
    assert len(peers) == 4
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs(peers, timeout=30)
    assert not alive
    assert not list(temporary.glob("distributed_ml-peers-*"))
