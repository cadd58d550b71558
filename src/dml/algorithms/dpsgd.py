"""D-PSGD: decentralized parallel SGD (Lian et al., NeurIPS 2017, arXiv 1705.09056, algorithm 1).

    x_i(t+1) = sum_j W_ij h_j(t)

W may be any row-stochastic matrix on the graph, also another one in each round; with a doubly stochastic
W, as Metropolis-Hastings weights are, the mean of all models moves as that of all half steps does. Where
the nodes' data differ it ends at a distance from the optimum that grows with the learning rate.
"""

from torch import Tensor

from dml.algorithms.links import Links
from dml.algorithms.lossy import Mixing
from dml.algorithms.rule import Rule
from dml.algorithms.traffic import Traffic


class DPSGD(Rule):
    """Each node averages the models of its neighbourhood.

    Args:
        mixing: W over the links.
        links: the messages.
    """

    def __init__(self, mixing: Mixing, links: Links) -> None:
        self._mixing, self._links = mixing, links

    def after(self, X: Tensor, t: int, lr: float) -> Traffic:
        """X <- W H."""
        self._mixing(X, t)
        return self._links.traffic(X.shape[1])

    def memory(self) -> dict[str, Tensor]:
        """The last messages that arrived."""
        return self._mixing.memory()
