"""The diameters of a graph's components."""

import networkx as nx
import numpy as np

from dml.topology import Topology, make
from dml.topology.describe import component_diameters


def test_of_each_component_the_largest_first():
    assert component_diameters(Topology(6, [(0, 1), (1, 2), (3, 4)], np.ones(3), "parts")) == [2, 1, 0]


def test_a_connected_graph_has_one():
    topology = make("barabasi_albert:n=33,m=2,seed=0")
    assert component_diameters(topology) == [nx.diameter(topology.graph())]
    assert component_diameters(make("star:n=5")) == [2]
