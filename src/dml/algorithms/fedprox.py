"""FedProx: federated averaging whose clients stay near the server's model (Li et al., MLSys 2020,
arXiv 1812.06127, algorithm 2).

    local loss of client i    f_i(x) + mu/2 |x - w(t)|^2, so that mu (x - w(t)) is added to each gradient
    w(t+1) = w(t) + g 1/|S| sum_{i in S} (h_i(t) - w(t))

mu is ``--prox_coeff``; with mu = 0 it is FedAvg. (Under ``decentralized`` the same flag draws to the
neighbours' models, by distances that are not squared: :mod:`dml.training.proximal`.)

Plain form: :class:`dml.algorithms.reference.FedProx`.
"""

from typing import TYPE_CHECKING

from dml.algorithms.algorithm import Algorithm, Setup
from dml.algorithms.fedavg import FedAvg
from dml.algorithms.federated import ServerOptions, admits, requires

if TYPE_CHECKING:
    from dml.training.correction import Correction


class FedProx(FedAvg):
    """FedAvg with a proximal term.

    Args:
        setup: with :class:`ServerOptions`.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._mu = setup.prox_coeff

    def correction(self) -> "Correction":
        """The pull to the server's model."""
        from dml.training.correction import Correction

        return Correction(anchor=self.w.expand(int(self.here.sum()), -1), coeff=self._mu)


ALGORITHM = Algorithm(
    about="fedavg whose clients are drawn to the server's model by --prox_coeff",
    make=FedProx,
    options=ServerOptions,
    participation=True,
    draws_to_server=True,
    memory=lambda n, m, lossy: 1,
    admits=admits,
    requires=requires,
    defaults={"init": "same", "prox_coeff": 0.1},
)
