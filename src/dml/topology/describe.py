"""Numbers that describe topologies in tables."""

from dml.topology.graph import Topology


def component_diameters(topology: Topology) -> list[int]:
    """The diameter in hops of each component, the largest component first; 0 for an isolated node."""
    import networkx as nx

    graph = topology.graph()
    components = sorted(nx.connected_components(graph), key=lambda nodes: (-len(nodes), min(nodes)))
    return [int(nx.diameter(graph.subgraph(nodes), usebounds=True)) for nodes in components]
