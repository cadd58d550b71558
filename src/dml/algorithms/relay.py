"""RelaySum (Vogels et al., NeurIPS 2021, arXiv 2110.04175, algorithm 1): exact sums over a tree, late.

On every directed edge i -> j of a tree, in round t, s_i being the node's own value,

    m_{i->j}(t) = s_i(t) + sum over k in N_i \\ {j} of m_{k->i}(t-1)        c_{i->j}(t) likewise, with s_i = 1
    total_i(t)  = s_i(t) + sum over k in N_i of m_{k->i}(t)                 n_i(t)

so every node's value reaches every node exactly once, d_ij - 1 rounds late; with overlap, where total_i
takes the messages of round t - 1, d_ij rounds late. What is late at the start, and what is lost, is
missing mass: total_i holds n_i values in place of n.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import chunks
from dml.algorithms.rule import prefixed
from dml.algorithms.traffic import Traffic


class RelaySum:
    """One tree, with the last message of every directed edge.

    Args:
        links: both directions of the tree's edges.
        remember: what a lost message leaves: ``hold`` the last one of its edge; ``nothing``; ``backlog``,
            nothing yet, but it is added to the next one. That is what a receiver of running sums finds,
            without numbers that grow.
        overlap: totals take the messages of the round before.
        like: a matrix of the width, type and device of S.
    """

    def __init__(self, links: Links, remember: str, overlap: bool, like: Tensor) -> None:
        self._links, self._remember, self._overlap = links, remember, overlap
        k, device, n = len(links.receiver), like.device, links.topology.n
        self._sender = torch.from_numpy(links.sender).to(device)
        # Sums what each node has received; a product with it is faster than adding row by row.
        self._inbox = torch.zeros(n, k, dtype=like.dtype, device=device)
        self._inbox[torch.from_numpy(links.receiver), torch.arange(k)] = 1
        self._messages = torch.zeros(k, like.shape[1], dtype=like.dtype, device=device)
        self._counts = torch.zeros(k, dtype=torch.int64)
        self._backlog: Tensor | None = None
        if remember == "backlog" and not links.reliable:
            self._backlog = torch.zeros_like(self._messages)

    @torch.no_grad()
    def __call__(self, S: Tensor, t: int) -> Tensor:
        """One round: S [n, P] holds s on entry, the totals on exit; n_i [n] is returned."""
        k = len(self._messages)
        arrived = np.ones(k, bool) if self._links.reliable else self._links.arrived(t)
        come = torch.from_numpy(np.flatnonzero(arrived)).to(S.device)
        gone = torch.from_numpy(np.flatnonzero(~arrived)).to(S.device)
        for part in chunks(S, 2 * (len(S) + k)):
            backlog = None if self._backlog is None else self._backlog[:, part]
            self._round(S[:, part], self._messages[:, part], backlog, self._inbox, self._sender, come, gone)
        counts = torch.ones(len(S), 1, dtype=torch.int64)
        self._round(
            counts,
            self._counts[:, None],
            None,
            self._inbox.cpu().long(),
            self._sender.cpu(),
            come.cpu(),
            gone.cpu(),
        )
        return counts[:, 0]

    def _round(
        self,
        s: Tensor,
        m: Tensor,
        backlog: Tensor | None,
        inbox: Tensor,
        sender: Tensor,
        come: Tensor,
        gone: Tensor,
    ) -> None:
        all_of_it = torch.addmm(s, inbox, m)
        new = all_of_it.index_select(0, sender)
        # Over each edge, what came from there is not sent back; the other direction is the other half.
        half = len(m) // 2
        new[:half] -= m[half:]
        new[half:] -= m[:half]
        if backlog is not None:
            new += backlog
            backlog.zero_()
            backlog[gone] = new[gone]
        if not len(gone):
            m.copy_(new)
        else:
            m[come] = new[come]
            if self._remember != "hold":
                m[gone] = 0
        if self._overlap:
            s.copy_(all_of_it)
        else:
            s.addmm_(inbox, m)

    def memory(self) -> dict[str, Tensor]:
        """The messages, [2(n-1), P], and how many values each holds, [2(n-1)]."""
        memory = {"messages": self._messages, "counts": self._counts}
        return memory if self._backlog is None else {**memory, "backlog": self._backlog}


class Relays:
    """RelaySum over several trees, each with columns of its own.

    Args:
        links: of each tree.
        remember: see :class:`RelaySum`.
        overlap: see :class:`RelaySum`.
        strided: tree i of k has the columns i, i + k, ..; else the i-th of k contiguous parts.
        like: a matrix of the shape, type and device of S.
    """

    def __init__(
        self, links: Sequence[Links], remember: str, overlap: bool, strided: bool, like: Tensor
    ) -> None:
        self._links, k, width = links, len(links), like.shape[1]
        cut = [width * i // k for i in range(k + 1)]
        self._columns = [slice(i, width, k) if strided else slice(cut[i], cut[i + 1]) for i in range(k)]
        self._sums = [
            RelaySum(own, remember, overlap, like[:, columns])
            for own, columns in zip(links, self._columns, strict=True)
        ]

    def total(self, S: Tensor, t: int) -> None:
        """S <- the totals of its columns."""
        for relay, columns in zip(self._sums, self._columns, strict=True):
            relay(S[:, columns], t)

    def mean(self, S: Tensor, t: int, missing: Tensor | None) -> None:
        """S <- (total + (n - n_i) missing) / n; without ``missing``, total / n_i."""
        n = len(S)
        for relay, columns in zip(self._sums, self._columns, strict=True):
            s = S[:, columns]
            count = relay(s, t)[:, None].to(s)
            if missing is None:
                s /= count
                continue
            short = torch.nonzero(count[:, 0] < n)[:, 0]
            if len(short):
                s[short] += (n - count[short]) * missing[:, columns][short]
            s /= n

    def traffic(self, width: int, counters: int) -> Traffic:
        """Each message holds its tree's columns, and so many counters."""
        sizes = [len(range(*columns.indices(width))) for columns in self._columns]
        first, *rest = [
            links.traffic(size + counters) for links, size in zip(self._links, sizes, strict=True)
        ]
        return sum(rest, start=first)

    def memory(self) -> dict[str, Tensor]:
        """Those of all trees."""
        return {
            name: tensor
            for i, relay in enumerate(self._sums)
            for name, tensor in prefixed(f"tree{i}_", relay.memory()).items()
        }
