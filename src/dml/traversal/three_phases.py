"""The three phases of the published implementation of Traversal Learning (arXiv 2504.07471).

The model is a perceptron: block k is z_k = W_k a_(k-1) + b_k, and a_k is z_k or its ReLU. Node i has n_i of
the B rows of a batch, a_0 = x_i, and is sent the model. The orchestrator, which sees no input and no label,

    1. gets a_2 and dL/d logits of the rows of all nodes, from the nodes' forward pass;
    2. computes the blocks above on a_2, their gradients, dL/da_2, and e_2 = dL/dz_2, of which node i gets
       its rows; node i returns e_2^T a_1, and the sum over the nodes is the gradient of W_2;
    3. computes dL/da_1 = e_2 W_2, of which node i gets its rows; node i returns e_1^T x_i with
       e_1 = dL/dz_1, and the sum over the nodes is the gradient of W_1.

The gradient of a bias is the sum of the rows of e. The published model has no ReLU, so that e_1 = dL/da_1.
With one, e is dL/da where a is above 0, and 0 elsewhere. The orchestrator has a_2, so it applies the ReLU of
the second block; only the nodes have a_1, so they apply that of the first block, and their third answers hold
the sum of their rows of e_1 as well. All of it is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dml.training import kernels
from dml.training.answers import Answers
from dml.traversal import parts
from dml.traversal.learner import Learner
from dml.traversal.node import Node
from dml.traversal.parts import OrderedSum, Part
from dml.traversal.plan import Visit
from dml.traversal.samples import Samples
from dml.traversal.tally import Tally
from dml.traversal.visits import Apart, Totals


@dataclass(frozen=True)
class Blocks:
    """A perceptron in three parts.

    Args:
        first, second: its first two blocks: a linear layer each, perhaps with a ReLU.
        upper: the other blocks.
    """

    first: Part
    second: Part
    upper: Part

    @cached_property
    def first_masked(self) -> bool:
        """Whether a ReLU ends the first block."""
        return _ends_in_relu(self.first.module)

    @cached_property
    def second_masked(self) -> bool:
        """Whether a ReLU ends the second block."""
        return _ends_in_relu(self.second.module)


def _ends_in_relu(block: nn.Module) -> bool:
    return isinstance([*block.children()][-1], nn.ReLU)


class BlockNode(Node):
    """A node that answers in three phases.

    Args:
        samples: its own.
        learner: the model.
        blocks: its parts.
        answers: which answers count.
        tally: its own losses and hits.
    """

    def __init__(
        self, samples: Samples, learner: Learner, blocks: Blocks, answers: Answers, tally: Tally
    ) -> None:
        super().__init__(samples, learner, blocks.first, answers, tally)
        self._blocks = blocks

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the whole model, which the server would send to it for each visit."""
        return self._learner.parameters

    def outputs(self, total: int) -> tuple[Tensor, Tensor]:
        """The outputs of the second block for its next samples, [n_i, d2], and dL/d logits, [n_i, C].

        Args:
            total: how many answers of the whole batch count.
        """
        x, _ = self._next()
        self._inputs = x.flatten(1)
        self._hidden = parts.forward(self._blocks.first, x).output
        outputs = parts.forward(self._blocks.second, self._hidden).output
        return outputs, self.loss_gradient(parts.forward(self._blocks.upper, outputs).output, total)

    def second_block(self, gradient: Tensor) -> list[Tensor]:
        """The gradient of the second block's weights, given that of its linear layer's outputs, [n_i, d2]."""
        return [gradient.t().mm(self._hidden)]

    def first_block(self, gradient: Tensor) -> list[Tensor]:
        """The gradient of the first block's weights, given that of the block's outputs, [n_i, d1].

        With a ReLU, that of the biases comes second, as nobody else could compute it.
        """
        if not self._blocks.first_masked:
            return [gradient.t().mm(self._inputs)]
        gradient = kernels.relu_backward(gradient, self._hidden)
        return [gradient.t().mm(self._inputs), gradient.sum(0)]


class ApartInThreePhases(Apart):
    """Nodes compute the weight gradients of the first two blocks, each on its own samples.

    Args:
        learner: the model.
        nodes: all of them.
        totals: how many answers each batch has.
        blocks: the parts of the model.
    """

    nodes: Sequence[BlockNode]

    def __init__(self, learner: Learner, nodes: Sequence[BlockNode], totals: Totals, blocks: Blocks) -> None:
        super().__init__(learner, nodes, totals)
        self._blocks = blocks
        self._second_sum = OrderedSum()

    def _of_batch(self, number: int, visits: Sequence[Visit], total: int) -> list[Tensor]:
        """By three visits of each node."""
        blocks, nodes = self._blocks, [self.nodes[visit.node] for visit in visits]
        each, rows = self.asking.each, [len(visit.local) for visit in visits]
        sent = each(lambda node: node.outputs(total), nodes)
        outputs, at_logits = (torch.cat(both) for both in zip(*sent, strict=True))
        *upper, gradient = parts.forward(blocks.upper, outputs).back(at_logits, to_input=True)
        if blocks.second_masked:
            gradient = kernels.relu_backward(gradient, outputs)
        second, first = self._second_sum, self._sum
        second.begin([visit.node for visit in visits])
        back = each(lambda node, part: node.second_block(part), nodes, torch.split(gradient, rows))
        for visit, answer in zip(visits, back, strict=True):
            second.put(visit.node, answer)
        second_bias = gradient.sum(0)
        gradient = gradient.mm(blocks.second.parameters[0].detach())
        first.begin([visit.node for visit in visits])
        back = each(lambda node, part: node.first_block(part), nodes, torch.split(gradient, rows))
        for visit, answer in zip(visits, back, strict=True):
            first.put(visit.node, answer)
        first_bias = [] if blocks.first_masked else [gradient.sum(0)]
        return [*first.total(), *first_bias, *second.total(), second_bias, *upper]
