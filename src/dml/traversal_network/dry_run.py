"""What the answers of nodes will be like, found out by a node of this process with one sample."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dml.traversal.node import Node
from dml.traversal.three_phases import BlockNode
from dml.traversal_network.remote_node import Shapes


def shapes_of(node: Node, parameters: Sequence[Tensor], cut: bool) -> Shapes:
    """The shapes of all answers.

    Args:
        node: a node with at least one sample. What it counts is not wanted any more.
        parameters: of the whole model.
        cut: whether nodes compute the part below a cut.
    """
    node.begin(0, np.zeros(1, np.int64), [1])
    gradients: dict[str, Sequence[Tensor]] = {"step": parameters}
    sample = None
    if isinstance(node, BlockNode):
        second, logits = node.outputs(1)
        gradients["outputs"] = second, logits
        gradients["second_block"] = node.second_block(second)
        gradients["first_block"] = node.first_block(second.new_zeros(1, len(parameters[0])))
    elif cut:
        sample = node.activations()
        gradients["lower_gradients"] = node.parameters
    else:
        node.gradients(1)
        gradients["gradients"] = node.parameters
    return Shapes(node.parameters, gradients, sample, node.labels())
