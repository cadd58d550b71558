"""One exchange of vectors with the neighbours: Y <- W Y, in which messages may be lost.

With A(t) the messages that arrive in round t, and l_ij = W_ij of those that do not, row i becomes

    hold_last       W_ii y_i + sum over A of W_ij y_j + sum over the lost of l_ij (last y_j that arrived);
                    what never arrived counts as y_i
    self_weight     (W_ii + sum over the lost of l_ij) y_i + sum over A of W_ij y_j
    renormalise     (W_ii y_i + sum over A of W_ij y_j) / (W_ii + sum over A of W_ij)

Rows sum to 1 under all of them. The sum over the nodes is kept only while nothing is lost.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.algorithms.links import Links
from dml.mixing import chunk_bytes
from dml.population import ALIGN

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def chunks(X: Tensor, rows: int) -> Iterator[slice]:
    """The columns of X in slices of which so many rows fit into a cache, or into little of a card."""
    size = max(ALIGN, chunk_bytes(X) // (X.element_size() * max(rows, 1)) // ALIGN * ALIGN)
    for start in range(0, X.shape[1], size):
        yield slice(start, min(start + size, X.shape[1]))


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
        device = like.device
        self._receiver = torch.from_numpy(links.receiver).to(device)
        self._sender = torch.from_numpy(links.sender).to(device)
        self._memory: dict[str, Tensor] = {}
        self._whole: Tensor | None = None
        if self._fixed and links.reliable:
            self._whole = self._dense(*self._fixed, np.ones(len(links.receiver), bool)).to(like)
        if loss_rule == "hold_last" and not links.reliable:
            k = len(links.receiver)
            self._memory["held"] = torch.zeros(k, like.shape[1], dtype=like.dtype, device=device)
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
        if self._whole is not None:
            self._apply(self._whole, Y)
            return
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
        dense = self._dense(weights, own, arrived).to(Y)
        if self._memory:
            self._recall(dense, Y, weights, arrived, recalled)
        else:
            self._apply(dense, Y)

    def _dense(
        self, weights: NDArray[np.float64], own: NDArray[np.float64], arrived: NDArray[np.bool_]
    ) -> Tensor:
        """W of the messages that have arrived, [n, n]."""
        dense = np.diag(own)
        np.add.at(dense, (self._links.receiver[arrived], self._links.sender[arrived]), weights[arrived])
        return torch.from_numpy(dense)

    def _apply(self, dense: Tensor, Y: Tensor) -> None:
        for part in chunks(Y, len(Y)):
            y = Y[:, part]
            y.copy_(dense @ y)

    def _recall(
        self,
        dense: Tensor,
        Y: Tensor,
        weights: NDArray[np.float64],
        arrived: NDArray[np.bool_],
        recalled: NDArray[np.bool_],
    ) -> None:
        """W Y with the last messages in place of those that are lost; those that arrived are kept."""
        held = self._memory["held"]
        new = torch.from_numpy(np.flatnonzero(arrived)).to(Y.device)
        old = torch.from_numpy(np.flatnonzero(recalled)).to(Y.device)
        scale = torch.from_numpy(weights[recalled]).to(Y)[:, None]
        for part in chunks(Y, len(Y) + len(held)):
            y, h = Y[:, part], held[:, part]
            mixed = dense @ y
            mixed.index_add_(0, self._receiver[old], scale * h[old])
            h[new] = y[self._sender[new]]
            y.copy_(mixed)

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, [k, P], and on which links, [k]; empty where none is lost."""
        return self._memory
