"""Visits of nodes that compute batch norm: all stop at each one, for statistics of the whole batch."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from dml.training.answers import Answers
from dml.traversal import batch_norm
from dml.traversal.learner import Learner
from dml.traversal.node import Node
from dml.traversal.parts import OrderedSum, Part
from dml.traversal.plan import Visit
from dml.traversal.samples import Samples
from dml.traversal.steps import SteppedPass, Steps
from dml.traversal.tally import Tally
from dml.traversal.visits import Apart, ApartAtCut, Totals


class SteppingNode(Node):
    """A node that answers at each batch norm.

    Args:
        samples: its own.
        learner: the model.
        steps: what of it the node computes.
        answers: which answers count.
        tally: its own losses and hits.
    """

    def __init__(
        self, samples: Samples, learner: Learner, steps: Steps, answers: Answers, tally: Tally
    ) -> None:
        super().__init__(samples, learner, steps.part, answers, tally)
        self._steps = steps

    def up(self, received: Tensor | None = None) -> Tensor | None:
        """Its statistics at the next batch norm, [2 C + 1]; None if there is no further one.

        Args:
            received: mean and variance of the whole batch at the last one, [2, C]; None begins a visit.
        """
        if received is None:
            x, _ = self._next()
            self._pass = SteppedPass(self._steps, x)
        self._learner.keyed.tell(self._number, self._keys)
        return self._pass.go_on(received)

    def activations(self) -> Tensor:
        """What the lower part makes of its samples, behind the last batch norm."""
        return self._pass.output

    def turn(self, gradient: Tensor) -> Tensor | None:
        """Its sums at the last batch norm, [2, C].

        Args:
            gradient: of the loss in the activations of its samples.
        """
        return self._pass.turn(gradient)

    def turn_at_loss(self, total: int) -> Tensor | None:
        """Its sums at the last batch norm, [2, C], if it computes the whole model.

        Args:
            total: how many answers of the whole batch count.
        """
        logits = self._pass.output.to(self._learner.parameters[0].dtype)
        return self.turn(self.loss_gradient(logits, total))

    def down(self, received: Tensor) -> Tensor | None:
        """Its sums at the next batch norm on the way back, [2, C]; None if there is no further one.

        Args:
            received: the means of the whole batch at the last one, [2, C].
        """
        return self._pass.go_on(received)

    def found(self) -> list[Tensor]:
        """The gradients of what it computes, at the end of the way back."""
        return self._pass.gradients


def ascend(nodes: Sequence[SteppingNode], steps: Steps) -> list[int]:
    """Leads nodes forwards through all batch norms, and moves the running statistics.

    Args:
        nodes: those that hold rows of the batch, ascending.
        steps: what they compute.

    Returns:
        How many numbers a channel has at each batch norm.
    """
    counts: list[int] = []
    sent = [node.up() for node in nodes]
    for norm in steps.norms:
        count, found = batch_norm.of_all(_there(sent))
        batch_norm.track(norm, count, found)
        counts.append(count)
        sent = [node.up(found) for node in nodes]
    return counts


def descend(nodes: Sequence[SteppingNode], sent: Sequence[Tensor | None], counts: Sequence[int]) -> None:
    """Leads nodes back.

    Args:
        nodes: as of :func:`ascend`.
        sent: their sums at the last batch norm.
        counts: what :func:`ascend` returned.
    """
    for count in reversed(counts):
        found = batch_norm.means(_there(sent), count)
        sent = [node.down(found) for node in nodes]


def _there(sent: Sequence[Tensor | None]) -> list[Tensor]:
    found = [part for part in sent if part is not None]
    assert len(found) == len(sent), "all nodes come to the same batch norms"
    return found


def _total(found: OrderedSum, nodes: Sequence[SteppingNode], visits: Sequence[Visit]) -> list[Tensor]:
    found.begin([visit.node for visit in visits])
    for node, visit in zip(nodes, visits, strict=True):
        found.put(visit.node, node.found())
    return found.total()


class ApartInSteps(Apart):
    """Nodes compute the whole model, each on its own samples.

    Args:
        learner: the model.
        nodes: all of them.
        totals: how many answers each batch has.
        steps: the model.
    """

    nodes: Sequence[SteppingNode]

    def __init__(self, learner: Learner, nodes: Sequence[SteppingNode], totals: Totals, steps: Steps) -> None:
        super().__init__(learner, nodes, totals)
        self._steps = steps

    def _of_batch(self, number: int, visits: Sequence[Visit], total: int) -> list[Tensor]:
        """By one visit at each batch norm on both ways, and one at the end."""
        nodes = [self.nodes[visit.node] for visit in visits]
        counts = ascend(nodes, self._steps)
        descend(nodes, [node.turn_at_loss(total) for node in nodes], counts)
        return _total(self._sum, nodes, visits)


class ApartAtCutInSteps(ApartAtCut):
    """Nodes compute the lower part of the model, and the server the upper part.

    Args:
        learner, nodes, totals, upper, answers, tally: as of :class:`dml.traversal.visits.ApartAtCut`.
        steps: the lower part.
    """

    nodes: Sequence[SteppingNode]

    def __init__(
        self,
        learner: Learner,
        nodes: Sequence[SteppingNode],
        totals: Totals,
        upper: Part,
        answers: Answers,
        tally: Tally | None,
        steps: Steps,
    ) -> None:
        super().__init__(learner, nodes, totals, upper, answers, tally)
        self._steps = steps

    def _activations(self, nodes: Sequence[Node]) -> list[Tensor]:
        stepping = cast("Sequence[SteppingNode]", nodes)
        self._counts = ascend(stepping, self._steps)
        return [node.activations() for node in stepping]

    def _lower_gradients(
        self, nodes: Sequence[Node], visits: Sequence[Visit], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        stepping = cast("Sequence[SteppingNode]", nodes)
        sent = [node.turn(part) for node, part in zip(stepping, gradients, strict=True)]
        descend(stepping, sent, self._counts)
        return _total(self._sum, stepping, visits)
