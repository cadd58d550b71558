"""Traversal Learning over loopback, against the same in one process and its bytes over a bare connection."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import network
import torch
from timing import Row, interleaved, median

from dml import assembly
from dml.assembly import Parts
from dml.execution.execution import drive
from dml.network import keys
from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint
from dml.signals import StopRequest
from dml.traversal_network.assembly import Assembly
from dml.traversal_network.config import ORCHESTRATOR, RUN, NodeConfig, OrchestratorConfig, name_of
from dml.traversal_network.node import Conversation
from dml.traversal_network.orchestrator import planned_of, tell_end

NODES = 3

BATCH_SIZE = 64


def rows(quick: bool) -> Iterator[Row]:
    """One pass over digits for each mode, a gradient of the whole model and a cut."""
    torch.set_num_threads(1)
    for mode in ("grads", "cut=2"):
        with tempfile.TemporaryDirectory() as folder:
            yield _row(mode, Path(folder), 2 if quick else 9)


def _row(mode: str, folder: Path, repeats: int) -> Row:
    chosen = OrchestratorConfig(num_nodes=NODES, patience=network.LIMIT)
    planned = planned_of(chosen, {"mode": mode, "out_dir": folder, "batch_size": BATCH_SIZE, "threads": 1})
    pair = keys.new()
    contacts = [Contact(name_of(node), None, pair.public) for node in range(NODES)]
    with ExitStack() as stack:
        end = stack.enter_context(Endpoint(ORCHESTRATOR, RUN, pair, contacts))
        assert end.address is not None
        for node in range(NODES):
            stack.enter_context(_node(node, pair, end.address))
        remote = Assembly(end, chosen, StopRequest())(planned, None)
        bare = stack.enter_context(network.bare())
        per_batch, batches = _sizes(remote)
        cases = {
            "network": _epochs(remote),
            "one process": _epochs(assembly.assemble(planned, None)),
            "bare": partial(_transfers, bare, per_batch, batches),
        }
        seconds = interleaved(cases, repeats)
        tell_end(end, 0, "the benchmark has ended")
    alone = [a + b for a, b in zip(seconds["one process"], seconds["bare"], strict=True)]
    taken = {name: median(values) / batches * 1000 for name, values in seconds.items()}
    note = ", ".join(f"{name} {value:.2f} ms" for name, value in taken.items()) + " per batch"
    measured = median([a / b for a, b in zip(seconds["network"], alone, strict=True)])
    return Row(f"traversal {mode} over loopback, digits, n={NODES}", measured, "x", 1.3, note)


def _epochs(parts: Parts) -> Callable[[], object]:
    """What trains for another pass."""
    numbers = count()
    return lambda: drive(parts.execution.advance(next(numbers), lambda told: True), parts.engine.train)


def _sizes(parts: Parts) -> tuple[list[tuple[int, int]], int]:
    """Bytes to a node and from it in each phase of a batch of equal parts, and how many batches there are."""
    account = parts.execution.account  # type: ignore[attr-defined]
    share = torch.full((NODES,), BATCH_SIZE // NODES, dtype=torch.int64).numpy()
    each = [(int(phase.to_nodes(share)[0]), int(phase.from_nodes(share)[0])) for phase in account.phases]
    return each, -(-int(parts.data.samples.sum()) // BATCH_SIZE)


def _transfers(bare: network.Exchange, per_batch: list[tuple[int, int]], batches: int) -> None:
    for to, back in per_batch:
        bare(to, back, NODES * batches)


@contextmanager
def _node(number: int, pair: keys.KeyPair, address: str) -> Iterator[None]:
    """A process that is a node."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_work, args=(number, pair, address), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.join(10)
        process.kill()


def _work(number: int, pair: keys.KeyPair, address: str) -> None:
    contact = Contact(ORCHESTRATOR, address, pair.public)
    chosen = NodeConfig(node_id=number, patience=network.LIMIT)
    with Endpoint(name_of(number), RUN, pair, [contact], None) as end:
        Conversation(chosen, {"threads": 1}, end, StopRequest()).work()
