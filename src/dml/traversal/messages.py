"""What the visits of Traversal Learning send: the phases of one virtual batch, and the bytes of each message.

A virtual batch has r_i rows of node i, and B = sum_i r_i in all. The orchestrator visits the nodes that have
rows in it, in one or more phases. In each phase it sends one message to each of them, all of them compute,
and each sends one message back. P counts the numbers of the model, p those of its part below the cut, A the
numbers of one row at the cut, and C those of one row of outputs. A number has 4 bytes, and a label 8; the
blocks of ``legacy3`` have weights of d0 x d1 and d1 x d2 numbers.

    mode      phase           to node i    from node i            work of the nodes
    grads     gradients       4 P          4 P + 8                all
    cut=k     forward         4 p          (4 A + 8) r_i          1/3 of the lower part
              backward        4 A r_i      4 p                    2/3 of the lower part
    legacy3   forward         4 P          4 (d2 + C) r_i + 8     1/3 of the model
              second block    4 d2 r_i     4 d1 d2                1/3 of this block
              first block     4 d1 r_i     4 d0 d1                1/3 of this block

With a ReLU behind the first block, the last answer has 4 d1 bytes more, the gradient of the biases. The 8
bytes next to a gradient are the sums of the losses and of the right answers. If labels stay at the
nodes, ``cut`` has a phase in between, in which outputs go to the node, and their gradients come back. A node
keeps no copy that it could update, so the parameters travel with every batch. What batch norms add is in
:mod:`dml.traversal.norm_phases`. Sources: arXiv 2504.07471 and the published implementation for ``legacy3``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml.exchange.traffic import BYTES_PER_NUMBER

LABEL = INDEX = 8
"""Bytes of a label, and of the number of a row."""

HEADER = 32
"""Bytes of a header: run, epoch, batch, phase and node, and the length and the check sum of what follows."""

SUMS = 2 * BYTES_PER_NUMBER
"""Bytes of the sums of a node's losses and right answers."""

FORWARD = 1 / 3
"""The share of the forward pass in a step; the gradients of inputs and of weights cost as much, each."""


@dataclass(frozen=True)
class Phase:
    """One message to each visited node, work at the nodes, one message back, and work at the orchestrator.

    Args:
        name: of the phase.
        down: bytes to each visited node, the same ones for all of them.
        down_batch: further bytes of this kind, per row of the whole virtual batch.
        down_row: bytes to a node per row of its own.
        up: bytes from each visited node that can be added up on the way.
        up_row: bytes from a node per row of its own.
        index_row: control bytes to a node per row of its own; every message has a header as well.
        at_nodes: the share of a training step's work that the nodes do, over the whole virtual batch; a node
            does its share of the rows.
        at_orchestrator: the share that the orchestrator does when all messages are back.
        unasked: nodes begin by themselves, and there are no messages to them.
        unanswered: there are no messages from the nodes.
    """

    name: str
    down: int = 0
    down_batch: int = 0
    down_row: int = 0
    up: int = 0
    up_row: int = 0
    index_row: int = 0
    at_nodes: float = 0.0
    at_orchestrator: float = 0.0
    unasked: bool = False
    unanswered: bool = False

    @property
    def messages(self) -> int:
        """Of each visit: there, back, or both."""
        return 2 - self.unasked - self.unanswered

    def to_all(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes that go to every visited node alike, [...]; rows as for :meth:`to_nodes`."""
        alike: NDArray[np.int64] = self.down + self.down_batch * rows.sum(-1)
        return alike

    def to_nodes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes from the orchestrator to each node; 0 for nodes that are not visited.

        Args:
            rows: of each node in each virtual batch, [..., n].

        Returns:
            [..., n].
        """
        return (rows > 0) * self.to_all(rows)[..., None] + self.down_row * rows

    def from_nodes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes from each node to the orchestrator, [..., n], as in :meth:`to_nodes`."""
        return (rows > 0) * self.up + self.up_row * rows


Phases = tuple[Phase, ...]


def grads(parameters: int) -> Phases:
    """The phase in which nodes compute the gradient of the whole model over their rows.

    Args:
        parameters: the count of numbers in the model.
    """
    size = parameters * BYTES_PER_NUMBER
    return (Phase("gradients", down=size, up=size + SUMS, index_row=INDEX, at_nodes=1.0),)


def cut(
    lower: int,
    activations: int,
    lower_work: float,
    outputs: int = 0,
    labels_at_node: bool = False,
    labels: int = 1,
) -> Phases:
    """The phases of a model that is cut in two: nodes have the lower part, the orchestrator the upper one.

    Args:
        lower: the count of numbers in the part below the cut.
        activations: the numbers of one row at the cut.
        lower_work: the share of the model's operations that are below the cut.
        outputs: the numbers of one row of outputs; only read if labels stay at the nodes.
        labels_at_node: whether outputs go to the nodes, instead of labels to the orchestrator.
        labels: the labels of one row.
    """
    size, row = lower * BYTES_PER_NUMBER, activations * BYTES_PER_NUMBER
    upper_work, logits = 1 - lower_work, outputs * BYTES_PER_NUMBER
    sent_along = 0 if labels_at_node else labels * LABEL
    forward = Phase(
        "forward",
        down=size,
        up_row=row + sent_along,
        index_row=INDEX,
        at_nodes=FORWARD * lower_work,
        at_orchestrator=upper_work * (FORWARD if labels_at_node else 1),
    )
    loss = Phase("loss", down_row=logits, up=SUMS, up_row=logits, at_orchestrator=(1 - FORWARD) * upper_work)
    backward = Phase("backward", down_row=row, up=size, at_nodes=(1 - FORWARD) * lower_work)
    return (forward, loss, backward) if labels_at_node else (forward, backward)


def legacy3(
    parameters: int,
    widths: tuple[int, int, int],
    outputs: int,
    published: bool = False,
    first_masked: bool = False,
) -> Phases:
    """The three phases of the published implementation, for perceptrons of three linear blocks or more.

    Nodes compute the whole forward pass, and the gradients of the weights of the first two blocks, from what
    the orchestrator has brought back to the outputs of these blocks. Biases need no message of their own, but
    for that of a first block with a ReLU, which only the nodes can apply.

    Args:
        parameters: the count of numbers in the model.
        widths: of the input and of the outputs of the first two blocks: d0, d1, d2.
        outputs: the numbers of one row of outputs.
        published: whether every node gets the rows of all nodes, as published, and not only its own ones.
        first_masked: whether a ReLU ends the first block.
    """
    inputs, first, second = widths
    work = [inputs * first / parameters, first * second / parameters]
    upper, third = 1 - sum(work), 1 / 3
    to_all, own = (BYTES_PER_NUMBER, 0) if published else (0, BYTES_PER_NUMBER)
    return (
        Phase(
            "forward",
            down=parameters * BYTES_PER_NUMBER,
            up=SUMS,
            up_row=(second + outputs) * BYTES_PER_NUMBER,
            index_row=INDEX,
            at_nodes=FORWARD,
            at_orchestrator=upper,
        ),
        Phase(
            "second block",
            down_batch=to_all * second,
            down_row=own * second,
            up=first * second * BYTES_PER_NUMBER,
            at_nodes=third * work[1],
            at_orchestrator=third * work[1],
        ),
        Phase(
            "first block",
            down_batch=to_all * first,
            down_row=own * first,
            up=(inputs + first_masked) * first * BYTES_PER_NUMBER,
            at_nodes=third * work[0],
        ),
    )
