"""What RelaySGD and its kin have in common: a rule over relayed sums, which are measured."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dml.algorithms.options import TreeOptions
from dml.algorithms.rule import Rule
from dml.topology import Topology, trees

if TYPE_CHECKING:
    from dml.algorithms.algorithm import Setup
    from dml.exchange.exchange import Exchange
    from dml.exchange.relays import Relays

MODEL_RULES = ("hold_last", "own", "half_step", "x0", "counts")
"""What RelaySum of models makes of a lost message. hold_last keeps the last message of the edge, so that a
loss makes a value older but not lighter, and fills what has never come with x(0). The others take a lost
message for nothing and do not relay it; each missing value counts as x_i(t), h_i(t) or x_i(0), or not at all
(the sum is divided by the number of values that it holds)."""


class RelayRule(Rule):
    """A rule over relays, which are measured.

    Args:
        exchange: over which messages go.
        relays: the trees.
    """

    def __init__(self, exchange: "Exchange", relays: "Relays") -> None:
        super().__init__(exchange)
        self._relays = relays

    def measures(self) -> dict[str, NDArray[np.float32]]:
        """``relay_values`` and ``relay_age``, see :meth:`dml.exchange.relays.Relays.measures`."""
        return self._relays.measures()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Also what was measured, and how old the messages are."""
        return super().state() | self._relays.measures() | self._relays.ages()

    def load_state(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continues from what :meth:`state` returned."""
        super().load_state(state)
        self._relays.load(state)


def relays_of(setup: "Setup", remember: str, counters: int) -> tuple["Relays", float]:
    """The relays over the trees that the options name, and kappa of these trees.

    Args:
        setup: of the rule.
        remember: what a lost message leaves behind, see :class:`dml.exchange.relay_sum.RelaySum`.
        counters: numbers that each message holds besides its vector.
    """
    from dml.exchange.relays import Relays

    options = setup.options
    assert isinstance(options, TreeOptions)
    chosen = options.choose(setup.topology, setup.seed)
    relays = Relays(setup.exchange, chosen, remember, options.overlap, options.tree_slices, counters)
    return relays, trees.kappa(chosen, options.overlap)


def admits(topology: Topology, options: TreeOptions, seed: int) -> None:
    """Refuses a graph that lacks the tree.

    Raises:
        InputError: saying which edge is missing, or why there is no such tree.
    """
    options.choose(topology, seed)
