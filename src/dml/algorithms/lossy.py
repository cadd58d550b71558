"""One exchange of vectors with the neighbours: Y <- W Y, in which messages may be lost.

With A(t) the messages that arrive in round t, and l_ij = W_ij of those that do not, row i becomes

    hold_last       W_ii y_i + sum over A of W_ij y_j + sum over the lost of l_ij (last y_j that arrived);
                    what never arrived counts as y_i
    self_weight     (W_ii + sum over the lost of l_ij) y_i + sum over A of W_ij y_j
    renormalise     (W_ii y_i + sum over A of W_ij y_j) / (W_ii + sum over A of W_ij)

Rows sum to 1 under all of them. The sum over the nodes is kept only while nothing is lost.

Algorithms take it a chunk of columns at a time, so that what they do before and after the exchange finds the
chunk in the cache.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.sums import Sums, chunk, table, too_dense

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Mixing:
    """W, the messages that carry its entries, and what of them is remembered.

    Args:
        W: row-stochastic, [n, n], with entries on the links and the diagonal alone; or W of a round.
        links: the messages.
        loss_rule: one of ``registry.GOSSIP_RULES``.
        like: a matrix of the shape, type and device of Y.
    """

    def __init__(
        self,
        W: "csr_array | Callable[[int], csr_array]",
        links: Links,
        loss_rule: str,
        like: Tensor,
    ) -> None:
        self._links, self._rule = links, loss_rule
        self._W = W if callable(W) else None
        self._fixed = None if callable(W) else self._entries(W)
        n, self._width = like.shape
        self._chunk = chunk(n, self._width, like)
        self._space = table(n, self._chunk, like)
        device = like.device
        self._receiver = torch.from_numpy(links.receiver).to(device)
        self._sender = torch.from_numpy(links.sender).to(device)
        self._memory: dict[str, Tensor] = {}
        self._product: Sums | None = None
        self._recalled: tuple[Tensor, Tensor, Tensor] | None = None
        if self._fixed and links.reliable:
            self._product = self._sums(*self._fixed, np.ones(len(links.receiver), bool))
        if loss_rule == "hold_last" and not links.reliable:
            k = len(links.receiver)
            self._memory["held"] = like.new_zeros(k, self._width)
            self._memory["heard"] = torch.zeros(k, dtype=torch.bool)

    def _entries(self, W: "csr_array") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """W of each message, [k], and its diagonal, [n]."""
        dense = W.toarray()
        messages = dense[self._links.receiver, self._links.sender]
        if not np.isclose(messages.sum() + dense.trace(), dense.sum(), rtol=1e-9):
            raise ValueError("W has entries that no message carries")
        return messages, dense.diagonal().copy()

    @torch.no_grad()
    def __call__(self, Y: Tensor, t: int) -> None:
        """One exchange, in place.

        Args:
            Y: [n, P].
            t: the exchange's number, counted from 0; a key of what is lost.
        """
        for part in self.exchange(t):
            y = Y[:, part]
            self.space(part).copy_(y)
            y.copy_(self.mixed(part))

    def exchange(self, t: int) -> Iterator[slice]:
        """Starts an exchange; the chunks of columns, of each of which ``mixed`` is to be taken once.

        Args:
            t: the exchange's number, counted from 0; a key of what is lost.
        """
        if not (self._fixed and self._links.reliable):
            self._begin(t)
        for start in range(0, self._width, self._chunk):
            yield slice(start, min(start + self._chunk, self._width))

    def space(self, part: slice) -> Tensor:
        """Where a chunk of Y is to be written, [n, columns]."""
        return self._space[:, : part.stop - part.start]

    def mixed(self, part: slice) -> Tensor:
        """W times what the space holds, [n, columns], in a new matrix."""
        assert self._product is not None
        mixed = self._product(part.stop - part.start)
        if self._recalled:
            # The last messages stand in place of those that are lost; those that arrived are kept.
            new, old, scale = self._recalled
            held = self._memory["held"][:, part]
            mixed.index_add_(0, self._receiver[old], scale * held[old])
            held[new] = self.space(part)[self._sender[new]]
        return mixed

    def _begin(self, t: int) -> None:
        """W of the exchange, and which messages are recalled."""
        weights, own = self._fixed or self._entries(self._W(t))  # type: ignore[misc]
        arrived = np.ones(len(weights), bool) if self._links.reliable else self._links.arrived(t)
        recalled = np.zeros_like(arrived)
        if self._memory:
            heard = self._memory["heard"].numpy()
            heard |= arrived
            recalled = heard & ~arrived
        lost = ~arrived & ~recalled
        to = self._links.receiver
        n, total = len(own), own + np.bincount(to, weights * arrived, len(own))
        if self._rule == "renormalise":
            # A node without a weight of its own that hears nothing keeps its vector.
            own, total = np.where(total > 0, own, 1.0), np.where(total > 0, total, 1.0)
            own, weights = own / total, weights / total[to]
        else:
            own = own + np.bincount(to, weights * lost, n)
        self._product = self._sums(weights, own, arrived)
        if self._memory:
            device = self._space.device
            new = torch.from_numpy(np.flatnonzero(arrived)).to(device)
            old = torch.from_numpy(np.flatnonzero(recalled)).to(device)
            self._recalled = new, old, torch.from_numpy(weights[recalled]).to(self._space)[:, None]

    def _sums(
        self, weights: NDArray[np.float64], own: NDArray[np.float64], arrived: NDArray[np.bool_]
    ) -> Sums:
        """The product with W of the messages that have arrived."""
        n, nodes = len(own), np.arange(len(own))
        to = np.concatenate([nodes, self._links.receiver[arrived]])
        row = np.concatenate([nodes, self._links.sender[arrived]])
        values = np.concatenate([own, weights[arrived]])
        dense = too_dense(len(to), n, self._width)
        return Sums(to, row, values, n, self._space, self._chunk, dense)

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, [k, P], and on which links, [k]; empty where none is lost."""
        return self._memory
