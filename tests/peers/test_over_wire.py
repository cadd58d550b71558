"""What ranks over the wire do together is what they would do in one process, along any tree."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from wires import PAIR

from dml.errors import InputError, LostRankError
from dml.network.contacts import Contact, address_of
from dml.network.endpoint import Endpoint
from dml.peers.launch import free_ports
from dml.peers.over_wire import OverWire, Patience, Refusal
from dml.ranks.ranks import TEXT_BYTES

CHAIN, STAR = (-1, 0, 1), (-1, 0, 0, 0)
# Rank 3 is above rank 1, and rank 4 is three steps from rank 0.
CROOKED = (-1, 3, 0, 0, 1)
TREES = [CHAIN, STAR, CROOKED]

COUNTS = (2, 0, 1, 3, 1)
"""The rows of each rank; one has none."""

Work = Callable[[OverWire], Any]


def on_all(parent: Sequence[int], work: Work, direct: bool = False) -> list[Any]:
    """Does some work on each rank of a tree, at the same time, and returns what each has found.

    An error ends the rank, which tells the others, and counts as what it has found.
    """
    n = len(parent)
    names = [f"node {rank}" for rank in range(n)]
    addresses = [address_of("127.0.0.1", port) for port in free_ports(n)]

    def one(rank: int) -> Any:
        near = [i for i in range(n) if i != rank and (direct or parent[i] == rank or parent[rank] == i)]
        contacts = [Contact(names[i], addresses[i], PAIR.public) for i in near]
        end = Endpoint(names[rank], "r", PAIR, contacts, addresses[rank])
        ranks = OverWire(end, names, rank, np.array(parent), Patience(10, 10, 10), direct=direct)
        try:
            ranks.meet({})
            found = work(ranks)
            ranks.together()
            end.close()
            return found
        except (InputError, LostRankError) as error:
            ranks.leave(error)
            return error

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n), timeout=30))


def rows_of(rank: int, *columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rows that no other rank has."""
    made = 100 * rank + torch.arange(COUNTS[rank] * int(np.prod(columns, initial=1)))
    return made.reshape(COUNTS[rank], *columns).to(dtype)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("parent", TREES)
def test_rows_of_all_ranks_are_gathered_in_their_order(parent: Sequence[int], direct: bool):
    n = len(parent)
    kinds: list[tuple[tuple[int, ...], torch.dtype]] = [
        ((3,), torch.float32),
        ((), torch.int64),
        ((2, 2), torch.float64),
    ]

    def work(ranks: OverWire) -> list[tuple[Tensor, Tensor]]:
        own = [rows_of(ranks.rank, *columns, dtype=dtype) for columns, dtype in kinds]
        return [(ranks.gathered(rows, COUNTS[:n]), ranks.at_first(rows, COUNTS[:n])) for rows in own]

    found = on_all(parent, work, direct)
    for kind, (columns, dtype) in enumerate(kinds):
        whole = torch.cat([rows_of(rank, *columns, dtype=dtype) for rank in range(n)])
        for rank in range(n):
            everywhere, at_first = found[rank][kind]
            assert everywhere.dtype == dtype
            assert torch.equal(everywhere, whole)
            assert torch.equal(at_first, whole if rank == 0 else whole[:0])


@pytest.mark.parametrize("parent", TREES)
def test_what_is_decided_together_is_the_same_on_all_ranks(parent: Sequence[int]):
    n = len(parent)
    own = [f"å rank {rank}".ljust(rank * 100, "é") for rank in range(n)]

    def work(ranks: OverWire) -> list[object]:
        numbers = [ranks.rank, -ranks.rank, 7 * (ranks.rank == 1)]
        first = ranks.of_first(torch.tensor([[1.5, float("nan")]]) + ranks.rank)
        return [
            ranks.largest(*numbers),
            ranks.texts(own[ranks.rank]),
            str(first.tolist()),
            ranks.largest(2**60 + ranks.rank),
        ]

    cut = [text.encode()[:TEXT_BYTES].decode(errors="replace") for text in own]
    assert on_all(parent, work) == [[[n - 1, 0, 7], cut, "[[1.5, nan]]", [2**60 + n - 1]]] * n


def test_what_ranks_swap_goes_to_the_one_that_it_is_for():
    def work(ranks: OverWire) -> list[list[float]]:
        near = [1] if ranks.rank in (0, 2) else [0, 2]
        got = {}
        for turn in range(3):
            got = {other: torch.empty(1, 2) for other in near}
            sent = {other: torch.tensor([[10.0 * ranks.rank + other, turn]]) for other in near}
            ranks.swap(sent, got)
        return [got[other][0].tolist() for other in near]

    assert on_all(CHAIN, work) == [[[10, 2]], [[1, 2], [21, 2]], [[12, 2]]]


def test_each_rank_counts_what_it_has_sent():
    def work(ranks: OverWire) -> tuple[list[int], list[int]]:
        before = ranks.on_wire()
        if ranks.rank == 1:
            ranks.swap({0: torch.ones(1, 1000)}, {})
        elif ranks.rank == 0:
            ranks.swap({}, {1: torch.empty(1, 1000)})
        return before, ranks.on_wire()

    found = on_all(CHAIN, work)
    assert found == [found[0]] * 3
    more = np.subtract(found[0][1], found[0][0])
    assert more[1] - 4000 > 0
    assert more[[0, 2]].max() < 4000


@pytest.mark.parametrize(
    ("error", "kind"),
    [(InputError("rounds", 3, "no"), Refusal), (LostRankError("the disk is full"), LostRankError)],
)
def test_a_rank_that_ends_ends_all_others_and_they_say_why(error: Exception, kind: type[Exception]):
    def work(ranks: OverWire) -> list[int]:
        ranks.together()
        if ranks.rank == 4:
            raise error
        return ranks.largest(0)

    found = on_all(CROOKED, work)
    assert found[4] is error
    # Rank 1 hears it from rank 4 itself, and the others from those who have heard it.
    assert [type(other) for other in found[:4]] == [kind] * 4
    assert all(str(error) in str(other) for other in found[:4])
    if kind is Refusal:
        assert {str(other) for other in found[:4]} == {"rounds: node 4 says: rounds 3: no"}


def test_rows_of_another_shape_are_refused_by_name():
    def work(ranks: OverWire) -> Tensor:
        return ranks.gathered(torch.ones(1, 2 + (ranks.rank == 1)), [1, 1, 1])

    found = on_all(CHAIN, work)
    assert all(isinstance(error, LostRankError) for error in found)
    told = "node 2: unexpected: 2 in up 0, phase 0 from node 2 has the shape [1, 2] instead of [1, 3]"
    assert all(told in str(error) for error in found[:2])
