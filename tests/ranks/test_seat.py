"""Which process of several this one is, as launchers tell it, and experiments that cannot be shared."""

import numpy as np
import pytest
import torch

from dml import accelerators
from dml.config import make
from dml.errors import InputError
from dml.plan import make_plan
from dml.ranks.halo import between
from dml.ranks.ranks import Ranks
from dml.ranks.seat import Seat, seat


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Seat(1, 4, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3"}, Seat(2, 3, 2, 3)),
        (
            {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"},
            Seat(5, 8, 1, 4),
        ),
        (
            {"PALS_RANKID": "1", "PMI_SIZE": "2", "PALS_LOCAL_RANKID": "0", "PALS_LOCAL_SIZE": "1"},
            Seat(1, 2, 0, 1),
        ),
        (
            {
                "SLURM_PROCID": "3",
                "SLURM_STEP_NUM_TASKS": "6",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
            },
            Seat(3, 6, 1, 2),
        ),
        # A batch script is one process, however many tasks its job has.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "6"}, None),
    ],
)
def test_the_seat_is_that_of_the_launcher(environment: dict[str, str], found: Seat | None):
    assert seat(environment) == found


def test_a_launcher_that_contradicts_itself_is_named():
    with pytest.raises(InputError, match="torchrun says rank 4 of 4"):
        seat({"RANK": "4", "WORLD_SIZE": "4"})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"shards": 5}, "shards 5: the graph has only 4 nodes, and each shard needs one"),
        ({"shards": 0}, "shards 0: must be at least 1"),
        ({"algorithm": "relaysgd", "topology_file": "chain:n=4"}, "relaysgd relays sums from node to node"),
        ({"algorithm": "async_gossip"}, "async_gossip is asynchronous"),
        ({"algorithm": "traversal"}, "traversal trains one model"),
        ({"failing_nodes": ("1@1",), "topology_file": "complete:n=4"}, "with --failing_nodes"),
        ({"prox_coeff": 0.1}, "--prox_coeff draws each step"),
        ({"aggregation_order": "in_place"}, "with --aggregation_order nodes wait"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(flags: dict[str, object], told: str):
    with pytest.raises(InputError, match=told):
        make_plan(make({"topology_file": "cycle:n=4", "shards": 2, **flags}))


def test_the_number_of_shards_is_no_part_of_the_id():
    one, two = (make_plan(make({"topology_file": "cycle:n=4", "shards": k})) for k in (None, 2))
    assert one.identity.id == two.identity.id


def test_each_process_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cards = 2

    def count() -> int:
        return cards

    monkeypatch.setattr(torch.cuda, "device_count", count)
    assert [str(accelerators.choose("auto", place, 2)) for place in range(2)] == ["cuda:0", "cuda:1"]
    with pytest.raises(InputError, match="shards 3: this machine has 2 accelerators of the type cuda"):
        accelerators.choose("cuda", 0, 3)
    with pytest.raises(InputError, match="accelerator cuda:1: is a single one for 2 processes"):
        accelerators.choose("cuda:1", 0, 2)
    cards = 1
    # A launcher that shows each process one card has given each its own.
    assert str(accelerators.choose("cuda", 3, 4, shown=True)) == "cuda:0"


def test_blocks_cover_all_nodes_and_differ_by_one_at_most():
    ranks = Ranks()
    ranks.size = 3
    assert ranks.ends(7).tolist() == [0, 2, 4, 7]
    assert ranks.owner(7, np.arange(7)).tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert ranks.counts(np.array([1, 0, 0, 0, 1, 1, 0], bool)) == [1, 0, 2]


def test_only_rows_that_another_process_reads_are_sent():
    """A chain of 6 nodes in 3 processes: each sends one row to each neighbour, and gets one."""
    ranks, i = Ranks(), np.arange(5)
    ranks.size = 3
    to, row = np.concatenate([i, i + 1]), np.concatenate([i + 1, i])
    reader, owner = ranks.owner(6, to), ranks.owner(6, row)
    sent, got = between(1, reader, owner, row)
    assert {rank: rows.tolist() for rank, rows in sent.items()} == {0: [2], 2: [3]}
    assert {rank: rows.tolist() for rank, rows in got.items()} == {0: [1], 2: [4]}
