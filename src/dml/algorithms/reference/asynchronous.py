"""Plain forms of asynchronous algorithms: one event after another, each update computed when it ends."""

from collections.abc import Callable

from dml.algorithms.reference.plain import Models

Change = Callable[[int, int, Models], Models]
"""(node, number of its update, model from which it starts) -> the change by its local steps."""


class AsyncGossip:
    """Asynchronous gossip, one exchange with a neighbour after each update.

    Args:
        x: the models of the nodes at the time 0, [n, P]; changed in place.
        seconds: (node, number of its update) -> how long it takes.
        change: what its local steps do.
        peer: (node, number of its exchange) -> with whom it averages.
        delay: seconds until both models of an exchange have arrived.
        race: the second node sends what it has averaged already.

    Attributes:
        log: (time, node) of each update, when it was applied.
    """

    def __init__(
        self,
        x: Models,
        seconds: Callable[[int, int], float],
        change: Change,
        peer: Callable[[int, int], int],
        delay: float,
        race: bool = False,
    ) -> None:
        n = len(x)
        self.x, self.log = x, list[tuple[float, int]]()
        self._seconds, self._change, self._peer = seconds, change, peer
        self._delay, self._race = delay, race
        self._updates, self._exchanges = [0] * n, [0] * n
        self._start = x.copy()
        # What each node does now, when it ends, and in which order it was begun.
        self._doing = ["update"] * n
        self._ends = [(seconds(node, 0), node) for node in range(n)]
        self._begun = n

    def run(self, updates: int) -> None:
        """Until this many updates have been applied."""
        while len(self.log) < updates:
            node = min(range(len(self.x)), key=lambda i: self._ends[i])
            now = self._ends[node][0]
            if self._doing[node] == "update":
                self.x[node] += self._change(node, self._updates[node], self._start[node])
                self.log.append((now, node))
                self._updates[node] += 1
                self._begin(node, "exchange", now + self._delay)
            else:
                self._average(node, self._peer(node, self._exchanges[node]))
                self._exchanges[node] += 1
                self._start[node] = self.x[node]
                self._begin(node, "update", now + self._seconds(node, self._updates[node]))

    def _begin(self, node: int, what: str, end: float) -> None:
        self._doing[node], self._ends[node] = what, (end, self._begun)
        self._begun += 1

    def _average(self, i: int, j: int) -> None:
        x = self.x
        if self._race:
            x[j] = (x[i] + x[j]) / 2
            x[i] = (x[i] + x[j]) / 2
        else:
            x[i] = x[j] = (x[i] + x[j]) / 2
