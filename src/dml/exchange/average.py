"""The verb ``average``: Y <- W Y over the links, on which messages may be lost.

With A(t) the links whose messages arrive in round t, row i becomes

    hold_last       W_ii y_i + sum over A of W_ij y_j + sum over the lost of W_ij (last y_j that arrived);
                    what has never arrived counts as y_i
    self_weight     (W_ii + sum over the lost of W_ij) y_i + sum over A of W_ij y_j
    renormalise     (W_ii y_i + sum over A of W_ij y_j) / (W_ii + sum over A of W_ij);
                    a W that is a function of what has arrived is taken as it comes

Rows sum to 1 under all of them. The sum over the nodes is kept only while nothing is lost.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.links import Links
from dml.exchange.sums import Sums, chunk, table, too_dense

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from dml.exchange.in_memory import InMemory
    from dml.ranks.halo import Halo

LOSS_RULES = ("hold_last", "self_weight", "renormalise")
"""What an average makes of a lost message."""

Weights = Callable[[int, NDArray[np.bool_]], "csr_array"]
"""(round, which links' messages arrive [k]) -> W of the round, [n, n], with entries on the diagonal and on
these links alone."""


class Average:
    """A weighted average over the links, ready to be taken in each round.

    An algorithm takes it in chunks of columns, so that what it does before and after the exchange finds the
    chunk in the cache.

    Args:
        exchange: what it belongs to.
        links: over which messages go.
        W: row-stochastic, [n, n], with entries on the diagonal and on the links alone; or W of each round.
        loss_rule: one of ``LOSS_RULES``.
    """

    def __init__(self, exchange: "InMemory", links: Links, W: "csr_array | Weights", loss_rule: str) -> None:
        self._exchange, self._links, self._rule = exchange, links, loss_rule
        like = exchange.like
        self._n, self._width, self._here = exchange.topology.n, like.shape[1], exchange.here
        # Columns of a product, and those that are taken at a time.
        self._chunk = chunk(self._n, self._width, like)
        self._columns = chunk(self._n, self._width, like, exchange.caches)
        # The vectors that nodes hold, and the messages where these differ from them.
        rows = self._n if exchange.outgoing is None else self._n + len(links)
        self._space = table(rows, self._columns, like)
        self._memory: dict[str, Tensor] = {}
        self._product: Sums | None = None
        self._halo: Halo | None = None
        self._recalled: tuple[Tensor, Tensor, Tensor] | None = None
        # Rows of the average here that are not the node's own vector, and the rows here that any of them
        # reads, with their place in the space.
        self._rows: Tensor | None = None
        self._read: tuple[Tensor | None, slice] | None = None
        self._given: Weights | None = None
        self._last_given: csr_array | None = None
        self._weights: Weights | None = W if callable(W) else None
        self._fixed = None if callable(W) else self._entries(W)
        if callable(W) and (links.reliable or loss_rule == "renormalise"):
            self._given = W
        elif self._fixed and links.reliable:
            self._product = self._sums(*self._fixed, np.ones(len(links), bool))
        # The links to nodes that live here.
        self._into = exchange.into_here(links.receiver)
        if self._product is None and self._given is None and loss_rule == "hold_last":
            held = like.new_zeros(int(self._into.sum()), self._width)
            self._memory["held"] = exchange.of_links(held, links.receiver)
            self._memory["heard"] = exchange.alike(torch.zeros(len(links), dtype=torch.bool))
        device = like.device
        self._receiver = torch.from_numpy(links.receiver[self._into] - self._here.start).to(device)
        self._message = torch.from_numpy(self._message_rows()[self._into]).to(device)
        self._t = 0

    @torch.no_grad()
    def __call__(self, Y: Tensor, t: int, listeners: NDArray[np.bool_] | None = None) -> None:
        """Takes the average of one round, in place.

        Args:
            Y: the vectors that live here, [rows, P].
            t: the round; a key of what is lost.
            listeners: the nodes that average, [n], where others send but do not listen; W then has rows of
                the identity for the others.
        """
        for part in self.chunks(t, listeners):
            y = Y[:, part]
            if self._read is None:
                self.space(part).copy_(y)
            else:
                rows, places = self._read
                used = self._space[places, : part.stop - part.start]
                used.copy_(y) if rows is None else torch.index_select(y, 0, rows, out=used)
            if self._exchange.outgoing is None and not self._recalled and self._exchange.ranks.size == 1:
                assert self._product is not None
                self._product.put(y, self._rows)
            elif self._rows is None:
                y.copy_(self.mixed(part))
            else:
                y[self._rows] = self.mixed(part)

    def chunks(self, t: int, listeners: NDArray[np.bool_] | None = None) -> Iterator[slice]:
        """Starts the average of a round: the chunks of columns, for each of which ``mixed`` is taken once."""
        self._t = t
        self._exchange.count(self._links.traffic(self._width, t, listeners))
        if self._given is not None:
            arrived = self._links.arrived(t)
            self._begin_with(self._given(t, arrived), arrived)
        elif self._weights is not None or not self._links.reliable:
            self._begin(t)
        if self._product is not None:
            for start in range(0, self._width, self._columns):
                yield slice(start, min(start + self._columns, self._width))

    def space(self, part: slice) -> Tensor:
        """Where a chunk of Y is to be written, [rows, columns]."""
        return self._space[self._here, : part.stop - part.start]

    def mixed(self, part: slice) -> Tensor:
        """W times what :meth:`space` holds, [rows, columns], in a new matrix."""
        assert self._product is not None
        columns, links = part.stop - part.start, self._links
        self._get_others(part)
        if self._exchange.outgoing is not None:
            vectors = self._space[: self._n, :columns][torch.from_numpy(links.sender)]
            messages = self._exchange.outgoing(vectors, links.sender, links.receiver, part, self._t)
            self._space[self._n :, :columns] = messages
        mixed = self._product.of(columns, self._chunk)
        if self._recalled:
            # The last messages that arrived stand for those that are lost; the new ones are kept.
            new, old, scale = self._recalled
            held = self._memory["held"][:, part]
            mixed.index_add_(0, self._receiver[old], scale * held[old])
            held[new] = self._space[self._message[new], :columns]
        return mixed

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived, [k, P], and on which links, [k]; empty if none is ever lost."""
        return self._memory

    def _get_others(self, part: slice) -> None:
        """Gets the vectors that are read here and live elsewhere."""
        if self._halo is not None:
            self._halo.fill(self._space[:, : part.stop - part.start])

    def _message_rows(self) -> NDArray[np.int64]:
        """The row of the space in which the message of each link stands, [k]."""
        own = self._exchange.outgoing is None
        return self._links.sender if own else self._n + np.arange(len(self._links))

    def _entries(self, W: "csr_array") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """W of each link, [k], and its diagonal, [n]."""
        coo = W.tocoo()
        away = (coo.row != coo.col) & (coo.data != 0)
        weights = np.zeros(len(self._links))
        weights[self._link_of(coo.row[away], coo.col[away])] = coo.data[away]
        return weights, W.diagonal()

    def _link_of(self, receiver: NDArray[np.integer], sender: NDArray[np.integer]) -> NDArray[np.int64]:
        """The links between pairs of nodes.

        Raises:
            ValueError: some pairs have none.
        """
        wanted = receiver.astype(np.int64) * self._n + sender
        if not len(wanted):
            return np.empty(0, np.int64)
        names, order = self._names
        place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
        if not len(names) or (names[place] != wanted).any():
            raise ValueError("W has entries that no link carries")
        return order[place]

    @cached_property
    def _names(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One number per link, ascending, and the link of each."""
        names = self._links.receiver * self._n + self._links.sender
        order = np.argsort(names, kind="stable")
        return names[order], order

    def _begin_with(self, W: "csr_array", arrived: NDArray[np.bool_]) -> None:
        """Takes W as it comes, for the rows that are not rows of the identity."""
        if W is self._last_given:
            return
        self._last_given = W
        changed = _changed_rows(W)
        self._product = None
        if not len(changed):
            return
        entries = W[changed].tocoo()
        row = entries.col.astype(np.int64)
        away = (row != changed[entries.row]) & (entries.data != 0)
        link = self._link_of(changed[entries.row[away]], row[away])
        if not arrived[link].all():
            raise ValueError("W has entries on links whose messages are lost")
        rows = len(self._space)
        if self._exchange.outgoing is not None:
            self._rows = _index(changed, self._n, self._space)
            row[away] = self._n + link
        else:
            # Only the vectors that are read: one that nobody uses cannot spread what it holds.
            read, row = np.unique(row, return_inverse=True)
            count = self._here.stop - self._here.start
            wanted, places = self._of_here(changed), self._of_here(read)
            self._rows = _index(changed[wanted] - self._here.start, count, self._space)
            self._read = _index(read[places] - self._here.start, count, self._space), places
            self._connect(changed[entries.row], row, entries.data != 0, read)
            rows = len(read)
        self._product = self._make(entries.row, row, entries.data, changed, rows)

    def _begin(self, t: int) -> None:
        """Takes W of the round as the loss rule says, and finds out which messages are recalled."""
        links, arrived = self._links, self._links.arrived(t)
        weights, own = self._fixed or self._entries(self._weights(t, np.ones_like(arrived)))  # type: ignore[misc]
        recalled = np.zeros_like(arrived)
        if self._memory:
            heard = self._memory["heard"].numpy()
            heard |= arrived
            recalled = heard & ~arrived & (weights != 0)
        lost = ~arrived & ~recalled
        total = own + np.bincount(links.receiver, weights * arrived, self._n)
        if self._rule == "renormalise":
            # A node without a weight of its own that hears nothing keeps its vector.
            own, total = np.where(total > 0, own, 1.0), np.where(total > 0, total, 1.0)
            own, weights = own / total, weights / total[links.receiver]
        else:
            own = own + np.bincount(links.receiver, weights * lost, self._n)
        self._product = self._sums(weights, own, arrived)
        if self._memory:
            device, into = self._space.device, self._into
            new = torch.from_numpy(np.flatnonzero(arrived[into])).to(device)
            old = torch.from_numpy(np.flatnonzero(recalled[into])).to(device)
            scale = torch.from_numpy(weights[recalled & into]).to(self._space)[:, None]
            self._recalled = new, old, scale

    def _sums(
        self, weights: NDArray[np.float64], own: NDArray[np.float64], arrived: NDArray[np.bool_]
    ) -> Sums:
        """The product with W of the messages that have arrived."""
        nodes = np.arange(self._n)
        to = np.concatenate([nodes, self._links.receiver[arrived]])
        row = np.concatenate([nodes, self._message_rows()[arrived]])
        values = np.concatenate([own, weights[arrived]])
        # What arrives may be recalled later, even if its weight is 0 now.
        self._connect(to, row, np.ones_like(to, bool) if self._memory else values != 0)
        return self._make(to, row, values, nodes, len(self._space))

    def _make(
        self,
        to: NDArray[np.integer],
        row: NDArray[np.integer],
        values: NDArray[np.float64],
        nodes: NDArray[np.int64],
        rows: int,
    ) -> Sums:
        """The sums of those of some nodes that live here, over the first rows of the space."""
        dense = too_dense(len(to), len(nodes), rows, self._width)
        wanted = None if self._exchange.ranks.size == 1 else self._of_here(nodes)
        return Sums(to, row, values, len(nodes), self._space[:rows], self._chunk, dense, wanted=wanted)

    def _connect(
        self,
        to: NDArray[np.integer],
        row: NDArray[np.integer],
        used: NDArray[np.bool_],
        read: NDArray[np.int64] | None = None,
    ) -> None:
        """Finds out which vectors the nodes of other processes read here, and the other way round.

        Args:
            to: the node that reads each entry, [e].
            row: its place in the space, [e].
            used: which entries are read, [e].
            read: the node whose vector stands in each place; by default that of its number.
        """
        ranks = self._exchange.ranks
        if ranks.size > 1:
            sender = row if read is None else read[row]
            reader, owner = ranks.owner(self._n, to), ranks.owner(self._n, sender)
            self._halo = ranks.halo(reader[used], owner[used], row[used])

    def _of_here(self, nodes: NDArray[np.int64]) -> slice:
        """Which of some nodes, ascending, live here."""
        first, last = np.searchsorted(nodes, [self._here.start, self._here.stop])
        return slice(int(first), int(last))


def _changed_rows(W: "csr_array") -> NDArray[np.int64]:
    """The rows that are not rows of the identity matrix."""
    # Stored entries, zeros not counted: a strategy may store a zero.
    stored = np.add.reduceat(np.append(W.data != 0, 0), W.indptr[:-1]) * (np.diff(W.indptr) > 0)
    return np.flatnonzero((W.diagonal() != 1) | (stored != 1)).astype(np.int64)


def _index(numbers: NDArray[np.int64], n: int, like: Tensor) -> Tensor | None:
    """Some of n rows, or None for all of them."""
    return None if len(numbers) == n else torch.from_numpy(numbers).to(like.device)
