"""A synchronous round of four peers on a ring, against the same bytes over a bare CURVE connection."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import network
import numpy as np
import torch
from timing import Row, interleaved, median, ratio

from dml.network import keys
from dml.network.contacts import Contact, address_of
from dml.network.endpoint import Endpoint
from dml.peers.launch import free_ports
from dml.peers.over_wire import OverWire, Patience

PEERS, PARAMETERS = 4, 5_000_000
GOAL = 0.6

_TREE = np.array([-1, 0, 1, 0])
_PATIENCE = Patience(60, 60, 60)


def rows(quick: bool) -> Iterator[Row]:
    """The rate at which a round moves the models of all peers, over that of 20 MB both ways between two."""
    torch.set_num_threads(1)
    size = 4 * PARAMETERS
    with network.bare() as plain, _first() as ranks:

        def round_of_all() -> None:
            ranks.largest(1)
            _swap(ranks)
            # A round ends when all have their models.
            ranks.together()

        # Each peer sends its model to two others; a bare exchange has two messages.
        cases = {"ours": round_of_all, "bare": lambda: plain(size, size, PEERS)}
        seconds = interleaved(cases, 2 if quick else 9)
        ranks.largest(0)
    rates = {name: 2 * PEERS * size / median(taken) / 1e6 for name, taken in seconds.items()}
    note = f"{rates['ours']:.0f} MB/s, a bare connection {rates['bare']:.0f} MB/s"
    part = 1 / ratio(seconds["ours"], seconds["bare"])
    yield Row("a round of 4 peers, 5 M: rate over bare CURVE", part, "x", GOAL, note, at_least=True)


def _swap(ranks: OverWire) -> None:
    near = [(ranks.rank + 1) % PEERS, (ranks.rank - 1) % PEERS]
    model = torch.ones(1, PARAMETERS)
    ranks.swap(dict.fromkeys(near, model), {other: torch.empty(1, PARAMETERS) for other in near})


def _met(rank: int, ports: list[int], pair: keys.KeyPair) -> tuple[Endpoint, OverWire]:
    names = [f"node {i}" for i in range(PEERS)]
    addresses = [address_of("127.0.0.1", port) for port in ports]
    near = [(rank + 1) % PEERS, (rank - 1) % PEERS]
    contacts = [Contact(names[i], addresses[i], pair.public) for i in near]
    end = Endpoint(names[rank], "benchmark", pair, contacts, addresses[rank])
    ranks = OverWire(end, names, rank, _TREE, _PATIENCE)
    ranks.meet({})
    return end, ranks


def _take_part(rank: int, ports: list[int], pair: keys.KeyPair) -> None:
    """Another peer: it goes through rounds as long as the first one asks for more."""
    torch.set_num_threads(1)
    end, ranks = _met(rank, ports, pair)
    with end:
        while ranks.largest(0) == [1]:
            _swap(ranks)
            ranks.together()


@contextmanager
def _first() -> Iterator[OverWire]:
    """The first peer; the others are processes of their own."""
    ports, pair = free_ports(PEERS), keys.new()
    spawn = multiprocessing.get_context("spawn")
    others = [
        spawn.Process(target=_take_part, args=(rank, ports, pair), daemon=True) for rank in range(1, PEERS)
    ]
    for other in others:
        other.start()
    try:
        end, ranks = _met(0, ports, pair)
        with end:
            yield ranks
        for other in others:
            other.join(10)
    finally:
        for other in others:
            other.kill()
