"""Messages between two processes over loopback, against the same bytes through a bare CURVE connection."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch
import zmq
from timing import Row, interleaved, median, ratio

from dml.network import keys
from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint

SIZES = {"1 KiB": (1024, 300), "100 kB": (100_000, 100), "1 MB": (1_000_000, 30), "20 MB": (20_000_000, 4)}
"""The bytes of one message, and how many are sent in a turn."""

LIMIT = 60.0
"""Seconds after which a process of this benchmark gives up."""


def rows(quick: bool) -> Iterator[Row]:
    """For each size: messages one way, each of which is answered; then both ways at once."""
    torch.set_num_threads(1)
    repeats = 2 if quick else 9
    with bare() as plain, ours() as endpoint:
        for name, (size, count) in SIZES.items():
            turns = max(1, count // (10 if quick else 1))
            for way in ("answered", "both ways"):
                back = size if way == "both ways" else 0
                cases = {
                    "ours": lambda s=size, b=back, n=turns: endpoint(s, b, n),
                    "bare": lambda s=size, b=back, n=turns: plain(s, b, n),
                }
                yield _row(f"{name} {way}", (size + back) * turns, interleaved(cases, repeats), size > 10**6)


def _row(what: str, total: int, seconds: dict[str, list[float]], has_goal: bool) -> Row:
    rates = {name: total / median(taken) / 1e6 for name, taken in seconds.items()}
    note = f"{rates['ours']:.0f} MB/s, a bare connection {rates['bare']:.0f} MB/s"
    part = 1 / ratio(seconds["ours"], seconds["bare"])
    return Row(f"{what}: rate over bare CURVE", part, "x", 0.6 if has_goal else None, note, at_least=True)


Exchange = Callable[[int, int, int], None]
"""Sends messages of some bytes, gets answers of some bytes, and does this some times."""


@contextmanager
def bare() -> Iterator[Exchange]:
    """An exchange over a bare connection."""
    pair = keys.new()
    with _process(_serve_bare, pair) as address:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        own = keys.new()
        socket.curve_publickey, socket.curve_secretkey = own.public.encode(), own.secret.encode()
        socket.curve_serverkey = pair.public.encode()
        socket.rcvtimeo = socket.sndtimeo = int(1000 * LIMIT)
        socket.connect(address)

        def exchange(size: int, back: int, count: int) -> None:
            data = bytes(size)
            for _ in range(count):
                socket.send_multipart([back.to_bytes(8, "little"), data], copy=False)
                socket.recv_multipart(copy=False)

        try:
            yield exchange
        finally:
            socket.send(b"")
            socket.close(1000)
            context.term()


def _serve_bare(pair: keys.KeyPair, parent: Connection) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = pair.public.encode(), pair.secret.encode()
    socket.rcvtimeo = int(1000 * LIMIT)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    parent.send(f"tcp://127.0.0.1:{port}")
    while True:
        route, back, *rest = socket.recv_multipart(copy=False)
        if not rest:
            break
        socket.send_multipart([route, bytes(int.from_bytes(back.bytes, "little"))], copy=False)
    socket.close(0)
    context.term()


@contextmanager
def ours() -> Iterator[Exchange]:
    """The same between endpoints, with tensors."""
    pair = keys.new()
    with _process(_serve_endpoint, pair) as address:
        hub = Contact("hub", address, pair.public)
        with Endpoint("node", "benchmark", pair, [hub], listen=None) as endpoint:
            number = 0

            def exchange(size: int, back: int, count: int) -> None:
                nonlocal number
                tensors = {"x": torch.zeros(size // 4)}
                for _ in range(count):
                    scalars = {"back": back}
                    endpoint.send("hub", "model", number, seconds=LIMIT, scalars=scalars, tensors=tensors)
                    endpoint.receive(seconds=LIMIT)
                    number += 1

            yield exchange
            endpoint.send("hub", "bye", seconds=LIMIT)


def _serve_endpoint(pair: keys.KeyPair, parent: Connection) -> None:
    torch.set_num_threads(1)
    with Endpoint("hub", "benchmark", pair, [Contact("node", None, pair.public)]) as endpoint:
        parent.send(endpoint.address)
        while (message := endpoint.receive(seconds=LIMIT)).header.kind != "bye":
            back = message.header.scalars["back"]
            tensors = {"x": torch.zeros(int(back) // 4)} if back else None
            endpoint.send("node", "model", message.header.number, seconds=LIMIT, tensors=tensors)


@contextmanager
def _process(serve: Callable[[keys.KeyPair, Connection], None], pair: keys.KeyPair) -> Iterator[str]:
    """A process that serves; gives its address."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(pair, there), daemon=True)
    process.start()
    if not here.poll(LIMIT):
        raise RuntimeError("the other process does not start")
    try:
        yield here.recv()
    finally:
        process.join(10)
        process.kill()
