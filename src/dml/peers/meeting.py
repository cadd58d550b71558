"""How the peers of an experiment connect, and find out whether they have been given the same one."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dml.config import ExperimentConfig
from dml.errors import InputError
from dml.exchange.connections import beyond_edges
from dml.network.endpoint import Endpoint
from dml.network.limits import Limits
from dml.network.peers import own_pair
from dml.peers.config import AWAY_S, SLOW_S, ExperimentPeers
from dml.peers.over_wire import OverWire, Patience
from dml.plan import Plan, why_one_process
from dml.ranks.join import MEETING_S
from dml.topology import Topology
from dml.topology.trees import choose

if TYPE_CHECKING:
    from dml.peers.parts import Part

COMPARED = {"rounds", "checkpoint_every", "checkpoint_minutes", "keep_checkpoint", "engine", "train"}
"""Fields that need not change numbers, and in which peers must agree as they act together."""


def check(plan: Plan, peers: ExperimentPeers, node: int | None) -> int:
    """Refuses an experiment that peers cannot run, and a node that is none of them; returns the node.

    Raises:
        InputError: naming what is wrong.
    """
    config, n = plan.config, plan.topology.n
    if why := why_one_process(config):
        raise InputError(
            "algorithm", config.algorithm.algorithm, f"{why}, which needs all nodes in one process"
        )
    if config.run.shards not in (None, 1):
        raise InputError("shards", config.run.shards, "a peer is one process for one node; leave it out")
    if len(peers.nodes) != n:
        right = f"has {len(peers.nodes)} nodes, and {plan.topology.source} has {n}"
        raise InputError("peers", None, f"the file {right}")
    if node is None:
        raise InputError("node", None, f"say which node this process is, 0 to {n - 1}")
    if not 0 <= node < n:
        raise InputError("node", node, f"there is no such node; nodes are 0 to {n - 1}")
    tree_of(plan.topology)
    return node


def tree_of(topology: Topology) -> NDArray[np.int64]:
    """The parent of each node in the tree along which all peers share what they decide on, [n].

    Raises:
        InputError: the graph is not connected.
    """
    if (topology.distance_to(np.array([0])) < 0).any():
        right = "is not connected, and peers share losses and scores along its edges"
        raise InputError("topology_file", topology.source, right)
    return choose(topology, "bfs", 0)[0].parent


def connections(config: ExperimentConfig, topology: Topology) -> set[tuple[int, int]]:
    """The pairs of nodes, i < j, that are connected: the edges, and what the algorithm needs besides."""
    offsets = config.algorithm.described.offsets(topology.n)
    besides = beyond_edges(topology, config.all_to_all, offsets)
    return {(int(i), int(j)) for i, j in (*topology.edges, *besides)}


@contextmanager
def met(
    plan: Plan, peers: ExperimentPeers, node: int, part: "Part", say: Callable[[str], None]
) -> Iterator[OverWire]:
    """The peers of an experiment, within the block.

    Args:
        plan: the experiment.
        peers: the file of peers.
        node: which of them this process is.
        part: the data of this node.
        say: takes one line for each kind of refused message.

    Raises:
        InputError: peers have been given different experiments, or the port is in use.
        LostRankError: a peer is not there, or has ended.
    """
    names, n = peers.names, plan.topology.n
    pairs = connections(plan.config, plan.topology)
    near = [other for other in range(n) if (min(node, other), max(node, other)) in pairs]
    own = peers.nodes[node]
    on_this_host = [i for i, other in enumerate(peers.nodes) if other.host == own.host]
    limits = Limits(silence=min(10.0, peers.deadline or AWAY_S))
    pair, contacts = own_pair(peers, own.name), peers.contacts([names[other] for other in near])
    try:
        end = Endpoint(own.name, peers.run, pair, contacts, peers.listen(own.name), limits, say)
    except InputError as error:
        # The port stands in the file; peer.py has no flag for it.
        raise InputError("peers", None, f"{own.name}, {error}") if error.field == "port" else error from None
    away = peers.deadline or AWAY_S
    patience = Patience(away, peers.slow_deadline or SLOW_S, max(away, MEETING_S))
    ranks = OverWire(
        end,
        names,
        node,
        tree_of(plan.topology),
        patience,
        direct=2 * len(pairs) == n * (n - 1),
        collects=peers.measure == "all",
        place=on_this_host.index(node),
        places=len(on_this_host),
    )
    try:
        _compare(plan, peers, ranks)
        _compare_parts(ranks, names, part.sha256)
        yield ranks
        ranks.together()
        end.close()
    except BaseException as error:
        ranks.leave(error)
        raise


def _compare(plan: Plan, peers: ExperimentPeers, ranks: OverWire) -> None:
    """Refuses peers on both sides of a connection that were not given the same experiment.

    Raises:
        InputError: naming the first field that differs.
    """
    own = _told(plan, peers)
    for name, theirs in ranks.meet({"told": json.dumps(own)}).items():
        other = json.loads(theirs["told"])
        for field in [*own, *(field for field in other if field not in own)]:
            if own.get(field) != other.get(field):
                value = own.get(field)
                right = f"{name} has {_shown(other.get(field))}; all peers need the same"
                raise InputError(field, value if value is None else _shown(value), right)


def _told(plan: Plan, peers: ExperimentPeers) -> dict[str, Any]:
    config, flat = plan.config, plan.config.flat()
    fields = {field: flat[field] for field in sorted(config.reads() | COMPARED) if field in flat}
    fields["topology_file"] = plan.topology.source
    fields |= {"measure": peers.measure or "own", "nodes": len(peers.nodes)}
    versions = {f"version of {part}": version for part, version in config.versions().items()}
    told: dict[str, Any] = json.loads(json.dumps(fields | versions | {"id": plan.identity.id}, default=str))
    return told


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _compare_parts(ranks: OverWire, names: list[str], digest: str) -> None:
    """Refuses two peers with one part.

    Raises:
        InputError: naming them.
    """
    digests = ranks.texts(digest)
    for node, other in enumerate(digests):
        first = digests.index(other)
        if first < node:
            raise InputError("parts", None, f"{names[first]} and {names[node]} have the same part")
