"""All-reduce: every node holds the mean of all half steps.

    x_i(t+1) = 1/n sum_j h_j(t)

With plain or momentum SGD and equal starts this is centralized SGD on the batches of all nodes together.
It ignores the edges of the graph; each node sends its model to all others.
"""

from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import Traffic


class AllReduce(Rule):
    """The mean over all nodes.

    Args:
        mixing: 1/n everywhere, used where messages may be lost.
        links: all to all.
    """

    def __init__(self, mixing: Mixing, links: Links) -> None:
        self._mixing, self._links = mixing, links

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- 1 1^T H / n."""
        if self._links.reliable:
            X.copy_(X.mean(0, keepdim=True).expand_as(X))
        else:
            self._mixing(X, t)
        return self._links.traffic(X.shape[1])

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived."""
        return self._mixing.memory()
