"""How long a training script waits in ``Peer.update_send``, while peers fetch, and while they stand still."""

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from timing import Row, median
from torch import nn

from dml.pairing import Peer

PEERS, TENSORS, WIDTH = 3, 100, 50_000
"""The number of other peers, and the tensors of a model of 5 million parameters."""

GOAL = 5.0
"""Milliseconds."""

_STEP = 0.01
"""Seconds of training between two calls, in which this process only sleeps."""


def rows(quick: bool) -> Iterator[Row]:
    """The 99th percentile of the time of a call, and its median over that of copying the model."""
    torch.set_num_threads(1)
    steps = 30 if quick else 400
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peers.yaml"
        ports = [_free_port() for _ in range(1 + PEERS)]
        edges = ", ".join(f"[0, {i}]" for i in range(1, 1 + PEERS))
        nodes = "".join(f"  - {{port: {port}}}\n" for port in ports)
        path.write_text(f"nodes:\n{nodes}edges: [{edges}]\ntimeout_ms: 100\nbackoff_ms: 1\n")
        with Peer(_model(), "node 0", path) as peer, _others(path) as pids:
            if len(peer.meet(60)) < PEERS:
                raise RuntimeError("the other peers do not start")
            yield from _rows("peers that fetch", peer, steps)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield from _rows("peers that stand still", peer, steps)
        with Peer(_model(), "node 0", path) as peer:
            yield from _rows("no other peer", peer, steps)


def _rows(what: str, peer: Peer, steps: int) -> Iterator[Row]:
    model = _model()
    flat = torch.zeros(TENSORS * WIDTH)
    ours, bare = [], []
    for _ in range(steps):
        # A pause before each: a busy machine gives a process its core for a few milliseconds at a time.
        time.sleep(_STEP)
        bare.append(_seconds(lambda: torch.cat([p.detach() for p in model.parameters()], out=flat)))
        time.sleep(_STEP)
        ours.append(_seconds(lambda: peer.update_send(1.0)))
        peer.update_wait(1.0)
    late, late_bare = (1000 * sorted(one)[int(0.99 * len(one))] for one in (ours, bare))
    note = (
        f"median {1000 * median(ours):.2f} ms; copying the model: median {1000 * median(bare):.2f} ms, "
        f"99 % {late_bare:.2f} ms; {dict(peer.counts)}"
    )
    yield Row(f"update_send, 5 M, {what}: 99 %", late, "ms", GOAL, note)


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _model() -> nn.Module:
    return nn.ParameterList([nn.Parameter(torch.ones(WIDTH)) for _ in range(TENSORS)])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _others(path: Path) -> Iterator[list[int]]:
    """Peers in processes of their own, by their ids."""
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_fetch, args=(i, path), daemon=True) for i in range(1, 1 + PEERS)]
    for other in others:
        other.start()
    try:
        yield [other.pid for other in others if other.pid is not None]
    finally:
        for other in others:
            other.kill()
            other.join()


def _fetch(i: int, path: Path) -> None:
    torch.set_num_threads(1)
    with Peer(_model(), f"node {i}", path) as peer:
        while True:
            peer.update_send(1.0)
            peer.update_wait(1.0)
            time.sleep(_STEP)
