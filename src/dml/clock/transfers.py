"""When messages arrive: they wait for their link, cross it, and travel for the latency.

A message of s bytes takes s / bandwidth seconds to cross a link. Over full-duplex links, each directed link
carries one message at a time. With half duplex, a node has one port for all that it sends and receives, and a
message occupies the ports of both ends. Messages take their turn in the order in which they are sent. The
latency comes on top, and occupies nothing.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class Transfers:
    """The links between n nodes, and until when each of them is busy.

    Args:
        n: the number of nodes.
        latency: in seconds.
        bandwidth: of each directed link, in bytes per second; None for an infinite one.
        half: whether a node's port is shared by all that it sends and receives.
    """

    def __init__(self, n: int, latency: float, bandwidth: float | None, half: bool) -> None:
        self._n, self._latency, self._bandwidth, self._half = n, latency, bandwidth, half
        # The end of the last message of each directed link, sender * n + receiver, or of each port.
        self._busy: dict[int, float] = {}

    def arrival(self, sender: int, receiver: int, size: int, now: float) -> float:
        """The time at which a message arrives, which is sent now.

        Args:
            sender: the node that sends it.
            receiver: the node that it is sent to.
            size: in bytes.
            now: the time, which never goes back from call to call.
        """
        if self._bandwidth is None:
            return now + self._latency
        busy = self._busy
        if self._half:
            begin = max(now, busy.get(sender, now), busy.get(receiver, now))
            end = busy[sender] = busy[receiver] = begin + size / self._bandwidth
        else:
            link = sender * self._n + receiver
            end = busy[link] = max(now, busy.get(link, now)) + size / self._bandwidth
        return end + self._latency

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What a checkpoint needs: the links or ports that have been used, [k], and their times, [k]."""
        used = sorted(self._busy)
        return {
            "links": np.array(used, np.int64),
            "busy_until": np.array([self._busy[link] for link in used], np.float64),
        }

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continues from what :meth:`state` returned.

        Raises:
            KeyError: something is missing.
            ValueError: the arrays do not fit each other, or a link is none of these.
        """
        links, times = state["links"], state["busy_until"]
        numbers: list[int] = links.tolist()
        count = self._n if self._half else self._n**2
        if links.ndim != 1 or links.shape != times.shape or any(not 0 <= k < count for k in numbers):
            raise ValueError(f"links and busy_until do not fit {self._n} nodes")
        self._busy = dict(zip(numbers, times.astype(np.float64).tolist(), strict=True))
