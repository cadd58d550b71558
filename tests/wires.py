"""Endpoints for tests, in one process and thread: the connections work in ZeroMQ's own threads."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from dml.network import keys
from dml.network.contacts import Contact
from dml.network.endpoint import LOOPBACK, Endpoint
from dml.network.limits import Limits

PAIR = keys.new()
OTHER = keys.new()


def until(true: Callable[[], bool], *endpoints: Endpoint, seconds: float = 10) -> None:
    """Lets endpoints work until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        for endpoint in endpoints:
            endpoint.serve(0.005)


def together(*works: Callable[[], object]) -> None:
    """Does things at the same time, each in a thread of its own, as processes would."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result(30)


class Hub:
    """An endpoint that listens, named ``hub``, and endpoints that only connect, named ``node 0`` and on.

    Args:
        nodes: the pairs of the nodes.
        limits: of all endpoints.
        run: the id of the run of the hub.
    """

    def __init__(self, nodes: Sequence[keys.KeyPair], limits: Limits, run: str = "r") -> None:
        self._limits, self._stack = limits, contextlib.ExitStack()
        self.lines: list[str] = []
        contacts = [Contact(f"node {i}", None, pair.public) for i, pair in enumerate(nodes)]
        self.end = self._stack.enter_context(
            Endpoint("hub", run, PAIR, contacts, LOOPBACK, limits, self.lines.append)
        )
        self.nodes = [self.node(i, pair) for i, pair in enumerate(nodes)]

    def node(self, i: int, pair: keys.KeyPair, run: str = "r", meet: bool = True) -> Endpoint:
        """Another endpoint that connects to the hub as a node."""
        lines: list[str] = []
        contact = Contact("hub", self.end.address, PAIR.public)
        node = Endpoint(f"node {i}", run, pair, [contact], None, self._limits, lines.append)
        node.lines = lines  # type: ignore[attr-defined]
        self._stack.push(lambda *_: node.close(0))
        if meet:
            until(lambda: self.end.connected(f"node {i}") and node.connected("hub"), self.end, node)
        return node

    def close(self) -> None:
        """Closes all."""
        self.end.close(0)
        self._stack.close()


@contextlib.contextmanager
def hub(*nodes: keys.KeyPair, limits: Limits | None = None, run: str = "r") -> Iterator[Hub]:
    """A hub and its nodes, by the pairs of the nodes."""
    made = Hub(nodes, limits or Limits(), run)
    try:
        yield made
    finally:
        made.close()
