"""The pairs of nodes that need a connection and share no edge are those of the links that messages take."""

import pytest

from dml.algorithms.one_peer_exponential import offsets
from dml.exchange.connections import beyond_edges
from dml.exchange.links import all_to_all, from_offsets
from dml.topology import make


@pytest.mark.parametrize("source", ["chain:n=2", "star:n=5", "cycle:n=9", "barabasi_albert:n=13,m=2,seed=1"])
@pytest.mark.parametrize("whole", [True, False])
def test_they_are_those_of_the_links(source: str, whole: bool):
    topology = make(source)
    steps = () if whole else offsets(topology.n)
    links = all_to_all(topology, 0.0, 0) if whole else from_offsets(topology, steps, 0.0, 0)
    used = {(int(min(pair)), int(max(pair))) for pair in zip(links.sender, links.receiver, strict=True)}
    edges = set(map(tuple, topology.edges.tolist()))
    assert beyond_edges(topology, whole, steps).tolist() == sorted(map(list, used - edges))


def test_an_exchange_over_edges_needs_no_other_connection():
    assert beyond_edges(make("cycle:n=6"), False).shape == (0, 2)
