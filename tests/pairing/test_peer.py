"""Peers that really talk: what they mix, and what they do when others fail."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from proxy import Proxy
from torch import nn

from dml.algorithms.pairwise.interpolation import Header
from dml.algorithms.reference import PairwisePull
from dml.errors import InputError
from dml.pairing import Peer
from dml.pairing.config import load


def first_number(model):
    return next(model.parameters()).detach().flatten()[0].item()


def filled(value, count=3, dtype=torch.float32):
    model = nn.Linear(count, 1, dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def meet(*peers):
    """Waits until all are connected to all their neighbours."""
    for peer in peers:
        assert peer.meet(10) == peer.config.neighbours(peer.name)


def silent(path):
    """The same file for peers that fetch nothing."""
    other = path.with_name("silent.yaml")
    other.write_text(path.read_text().replace("pull_probability: 1", "pull_probability: 0"))
    return other


@pytest.mark.parametrize("method", ["constant", "clock", "loss", "linear", "loss_divergence"])
def test_peers_are_the_plain_form_of_the_simulation(config, peer, method):
    text = "linear: {target: 5}\ndivergence_threshold: 0.7\npull_probability: 1\ninterpolation: "
    path = config(2, text + method)
    models = [filled(0.0, 2, torch.float64), filled(1.0, 2, torch.float64)]
    one, two = peer(0, path, models[0]), peer(1, silent(path), models[1])
    meet(one, two)
    interpolation = load(path).interpolate()
    plain = PairwisePull(
        np.array([[0.0], [1.0]]), lambda *of: interpolation(Header(*of[:2]), Header(*of[2:]))
    )
    for step in range(6):
        losses = 1 / (1 + step), 0.5
        for i in range(2):
            for number in models[i].parameters():
                number.data += 0.25 * (step - i)
            plain.update(i, 0.25 * (step - i), losses[i])
        two.update_send(losses[1])
        one.update_send(losses[0])
        share = one.update_wait(losses[0])
        plain.event("asked", 0, 1)
        plain.event("answered", 0, 1)
        assert share > 0
        assert first_number(models[0]) == pytest.approx(plain.x[0, 0], abs=1e-12)
        assert one.clock == pytest.approx(plain.clock[0], abs=1e-12)
    assert one.counts["fetched"] == 6
    assert two.update_wait(1.0) == 0


def test_what_is_fetched_is_the_published_model_and_not_the_one_in_training(config, peer):
    path = config(2, "pull_probability: 1")
    models = [filled(0.0, 200_000), filled(1.0, 200_000)]
    one, two = peer(0, path, models[0]), peer(1, silent(path), models[1])
    meet(one, two)
    two.update_send(1.0)
    models[1].weight.data.fill_(100.0)
    one.update_send(1.0)
    assert one.update_wait(1.0) == 0.5
    assert set(models[0].weight.flatten().tolist()) == {0.5}


@pytest.mark.parametrize(
    ("loss", "number", "count"),
    [(float("nan"), 1.0, "refused_headers"), (-1.0, 1.0, "refused_headers"), (1.0, float("inf"), "refused")],
)
def test_what_is_not_finite_is_not_mixed_in(config, peer, loss, number, count):
    path = config(2, "pull_probability: 1")
    model = filled(0.0)
    one, two = peer(0, path, model), peer(1, silent(path), filled(number))
    meet(one, two)
    two.update_send(loss)
    one.update_send(1.0)
    assert one.update_wait(1.0) == 0.0
    assert first_number(model) == 0.0
    assert one.counts[count] == 1


def test_a_model_of_other_tensors_is_not_mixed_in(config, peer, caplog):
    path = config(2)
    one, two = peer(0, path, filled(0.0)), peer(1, path, filled(1.0, 4))
    meet(one, two)
    two.update_send(1.0)
    one.update_send(1.0)
    assert one.update_wait(1.0) == 0.0
    assert one.counts["different"] == 1
    assert "node 1 has a model with other tensors than this one" in caplog.text


def test_a_peer_without_a_model_is_not_asked_again_at_once(config, peer):
    path = config(2, "backoff_ms: 200").with_name("peers0.yaml")
    path.write_text(path.read_text().replace("backoff_ms: 50\n", ""))
    one, two = peer(0, path), peer(1, path)
    meet(one, two)
    began = time.monotonic()
    for _ in range(50):
        one.update_send(1.0)
        assert one.update_wait(1.0) == 0.0
        time.sleep(0.01)
    assert 2 <= one.counts["empty"] <= 1 + (time.monotonic() - began) / 0.2
    two.update_send(1.0)


def test_training_goes_on_without_any_peer(config, peer):
    path = config(4, "timeout_ms: 300")
    alone = peer(0, path)
    assert alone.meet(0.05) == []
    for _ in range(30):
        began = time.monotonic()
        alone.update_send(1.0)
        assert alone.update_wait(1.0) == 0.0
        assert time.monotonic() - began < 0.35
    assert alone.counts["nobody"] == 30
    assert 3 <= alone.counts["unreachable"] < 90
    began = time.monotonic()
    alone.close()
    assert time.monotonic() - began < 1
    with pytest.raises(RuntimeError, match="node 0 is closed"):
        alone.update_send(1.0)
    alone.close()


def test_a_peer_that_stands_still_delays_nobody_beyond_the_deadline(config, peer):
    path = config(2, "timeout_ms: 100\npull_probability: 1")
    one_listens, two_listens = (node.port for node in load(path).nodes)
    with Proxy(f"tcp://127.0.0.1:{two_listens}") as proxy:
        over_proxy = config(2, "timeout_ms: 100", ports=[one_listens, int(proxy.address.split(":")[-1])])
        one, two = peer(0, over_proxy, filled(0.0)), peer(1, silent(path), filled(1.0))
        meet(one, two)
        two.update_send(1.0)
        # Until its own connection stands, it asks over the one that the other has made.
        time.sleep(0.5)
        before = proxy.up
        one.update_send(1.0)
        assert one.update_wait(1.0) == 0.5
        assert proxy.up > before
        proxy.stall()
        time.sleep(0.05)
        for _ in range(4):
            began = time.monotonic()
            one.update_send(1.0)
            assert one.update_wait(1.0) == 0.0
            assert time.monotonic() - began < 0.15
        assert one.counts["late"] >= 1
        proxy.go_on()
        end = time.monotonic() + 5
        while not one.update_wait(1.0):
            assert time.monotonic() < end
            one.update_send(1.0)
        one.close()


def test_a_peer_that_begins_anew_is_asked_again(config, peer):
    path = config(2, "timeout_ms: 300")
    one, two = peer(0, path), peer(1, path, filled(1.0))
    meet(one, two)
    two.update_send(1.0)
    one.update_send(1.0)
    assert one.update_wait(1.0) == 0.5
    two.close()
    # A sign that it is gone comes with the next fetches.
    for _ in range(3):
        one.update_send(1.0)
        assert one.update_wait(1.0) == 0.0
    successor = peer(1, path, filled(5.0))
    successor.update_send(1.0)
    began = time.monotonic()
    while True:
        one.update_send(1.0)
        if one.update_wait(1.0):
            break
        assert time.monotonic() - began < 5
        time.sleep(0.01)


def test_peers_that_are_no_neighbours_exchange_nothing(config, peer):
    path = config(3, "edges: [[0, 1]]")
    peers = [peer(i, path) for i in range(3)]
    meet(*peers)
    for each in peers:
        each.update_send(1.0)
    assert [bool(each.update_wait(1.0)) for each in peers][2] is False
    assert peers[0].meet(0) == ["node 1"]
    assert peers[2].counts == {"refused_headers": 0}


def test_fetches_begin_with_the_given_probability(config, peer):
    alone = peer(0, config(2, "pull_probability: 0.25"))
    begun = []
    for _ in range(400):
        alone.update_send(1.0)
        begun.append(alone._shared.fetch is not None)
        alone.update_wait(1.0)
    assert 70 <= sum(begun) <= 130


def test_a_wrong_name_and_a_port_in_use_are_named(config, peer):
    path = config(2)
    with pytest.raises(InputError, match=r"name node 2: there is no such peer .did you mean"):
        Peer(filled(0.0), "node 2", path)
    peer(0, path)
    with pytest.raises(InputError, match="is in use by another program"):
        Peer(filled(0.0), "node 0", path)


@pytest.mark.slow
def test_a_script_that_does_not_close_its_peer_ends(config):
    code = f"""
from torch import nn
from dml.pairing import Peer
peer = Peer(nn.Linear(1, 1), "node 0", {str(config(2))!r})
peer.update_send(1.0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
