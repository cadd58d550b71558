"""The state of an asynchronous run in simulated time, and what its algorithm may do with it.

An algorithm starts updates, sends messages and schedules events. It never trains: an update's change is there
when its end comes, whoever computed it, and together with whichever other updates.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.clock.compute import ComputeTimes
from dml.clock.transfers import Transfers
from dml.exchange.traffic import BYTES_PER_NUMBER
from dml.simulation.counters import Counter, Counters
from dml.simulation.ledger import Ledger
from dml.simulation.queue import EventQueue
from dml.simulation.updates import NONE, Updates
from dml.topology import Topology

if TYPE_CHECKING:
    from torch import Tensor

END = -1
"""The kind of the event that ends an update; a is its slot. Kinds of algorithms are 0 and above."""


class Simulation:
    """One run.

    Args:
        topology: the graph.
        X: rows of models, walks and buffers, then one row for each update that may be under way, [rows, P].
        slots: how many of the last rows are for updates.
        compute: how long updates take.
        transfers: how long messages take.
        steps: of the optimiser in an update.
        seed: the experiment's seed.
        drop: the probability that a message is lost, besides what its edge's weight says.
        waits: whether an update waits while its node is busy with another one.
        numbers: in a model that is sent; by default P.

    Attributes:
        now: the simulated time in seconds.
        available: whether each node has not failed and is not away, n of them.
        neighbours: those of each node that are available, ascending, n lists.
        rows: views of the rows of X.
        queue, updates, ledger: what the run consists of.
        steps: of the optimiser in an update, unless the algorithm says otherwise.
        prepare: called with its slot right before the model of an update is copied; None for nothing to do.
    """

    def __init__(
        self,
        topology: Topology,
        X: "Tensor",
        slots: int,
        compute: ComputeTimes,
        transfers: Transfers,
        *,
        steps: int = 1,
        seed: int = 0,
        drop: float = 0.0,
        waits: bool = True,
        numbers: int | None = None,
    ) -> None:
        self.topology, self.n, self.X = topology, topology.n, X
        self.rows = list(X.unbind(0))
        self.first_slot = len(X) - slots
        self.now = 0.0
        self.queue, self.ledger = EventQueue(), Ledger(topology)
        self.updates = Updates(slots, topology.n, waits)
        found = topology.neighbours()
        parts = np.split(found.indices, found.indptr[1:-1])
        self._all_neighbours: list[list[int]] = [part.tolist() for part in parts]
        self.neighbours = self._all_neighbours
        self.available = [True] * topology.n
        self.model_bytes = BYTES_PER_NUMBER * (X.shape[1] if numbers is None else numbers)
        self._compute, self._transfers, self.steps = compute, transfers, steps
        self.prepare: Callable[[int], None] | None = None
        self._counters = Counters(seed)
        self._arrives: list[float] = (np.repeat(topology.weights, 2) * (1 - drop)).tolist()
        self._messages = self._counters.make("message", 2 * topology.m)

    def counter(self, purpose: str, keys: int) -> Counter:
        """Random numbers for some keys, which continue after a stop.

        Args:
            purpose: of the numbers, such as ``"peer"``.
            keys: how many keys there are, such as the number of nodes.
        """
        return self._counters.make(purpose, keys)

    def start(self, slot: int, row: int, node: int, steps: int | None = None) -> None:
        """Starts an update from a row as it is now, or once its node is free.

        Args:
            slot: a free one.
            row: of X, whose model is trained, and to which the change is added in the end.
            node: whose data it is trained on.
            steps: of the optimiser, if they differ from those of other updates.
        """
        if self.updates.ask(slot, row, node, self.steps if steps is None else steps):
            self._begin(slot)

    def _begin(self, slot: int) -> None:
        updates = self.updates
        node = updates.node[slot]
        if self.prepare is not None:
            self.prepare(slot)
        self.rows[self.first_slot + slot].copy_(self.rows[updates.row[slot]])
        seconds = self._compute(node, updates.begun[node], updates.steps[slot])
        updates.begin(slot, self.queue.push(self.now + seconds, END, slot))

    def free(self, slot: int) -> None:
        """Frees the slot of an update whose change is applied; another one at its node may begin."""
        following = self.updates.finish(slot)
        if following != NONE:
            self._begin(following)

    def after(self, seconds: float, kind: int, a: int = 0, b: int = 0) -> None:
        """Schedules an event of the algorithm, unless it is cancelled.

        Args:
            seconds: from now.
            kind: what it is, at least 0.
            a, b: what it is about.
        """
        self.queue.push(self.now + seconds, kind, a, b)

    def cancel(self, which: Callable[[int, int, int], bool]) -> None:
        """Cancels events that the algorithm has scheduled.

        Args:
            which: (kind, a, b) -> whether the event is cancelled.
        """
        self.queue.cancel(lambda kind, a, b: kind >= 0 and which(kind, a, b))

    def leave(self, node: int) -> list[int]:
        """Takes a node out, with all updates that are under way or wait there.

        Returns:
            The slots of these updates, in their order.
        """
        lost = self.updates.lose(node)
        slots = set(lost)
        self.queue.cancel(lambda kind, a, b: kind == END and a in slots)
        self._set_available(node, False)
        return lost

    def come_back(self, node: int) -> None:
        """Brings a node back that was away."""
        self._set_available(node, True)

    def _set_available(self, node: int, available: bool) -> None:
        self.available[node] = available
        there = self.available
        self.neighbours = [[other for other in near if there[other]] for near in self._all_neighbours]

    def send(self, sender: int, receiver: int, models: int = 1, size: int | None = None) -> float:
        """Sends a message, counts its bytes, and returns the seconds until it arrives.

        Args:
            sender, receiver: two nodes.
            models: vectors of a model's size that it holds.
            size: its bytes, if it holds something else.
        """
        size = models * self.model_bytes if size is None else size
        self.ledger.add(sender, receiver, size)
        return self._transfers.arrival(sender, receiver, size, self.now) - self.now

    def arrives(self, sender: int, receiver: int) -> bool:
        """Whether the next message over an edge arrives; keyed by the count of messages over this link."""
        link = self.ledger.link(sender, receiver)
        probability = self._arrives[link]
        return probability >= 1 or self._messages(link) < probability

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint between two rounds needs besides X."""
        return {
            "now": np.array(self.now),
            "bytes": np.array(self.ledger.total),
            "available": np.array(self.available),
            **self.queue.state(),
            **self.updates.state(),
            **self._counters.state(),
            **{f"transfer_{name}": value for name, value in self._transfers.state().items()},
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues from what :meth:`state` returned; X holds the rows already.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        self.now, self.ledger.total = float(state["now"]), int(state["bytes"])
        if state["available"].shape != (self.n,):
            raise ValueError(f"available has the shape {state['available'].shape}")
        self.available = state["available"].astype(bool).tolist()
        self.neighbours = [[j for j in near if self.available[j]] for near in self._all_neighbours]
        self.queue.load_state(state)
        self.updates.load_state(state)
        self._counters.load_state(state)
        prefix = "transfer_"
        own = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
        self._transfers.load_state(own)
