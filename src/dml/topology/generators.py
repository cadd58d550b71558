"""Generators of graphs by name: ``barabasi_albert:n=33,m=2,seed=0``. n is always the number of nodes.

To add one, write a line in `GENERATORS`.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dml.errors import InputError
from dml.plain_numbers import odd_number
from dml.topology.foreign import call_networkx
from dml.topology.graph import Topology
from dml.topology.trees import double_binary_trees

if TYPE_CHECKING:
    import networkx as nx

MAX_NODES = 20_000
MAX_EDGES = 2_000_000


class Kind(NamedTuple):
    """The values that an argument of a generator may have."""

    convert: type[int] | type[float]
    low: float
    high: float
    right: str

    def parse(self, text: str) -> int | float | None:
        """The value, or None if the text does not stand for an allowed one."""
        if odd_number(text):
            return None
        try:
            value = self.convert(text)
        except ValueError:
            return None
        return value if self.low <= value <= self.high else None


def at_least(low: int) -> Kind:
    """Whole numbers from `low` up."""
    return Kind(int, low, math.inf, f"a whole number of at least {low}")


# The probabilities of all pairs of blocks are a matrix.
BLOCKS = Kind(int, 1, 1000, "a whole number from 1 to 1000")
PROBABILITY = Kind(float, 0, 1, "a probability in [0, 1]")
# numpy's legacy generator, which some of networkx's functions use, takes 32 bits.
SEED = Kind(int, 0, 2**32 - 1, "a whole number from 0 to 4294967295")


@dataclass(frozen=True)
class Generator:
    """A generator with a name of our own.

    Args:
        build: ``(networkx, **arguments) -> nx.Graph``. It gets the module ``networkx``, which takes a tenth
            of a second to import, so that only calls that make a graph import it.
        takes: the arguments in order; all but the seed must be given.
        size: gives the number of nodes and roughly that of edges, so that huge graphs are refused unbuilt.
        blocks: gives the community of each node, if the generator makes communities.
    """

    build: "Callable[..., nx.Graph]"
    takes: Mapping[str, Kind]
    size: Callable[..., tuple[int, float]]
    blocks: Callable[..., list[int]] | None = None


def _hypercube(nx: Any, n: int) -> "nx.Graph":
    if n & (n - 1):
        raise nx.NetworkXError("n must be a power of two")
    return nx.hypercube_graph(n.bit_length() - 1)


def _double_binary_trees(nx: Any, n: int) -> "nx.Graph":
    graph = nx.empty_graph(n)
    for edges in double_binary_trees(n):
        graph.add_edges_from(edges)
    return graph


def _stochastic_block(nx: Any, blocks: int, size: int, p_in: float, p_out: float, seed: int) -> "nx.Graph":
    between = np.full((blocks, blocks), p_out)
    np.fill_diagonal(between, p_in)
    return nx.stochastic_block_model([size] * blocks, between.tolist(), seed=seed)


_N = {"n": at_least(2)}

GENERATORS: dict[str, Generator] = {
    # The centre is node 0.
    "star": Generator(lambda nx, n: nx.star_graph(n - 1), _N, lambda n: (n, n)),
    "chain": Generator(lambda nx, n: nx.path_graph(n), _N, lambda n: (n, n)),
    "cycle": Generator(lambda nx, n: nx.cycle_graph(n), {"n": at_least(3)}, lambda n: (n, n)),
    "complete": Generator(lambda nx, n: nx.complete_graph(n), _N, lambda n: (n, n * n / 2)),
    "hypercube": Generator(_hypercube, _N, lambda n: (n, n * n.bit_length() / 2)),
    # In a cycle of 2 nodes the same edge would occur twice.
    "torus": Generator(
        lambda nx, rows, cols: nx.grid_2d_graph(rows, cols, periodic=True),
        {"rows": at_least(3), "cols": at_least(3)},
        lambda rows, cols: (rows * cols, 2 * rows * cols),
    ),
    # Numbered as a heap: the children of i are 2i + 1 and 2i + 2.
    "binary_tree": Generator(lambda nx, n: nx.full_rary_tree(2, n), _N, lambda n: (n, n)),
    "double_binary_trees": Generator(_double_binary_trees, _N, lambda n: (n, 2 * n)),
    "barabasi_albert": Generator(
        lambda nx, n, m, seed: nx.barabasi_albert_graph(n, m, seed=seed),
        {**_N, "m": at_least(1), "seed": SEED},
        lambda n, m, seed: (n, n * m),
    ),
    # Drawn again until it is connected.
    "watts_strogatz": Generator(
        lambda nx, n, k, p, seed: nx.connected_watts_strogatz_graph(n, k, p, seed=seed),
        {**_N, "k": at_least(2), "p": PROBABILITY, "seed": SEED},
        lambda n, k, p, seed: (n, n * k / 2),
    ),
    "erdos_renyi": Generator(
        lambda nx, n, p, seed: nx.gnp_random_graph(n, p, seed=seed),
        {**_N, "p": PROBABILITY, "seed": SEED},
        lambda n, p, seed: (n, p * n * n / 2),
    ),
    "random_regular": Generator(
        lambda nx, n, d, seed: nx.random_regular_graph(d, n, seed=seed),
        {**_N, "d": at_least(1), "seed": SEED},
        lambda n, d, seed: (n, n * d / 2),
    ),
    "powerlaw_cluster": Generator(
        lambda nx, n, m, p, seed: nx.powerlaw_cluster_graph(n, m, p, seed=seed),
        {**_N, "m": at_least(1), "p": PROBABILITY, "seed": SEED},
        lambda n, m, p, seed: (n, n * m),
    ),
    "stochastic_block": Generator(
        _stochastic_block,
        {"blocks": BLOCKS, "size": at_least(1), "p_in": PROBABILITY, "p_out": PROBABILITY, "seed": SEED},
        lambda blocks, size, p_in, p_out, seed: (
            blocks * size,
            blocks * size * (size * p_in + (blocks - 1) * size * p_out) / 2,
        ),
        blocks=lambda blocks, size, **_: [block for block in range(blocks) for _ in range(size)],
    ),
    "davis_southern_women": Generator(lambda nx: nx.davis_southern_women_graph(), {}, lambda: (32, 89)),
}


def make(text: str, seed: int = 0) -> Topology:
    """Makes the graph that a generator's text describes.

    Args:
        text: ``name:key=value,key=value``; the name is one of `GENERATORS` or ``nx.<function>`` of networkx.
        seed: the seed to use if the generator takes one and the text gives none.

    Returns:
        The topology; its `source` is the text with all arguments, even the seed, in the generator's order.

    Raises:
        InputError: there is no such generator, an argument is wrong, or no graph exists for the values.
    """
    name, given = _split(text)
    if name.startswith("nx."):
        graph, source = call_networkx(text, name.removeprefix("nx."), given, seed)
        return Topology.from_networkx(graph, source)
    if name not in GENERATORS:
        raise InputError("topology_file", text, f"no such file or generator{_close(name)}; {_all_names()}")
    generator = GENERATORS[name]
    values = _parse_arguments(text, name, generator, given, seed)
    limits = f"the limits are {MAX_NODES} and {MAX_EDGES}"
    try:
        nodes, edges = generator.size(**values)
        if nodes > MAX_NODES or edges > MAX_EDGES:
            right = f"about {nodes:.3g} nodes and {edges:.3g} edges; {limits}"
            raise InputError("topology_file", text, right)
    except OverflowError:
        raise InputError("topology_file", text, f"too many nodes and edges; {limits}") from None
    import networkx as nx

    try:
        graph = generator.build(nx, **values)
    except nx.NetworkXException as error:
        raise InputError("topology_file", text, f"no such graph: {error}") from None
    source = ":".join(filter(None, [name, ",".join(f"{key}={value}" for key, value in values.items())]))
    return Topology.from_networkx(graph, source, generator.blocks(**values) if generator.blocks else None)


def _split(text: str) -> tuple[str, dict[str, str]]:
    """Splits ``name:key=value,...`` into the name and the arguments, still as text."""
    name, _, rest = text.strip().partition(":")
    given: dict[str, str] = {}
    for part in rest.split(",") if rest else []:
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise InputError("topology_file", text, f"'{part}' must be key=value, as in {_example(name)}")
        if key in given:
            raise InputError("topology_file", text, f"{key} is given twice")
        given[key] = value
    return name.strip(), given


def _parse_arguments(
    text: str, name: str, generator: Generator, given: dict[str, str], seed: int
) -> dict[str, Any]:
    takes = f"{name} takes {', '.join(generator.takes) or 'no argument'}"
    for key in given:
        if key not in generator.takes:
            raise InputError("topology_file", text, f"{takes}, not {key}{_such_as(name, generator)}")
    words = {"seed": str(seed)} | given
    values: dict[str, Any] = {}
    for key, kind in generator.takes.items():
        if key not in words:
            raise InputError("topology_file", text, f"{takes}; {key} is missing{_such_as(name, generator)}")
        values[key] = kind.parse(words[key])
        if values[key] is None:
            raise InputError("topology_file", text, f"{key} must be {kind.right}, not {words[key]}")
    return values


_EXAMPLE_VALUES = {"n": 16, "m": 2, "k": 4, "p": 0.5, "d": 3, "rows": 4, "cols": 4, "seed": 0}
_EXAMPLE_VALUES |= {"blocks": 3, "size": 11, "p_in": 0.5, "p_out": 0.05}


def _example(name: str) -> str:
    """A valid text for the generator of this name; for Barabasi-Albert if the name is unknown."""
    known = name if GENERATORS.get(name) and GENERATORS[name].takes else "barabasi_albert"
    return f"{known}:" + ",".join(f"{key}={_EXAMPLE_VALUES[key]}" for key in GENERATORS[known].takes)


def _such_as(name: str, generator: Generator) -> str:
    return f", as in {_example(name)}" if generator.takes else ""


def _close(name: str) -> str:
    close = difflib.get_close_matches(name, GENERATORS, n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _all_names() -> str:
    return f"give a path or a generator such as {_example('')}: {', '.join(GENERATORS)}, nx.<function>"
