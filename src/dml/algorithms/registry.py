"""The algorithms by name: which options each reads, what it sends and remembers, which graphs it admits.

Nothing here needs torch, so a command line can refuse before it is loaded; :mod:`dml.algorithms.build`
makes the rules. A new algorithm is one file, a line here and one there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dml.errors import InputError
from dml.topology import Topology, spectrum, trees
from dml.topology.trees import Tree

GOSSIP_RULES = ("hold_last", "self_weight", "renormalise")
"""What averages over neighbours make of a lost message: see :mod:`dml.algorithms.lossy`."""

MODEL_RULES = ("hold_last", "own", "half_step", "x0", "counts")
"""What RelaySum of models makes of it. hold_last keeps the last message of the edge, so that a loss makes a
value older but not lighter, and fills what has never come with x(0). The others take a lost message for
nothing and do not relay it; each missing value counts as x_i(t), h_i(t) or x_i(0), or not at all (the sum
is divided by the number of values that it holds)."""

UPDATE_RULES = ("hold_last", "lost")
"""What RelaySum of updates makes of it. hold_last: messages carry the running sum of their edge, so the
next one brings what was lost. lost: it is gone."""

PUSH_RULES = ("hold_last", "self_weight", "lost")
"""What push-sum makes of it: see :mod:`dml.algorithms.push_sum`."""


@dataclass(frozen=True)
class Options:
    """What algorithms read beside the graph; each reads those that its entry names.

    Args:
        seed: of message loss and random trees.
        drop_probability: that a message is lost, beside what its edge's weight says.
        loss_rule: what a lost message counts as; None for the algorithm's own default.
        edge_weight: W_ij of every edge, in place of Metropolis-Hastings weights.
        tree: one of ``trees.CHOICES``.
        tree_root: of ``tree="bfs"``.
        tree_slices: how several trees share the columns, ``strided`` or ``contiguous``.
        overlap: relay totals take the messages of the round before.
        consensus_strength: c of ``relay_mix``.
        momentum: mu of ``quasi_global_momentum``.
        exchanges: of ``one_peer_exponential``, a round.
    """

    seed: int = 0
    drop_probability: float = 0.0
    loss_rule: str | None = None
    edge_weight: float | None = None
    tree: str = "auto"
    tree_root: int | None = None
    tree_slices: str = "strided"
    overlap: bool = False
    consensus_strength: float = 0.5
    momentum: float = 0.9
    exchanges: int = 1


@dataclass(frozen=True)
class Algorithm:
    """One algorithm of the registry.

    Args:
        reads: the options that it reads beside seed, drop_probability and loss_rule.
        loss_rules: those that it knows, its default first.
        vectors: of a model's size, in each message.
        sends: to whom, in words.
        remembers: its memory between rounds, in matrices of models, in words.
        on_graph: whether messages run over the topology's edges.
        convex: new models are weighted means of models, so that what no gradient changes, such as the
            variances of a batch norm, may be averaged along; otherwise it stays with its node.
        rows: models' worth of memory beside X, for n nodes, m edges, and whether messages may be lost.
        admits: raises InputError for a graph, under options, that it cannot run on.
    """

    reads: frozenset[str]
    loss_rules: tuple[str, ...]
    vectors: int
    sends: str
    remembers: str
    on_graph: bool = True
    convex: bool = True
    rows: Callable[[int, int, bool], int] = lambda n, m, lossy: 2 * m if lossy else 0
    admits: Callable[[Topology, Options], object] = lambda topology, options: None


def _weights(topology: Topology, options: Options) -> spectrum.Matrix:
    return spectrum.averaging(topology, options.edge_weight)


def _d2(topology: Topology, options: Options) -> None:
    W = _weights(topology, options)
    if not spectrum.admits_d2(W):
        least = spectrum.lambda_min(W)
        right = f"d2 needs a least eigenvalue above -1/3; that of W on {topology.source} is {least:.4f}"
        below = spectrum.d2_edge_weight(topology)
        right += f": give an --edge_weight below {below:.4g}, or take exact_diffusion"
        raise InputError("algorithm", "d2", right)


def _trees(topology: Topology, options: Options) -> tuple[Tree, ...]:
    return trees.choose(topology, options.tree, options.tree_root, options.seed)


_W = frozenset({"edge_weight"})
_TREE = frozenset({"tree", "tree_root", "tree_slices", "overlap"})
_EACH = "to each neighbour"
_ALONG = "along each edge of the tree"


def _corrected(admits: Callable[[Topology, Options], object]) -> Algorithm:
    return Algorithm(
        _W,
        GOSSIP_RULES,
        1,
        f"its corrected model {_EACH}",
        "a correction a node",
        convex=False,
        rows=lambda n, m, lossy: n + (2 * m if lossy else 0),
        admits=admits,
    )


ALGORITHMS: dict[str, Algorithm] = {
    "allreduce": Algorithm(
        frozenset(),
        GOSSIP_RULES,
        1,
        "its model to all other nodes",
        "nothing",
        on_graph=False,
        rows=lambda n, m, lossy: n * (n - 1) if lossy else 0,
    ),
    "dpsgd": Algorithm(_W, GOSSIP_RULES, 1, f"its model {_EACH}", "nothing", admits=_weights),
    "relaysgd": Algorithm(
        _TREE,
        MODEL_RULES,
        1,
        f"a sum of models {_ALONG}",
        "a sum an edge",
        rows=lambda n, m, lossy: 3 * n,
        admits=_trees,
    ),
    "relaysgd_grad": Algorithm(
        _TREE,
        UPDATE_RULES,
        1,
        f"a sum of updates {_ALONG}",
        "a sum an edge",
        convex=False,
        rows=lambda n, m, lossy: 5 * n if lossy else 3 * n,
        admits=_trees,
    ),
    "relay_mix": Algorithm(
        _TREE | {"consensus_strength"},
        MODEL_RULES,
        1,
        f"a sum of updates and parts of models {_ALONG}",
        "a sum an edge",
        convex=False,
        rows=lambda n, m, lossy: 4 * n,
        admits=_trees,
    ),
    "d2": _corrected(_d2),
    "exact_diffusion": _corrected(_weights),
    "gradient_tracking": Algorithm(
        _W,
        GOSSIP_RULES,
        2,
        f"its model and its tracker {_EACH}",
        "a correction a node",
        convex=False,
        rows=lambda n, m, lossy: 2 * n + (4 * m if lossy else 0),
        admits=_weights,
    ),
    "quasi_global_momentum": Algorithm(
        _W | {"momentum"},
        GOSSIP_RULES,
        1,
        f"its model {_EACH}",
        "a momentum a node",
        rows=lambda n, m, lossy: 2 * n + (2 * m if lossy else 0),
        admits=_weights,
    ),
    "push_sum": Algorithm(
        frozenset(),
        PUSH_RULES,
        1,
        f"a share of its sum and weight {_EACH}",
        "a weight a node",
        rows=lambda n, m, lossy: n + (2 * m if lossy else 0),
    ),
    "one_peer_exponential": Algorithm(
        frozenset({"exchanges"}),
        GOSSIP_RULES,
        1,
        "its model to one other node an exchange",
        "nothing",
        on_graph=False,
        rows=lambda n, m, lossy: n * (n - 1).bit_length() if lossy else 0,
    ),
}
"""Where messages may be lost, each also remembers what has arrived last on every edge."""

DECENTRALIZED = "decentralized"
"""The aggregation strategies, as published: whole epochs, and lost messages left out of the average."""

AVERAGING = (DECENTRALIZED, "dpsgd")
"""The algorithms of experiments whose new models are averages by a strategy's coefficients."""

EXPERIMENTS: dict[str, Algorithm] = {
    DECENTRALIZED: Algorithm(
        frozenset(),
        ("renormalise", "hold_last", "self_weight"),
        1,
        f"its model {_EACH}",
        "nothing",
        rows=lambda n, m, lossy: 0,
    ),
    **ALGORITHMS,
}
"""All that an experiment can run."""


def find(name: str) -> Algorithm:
    """The entry of a name.

    Raises:
        InputError: there is none.
    """
    if name not in ALGORITHMS:
        raise InputError("algorithm", name, f"no such algorithm; there are: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def check(name: str, topology: Topology, options: Options) -> None:
    """Refuses options, or a graph, that the algorithm cannot run with.

    Raises:
        InputError: the first that cannot be right.
    """
    algorithm = find(name)
    if not 0 <= options.drop_probability < 1:
        raise InputError("drop_probability", options.drop_probability, "must be at least 0 and below 1")
    if options.loss_rule is not None and options.loss_rule not in algorithm.loss_rules:
        right = f"{name} knows {', '.join(algorithm.loss_rules)}"
        raise InputError("loss_rule", options.loss_rule, right)
    if options.tree_slices not in ("strided", "contiguous"):
        raise InputError("tree_slices", options.tree_slices, "must be strided or contiguous")
    if not 0 < options.consensus_strength <= 1:
        raise InputError("consensus_strength", options.consensus_strength, "must be above 0 and at most 1")
    if not 0 <= options.momentum < 1:
        raise InputError("momentum", options.momentum, "must be at least 0 and below 1")
    if options.exchanges < 1:
        raise InputError("exchanges", options.exchanges, "must be at least 1")
    algorithm.admits(topology, options)


def refusal(name: str, topology: Topology, options: Options) -> str | None:
    """Why the algorithm does not run on this graph; None where it does."""
    try:
        check(name, topology, options)
    except InputError as error:
        return str(error)
    return None
