"""Ranks that are processes anywhere, one for each node, over encrypted connections.

Rows of X go straight from a node to those that read them. What all ranks share, such as losses and scores,
goes along a tree of the graph's edges, up to node 0 and down again, so that nodes without an edge need no
connection.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml.errors import InputError, LostRankError, one_line
from dml.network.endpoint import Endpoint
from dml.network.errors import Late, WireError
from dml.network.header import Key, Scalar
from dml.network.message import Message
from dml.ranks.halo import Halo, between
from dml.ranks.ranks import Ranks

T = TypeVar("T")

_LOOK_S = 0.25
"""Seconds between two looks whether a contact that is waited for is still there."""

_LEAVE_S = 2.0
"""Seconds that a process takes at most to tell all its contacts that it ends."""

_END = "end"
"""The kind of the message by which a process tells its contacts that it ends before the experiment does."""


@dataclass(frozen=True)
class Patience:
    """How long a process waits for another one.

    Args:
        away: seconds without a connection.
        slow: seconds with one; the other process may compute for as long as that.
        meeting: seconds without a connection until it has come for the first time.
    """

    away: float
    slow: float
    meeting: float


class Refusal(InputError):
    """Another process has refused the experiment for a reason that its user can change."""


class OverWire(Ranks):
    """One rank for each node, of which this process has one.

    Args:
        end: connected to all ranks that this one shares an edge with, and to no others unless `direct`.
        names: of all ranks on the wire.
        rank: the number of this process.
        parent: of each rank in the tree, [n]; -1 for rank 0.
        patience: how long to wait.
        direct: every rank is connected to every other one, so rows of all of them need no tree.
        collects: whether rank 0 gets the models of all to measure them.
        place: the number of this process among those on this host.
        places: how many these are.
    """

    shown = True

    def __init__(
        self,
        end: Endpoint,
        names: Sequence[str],
        rank: int,
        parent: NDArray[np.integer],
        patience: Patience,
        *,
        direct: bool = False,
        collects: bool = True,
        place: int = 0,
        places: int = 1,
    ) -> None:
        self.rank, self.size, self.place, self.places = rank, len(names), place, places
        self.collects = collects
        self._end, self._names, self._patience, self._direct = end, names, patience, direct
        self._parent = int(parent[rank])
        self._below = {int(child): _subtree(parent, int(child)) for child in np.flatnonzero(parent == rank)}
        # Both sides count their messages; the same program makes the same numbers.
        self._met: set[str] = set()
        self._sent: Counter[tuple[int, str]] = Counter()
        self._got: Counter[tuple[int, str]] = Counter()

    def halo(
        self, reader: NDArray[np.int64], owner: NDArray[np.int64], row: NDArray[np.integer]
    ) -> Halo | None:
        """As :meth:`Ranks.halo`."""
        sent, got = between(self.rank, reader, owner, row)
        return Halo(self.swap, sent, got) if sent or got else None

    def swap(self, sent: Mapping[int, Tensor], got: Mapping[int, Tensor]) -> None:
        """Sends tensors to other ranks, and gets some from them.

        Args:
            sent: to each rank.
            got: from each rank; filled.
        """
        for rank, tensor in sent.items():
            self._send(rank, "rows", {"rows": tensor})
        for rank, tensor in got.items():
            message = self._receive(rank, "rows")
            tensor.copy_(_checked(message, "rows", tensor))

    def gathered(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """As :meth:`Ranks.gathered`."""
        if self._direct and rows.dim() == 2 and rows.is_floating_point():
            found = {
                r: rows.new_empty(k, rows.shape[1]) for r, k in enumerate(counts) if k and r != self.rank
            }
            own = rows.contiguous()
            self.swap(dict.fromkeys(self._others, own) if len(own) else {}, found)
            return torch.cat(
                [own if r == self.rank else found[r] for r, k in enumerate(counts) if k] or [own]
            )
        parts = self._up(rows, counts)
        parts |= self._down(parts, rows, counts)
        return torch.cat([parts[rank] for rank in range(self.size)])

    def at_first(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """As :meth:`Ranks.at_first`."""
        parts = self._up(rows, counts)
        return rows[:0] if self.rank else torch.cat([parts[rank] for rank in range(self.size)])

    def of_first(self, values: Tensor) -> Tensor:
        """As :meth:`Ranks.of_first`."""
        found = values
        if self.rank:
            found = _checked(self._receive(self._parent, "first"), "values", values).to(values.device)
        for child in self._below:
            self._send(child, "first", {"values": found})
        return found

    def largest(self, *numbers: int) -> list[int]:
        """As :meth:`Ranks.largest`."""
        of_all = self.gathered(torch.tensor([numbers], dtype=torch.int64), [1] * self.size)
        found: list[int] = of_all.amax(0).tolist()
        return found

    def on_wire(self) -> list[int]:
        """As :meth:`Ranks.on_wire`."""
        sent = torch.tensor([[self._end.traffic.sent.total()]], dtype=torch.int64)
        found: list[int] = self.gathered(sent, [1] * self.size)[:, 0].tolist()
        return found

    def together(self) -> None:
        """Returns when all ranks have called it."""
        self.largest(0)

    def meet(self, told: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Tells all contacts some texts, and returns what they have told, by their names."""
        end, found = self._end, {}
        for name in end.contacts:
            self._wait(partial(self._tell, name, told), name)
        for name in end.contacts:
            message = self._wait(partial(self._take, Key(name, "hello")), name)
            self._met.add(name)
            found[name] = {field: str(value) for field, value in message.header.scalars.items()}
        return found

    def _tell(self, name: str, told: Mapping[str, str], seconds: float) -> None:
        self._end.send(name, "hello", seconds=seconds, scalars=told)

    def leave(self, error: BaseException) -> None:
        """Tells the contacts that this process ends before the experiment does, and why."""
        field = error.field if isinstance(error, InputError) else ""
        # A refusal of another process is passed on as it is, and names that process.
        heard = isinstance(error, Refusal)
        why = error.right if isinstance(error, Refusal) else str(error)
        told: dict[str, Scalar | list[Scalar]] = {
            "why": one_line(why)[:1000],
            "field": field,
            "heard": heard,
        }
        deadline = time.monotonic() + _LEAVE_S
        for name in self._end.contacts:
            if self._end.reachable(name):
                with contextlib.suppress(Late, WireError):
                    left = max(0.0, deadline - time.monotonic())
                    self._end.send(name, _END, seconds=min(0.5, left), scalars=told)
        self._end.close(1)

    @property
    def _others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _up(self, rows: Tensor, counts: Sequence[int]) -> dict[int, Tensor]:
        """The rows of this rank and of those below it; they are sent on to the rank above."""
        parts = {self.rank: rows}
        for child, below in self._below.items():
            message = self._receive(child, "up")
            parts |= _parts_of(message, below, rows, counts)
        if self.rank:
            self._send(self._parent, "up", {str(rank): part for rank, part in parts.items()})
        return parts

    def _down(self, parts: Mapping[int, Tensor], rows: Tensor, counts: Sequence[int]) -> dict[int, Tensor]:
        """The rows of the ranks that are not below this one; they are sent on to those below."""
        found: dict[int, Tensor] = {}
        if self.rank:
            rest = [rank for rank in range(self.size) if rank not in parts]
            found = _parts_of(self._receive(self._parent, "down"), rest, rows, counts)
        whole = {**parts, **found}
        for child, below in self._below.items():
            told = {str(rank): part for rank, part in whole.items() if rank not in below}
            self._send(child, "down", told)
        return found

    def _send(self, rank: int, kind: str, tensors: Mapping[str, Tensor]) -> None:
        number = self._sent[rank, kind]
        self._sent[rank, kind] += 1
        name = self._names[rank]
        self._wait(lambda s: self._end.send(name, kind, number, seconds=s, tensors=tensors), name)

    def _receive(self, rank: int, kind: str) -> Message:
        key = Key(self._names[rank], kind, self._got[rank, kind])
        self._got[rank, kind] += 1
        return self._wait(lambda s: self._take(key, s), key.sender)

    def _take(self, key: Key, seconds: float) -> Message:
        """A message with a key, unless a contact tells that it ends."""
        found = self._end.receive(
            lambda message: message.header.key == key or message.header.kind == _END, seconds=seconds
        )
        if found.header.kind == _END:
            raise _ended(found)
        return found

    def _wait(self, attempt: Callable[[float], T], name: str) -> T:
        """Tries until it succeeds, or the contact that it depends on has been away for too long.

        Raises:
            LostRankError: it has, or has begun anew, or another rank ends.
            Refusal: another rank ends because of what its user has given.
        """
        begun = time.monotonic()
        seen = begun
        while True:
            try:
                return attempt(_LOOK_S)
            except WireError as error:
                raise LostRankError(f"{name}: {error}") from error
            except Late as late:
                self._look()
                now = time.monotonic()
                seen = now if self._end.connected(name) else seen
                away = self._patience.away if name in self._met else self._patience.meeting
                if now - seen > away or now - begun > self._patience.slow:
                    gone = "was not there" if now - seen > away else "sent nothing"
                    why = f" ({late.why})" if late.why else ""
                    raise LostRankError(f"{name} {gone} for {now - begun:.0f} s{why}") from late

    def _look(self) -> None:
        """Ends the wait if a contact ends, or has begun anew."""
        with contextlib.suppress(Late):
            raise _ended(self._end.receive(lambda message: message.header.kind == _END, seconds=0))
        if again := self._end.restarted():
            raise LostRankError(f"{', '.join(again)} has ended and begun anew")


def _ended(message: Message) -> LostRankError | Refusal:
    who, told = message.header.sender, message.header.scalars
    why, field = str(told.get("why", "")), str(told.get("field", ""))
    if field:
        return Refusal(field, None, why if told.get("heard") else f"{who} says: {why}")
    return LostRankError(f"{who} has ended: {why}")


def _subtree(parent: NDArray[np.integer], root: int) -> list[int]:
    """A rank and all below it, ascending."""
    found, new = {root}, [root]
    while new:
        new = np.flatnonzero(np.isin(parent, new)).tolist()
        found |= set(new)
    return sorted(found)


def _checked(message: Message, name: str, like: Tensor) -> Tensor:
    try:
        return message.tensor(name, like.shape, like.dtype)
    except WireError as error:
        raise LostRankError(f"{message.header.sender}: {error}") from error


def _parts_of(
    message: Message, ranks: Sequence[int], like: Tensor, counts: Sequence[int]
) -> dict[int, Tensor]:
    """The rows of some ranks."""
    shapes = {rank: like.new_empty(0).new_empty(counts[rank], *like.shape[1:]) for rank in ranks}
    return {rank: _checked(message, str(rank), shape).to(like.device) for rank, shape in shapes.items()}


GO_ON = "run the same commands to continue from the last checkpoint"
"""What a user does after a process was lost, which ends the others with EXIT_AGAIN."""
