"""What a run of virtual batches costs as it goes on: bytes over the graph, and simulated time."""

import json
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dml.clock.config import ClockConfig
from dml.exchange.traffic import Traffic
from dml.topology import Topology
from dml.traversal import messages
from dml.traversal.costs import VisitCosts
from dml.traversal.cut import blocks, cut
from dml.traversal.messages import Phase, Phases
from dml.traversal.request import BatchesRequest
from dml.traversal.routes import Route, sent

_LARGEST = 2**53
"""More bytes than any message has."""


@dataclass(frozen=True)
class Account:
    """The costs of visits.

    Args:
        route: the way of the visits.
        phases: of one virtual batch.
        state: bytes that a rotating orchestrator hands over.
        clock: the clock.
        seed: the experiment's seed.
    """

    route: Route
    phases: Phases
    state: int
    clock: ClockConfig
    seed: int

    @property
    def text(self) -> str:
        """All but the graph, the clock and the seed, as JSON, of which :meth:`of_text` makes it again."""
        phases = [asdict(phase) for phase in self.phases]
        route = {"orchestrator": self.route.orchestrator, "collected": self.route.collected}
        return json.dumps({**route, "state": self.state, "phases": phases})

    @classmethod
    def of_text(cls, text: str, topology: Topology, clock: ClockConfig, seed: int) -> "Account":
        """The account of a run, on any clock.

        Args:
            text: :attr:`text`.
            topology: the graph.
            clock: the clock.
            seed: the experiment's seed.

        Raises:
            ValueError, KeyError, TypeError: the text is another one.
        """
        told = json.loads(text)
        at, phases = told["orchestrator"], tuple(Phase(**phase) for phase in told["phases"])
        sizes = [value for phase in phases for name, value in asdict(phase).items() if name != "name"]
        if at is not None and not (type(at) is int and 0 <= at < topology.n):
            raise ValueError(f"{at!r} is no orchestrator")
        if not all(type(size) in (int, float) and 0 <= size <= _LARGEST for size in [told["state"], *sizes]):
            raise ValueError("a size or a share is none")
        return cls(Route(topology, at, bool(told["collected"])), phases, told["state"], clock, seed)

    def of(self, request: BatchesRequest) -> tuple[Traffic, float]:
        """The bytes and the simulated seconds of some batches."""
        plan = request.plan
        rows = plan.rows[request.first : request.stop]
        # Batches are counted over the whole run, all of whose passes have as many.
        first = plan.number * plan.batches + request.first
        costs = VisitCosts(rows, self.phases, self.route, first, self.state)
        traffic = sent(self.route, self.phases, rows, first, self.state).traffic
        return traffic, float(costs.seconds(self.clock, self.seed).sum())


def phases_of(
    module: nn.Module, k: int | None, labels_stay: bool, sample: Tensor, labels: int, name: str
) -> Phases:
    """The phases of one virtual batch.

    Args:
        module: the model.
        k: its cut; None if nodes compute the whole model.
        labels_stay: nodes compute the loss themselves.
        sample: one input, [1, ...].
        labels: answers of one sample.
        name: of the model, for errors.

    Raises:
        InputError: the model does not have this cut.
    """
    size = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if k is None:
        return messages.grads(size)
    lower, upper = cut(module, k, name)
    was = module.training
    module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as below:
        activations = lower(sample)
    with torch.no_grad(), FlopCounterMode(display=False) as above:
        outputs = upper(activations)
    module.train(was)
    work = below.get_total_flops() / (below.get_total_flops() + above.get_total_flops())
    lower_size = sum(p.numel() for p in lower.parameters() if p.requires_grad)
    return messages.cut(lower_size, activations.numel(), work, outputs.numel(), labels_stay, labels)


def three_phases_of(module: nn.Module, name: str) -> Phases:
    """The phases of one virtual batch of ``legacy3``.

    Args:
        module: the model.
        name: of the model, for the error.

    Raises:
        InputError: the model is no perceptron of three linear layers or more.
    """
    parts = blocks(module, name)
    first, second, *_, last = (layer for part in parts for layer in part if isinstance(layer, nn.Linear))
    widths = first.in_features, first.out_features, second.out_features
    size = sum(p.numel() for p in module.parameters() if p.requires_grad)
    masked = isinstance(parts[0][-1], nn.ReLU)
    return messages.legacy3(size, widths, last.out_features, first_masked=masked)
