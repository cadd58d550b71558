"""D-PSGD: decentralized parallel SGD (Lian et al., NeurIPS 2017, arXiv 1705.09056, algorithm 1).

    x_i(t+1) = sum_j W_ij h_j(t)

W may be any row-stochastic matrix on the graph, and another one in each round. With a doubly stochastic W,
such as Metropolis-Hastings weights, the mean of all models moves as the mean of all half steps does. If the
nodes' data differ, D-PSGD ends at a distance from the optimum that grows with the learning rate.

Plain form: :class:`dml.algorithms.reference.DPSGD`.
"""

from dml.algorithms import decentralized, weights
from dml.algorithms.algorithm import STEPPING, Algorithm, Setup
from dml.algorithms.averaging_rule import AveragingRule
from dml.algorithms.options import EdgeWeight
from dml.algorithms.rule import Rule


def make(setup: Setup) -> Rule:
    """The average by the strategy's coefficients in an experiment, otherwise by W of the graph."""
    if setup.coefficients is not None:
        return decentralized.make(setup)
    average = setup.exchange.average(weights.matrix(setup), setup.loss_rule)
    return AveragingRule(setup.exchange, average)


ALGORITHM = Algorithm(
    about="averages with the neighbours by doubly stochastic weights",
    make=make,
    options=EdgeWeight,
    loss_rules=weights.GOSSIP_RULES,
    strategies=True,
    participation=True,
    memory=weights.last_messages,
    admits=weights.admits,
    defaults=STEPPING | {"aggregation_strategy": "metropolis_hastings"},
)
