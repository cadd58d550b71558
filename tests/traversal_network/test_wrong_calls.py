"""Calls of tl_orchestrator.py and tl_node.py that cannot work: one line says why, and nothing is written."""

import socket
import threading
from pathlib import Path

import pytest
from remote_nodes import PAIR, Node, listening, plan, train
from scripts import Script

from dml.errors import InputError, LostWorkersError
from dml.network import keys
from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint
from dml.signals import StopRequest
from dml.traversal_network import node as node_module
from dml.traversal_network import worker
from dml.traversal_network.config import ORCHESTRATOR, RUN, NodeConfig
from dml.traversal_network.node import Conversation


@pytest.fixture(autouse=True)
def _own_keys(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DML_KEYS", str(tmp_path_factory.mktemp("keys")))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("tl_node.py", "--node_id: is missing"),
        ("tl_node.py --node_id 3 --num_nodes 3", "--node_id 3: must be 0 to 2"),
        ("tl_node.py --node_id 0 --num_nodes 3 --first_id 1", "--node_id 0: must be 1 to 3"),
        ("tl_node.py --node_id 0 --port 0", "--port 0: must be at least 1"),
        (
            "tl_node.py --node_id 0 --host no.such.host.invalid",
            "--host no.such.host.invalid: cannot be found",
        ),
        ("tl_node.py --node_id 0 --public_keys none.yaml", "--public_keys none.yaml: "),
        ("tl_node.py --node_id 0 --epochs 3", "--epochs: there is no such flag"),
        ("tl_orchestrator.py --host no.such.host.invalid", "--host no.such.host.invalid: cannot be found"),
        ("tl_orchestrator.py --host 203.0.113.1", "--host 203.0.113.1: is not this machine's"),
        ("tl_orchestrator.py --num_nodes 1", "--num_nodes 1: must be at least 2"),
        ("tl_orchestrator.py --on_lost retry", "--on_lost retry: "),
        ("tl_orchestrator.py --deadline 0", "--deadline 0: must be above 0"),
        ("tl_orchestrator.py --no_accel --accelerator cpu", "--accelerator cpu: does not go with --no_accel"),
        ("tl_orchestrator.py --visits together", "--visits: there is no such flag"),
    ],
)
def test_a_wrong_call_gets_one_line(words: str, told: str, script: Script, tmp_path: Path) -> None:
    name, *flags = words.split()
    called = script(name, *flags)
    assert (called.returncode, called.stdout) == (2, "")
    assert told in called.stderr
    assert called.stderr.splitlines()[-1].startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_named(script: Script) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        called = script("tl_orchestrator.py", "--port", port)
    assert called.returncode == 2
    assert f"--port {port}: is in use" in called.stderr


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int = 0, **chosen: object) -> str:
    """What a node prints that the orchestrator refuses, which goes on waiting for another one."""
    own, planned = plan(tmp_path, model="mlp", patience=1.0)
    with listening() as end:
        node = Node(number, end.address, **chosen)  # type: ignore[arg-type]
        with pytest.raises(LostWorkersError, match=r"^these nodes have not come within 1 s: 0, 1, 2$"):
            train(own, planned, end)
        assert node.join() == 1
    # On a busy machine, a connection of the test before may be told of as well.
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "refuses this node" in line]
    return line


@pytest.mark.slow
def test_another_number_of_nodes_is_refused_by_the_name_of_the_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(tmp_path, capsys, num_nodes=4)
    assert line.endswith("the orchestrator refuses this node: num_nodes 4: the orchestrator has 3 nodes")


@pytest.mark.slow
def test_other_samples_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "sha256_of", lambda data, node: "0" * 64)
    line = refused(tmp_path, capsys)
    assert line.endswith("refuses this node: its 479 samples are others than those of the orchestrator")


@pytest.mark.slow
def test_a_flag_that_is_not_as_the_orchestrators_is_named(tmp_path: Path) -> None:
    own, planned = plan(tmp_path, model="mlp", patience=2.0)
    found: list[str] = []

    def work() -> None:
        contact = Contact(ORCHESTRATOR, str(end.address), PAIR.public)
        with Endpoint("node 0", RUN, PAIR, [contact], None) as there:
            with pytest.raises(InputError) as error:
                Conversation(NodeConfig(node_id=0), {"seed": "7"}, there, StopRequest()).work()
            found.append(str(error.value))

    with listening() as end:
        thread = threading.Thread(target=work)
        thread.start()
        with pytest.raises(LostWorkersError):
            train(own, planned, end)
        thread.join(10)
    assert found == ["seed 7: the orchestrator has 1: give this, or leave it out"]


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused_and_the_first_node_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "_STUBBORN", 1.0)
    own, planned = plan(tmp_path, model="mlp")
    with listening() as end:
        first = [Node(0, end.address), Node(1, end.address)]
        while not (end.connected("node 0") and end.connected("node 1")):
            end.serve(0.02)
        second = Node(0, end.address)
        threading.Thread(target=lambda: (second.join(), Node(2, end.address)), daemon=True).start()
        train(own, planned, end)
        assert second.code == 1
        assert [node.join() for node in first] == [0, 0]
    assert "it refuses us: node 0 is connected already, from another process" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wrong_key_ends_a_node_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "_STUBBORN", 0.5)
    with listening() as end:
        contact = Contact(ORCHESTRATOR, str(end.address), PAIR.public)
        with Endpoint("node 0", RUN, keys.new(), [contact], None) as there:
            code = Conversation(NodeConfig(node_id=0), {}, there, StopRequest()).work()
    assert code == 1
    assert "error: orchestrator: it does not know our key" in capsys.readouterr().err


@pytest.mark.slow
def test_a_node_without_an_orchestrator_gives_up_after_its_patience(process: Script, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    called = process("tl_node.py", "--node_id", 0, "--port", port, "--patience", 0.5)
    assert called.returncode == 75
    assert "the orchestrator has been away for 0.5 s (nobody answers at its address)" in called.stderr
