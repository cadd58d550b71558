"""Makes, loads, saves and describes topologies: the graphs that experiments run on.

`read` turns what a user typed (a file or a generator) into a `Topology`.
"""

from dml.topology.files import load, save
from dml.topology.generators import make
from dml.topology.graph import Topology
from dml.topology.source import read

__all__ = ["Topology", "load", "make", "read", "save"]
