"""Endpoints in processes that are killed or stopped, as hosts and jobs are."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch
from wires import OTHER, PAIR, until

from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint
from dml.network.errors import Late
from dml.network.header import Key
from dml.network.keys import KeyPair
from dml.network.limits import Limits

NODE = """
import sys
from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint
from dml.network.keys import KeyPair

name, address, hub, public, secret = sys.argv[1:]
with Endpoint(name, "r", KeyPair(public, secret), [Contact("hub", address, hub)], listen=None) as node:
    node.send("hub", "hello", seconds=20)
    while True:
        message = node.receive(seconds=60)
        node.send("hub", "answer", message.header.number, seconds=20)
"""


class Nodes:
    """Processes that answer messages."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.all: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, pair: KeyPair) -> "subprocess.Popen[bytes]":
        words = [name, self._address, PAIR.public, pair.public, pair.secret]
        self.all.append(subprocess.Popen([sys.executable, "-c", NODE, *words]))
        return self.all[-1]


@pytest.fixture
def hub_and_nodes() -> Iterator[tuple[Endpoint, Nodes]]:
    contacts = [Contact("node 0", None, OTHER.public), Contact("node 1", None, OTHER.public)]
    with Endpoint("hub", "r", PAIR, contacts, limits=Limits(unconfirmed=20)) as hub:
        nodes = Nodes(hub.address)
        try:
            yield hub, nodes
        finally:
            for process in nodes.all:
                process.kill()
                process.wait()
            hub.close(0)


def ask(hub: Endpoint, name: str, number: int) -> None:
    hub.send(name, "task", number, seconds=5)
    assert hub.receive(Key(name, "answer", number), seconds=5)


def ask_late(hub: Endpoint, name: str, number: int) -> None:
    hub.send(name, "task", number, seconds=0.2)
    hub.receive(Key(name, "answer", number), seconds=0.2)


def test_messages_without_tensors_do_not_import_torch():
    code = "import sys, dml.network.endpoint, dml.network.peers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_node_that_is_killed_and_started_again_goes_on(hub_and_nodes):
    hub, nodes = hub_and_nodes
    first = nodes.start("node 0", OTHER)
    hub.receive(Key("node 0", "hello"), seconds=20)
    ask(hub, "node 0", 0)
    first.kill()
    first.wait()
    with pytest.raises(Late, match=r"^node 0: "):
        ask_late(hub, "node 0", 1)
    nodes.start("node 0", OTHER)
    hub.receive(Key("node 0", "hello"), seconds=20)
    assert hub.restarted() == ["node 0"]
    ask(hub, "node 0", 1)


@pytest.mark.slow
def test_a_node_that_stands_still_delays_nobody_beyond_the_deadline(hub_and_nodes):
    hub, nodes = hub_and_nodes
    for i in range(2):
        nodes.start(f"node {i}", OTHER)
        hub.receive(Key(f"node {i}", "hello"), seconds=20)
    nodes.all[0].send_signal(signal.SIGSTOP)
    x = {"x": torch.zeros(10**6)}
    waits: list[float] = []
    with contextlib.suppress(Late):
        for number in range(100):
            waits.append(time.monotonic())
            hub.send("node 0", "model", number, seconds=0.3, tensors=x)
    assert len(waits) < 22
    assert 0.3 <= time.monotonic() - waits.pop() < 1
    ask(hub, "node 1", 1)
    nodes.all[0].send_signal(signal.SIGCONT)
    numbers = set(range(len(waits)))
    until(lambda: {key.number for key in hub._kept} >= numbers, hub, seconds=20)
