"""The gradient of one model on virtual batches, of which each node holds a part."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dml import accelerators
from dml.training.answers import Answers
from dml.traversal import parts
from dml.traversal.asking import Asking
from dml.traversal.learner import Learner
from dml.traversal.node import Node
from dml.traversal.parts import OrderedSum, Part
from dml.traversal.plan import Visit
from dml.traversal.request import BatchesRequest
from dml.traversal.samples import Samples
from dml.traversal.tally import Tally

Totals = Callable[[BatchesRequest], list[int]]
"""How many answers of each batch of a request count in the loss."""


class Visits(ABC):
    """A way to compute the gradient of each batch."""

    @abstractmethod
    def gradients(self, request: BatchesRequest) -> Iterator[list[Tensor]]:
        """The gradient of the mean loss of each batch in each parameter, which is there until the next one.

        Whoever takes them changes the model by one gradient before it asks for the next.
        """

    @abstractmethod
    def sums(self) -> Tensor:
        """Losses and hits over each node's own samples since the last call, [2, n] float64."""

    def left_out(self) -> list[Visit]:
        """The visits since the last call whose samples are in no gradient and no sum, as nodes were lost."""
        return []


class Together(Visits):
    """The parts of all nodes in one pass over each batch, in the order of the plan.

    This is training in one place, to the last bit: the mean loss over the batch is one sum.

    Args:
        learner: the model.
        samples: of all nodes, one node after another.
        tally: counts losses and hits.
    """

    def __init__(self, learner: Learner, samples: Samples, tally: Tally) -> None:
        self._learner, self._samples, self._tally = learner, samples, tally

    def gradients(self, request: BatchesRequest) -> Iterator[list[Tensor]]:
        """By one forward and one backward pass for each batch."""
        learner, plan = self._learner, request.plan
        sizes = request.sizes
        owners = accelerators.send(plan.owners[request.places], learner.parameters[0].device)
        batches = self._samples.batches(plan.number, plan.samples[request.places], sizes)
        learner.module.train()
        for (x, y, keys), own in zip(batches, torch.split(owners, sizes), strict=True):
            learner.keyed.tell(plan.number, keys)
            logits, _, gradients = learner.backward(learner.module, learner.parameters, x, y)
            self._tally.add(logits, y, own)
            yield gradients
        learner.backward.release(learner.parameters)

    def sums(self) -> Tensor:
        """Those of the tally."""
        return self._tally.take()


class Apart(Visits):
    """Each node's part by itself; the gradients are added in the order of the nodes.

    A node without samples in a batch is not visited.

    Args:
        learner: the model.
        nodes: all of them.
        totals: how many answers each batch has.

    Attributes:
        asking: how the nodes are asked, which may be replaced.
    """

    def __init__(self, learner: Learner, nodes: Sequence[Node], totals: Totals) -> None:
        self._learner, self.nodes, self._totals = learner, nodes, totals
        self._sum = OrderedSum()
        self.asking = Asking()

    def gradients(self, request: BatchesRequest) -> Iterator[list[Tensor]]:
        """By one visit of each node that holds samples of the batch."""
        self._begin(request)
        plan, ask = request.plan, self.asking.batch
        for place, total in enumerate(self._totals(request)):
            self._place = place
            yield ask(plan.number, plan.visits(request.first + place), total, self._of_batch)
        self._learner.backward.release(self._learner.parameters)

    def _begin(self, request: BatchesRequest) -> None:
        """Tells each node which of its samples it will be asked for."""
        plan = request.plan
        self._learner.module.train()
        owners, local = plan.owners[request.places], plan.local[request.places]
        rows = plan.rows[request.first : request.stop]
        own = np.split(local[np.argsort(owners, kind="stable")], np.cumsum(rows.sum(0))[:-1])
        for node, samples in enumerate(own):
            sizes = rows[:, node]
            self.nodes[node].begin(plan.number, samples, sizes[sizes > 0].tolist())

    def _of_batch(self, number: int, visits: Sequence[Visit], total: int) -> list[Tensor]:
        """The gradient of one batch."""
        found = self._sum
        found.begin([visit.node for visit in visits])
        nodes = [self.nodes[visit.node] for visit in visits]
        answers = self.asking.each(lambda node: node.gradients(total), nodes)
        for visit, gradients in zip(visits, answers, strict=True):
            found.put(visit.node, gradients)
        return found.total()

    def sums(self) -> Tensor:
        """Those of each node."""
        return torch.stack([node.sums() for node in self.nodes], 1)

    def left_out(self) -> list[Visit]:
        """Those that could not be made."""
        return self.asking.left_out()


class ApartAtCut(Apart):
    """Nodes compute the lower part of the model, each on its own samples, and the server the upper part.

    Args:
        learner: the model.
        nodes: all of them.
        totals: how many answers each batch has.
        upper: the part of the server.
        answers: which answers count.
        tally: the server's; None if nodes keep their labels, and count themselves.
    """

    def __init__(
        self,
        learner: Learner,
        nodes: Sequence[Node],
        totals: Totals,
        upper: Part,
        answers: Answers,
        tally: Tally | None,
    ) -> None:
        super().__init__(learner, nodes, totals)
        self._upper, self._answers, self._tally = upper, answers, tally
        self._lower = nodes[0].parameters

    def _begin(self, request: BatchesRequest) -> None:
        super()._begin(request)
        owners = request.plan.owners[request.places]
        sent = accelerators.send(owners, self._learner.parameters[0].device)
        self._owners = torch.split(sent, request.sizes)

    def _of_batch(self, number: int, visits: Sequence[Visit], total: int) -> list[Tensor]:
        """By two visits of each node: forwards, and with the gradients of its activations backwards.

        If labels stay at the nodes, there is a visit between the two, for the gradients of the logits.
        """
        nodes = [self.nodes[visit.node] for visit in visits]
        sent = self._activations(nodes)
        rows, activations = [len(part) for part in sent], torch.cat(sent)
        self._learner.keyed.tell(number, np.concatenate([node.keys() for node in nodes]))
        passed = parts.forward(self._upper, activations)
        logits = passed.output.to(self._learner.parameters[0].dtype)
        if self._tally is None:
            back = self.asking.each(
                lambda node, part: node.loss_gradient(part, total), nodes, torch.split(logits, rows)
            )
            gradient = torch.cat([*back])
        else:
            y = torch.cat([node.labels() for node in nodes])
            gradient = parts.loss_gradient(logits, y, total, self._answers)
        *upper, back_at_cut = passed.back(gradient, to_input=True)
        of_parts = self._lower, self._upper.parameters
        found = self._lower_gradients(nodes, visits, torch.split(back_at_cut, rows)), upper
        if self._tally is not None:
            # Only now, as a batch is begun again if one of its nodes is lost.
            self._tally.add(logits.flatten(0, -2), y, self._owners_of(visits))
        return parts.joined(self._learner.parameters, of_parts, found)

    def _activations(self, nodes: Sequence[Node]) -> list[Tensor]:
        """What nodes make of their samples."""
        return [*self.asking.each(lambda node: node.activations(), nodes)]

    def _lower_gradients(
        self, nodes: Sequence[Node], visits: Sequence[Visit], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        """The sum over nodes, given the gradient of the activations of each of them."""
        found = self._sum
        found.begin([visit.node for visit in visits])
        answers = self.asking.each(lambda node, part: node.lower_gradients(part), nodes, gradients)
        for visit, answer in zip(visits, answers, strict=True):
            found.put(visit.node, answer)
        return found.total()

    def _owners_of(self, visits: Sequence[Visit]) -> Tensor:
        """The node of each row of this batch, [b]."""
        owners = self._owners[self._place]
        if len(owners) == visits[-1].rows.stop:
            return owners
        # Some of its nodes are lost.
        nodes = np.repeat([visit.node for visit in visits], [len(visit.local) for visit in visits])
        return accelerators.send(nodes, owners.device)

    def sums(self) -> Tensor:
        """Those of the server, or of each node."""
        return super().sums() if self._tally is None else self._tally.take()
