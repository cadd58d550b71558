"""What split learning sends: the phases of one batch, and the bytes of each message.

A batch has r_i rows of node i, A numbers of each row at the cut, and C outputs. The lower part of the model
has p parameters and q other numbers, such as statistics of a batch norm; its optimiser remembers M numbers
for each parameter. A number has 4 bytes, and a label 8.

    message                    to node i        from node i
    activations and labels                      (4 A + 8) r_i
    gradients at the cut       4 A r_i

If labels stay at the nodes, they are not sent, and there are two messages in between:

    outputs                    4 C r_i
    their gradients                             4 C r_i + 8

The 8 bytes next to these gradients are the sums of the losses and of the right answers. Nodes know their own
batches, and change the lower part themselves, so that nothing else is sent in a batch. The lower part is sent

    from a node to the next    4 (p + q + M p)  before the first batch of each node, but the very first one
    splitfed, in each round    4 (p + q)        to every node before its first step, and from it after the
                                                last one
"""

from dataclasses import replace

from dml.traversal.messages import Phase, Phases, cut


def split(
    activations: int, lower_work: float, outputs: int = 0, labels_at_node: bool = False, labels: int = 1
) -> Phases:
    """The phases of one batch; the arguments are those of :func:`dml.traversal.messages.cut`."""
    forward, *loss, backward = cut(0, activations, lower_work, outputs, labels_at_node, labels)
    begins, ends = replace(forward, unasked=True, index_row=0), replace(backward, unanswered=True)
    return (begins, *loss, ends)


def handed_out(size: int) -> Phases:
    """The lower part for all nodes, at the start of a round; ``size`` are its bytes."""
    return (Phase("lower part to nodes", down=size, unanswered=True),)


def handed_in(size: int) -> Phases:
    """The lower parts of all nodes, at the end of a round; ``size`` are the bytes of one."""
    return (Phase("lower parts from nodes", up=size, unasked=True),)
