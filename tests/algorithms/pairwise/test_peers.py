"""Which peers nodes choose: exact probabilities, and a floor below which no peer falls."""

import numpy as np
import pytest

from dml import randomness
from dml.algorithms.pairwise.peers import Peers

STAR = [[1, 2, 3, 4], [0], [0], [0], [0]]


def test_probabilities_are_exact():
    """Two messages of peer 2 are lost and one of peer 3 arrives after one was lost."""
    peers = Peers(STAR, 0.5, 0.2)
    np.testing.assert_allclose(peers.probabilities(0), 0.25)
    for peer, arrived in ((2, False), (2, False), (3, False), (3, True)):
        peers.record(0, peer, arrived)
    scores = np.array([1, 0.25, 0.75, 1])
    np.testing.assert_allclose(peers.probabilities(0), 0.05 + 0.8 * scores / 3, rtol=1e-15)
    # Another node's scores are its own.
    np.testing.assert_array_equal(peers.probabilities(3), 1)


def test_choices_have_these_probabilities():
    """The uniform numbers of each peer are an interval of the length of its probability."""
    peers = Peers(STAR, 0.5, 0.2)
    peers.record(0, 2, False)
    grid = (np.arange(100_000) + 0.5) / 100_000
    chosen = np.array([peers.choose(0, u) for u in grid])
    np.testing.assert_allclose(np.bincount(chosen)[1:] / len(grid), peers.probabilities(0), atol=2e-5)
    assert peers.choose(0, 0.0) == 1
    assert peers.choose(0, np.nextafter(1, 0)) == 4


@pytest.mark.parametrize("exploration", [0.01, 0.1, 1.0])
def test_no_peer_falls_below_the_floor_however_many_messages_are_lost(exploration):
    peers = Peers(STAR, 0.5, exploration)
    for _ in range(2000):
        peers.record(0, 2, False)
        assert peers.probabilities(0)[1] >= exploration / 4
    assert peers.probabilities(0).sum() == pytest.approx(1, abs=1e-15)
    for peer in (1, 3, 4):
        for _ in range(2000):
            peers.record(0, peer, False)
    # All scores are 0 now.
    np.testing.assert_allclose(peers.probabilities(0), 0.25)


def test_a_peer_that_comes_back_is_chosen_again():
    """It is away for 1,000 choices, and then soon chosen as often as the others."""
    peers, chosen = Peers(STAR, 0.2, 0.1), []
    u = randomness.uniforms(3, "peer", 0, np.arange(3000), 0)
    for count, number in enumerate(u.tolist()):
        peer = peers.choose(0, number)
        chosen.append(peer)
        peers.record(0, peer, peer != 2 or count >= 1000)
    away, back = np.array(chosen[500:1000]) == 2, np.array(chosen[2000:]) == 2
    assert away.mean() == pytest.approx(0.025, abs=0.02)
    assert back.mean() == pytest.approx(0.25, abs=0.05)


def test_without_a_rate_all_peers_remain_alike():
    peers = Peers(STAR, 0.0, 0.1)
    peers.record(0, 1, False)
    np.testing.assert_array_equal(peers.probabilities(0), 0.25)


def test_scores_are_saved():
    peers, again = Peers(STAR, 0.3, 0.1), Peers(STAR, 0.3, 0.1)
    for count in range(20):
        peers.record(0, 1 + count % 4, count % 3 == 0)
    grid = np.linspace(0, 0.999, 50).tolist()
    before = [again.choose(0, u) for u in grid]
    again.load_state(peers.state())
    assert [again.choose(0, u) for u in grid] == [peers.choose(0, u) for u in grid] != before
    np.testing.assert_array_equal(again.probabilities(0), peers.probabilities(0))
    again.record(0, 1, False)
    assert again.probabilities(0)[0] < peers.probabilities(0)[0]
    with pytest.raises(ValueError, match="peer_scores"):
        again.load_state({"peer_scores": np.ones(3)})
    with pytest.raises(KeyError):
        again.load_state({})
