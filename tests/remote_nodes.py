"""Traversal Learning over the wire within one process: the orchestrator, and nodes in threads."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from dml import experiment
from dml.network import keys
from dml.network.contacts import Contact
from dml.network.endpoint import Endpoint
from dml.network.message import Message
from dml.plan import Plan
from dml.results import Loaded, checkpoint, load
from dml.signals import StopRequest
from dml.traversal_network.assembly import Assembly
from dml.traversal_network.config import ORCHESTRATOR, RUN, NodeConfig, OrchestratorConfig, name_of
from dml.traversal_network.node import Conversation
from dml.traversal_network.orchestrator import planned_of, tell_end
from dml.traversal_network.worker import Worker

PAIR = keys.new()


def plan(folder: Path, **flags: object) -> tuple[OrchestratorConfig, Plan]:
    """A run of three nodes and one pass of a few batches, which is the same in one process."""
    own = {name for name, _ in OrchestratorConfig.flags()}
    chosen = OrchestratorConfig(**{"epochs": 2, **{name: flags[name] for name in flags if name in own}})  # type: ignore[arg-type]
    given = {"batch_size": 240, "out_dir": folder, **{n: v for n, v in flags.items() if n not in own}}
    return chosen, planned_of(chosen, given)


class KilledError(Exception):
    """Ends a node as a kill does: its connections are closed, and it says nothing more."""


class Node:
    """A node in a thread.

    Args:
        number: which node.
        address: of the orchestrator.
        flags: of experiments.
        killed: (phase, questions of this phase that are answered before, whether it computes this one).
        **chosen: its own flags.
    """

    def __init__(
        self,
        number: int,
        address: str | None,
        flags: Mapping[str, object] | None = None,
        killed: tuple[int, int, bool] | None = None,
        **chosen: object,
    ) -> None:
        self.stop, self.code = StopRequest(), -1
        config = NodeConfig(node_id=number, **chosen)  # type: ignore[arg-type]
        assert address is not None
        contact = Contact(ORCHESTRATOR, address, PAIR.public)

        def work() -> None:
            with (
                contextlib.suppress(KilledError),
                Endpoint(name_of(number), RUN, PAIR, [contact], None) as end,
            ):
                conversation = Conversation(config, flags or {}, end, self.stop)
                if killed:
                    conversation._answer = dying(conversation._answer, *killed)  # type: ignore[method-assign]
                self.code = conversation.work()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def join(self) -> int:
        """Waits for its end, and returns its exit code."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.code


def dying(answer: Callable[..., None], phase: int, left: int, computes: bool) -> Callable[..., None]:
    """The method by which a node answers, and dies at one of the questions."""
    before = [left]

    def answered(worker: Worker, question: Message) -> None:
        if question.header.phase == phase:
            before[0] -= 1
        if before[0] >= 0:
            answer(worker, question)
            return
        if computes:
            answer(worker, question)
        raise KilledError

    return answered


@contextlib.contextmanager
def listening(nodes: int = 3) -> Iterator[Endpoint]:
    """The orchestrator's place on the wire."""
    contacts = [Contact(name_of(node), None, PAIR.public) for node in range(nodes)]
    with Endpoint(ORCHESTRATOR, RUN, PAIR, contacts) as end:
        yield end


def train(
    chosen: OrchestratorConfig,
    planned: Plan,
    end: Endpoint,
    progress: Callable[..., None] = lambda record: None,
    stop: StopRequest | None = None,
) -> Loaded:
    """Runs the experiment; the nodes learn that it has ended."""
    stop = stop or StopRequest()
    try:
        path = experiment.run(
            planned.config, stop=stop, progress=progress, assemble=Assembly(end, chosen, stop)
        )
    finally:
        tell_end(end, 0, "training has ended")
    return load(path)


def assert_same(one: Loaded, planned: Plan, folder: Path) -> None:
    """All measurements and the model are those of the same experiment in one process, bit for bit."""
    run = planned.config.run.model_copy(update={"out_dir": folder})
    path = experiment.run(planned.config.model_copy(update={"run": run}))
    other = load(path)
    assert one.arrays.keys() == other.arrays.keys()
    for name in one.arrays.keys() - {"time/round_s"}:
        assert one.arrays[name].tobytes() == other.arrays[name].tobytes(), name
    assert np.array_equal(model(planned, planned.result), model(planned, path))


def model(planned: Plan, path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """The model of a checkpoint."""
    found = checkpoint.read(checkpoint.path_of(path), planned.identity.id)
    assert found is not None
    return found.X
