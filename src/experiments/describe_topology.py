#!/usr/bin/env python
"""What graphs let algorithms do: mixing, delays, who runs; and where knowledge goes, without training.

python src/experiments/describe_topology.py cycle:n=16 star:n=16 topologies/my_graph.txt
python src/experiments/describe_topology.py barabasi_albert:n=33,m=2 --source 0 --strategies degCent
"""

import json as json_text
import math
import textwrap
from typing import Annotated, Any

import tyro

from dml import command_line
from dml.errors import ArgumentError, InputError
from dml.topology import read, trees


def describe_topology(
    graphs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE|GENERATOR ..")],
    json: bool = False,
    edge_weight: float | None = None,
    tree: str = "auto",
    tree_root: int | None = None,
    overlap: bool = False,
    decay: tuple[float, ...] = (0.0, 0.5, 0.9, 0.99),
    source: tuple[int, ...] = (),
    strategies: tuple[str, ...] = ("unweighted",),
    softmax_coeff: float | None = None,
    rounds: int = 10,
    seed: int = 0,
) -> int:
    """What graphs let algorithms do: mixing, delays, who runs; and where knowledge goes, without training.

    Args:
        graphs: files, or generators such as barabasi_albert:n=33,m=2
        json: print JSON in place of tables
        edge_weight: of every edge, in place of Metropolis-Hastings weights
        tree: over which RelaySGD runs: auto, given, min_mean_distance, min_diameter, bfs, random, chain, ..
        tree_root: of --tree bfs
        overlap: relays take the messages of the round before
        decay: g of the effective numbers of neighbours
        source: nodes, as those with OOD data, whose models are followed through the averaging
        strategies: under which aggregation strategies
        softmax_coeff: s of their softmax; None divides by the sum
        rounds: how far to follow them
        seed: of generators that name none, of random trees and strategies
    """
    if not strategies:
        raise InputError("strategies", None, "name at least one")
    if softmax_coeff is not None and not math.isfinite(softmax_coeff):
        raise InputError("softmax_coeff", softmax_coeff, "must be a finite number")
    if not graphs:
        raise ArgumentError("FILE|GENERATOR", None, "name at least one graph")
    if tree not in trees.CHOICES:
        raise InputError("tree", tree, f"no such tree; there are: {', '.join(trees.CHOICES)}")
    if tree_root is not None and tree != "bfs":
        raise InputError("tree_root", tree_root, "nothing reads it: add --tree bfs, or leave it out")
    if rounds < 1:
        raise InputError("rounds", rounds, "must be at least 1")
    if not 0 <= seed < 2**32:
        raise InputError("seed", seed, "must be at least 0 and below 2^32")
    followed = {"strategies": (strategies, ("unweighted",)), "softmax_coeff": (softmax_coeff, None)}
    for flag, (value, default) in (followed | {"rounds": (rounds, 10)}).items():
        if not source and value != default:
            raise InputError(flag, value, "nothing reads it: add --source, or leave it out")
    from dml import theory

    topologies = [read(text, seed) for text in graphs]
    options = {"edge_weight": edge_weight, "tree": tree, "tree_root": tree_root, "overlap": overlap}
    described = [theory.facts(topology, options, seed, decay) for topology in topologies]
    for topology, entry in zip(topologies, described, strict=True):
        for name in strategies if source else ():
            C = theory.of_strategy(topology, theory.strategy_named(name, softmax_coeff), seed=seed)
            share = theory.propagation(C, source, topology.n, rounds)
            entry.setdefault("forecast", {})[name] = share.tolist()
    print(json_text.dumps(described, indent=1) if json else "\n\n".join(map(_text, described)))
    return 0


def _text(entry: dict[str, Any]) -> str:
    """One graph, a fact a line, in at most 80 columns."""
    floor = entry["dpsgd_floor"]
    lines = {
        "nodes, edges": f"{entry['n']}, {entry['m']}",
        "spectral gap": f"{entry['spectral_gap']:.4g}",
        "least eigenvalue": f"{entry['lambda_min']:.4g}",
        "effective neighbours": ", ".join(
            # No line ends within a pair.
            f"{count:.3g} (g = {g})".replace(" ", "\xa0")
            for g, count in entry["effective_neighbours"].items()
        ),
        "D-PSGD's floor": "none: not connected" if floor is None else f"{floor:.4g} lr^2 zeta^2",
        "tree": entry["tree"] or "none",
    }
    if entry["tree"]:
        delay = entry["max_delay"]
        lines["kappa, max delay"] = f"{entry['kappa']:.4g}, {delay} round{'' if delay == 1 else 's'}"
    lines["runs"] = ", ".join(name for name, why in entry["refused"].items() if why is None)
    for name, why in entry["refused"].items():
        if why is not None:
            lines[f"not {name}"] = why.removeprefix(f"algorithm {name}: ")
    for name, shares in entry.get("forecast", {}).items():
        held = ", ".join(f"{node}:\xa0{share:.3f}" for node, share in enumerate(shares[-1]))
        mean = sum(shares[-1]) / len(shares[-1])
        what = (
            f"after {len(shares) - 1} rounds each node's model holds of the sources' (mean {mean:.3f}) {held}"
        )
        lines[name] = what
    width = max(map(len, lines))
    text = textwrap.wrap(entry["topology"], 80)
    for name, value in lines.items():
        text += textwrap.wrap(
            f"  {name:<{width}}  {value}", 80, subsequent_indent=" " * (width + 4), break_on_hyphens=False
        )
    return "\n".join(text).replace("\xa0", " ")


if __name__ == "__main__":
    command_line.guard(lambda: tyro.cli(describe_topology, use_underscores=True, prog="describe_topology.py"))
