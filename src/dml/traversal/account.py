"""What a run of virtual batches costs as it goes on: bytes over the graph, and simulated time."""

import json
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from dml.clock.config import ClockConfig
from dml.errors import one_line
from dml.exchange.traffic import Traffic
from dml.topology import Topology
from dml.traversal import messages
from dml.traversal.costs import VisitCosts
from dml.traversal.cut import blocks, cut
from dml.traversal.cut_sizes import cut_sizes
from dml.traversal.lower_part import LowerPart
from dml.traversal.messages import Phase, Phases
from dml.traversal.norm_phases import norms_of, with_stops
from dml.traversal.request import BatchesRequest
from dml.traversal.routes import Route, sent

_LARGEST = 2**53
"""More bytes than any message has."""

_FLAGS = ("unasked", "unanswered", "side_by_side")
"""The fields of phases and of the lower part that are true or false."""


@dataclass(frozen=True)
class Account:
    """The costs of visits.

    Args:
        route: the way of the visits.
        phases: of one virtual batch.
        state: bytes that a rotating orchestrator hands over.
        clock: the clock.
        seed: the experiment's seed.
        lower: the lower part of the model, if nodes keep it; each batch is then of one node. None if it
            comes with the visits.
    """

    route: Route
    phases: Phases
    state: int
    clock: ClockConfig
    seed: int
    lower: LowerPart | None = None

    @property
    def text(self) -> str:
        """All but the graph, the clock and the seed, as JSON, of which :meth:`of_text` makes it again."""
        # What is 0 is left out: a model with many batch norms has many phases, and the text is an attribute.
        phases = [{name: v for name, v in asdict(phase).items() if v} for phase in self.phases]
        told = {"orchestrator": self.route.orchestrator, "collected": self.route.collected}
        lower = {"lower": asdict(self.lower)} if self.lower else {}
        return json.dumps({**told, "state": self.state, "phases": phases, **lower})

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
        lower = LowerPart(**told["lower"]) if "lower" in told else None
        if at is None and lower:
            raise ValueError("a lower part at the nodes has no orchestrator")
        if at is not None and not (type(at) is int and 0 <= at < topology.n):
            raise ValueError(f"orchestrator cannot be {one_line(str(at))}")
        parts = [{"state": told["state"]}, *(asdict(part) for part in (*phases, lower) if part)]
        for name, value in (item for part in parts for item in part.items()):
            if not _can_be(name, value):
                raise ValueError(f"{name} cannot be {one_line(str(value))}")
        return cls(Route(topology, at, bool(told["collected"])), phases, told["state"], clock, seed, lower)

    def of(self, request: BatchesRequest) -> tuple[Traffic, float]:
        """The bytes and the simulated seconds of some batches."""
        plan = request.plan
        rows = plan.rows[request.first : request.stop]
        # Batches are counted over the whole run, all of whose passes have as many.
        first = plan.number * plan.batches + request.first
        costs = VisitCosts(rows, self.phases, self.route, first, self.state, self.lower is not None)
        traffic = sent(self.route, self.phases, rows, first, self.state).traffic
        seconds = float(costs.seconds(self.clock, self.seed).sum())
        if self.lower is None:
            return traffic, seconds
        more, longer = self.lower.sent(request, self.route, self.clock, self.seed)
        return traffic + more, seconds + longer


def _can_be(name: str, value: object) -> bool:
    """Whether a field of a phase or a lower part may have a value, which a damaged file may hold."""
    if name in _FLAGS or isinstance(value, bool):
        return name in _FLAGS and isinstance(value, bool)
    return name == "name" or (isinstance(value, int | float) and 0 <= value <= _LARGEST)


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
        return with_stops(messages.grads(size), norms_of(module, sample))
    halves = cut(module, k, name)
    found = cut_sizes(module, halves, sample)
    phases = messages.cut(
        found.lower, found.activations, found.lower_work, found.outputs, labels_stay, labels
    )
    return with_stops(phases, norms_of(halves[0], sample))


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
