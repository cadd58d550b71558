"""What the parts of a model that is cut in two hold, pass on, and compute."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class CutSizes:
    """Counts of numbers, and a share of the operations.

    Args:
        lower: parameters below the cut that are trained.
        buffers: other numbers below the cut that change, such as statistics of a batch norm.
        activations: of one row at the cut.
        outputs: of one row.
        lower_work: the share of the model's operations that are below the cut.
    """

    lower: int
    buffers: int
    activations: int
    outputs: int
    lower_work: float


def cut_sizes(module: nn.Module, parts: tuple[nn.Module, nn.Module], sample: Tensor) -> CutSizes:
    """The sizes of the two parts of a model.

    Args:
        module: the model.
        parts: its lower and its upper part.
        sample: one input, [1, ...].
    """
    lower, upper = parts
    was = module.training
    module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as below:
        activations = lower(sample)
    with torch.no_grad(), FlopCounterMode(display=False) as above:
        outputs = upper(activations)
    module.train(was)
    work = below.get_total_flops() / (below.get_total_flops() + above.get_total_flops())
    parameters = sum(p.numel() for p in lower.parameters() if p.requires_grad)
    buffers = sum(b.numel() for b in lower.buffers() if b.is_floating_point())
    return CutSizes(parameters, buffers, activations.numel(), outputs.numel(), work)
