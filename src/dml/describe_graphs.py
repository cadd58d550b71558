"""The command line that describes graphs: how algorithms would run on them."""

import json
import textwrap
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from dml import command_line
from dml.errors import ArgumentError, InputError
from dml.field_types import MAX_COEFFICIENT, MAX_COUNT, Positional, one_of
from dml.messages import count
from dml.section import Section
from dml.topology import read, trees
from dml.walks import transitions

DESCRIPTION = (
    "Describes graphs: how fast they mix, when walks return, how late relays are on them, which algorithms "
    "run, and where knowledge spreads, without training."
)
WIDTH = 80

MAX_NODES = 5000
"""The number of nodes of the largest graph that is described: eigenvalues take O(n^3) time."""

SHOWN_PAIRS = 3
"""How many of the connections of an algorithm are printed."""

MAX_ROUNDS = 10_000
"""The largest number of rounds for which models are followed; the shares of all of them are kept."""


_OF_ALGORITHMS = ("edge_weight", "tree", "tree_root", "overlap", "transition", "mixing_node")


class DescribeConfig(Section):
    """The graphs to describe, and the options of algorithms and strategies."""

    graphs: Annotated[tuple[str, ...], Positional("FILE|GENERATOR")] = Field(
        description="files, or generators such as barabasi_albert:n=33,m=2"
    )
    as_json: bool = Field(False, alias="json", description="print JSON instead of tables")
    edge_weight: float | None = Field(
        None, description="weight of every edge, instead of Metropolis-Hastings weights"
    )
    tree: Annotated[str, one_of(trees.CHOICES, "tree")] = Field(
        "auto", description="the tree over which RelaySGD runs: " + ", ".join(trees.CHOICES)
    )
    tree_root: int | None = Field(None, ge=0, le=MAX_COUNT, description="root of --tree bfs")
    overlap: bool = Field(False, description="let relayed sums travel while the next round is computed")
    transition: Annotated[str, AfterValidator(transitions.parse)] = Field(
        transitions.MH, description=f"where walks go: {transitions.CHOICES}"
    )
    mixing_node: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description="the node to which they return (default: the one of highest degree)",
    )
    decay: tuple[float, ...] = Field(
        (0.0, 0.5, 0.9, 0.99), description="g of the effective number of neighbours"
    )
    source: tuple[int, ...] = Field(
        (), description="nodes, such as those with OOD data, whose models are followed through the averaging"
    )
    strategies: tuple[str, ...] = Field(
        ("unweighted",), description="aggregation strategies under which they are followed"
    )
    softmax_coeff: float | None = Field(
        None,
        ge=-MAX_COEFFICIENT,
        le=MAX_COEFFICIENT,
        description="s of the softmax of these strategies; without it scores are divided by their sum",
    )
    rounds: int = Field(
        10, ge=1, le=MAX_ROUNDS, description="the number of rounds for which they are followed"
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="seed of generators that name none, and of random trees and strategies"
    )

    @model_validator(mode="after")
    def _every_flag_is_read(self) -> Self:
        unread = {"tree_root": "tree bfs"} if self.tree != "bfs" else {}
        unread |= {} if self.source else dict.fromkeys(("strategies", "softmax_coeff", "rounds"), "source")
        for flag, switch in unread.items():
            if flag in self.model_fields_set:
                right = f"has no effect: add --{switch}, or leave it out"
                raise InputError(flag, getattr(self, flag), right)
        return self


def main(argv: Sequence[str]) -> int:
    """Describes graphs.

    Args:
        argv: the words after the program's name.
    """
    config = command_line.parse_section(
        DescribeConfig, argv, prog="describe_topology.py", description=DESCRIPTION
    )
    found = facts(config)
    print(json.dumps(found, indent=1) if config.as_json else "\n\n".join(map(_text, found)))
    return 0


def facts(config: DescribeConfig) -> list[dict[str, Any]]:
    """The facts about each graph (see :func:`dml.theory.facts`), as JSON values.

    ``forecast`` holds the shares of :func:`dml.theory.propagation` by strategy, if nodes are followed.

    Raises:
        InputError: a graph, an edge weight, a node or a strategy is wrong.
    """
    from dml import theory

    # Where nothing is said, each algorithm has its own default.
    options = {name: getattr(config, name) for name in _OF_ALGORITHMS}
    given = {name: value for name, value in options.items() if value is not None}
    topologies = [read(text, config.seed) for text in config.graphs]
    for text, topology in zip(config.graphs, topologies, strict=True):
        if topology.n > MAX_NODES:
            right = f"has {topology.n} nodes; graphs of up to {MAX_NODES} are described"
            raise ArgumentError("FILE|GENERATOR", text, right)
    found = [theory.facts(topology, given, config.seed, config.decay) for topology in topologies]
    for topology, entry in zip(topologies, found, strict=True):
        for name in config.strategies if config.source else ():
            strategy = theory.strategy_named(name, config.softmax_coeff)
            C = theory.of_strategy(topology, strategy, seed=config.seed)
            share = theory.propagation(C, config.source, topology.n, config.rounds)
            entry.setdefault("forecast", {})[name] = share.tolist()
    return found


def _text(entry: dict[str, Any]) -> str:
    """The facts about one graph, one per line, in at most 80 columns."""
    lines = list(_graph_lines(entry).items())
    lines.append(("runs", ", ".join(name for name, why in entry["refused"].items() if why is None)))
    for name, why in entry["refused"].items():
        if why is not None:
            lines.append((f"not {name}", why.removeprefix(f"algorithm {name}: ")))
    for name, found in entry["connections"].items():
        if entry["refused"].get(name) is None:
            lines.append((name, f"connects without an edge: {_first(found)}"))
    for name, shares in entry.get("forecast", {}).items():
        held = ", ".join(f"{node}:\xa0{share:.3f}" for node, share in enumerate(shares[-1]))
        mean = sum(shares[-1]) / len(shares[-1])
        after = f"after {count(len(shares) - 1, 'round')}"
        share = f"each node holds this share of the sources' models (mean {mean:.3f}): {held}"
        lines.append((name, f"{after} {share}"))
    width = max(len(name) for name, _ in lines)
    text = textwrap.wrap(entry["topology"], WIDTH)
    for name, value in lines:
        text += textwrap.wrap(
            f"  {name:<{width}}  {value}", WIDTH, subsequent_indent=" " * (width + 4), break_on_hyphens=False
        )
    return "\n".join(text).replace("\xa0", " ")


def _first(found: dict[str, Any]) -> str:
    """The number of some pairs of nodes, and the first of them."""
    pairs = [f"{i}-{j}" for i, j in found["pairs"][:SHOWN_PAIRS]]
    if not pairs:
        return "none"
    more = ", ..." if found["number"] > len(pairs) else ""
    return f"{found['number']} ({', '.join(pairs)}{more})"


def _graph_lines(entry: dict[str, Any]) -> dict[str, str]:
    """The numbers of one graph as text, by name. Lines are not broken at non-breaking spaces, \\xa0."""
    floor = entry["dpsgd_floor"]
    neighbours = [
        f"{number:.3g} (g = {g})".replace(" ", "\xa0") for g, number in entry["effective_neighbours"].items()
    ]
    lines = {
        "nodes, edges": f"{entry['n']}, {entry['m']}",
        "degrees": "{} to {}".format(*entry["degrees"]),
        "diameter": "none: not connected" if entry["diameter"] is None else count(entry["diameter"], "hop"),
        "spectral gap": f"{entry['spectral_gap']:.4g}",
        "least eigenvalue": f"{entry['lambda_min']:.4g}",
        "effective neighbours": ", ".join(neighbours),
        "D-PSGD's floor": "none: not connected" if floor is None else f"{floor:.4g} lr^2 zeta^2",
        "gossip's gap": f"{entry['gossip_gap']:.4g} per pairwise average",
        **_walk_lines(entry["walk"]),
        "tree": entry["tree"] or "none",
    }
    if entry["tree"]:
        lines["kappa, max delay"] = f"{entry['kappa']:.4g}, {count(entry['max_delay'], 'round')}"
    return lines


def _walk_lines(walk: dict[str, Any] | None) -> dict[str, str]:
    """What there is to say about a walk; None if it cannot reach every node."""
    if walk is None:
        return {"a walk's gap": "none: not connected"}
    mean, square = walk["mean_return"], walk["mean_square_return"]
    returns = f"to node {walk['node']}: mean {mean:.4g}, mean square {square:.6g}"
    return {"a walk's gap": f"{walk['gap']:.4g} ({walk['transition']})", "it returns": returns}
