"""What visits send besides if nodes compute batch norm, and the phases that this takes.

Nodes stop at each batch norm, on the way forwards and on the way back (:mod:`dml.traversal.batch_norm`). With
C channels, each visited node sends 2 C + 1 numbers and gets 2 C on the way forwards, and sends 2 C and gets
2 C on the way back. So a phase without batch norm becomes as many phases as it has stops, and one more.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dml.exchange.traffic import BYTES_PER_NUMBER
from dml.traversal.batch_norm import is_batch_norm
from dml.traversal.messages import FORWARD, Phase, Phases


@dataclass(frozen=True)
class Norm:
    """A batch norm on the way of a forward pass.

    Args:
        channels: its channels, C.
        before: the share of the pass's operations that come before it.
    """

    channels: int
    before: float


def norms_of(module: nn.Module, sample: Tensor) -> list[Norm]:
    """The batch norms of what nodes compute, in the order in which a forward pass comes to them.

    Args:
        module: what nodes compute.
        sample: one input, [1, ...].
    """
    layers = [layer for layer in module.modules() if is_batch_norm(layer)]
    if not layers:
        return []
    met: list[tuple[int, int]] = []
    was = module.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:

        def meet(layer: nn.Module, _: object) -> None:
            assert is_batch_norm(layer)
            met.append((layer.num_features, counter.get_total_flops()))

        hooks = [layer.register_forward_pre_hook(meet) for layer in layers]
        module.eval()(sample)
    module.train(was)
    for hook in hooks:
        hook.remove()
    whole = max(1, counter.get_total_flops())
    return [Norm(channels, operations / whole) for channels, operations in met]


def with_stops(phases: Phases, norms: Sequence[Norm]) -> Phases:
    """The phases of one virtual batch, with stops at batch norms.

    Args:
        phases: those without; in the first one nodes compute a forward pass, and in the last one a backward
            pass. If there is one phase, they compute both in it.
        norms: the batch norms of these passes.
    """
    if not norms:
        return phases
    bounds = [0.0, *(norm.before for norm in norms), 1.0]
    shares = [stop - start for start, stop in itertools.pairwise(bounds)]
    upwards = [(2 * norm.channels + 1, 2 * norm.channels) for norm in norms]
    downwards = [(2 * norm.channels, 2 * norm.channels) for norm in reversed(norms)]
    if len(phases) > 1:
        first, *between, last = phases
        return (*_split(first, upwards, shares), *between, *_split(last, downwards, shares[::-1]))
    forward = [FORWARD * share for share in shares[:-1]]
    backward = [(1 - FORWARD) * share for share in shares[-2::-1]]
    # What comes behind the last batch norm is done on both ways without a stop.
    return _split(phases[0], [*upwards, *downwards], [*forward, shares[-1], *backward])


def _split(phase: Phase, stops: Sequence[tuple[int, int]], shares: Sequence[float]) -> Phases:
    """A phase with stops.

    Args:
        phase: the phase.
        stops: the numbers that a node sends at each of them, and then gets.
        shares: of the nodes' work before each stop, and after the last one.
    """
    up, down = ([BYTES_PER_NUMBER * numbers for numbers in way] for way in zip(*stops, strict=True))
    begin = replace(phase, up=up[0], up_row=0, at_orchestrator=0.0, at_nodes=shares[0] * phase.at_nodes)
    names = [f"{phase.name}, stop {number}" for number in range(1, len(stops))]
    middle = (
        Phase(name, down=got, up=sent, at_nodes=share * phase.at_nodes)
        for name, got, sent, share in zip(names, down, up[1:], shares[1:], strict=False)
    )
    end = Phase(
        f"{phase.name}, end",
        down=down[-1],
        up=phase.up,
        up_row=phase.up_row,
        at_nodes=shares[-1] * phase.at_nodes,
        at_orchestrator=phase.at_orchestrator,
    )
    return (begin, *middle, end)
