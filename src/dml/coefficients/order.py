"""The order in which the nodes of a round replace their models by averages (``--aggregation_order``).

    simultaneous            all at once: every node reads the models as they are after local training
    in_place                one after another, by ascending number
    in_place_by_readiness   one after another, as soon as all models of a neighbourhood are trained

In the last two, a node reads the new models of the neighbours whose turn was before its own. The published
code of arXiv 2505.11760 does this by accident: the tasks of a round write into the models that the other
tasks still read.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dml import randomness
from dml.exchange.links import Links

AggregationOrder = Literal["simultaneous", "in_place", "in_place_by_readiness"]


def order_of_turns(
    order: AggregationOrder,
    links: Links,
    seed: int,
    t: int,
    arrived: NDArray[np.bool_],
    taking_part: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The nodes that take part in a round, in the order of their turns.

    By readiness, each node ends its local training at a time that is uniform in [0, 1), drawn from the key
    (seed, purpose, round, node). Nodes that do not take part have their models at time 0. Node i is ready at
    the latest time in its neighbourhood of this round; nodes that are ready at once, as all are on a complete
    graph, go by ascending number.

    Args:
        order: ``in_place`` or ``in_place_by_readiness``.
        links: over which models are sent.
        seed: the experiment's seed.
        t: the round.
        arrived: whether the message of each link arrives, [k].
        taking_part: the nodes that aggregate, [n].
    """
    nodes = np.flatnonzero(taking_part).astype(np.int64)
    if order == "in_place":
        return nodes
    names = links.topology.numbers
    trained = randomness.uniforms(seed, "end of local training", t, names, names)
    trained[~taking_part] = 0.0
    ready = trained.copy()
    np.maximum.at(ready, links.receiver[arrived], trained[links.sender[arrived]])
    return nodes[np.argsort(ready[nodes], kind="stable")]
