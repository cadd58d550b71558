"""The gradient of one model on virtual batches, of which each node holds a part."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dml import accelerators
from dml.training.answers import Answers
from dml.traversal import parts
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
    """

    def __init__(self, learner: Learner, nodes: Sequence[Node], totals: Totals) -> None:
        self._learner, self.nodes, self._totals = learner, nodes, totals
        self._sum = OrderedSum()

    def gradients(self, request: BatchesRequest) -> Iterator[list[Tensor]]:
        """By one visit of each node that holds samples of the batch."""
        self._begin(request)
        for batch, total in zip(range(request.first, request.stop), self._totals(request), strict=True):
            yield self._of_batch(request.plan.number, request.plan.visits(batch), total)
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
        for visit in visits:
            found.put(visit.node, self.nodes[visit.node].gradients(total))
        return found.total()

    def sums(self) -> Tensor:
        """Those of each node."""
        return torch.stack([node.sums() for node in self.nodes], 1)


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
        self._owners = iter(torch.split(sent, request.sizes))

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
            own = zip(nodes, torch.split(logits, rows), strict=True)
            gradient = torch.cat([node.loss_gradient(part, total) for node, part in own])
        else:
            y = torch.cat([node.labels() for node in nodes])
            gradient = parts.loss_gradient(logits, y, total, self._answers)
            self._tally.add(logits.flatten(0, -2), y, next(self._owners))
        *upper, back_at_cut = passed.back(gradient, to_input=True)
        of_parts = self._lower, self._upper.parameters
        found = self._lower_gradients(nodes, visits, torch.split(back_at_cut, rows)), upper
        return parts.joined(self._learner.parameters, of_parts, found)

    def _activations(self, nodes: Sequence[Node]) -> list[Tensor]:
        """What nodes make of their samples."""
        return [node.activations() for node in nodes]

    def _lower_gradients(
        self, nodes: Sequence[Node], visits: Sequence[Visit], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        """The sum over nodes, given the gradient of the activations of each of them."""
        found = self._sum
        found.begin([visit.node for visit in visits])
        for node, visit, part in zip(nodes, visits, gradients, strict=True):
            found.put(visit.node, node.lower_gradients(part))
        return found.total()

    def sums(self) -> Tensor:
        """Those of the server, or of each node."""
        return super().sums() if self._tally is None else self._tally.take()
