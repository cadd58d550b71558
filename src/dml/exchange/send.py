"""The verb ``send``: one vector over each link of a set of links."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.links import Links

if TYPE_CHECKING:
    from dml.exchange.in_memory import InMemory


class Channel:
    """Some links, over each of which a vector of its own is sent.

    Args:
        exchange: what it belongs to.
        links: over which vectors go.
    """

    def __init__(self, exchange: "InMemory", links: Links) -> None:
        self._exchange, self.links = exchange, links

    def begin(self, t: int, numbers: int) -> NDArray[np.bool_]:
        """Starts a round: counts its bytes, and says which messages will arrive, [k].

        Args:
            t: the round.
            numbers: in each message.
        """
        self._exchange.count(self.links.traffic(numbers, t))
        return self.links.arrived(t)

    def carry(
        self,
        messages: Tensor,
        sender: NDArray[np.int64],
        receiver: NDArray[np.int64],
        columns: slice,
        t: int,
    ) -> Tensor:
        """What the receivers get of a chunk of the messages, had all of them arrived.

        Args:
            messages: one per link, [k, columns], in any order of the links.
            sender, receiver: of each message, [k].
            columns: which columns of the whole vectors they are.
            t: the round.
        """
        outgoing = self._exchange.outgoing
        return messages if outgoing is None else outgoing(messages, sender, receiver, columns, t)
