"""Layouts of models, snapshots of them, and the choice of peers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from dml.algorithms.pairwise.interpolation import Header
from dml.pairing.layout import PIECE, Layout, finite
from dml.pairing.selection import Selection
from dml.pairing.snapshots import Snapshots

HEADER = Header(1, 1)


def filled(model, value):
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)
    return model


def mixed_model():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4, dtype=torch.bfloat16))
    model[0].bias.requires_grad_(False)
    model[2].weight = nn.Parameter(model[2].weight.detach().t())  # Not contiguous.
    return model


def test_trained_parameters_and_float_buffers_are_mixed():
    own, peer = filled(mixed_model(), 0), filled(mixed_model(), 8)
    layout = Layout(own)
    rows = Layout(peer).rows()
    Layout(peer).copy_to(rows)
    assert layout.sizes == {torch.float32: 12 + 4 + 4 + 4 + 4, torch.bfloat16: 20}
    layout.mix(rows, 0.25)
    for name, tensor in own.state_dict().items():
        assert bool((tensor == (0 if name in ("0.bias", "1.num_batches_tracked") else 2)).all()), name


def test_each_number_goes_to_its_own_place():
    torch.manual_seed(0)
    own, peer = mixed_model(), mixed_model()
    rows = Layout(peer).rows()
    Layout(peer).copy_to(rows)
    kept = own[0].bias.clone()
    Layout(own).mix(rows, 1.0)
    assert torch.equal(own[0].bias, kept)
    for name, tensor in own.state_dict().items():
        assert name == "0.bias" or torch.equal(tensor, peer.state_dict()[name]), name


def test_a_layout_follows_the_model_and_sees_through_wrappers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    layout = Layout(model)
    assert Layout(nn.DataParallel(model)).code == layout.code
    assert Layout(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))).code != layout.code
    model.register_buffer("scale", torch.ones(2), persistent=False)
    model[0].tied = model[0].weight
    assert Layout(model).code == layout.code
    # As model.to(...) does, with tensors of its own.
    model[1].running_mean = torch.full((2,), 7.0)
    rows = layout.rows()
    layout.copy_to(rows)
    assert (rows[torch.float32] == 7).sum() == 2


def test_what_cannot_be_exchanged_is_refused():
    with pytest.raises(ValueError, match="no trained parameters"):
        Layout(nn.ReLU())
    with pytest.raises(ValueError, match="complex64"):
        Layout(nn.Linear(1, 1, dtype=torch.complex64))


@pytest.mark.parametrize("count", [1, PIECE // 4, PIECE // 4 + 1])
def test_pieces_cover_a_row(count):
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(count))
    pieces = Layout(model).pieces
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == count


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_found(dtype):
    numbers = torch.tensor([0.0, -1.5, torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    assert finite(numbers)
    for bad in (torch.nan, torch.inf, -torch.inf):
        assert not finite(torch.cat([numbers, torch.tensor([bad], dtype=dtype)]))


def test_a_snapshot_stays_as_it_is_while_it_is_read():
    snapshots = Snapshots(lambda: {0: np.zeros(3)})
    assert snapshots.acquire() is None
    held = []
    for step in range(40):
        snapshots.publish(lambda rows, step=step: rows[0].fill(step), Header(step, 1))
        if step % 4 == 0:
            held.append(snapshots.acquire())
        if len(held) == 4:
            assert [(one.rows[0] == one.header.clock).all() for one in held] == [True] * 4
            assert snapshots.count <= 4 + 3
            snapshots.release(held.pop(1))
            snapshots.release(held.pop(1))
    for one in held:
        snapshots.release(one)
    for step in range(3):
        snapshots.publish(lambda rows, step=step: rows[0].fill(step), HEADER)
    assert snapshots.count == 3


def test_readers_of_one_model_share_it():
    snapshots = Snapshots(lambda: {0: np.zeros(3)})
    snapshots.publish(lambda rows: None, HEADER)
    one, two = snapshots.acquire(), snapshots.acquire()
    assert one is two
    assert snapshots.count == 3
    snapshots.release(one)
    snapshots.publish(lambda rows: rows[0].fill(1), HEADER)
    snapshots.publish(lambda rows: rows[0].fill(2), HEADER)
    assert not two.rows[0].any()


def shares(selection, now):
    drawn = np.random.default_rng(0).random(4000)
    counts = Counter(selection.choose(u, now) for u in drawn)
    return {name: count / len(drawn) for name, count in counts.items()}


def test_a_peer_that_failed_ten_times_is_still_asked():
    selection = Selection(["a", "b", "c"], rate=0.2, exploration=0.1, rest=1.0)
    for _ in range(10):
        selection.failed("c", 0.0)
    assert selection.choose(0.999, 15.0) == "b"
    found = shares(selection, 17.0)
    assert 0.1 / 3 <= found["c"] < 0.12
    assert found["a"] == pytest.approx(found["b"], abs=0.04)


def test_rests_double_up_to_a_limit_and_end_when_a_peer_is_back():
    selection = Selection(["a"], rate=0.2, exploration=0.1, rest=1.0)
    now, rests = 0.0, []
    for _ in range(7):
        selection.failed("a", now)
        rests.append(next(t for t in range(1, 100) if selection.choose(0.5, now + t)))
        now += 100
    assert rests == [1, 2, 4, 8, 16, 16, 16]
    selection.failed("a", now)
    selection.back("a")
    assert selection.choose(0.5, now) == "a"
    selection.empty("a", now)
    assert selection.choose(0.5, now + 0.9) is None
    assert selection.choose(0.5, now + 1.1) == "a"


def test_peers_may_be_left_out():
    selection = Selection(["a", "b"], rate=0.2, exploration=0.1, rest=1.0)
    assert {selection.choose(u, 0, {"a"}) for u in (0, 0.5, 0.999)} == {"b"}
    assert selection.choose(0.5, 0, {"a", "b"}) is None
