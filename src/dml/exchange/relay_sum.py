"""RelaySum (Vogels et al., NeurIPS 2021, arXiv 2110.04175, algorithm 1): exact sums over a tree, with delay.

On every directed edge i -> j of a tree, in round t, where s_i is the node's own value,

    m_{i->j}(t) = s_i(t) + sum over k in N_i \\ {j} of m_{k->i}(t-1)        c_{i->j}(t) likewise, with s_i = 1
    total_i(t)  = s_i(t) + sum over k in N_i of m_{k->i}(t)                 n_i(t)

so every node's value reaches every node exactly once, d_ij - 1 rounds late. With overlap, total_i takes the
messages of round t - 1, and values are d_ij rounds late. Values that are still on their way at the start, and
values that are lost, are missing: total_i holds n_i values instead of n.

Where nodes have many neighbours, messages are computed as

    a_i(t) = s_i(t) + sum over all k in N_i of m_{k->i}(t-1)
    m_{i->j}(t) = a_i(t) - m_{j->i}(t-1)

Columns are taken in chunks that fit into a cache; each chunk passes through all steps before the next one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.exchange.send import Channel
from dml.exchange.sums import Sums, chunk, table_and_space

MOST_TERMS = 4
"""Mean number of terms per message up to which adding them up is faster than subtracting from a sum."""


class RelaySum:
    """One tree, with the last message of every directed edge.

    Args:
        channel: both directions of the tree's edges, as ``links.over_edges`` orders them.
        remember: what a lost message leaves behind. ``hold``: the last message of its edge. ``nothing``.
            ``backlog``: nothing for now, but it is added to the next message; that is what a receiver of
            running sums finds, without numbers that grow.
        overlap: totals take the messages of the round before.
        like: a matrix with the width, type and device of S.
        share: the factor by which s is multiplied in messages and totals; 1/n makes them means.
        counters: numbers that each message holds besides its vector.

    Attributes:
        counts: how many values the totals of the round hold, n_i, [n].
        age: rounds since the oldest message in each total was sent, [n]; 0 for a total without messages.
        ages: rounds since the message that each edge holds was sent, [2(n-1)]; -1 for none.
        like: an empty matrix with the type and device of S.
    """

    def __init__(
        self,
        channel: Channel,
        remember: str,
        overlap: bool,
        like: Tensor,
        share: float = 1.0,
        counters: int = 0,
    ) -> None:
        links = channel.links
        self._channel, self._links, self._remember, self._overlap = channel, links, remember, overlap
        self._share, self._numbers = share, like.shape[1] + counters
        self.like, self._width, k, n = like[:0, :0], like.shape[1], len(links), links.topology.n
        self._counts = torch.zeros(k, dtype=torch.int64)
        self.counts, self.age = np.full(n, n), np.zeros(n, np.int64)
        self.ages = np.full(k, -1)
        self._t = 0
        self._arrived: Tensor | None = None
        self._backlog: Tensor | None = None
        if remember == "backlog" and not links.reliable:
            self._backlog = like.new_zeros(k, self._width)
        # While nothing is lost, a message takes the place of the one that it is computed from, which came
        # over the same edge the other way. So each place holds one direction and the other in turn.
        self._turn = torch.zeros(1, dtype=torch.int64)
        # Twice a core's cache: fewer calls gain more than the next cache costs.
        self._chunk = chunk(k, self._width, like, caches=2)
        self._messages, self._s = table_and_space(k, self._width, n, self._chunk, like)
        ends = links.sender, links.receiver
        turns = [(ends[turn], ends[1 - turn]) for turn in (0, 1)]
        self._sender = [torch.from_numpy(sender).to(like.device) for sender, _ in turns]
        self._totals = [self._total_sums(receiver) for _, receiver in turns]
        self._direct: list[Sums] = []
        terms = (np.bincount(links.sender, minlength=n) ** 2).sum()
        if not overlap and terms <= MOST_TERMS * k and like.device.type == "cpu":
            before = turns[::-1] if links.reliable else turns
            self._direct = [self._message_sums(*now, *old) for now, old in zip(turns, before, strict=True)]
        self._new = like.new_empty(0 if self._direct else k, self._chunk)

    def _total_sums(self, receiver: NDArray[np.int64]) -> Sums:
        """share s_i and the messages to node i."""
        k, n = len(self._links), len(self.counts)
        nodes = np.arange(n)
        to, row = np.concatenate([nodes, receiver]), np.concatenate([k + nodes, np.arange(k)])
        return self._sums(to, row, n)

    def _message_sums(
        self,
        sender: NDArray[np.int64],
        receiver: NDArray[np.int64],
        old_sender: NDArray[np.int64],
        old_receiver: NDArray[np.int64],
    ) -> Sums:
        """share s_i and the messages of the last round to node i, but for the one from the receiver."""
        k, n = len(sender), len(self.counts)
        inbox = np.argsort(old_receiver, kind="stable")
        degree = np.bincount(old_receiver, minlength=n)
        first, terms = (np.cumsum(degree) - degree)[sender], degree[sender]
        message = np.repeat(np.arange(k), terms)
        old = inbox[np.arange(len(message)) - np.repeat(np.cumsum(terms) - terms - first, terms)]
        others = old_sender[old] != receiver[message]
        to = np.concatenate([np.arange(k), message[others]])
        return self._sums(to, np.concatenate([k + sender, old[others]]), k)

    def _sums(self, to: NDArray[np.int64], row: NDArray[np.int64], n: int) -> Sums:
        weights = np.where(row < len(self._links), 1.0, self._share)
        return Sums(to, row, weights, n, self._messages, self._width, space=self._s)

    def begin(self, t: int) -> None:
        """Starts a round: which messages arrive, and how many values the totals hold."""
        self._t, arrived = t, self._channel.begin(t, self._numbers)
        if self._links.reliable:
            self._turn ^= 1
        else:
            self._arrived = torch.from_numpy(arrived).to(self._messages.device)[:, None]
        self._count(arrived)
        self._grow_old(arrived)

    def _count(self, arrived: NDArray[np.bool_]) -> None:
        to, c, n = self._links.receiver, self._counts.numpy(), len(self.counts)
        # What waits comes with the next message, as if the last one had held it.
        keeps = self._links.reliable or self._remember != "nothing"
        self.counts = 1 + np.bincount(to, c, n).astype(np.int64)
        if keeps and (self.counts == n).all():
            return  # and so it will stay
        new = self.counts[self._links.sender] - np.roll(c, len(c) // 2)
        c[:] = np.where(arrived, new, c if keeps else 0)
        if not self._overlap:
            self.counts = 1 + np.bincount(to, c, n).astype(np.int64)

    def _grow_old(self, arrived: NDArray[np.bool_]) -> None:
        if self._links.reliable and (self.ages == 0).all():
            self.age[:] = 1 if self._overlap else 0
            return
        older = np.where(self.ages >= 0, self.ages + 1, -1)
        kept = -1 if self._remember == "nothing" else older
        self.ages = np.where(arrived, 0, kept)
        self.age[:] = 0
        np.maximum.at(self.age, self._links.receiver, older if self._overlap else self.ages)

    def slices(self) -> Iterator[slice]:
        """The chunks of columns."""
        for start in range(0, self._width, self._chunk):
            yield slice(start, min(start + self._chunk, self._width))

    def space(self, part: slice) -> Tensor:
        """Where a chunk of S is to be written, [n, columns]."""
        return self._s[:, : part.stop - part.start]

    def total(self, part: slice) -> Tensor:
        """The totals of a round for the chunk of S in :meth:`space`, [n, columns], in a new matrix.

        Args:
            part: the columns, one of :meth:`slices`; to be taken once per round.
        """
        now = int(self._turn)
        columns = part.stop - part.start
        m = self._messages[:, part]
        if self._direct:
            new = self._direct[now](columns, part.start)
        else:
            a = self._totals[now ^ 1 if self._links.reliable else now](columns, part.start)
            new = torch.index_select(a, 0, self._sender[now], out=self._new[:, :columns])
            new = self._less_returned(new, m)
        new = self._carried(new, now, part)
        if not self._links.reliable:
            self._lose(new, m, None if self._backlog is None else self._backlog[:, part])
        elif new is not m:
            m.copy_(new)
        return a if self._overlap else self._totals[now](columns, part.start)

    def _less_returned(self, sums: Tensor, m: Tensor) -> Tensor:
        """The sums of the senders, less the last message that came over the same edge the other way."""
        if self._links.reliable:
            return torch.sub(sums, m, out=m)
        half = len(m) // 2
        sums[:half] -= m[half:]
        sums[half:] -= m[:half]
        return sums

    def _carried(self, messages: Tensor, turn: int, part: slice) -> Tensor:
        ends = self._links.sender, self._links.receiver
        return self._channel.carry(messages, ends[turn], ends[1 - turn], part, self._t)

    def _lose(self, new: Tensor, m: Tensor, backlog: Tensor | None) -> None:
        """m <- the new messages, where they arrive."""
        assert self._arrived is not None
        if backlog is not None:
            new = new + backlog
            backlog.copy_(torch.where(self._arrived, 0, new))
        m.copy_(torch.where(self._arrived, new, m if self._remember == "hold" else 0))

    def memory(self) -> dict[str, Tensor]:
        """The messages, [2(n-1), P]; values in each, [2(n-1)]; whether places are swapped, [1]."""
        memory = {"messages": self._messages[:, : self._width], "counts": self._counts, "turn": self._turn}
        return memory if self._backlog is None else {**memory, "backlog": self._backlog}
