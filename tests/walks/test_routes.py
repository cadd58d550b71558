"""Routes: keyed numbers, visits as often as the law says, and starts."""

import time

import numpy as np
import pytest

from dml.clock.draws import MOST_BLOCK
from dml.errors import InputError
from dml.topology import make
from dml.walks.routes import Routes
from dml.walks.starts import spread, starts
from dml.walks.transitions import matrix

BA = make("barabasi_albert:n=20,m=2,seed=3")


def test_a_step_is_the_same_whatever_was_asked_before():
    P = matrix(BA, "mh")
    routes = Routes(P, 5)
    asked = [(walk, step, (walk + step) % 20) for walk in range(3) for step in range(0, 3 * MOST_BLOCK, 37)]
    forwards = {key: routes(*key) for key in asked}
    for key in np.random.default_rng(0).permutation(asked).tolist():
        assert routes(*key) == forwards[tuple(key)] == Routes(P, 5)(*key)


def test_walks_and_seeds_have_routes_of_their_own():
    P = matrix(BA, "mh")
    paths = [Routes(P, seed).path(walk, 0, 100).tolist() for seed in (0, 1) for walk in (0, 1)]
    assert len({tuple(path) for path in paths}) == 4


def test_every_step_follows_an_edge_or_stays():
    P = matrix(BA, "mh").toarray()
    path = Routes(matrix(BA, "mh"), 0).path(0, 4, 5000)
    assert (P[path[:-1], path[1:]] > 0).all()
    assert set(path.tolist()) == set(range(20))


@pytest.mark.parametrize("text", ["star:n=12", "cycle:n=20", "erdos_renyi:n=20,p=0.3,seed=1"])
@pytest.mark.parametrize("transition", ["mh", "simple"])
def test_visits_are_as_frequent_as_the_stationary_law(text, transition):
    """Within 4 standard errors, which the variance of the time between visits to a node gives."""
    from dml.walks.theory import return_time

    topology, steps = make(text), 200_000
    P = matrix(topology, transition)
    path = Routes(P, 1).path(0, 0, steps)
    share = np.bincount(path, minlength=topology.n) / len(path)
    for node in range(topology.n):
        time = return_time(P.toarray(), node)
        error = np.sqrt((time.square - time.mean**2) / time.mean**3 / steps)
        # One visit more or less, where the walk begins and ends.
        assert abs(share[node] - 1 / time.mean) < 4 * error + 1 / steps, node


def test_each_move_is_as_frequent_as_the_matrix_says():
    P = matrix(BA, "lazy:0.2").toarray()
    path = Routes(matrix(BA, "lazy:0.2"), 2).path(0, 0, 200_000)
    for node in range(20):
        moves = path[1:][path[:-1] == node]
        share = np.bincount(moves, minlength=20) / len(moves)
        assert (np.abs(share - P[node]) <= 4 * np.sqrt(P[node] * (1 - P[node]) / len(moves))).all()


def test_a_step_costs_microseconds():
    """Of the 10 that an event may take in all; a step takes 0.6 on one core."""
    routes = Routes(matrix(make("complete:n=100"), "mh"), 0)
    best = min(_seconds(routes) for _ in range(3))
    assert best / 20_000 < 5e-6


def _seconds(routes):
    begin = time.perf_counter()
    routes.path(0, 0, 20_000)
    return time.perf_counter() - begin


def test_starts_are_consecutive_given_or_drawn():
    topology = make("cycle:n=8")
    assert starts(topology, 3, "consecutive", 0) == [0, 1, 2]
    assert starts(topology, 4, (5, 5, 0, 7), 0) == [5, 5, 0, 7]
    drawn = starts(topology, 4000, "uniform", 0)
    counts = np.bincount(drawn, minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # 0.1 % of chi-square with 7 degrees of freedom
    assert starts(topology, 5, "uniform", 0) == drawn[:5]
    assert starts(topology, 40, "uniform", 1) != drawn[:40]


def test_spread_starts_are_far_apart():
    assert spread(make("cycle:n=20"), 4) == [0, 10, 5, 15]
    assert spread(make("chain:n=9"), 3) == [0, 8, 4]
    assert sorted(spread(make("complete:n=5"), 5)) == [0, 1, 2, 3, 4]
    torus = make("torus:rows=6,cols=6")
    chosen = spread(torus, 4)
    apart = [torus.distance_to([a])[b] for a in chosen for b in chosen if a != b]
    assert min(apart) >= 3
    consecutive = [torus.distance_to([a])[b] for a in range(4) for b in range(4) if a != b]
    assert min(consecutive) == 1


@pytest.mark.parametrize(
    ("walks", "how", "message"),
    [
        (9, "consecutive", "walks 9: of 8 nodes no more than 8 can each start a walk"),
        (9, "spread", "walks 9: of 8 nodes"),
        (2, (0, 8), "starts 0 8: the graph has the nodes 0 to 7, and no 8"),
        (2, (0, -1), "and no -1"),
        (3, (0, 1), "starts 0 1: must be 3 nodes, one per walk, not 2"),
    ],
)
def test_impossible_starts_are_refused(walks, how, message):
    with pytest.raises(InputError, match=message):
        starts(make("cycle:n=8"), walks, how, 0)
    assert len(starts(make("cycle:n=8"), 9, "uniform", 0)) == 9
