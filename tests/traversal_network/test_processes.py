"""tl_orchestrator.py and tl_node.py as processes that are killed, stopped, and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from remote_nodes import model, plan
from scripts import SCRIPTS

from dml import experiment
from dml.results import load

pytestmark = pytest.mark.slow

FLAGS = (
    "--num_nodes",
    "3",
    "--model",
    "mlp",
    "--batch_size",
    "240",
    "--epochs",
    "150",
    "--out_dir",
    "network",
)

Process = subprocess.Popen[str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts scripts; what still runs at the end is killed."""
    started: list[Process] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "DML_KEYS": str(tmp_path / "keys")}

    def call(name: str, *words: str) -> Process:
        command = [sys.executable, str(SCRIPTS / name), "--port", port, *words]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def until_rounds(folder: Path, rounds: int) -> None:
    """Waits until so many rounds are in the file."""
    end = time.monotonic() + 150
    while time.monotonic() < end:
        for path in (folder / "network").glob("digits*.h5"):
            if load(path).attributes["rounds_done"] >= rounds:
                return
        time.sleep(0.1)
    raise AssertionError("no rounds")


def assert_as_in_one_process(folder: Path) -> None:
    """The model is that of the same experiment in one process."""
    _, planned = plan(folder / "here", model="mlp", epochs=150)
    path = experiment.run(planned.config)
    found = load(folder / "network" / path.name)
    assert found.attributes["lossless"]
    assert np.array_equal(model(planned, path), model(planned, folder / "network" / path.name))


def test_kills_of_a_node_and_of_the_orchestrator_change_nothing(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    orchestrator = start("tl_orchestrator.py", *FLAGS)
    nodes = [start("tl_node.py", "--node_id", str(node), "--num_nodes", "3") for node in range(3)]
    until_rounds(tmp_path, 3)
    nodes[1].kill()
    nodes[1].communicate()
    nodes[1] = start("tl_node.py", "--node_id", "1", "--num_nodes", "3")
    time.sleep(1)
    orchestrator.kill()
    orchestrator.communicate()
    orchestrator = start("tl_orchestrator.py", *FLAGS)
    out, err = orchestrator.communicate(timeout=200)
    assert orchestrator.returncode == 0, err
    assert "Traceback" not in err
    assert out.splitlines()[-1].startswith("network/digits-star-n3-traversal")
    assert [line for line in out.splitlines() if line.startswith("test accuracy: 0.")]
    for node in nodes:
        _, err = node.communicate(timeout=30)
        assert (node.returncode, err.splitlines()[-1][8:]) == (0, "training has ended")
    assert_as_in_one_process(tmp_path)


def test_a_node_that_is_killed_ends_a_run_that_does_not_wait(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    orchestrator = start("tl_orchestrator.py", *FLAGS, "--on_lost", "abort", "--deadline", "2")
    nodes = [start("tl_node.py", "--node_id", str(node)) for node in range(3)]
    until_rounds(tmp_path, 2)
    nodes[1].kill()
    killed = time.monotonic()
    _, err = orchestrator.communicate(timeout=60)
    assert time.monotonic() - killed < 2 + 2 + 10  # A busy machine takes a while to end processes.
    assert orchestrator.returncode == 1
    assert err.splitlines()[-1] == (
        "error: node 1 has not answered for 2 s, and the run ends (--on_lost abort)"
    )
    assert [nodes[i].wait(30) for i in (0, 2)] == [1, 1]


def test_ctrl_c_ends_all_after_a_checkpoint_and_the_same_commands_go_on(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    orchestrator = start("tl_orchestrator.py", *FLAGS)
    nodes = [start("tl_node.py", "--node_id", str(node), "--num_nodes", "3") for node in range(3)]
    until_rounds(tmp_path, 2)
    orchestrator.send_signal(signal.SIGTERM)
    _, err = orchestrator.communicate(timeout=30)
    assert orchestrator.returncode == 75, err
    assert "run the same command to continue" in err
    for node in nodes:
        _, err = node.communicate(timeout=30)
        assert node.returncode == 75
        assert err.splitlines()[-1].endswith("the orchestrator was stopped")
    orchestrator = start("tl_orchestrator.py", *FLAGS)
    nodes = [start("tl_node.py", "--node_id", str(node), "--num_nodes", "3") for node in range(3)]
    until_rounds(tmp_path, 20)
    nodes[2].send_signal(signal.SIGTERM)
    _, err = nodes[2].communicate(timeout=30)
    assert nodes[2].returncode == 75
    assert "asked to by SIGTERM; the same command goes on" in err.splitlines()[-1]
    nodes[2] = start("tl_node.py", "--node_id", "2", "--num_nodes", "3")
    _, err = orchestrator.communicate(timeout=200)
    assert orchestrator.returncode == 0, err
    assert_as_in_one_process(tmp_path)
