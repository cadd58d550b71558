"""SplitFed learning: nodes train at the same time, each a lower part of its own, with one server above them.

Thapa et al., AAAI 2022, arXiv 2004.12088; of its two forms it is the second one, SplitFedV2, whose server has
one upper part u. (In the first one, the server has an upper part for every node and averages these as well:
its models are those of FedAvg with weights by samples.) A node i passes over its own samples, and has a lower
part l_i of its own. In each step, every node that has a batch b_i left sends a_i = l_i(b_i) and its labels.
The server takes these batches one after another, in an order that is drawn for each step:

    u <- u - lr du,  e_i = dL_i/da_i      L_i being the mean loss over b_i; the server returns e_i
    l_i <- l_i - lr dl_i, by e_i          node i

At the end of a round (``--epochs`` passes), all lower parts become their mean, weighted by samples. The model
that a run measures and delivers is this mean below u.

Plain form: ``tests/traversal/test_splitfed.py``.
"""

from dml.algorithms.algorithm import Algorithm
from dml.algorithms.asynchronous import Rows
from dml.algorithms.one_model import DEFAULTS, UNREAD, requires
from dml.algorithms.server_at_node import admits
from dml.algorithms.split import CutOptions


class SplitFedOptions(CutOptions):
    """All nodes at the same time."""

    side_by_side = True
    lossy_because = "each node trains a lower part of its own, and these are averaged after each round"


def _rows(n: int, options: SplitFedOptions) -> Rows:
    """X is the one model; every node has an optimiser of its lower part, and the server one of the upper."""
    return Rows(nodes=1, optimizers=n + 1)


ALGORITHM = Algorithm(
    about="lower parts of a model at the nodes, averaged in each round, below one upper part at a server",
    one_model=True,
    admits=admits,
    rows=_rows,
    # The lower part of each node is no more than a model.
    memory=lambda n, m, lossy: n,
    options=SplitFedOptions,
    requires=requires,
    defaults={**DEFAULTS, "keep_optimizer": False},
    unread=UNREAD,
)
