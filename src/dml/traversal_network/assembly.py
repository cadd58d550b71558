"""The parts of a run whose nodes are other processes."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dml import assembly, code_hash, resume
from dml.assembly import Parts
from dml.errors import LostWorkersError
from dml.execution.batches import Batches
from dml.experiment import Stopped
from dml.network.endpoint import Endpoint
from dml.plan import Plan
from dml.signals import StopRequest
from dml.traversal.engine import UnionEngine
from dml.traversal.visits import Apart, ApartAtCut
from dml.traversal_network.attendance import Attendance
from dml.traversal_network.config import OrchestratorConfig
from dml.traversal_network.dry_run import shapes_of
from dml.traversal_network.fleet import Fleet, Policy
from dml.traversal_network.part import sha256_of

_log = logging.getLogger(__name__)

LOCAL = frozenset({"out_dir", "data_dir", "accelerator"})
"""The flags of experiments that each process has for itself."""

_SLICE = 0.2


class Assembly:
    """Makes the parts of an experiment, and meets the nodes.

    Args:
        end: the orchestrator's place on the wire.
        chosen: its flags.
        stop: gives a reason to stop, or None.
    """

    def __init__(self, end: Endpoint, chosen: OrchestratorConfig, stop: StopRequest) -> None:
        self._end, self._chosen, self._stop = end, chosen, stop

    def __call__(self, plan: Plan, engine_before: str | None) -> Parts:
        """The parts, once all nodes are there.

        Raises:
            LostWorkersError: some nodes have not come in time.
            Stopped: asked to, before they have come.
        """
        parts = assembly.assemble(plan, engine_before)
        engine, execution = parts.engine, parts.execution
        assert isinstance(engine, UnionEngine)
        assert isinstance(execution, Batches)
        assert isinstance(engine.visits, Apart)
        assert execution.account is not None
        options, visits, samples = plan.config.algorithm.options, engine.visits, parts.data.samples
        flags = {flag: value for flag, value in plan.config.flat().items() if flag not in LOCAL}
        experiment = {
            "flags": json.dumps(flags),
            "versions": json.dumps(plan.config.versions()),
            "code": code_hash.code_sha256(plan.config),
        }
        own = [(int(count), sha256_of(parts.data, node)) for node, count in enumerate(samples)]
        attendance = Attendance(self._end, experiment, own)
        cut = isinstance(visits, ApartAtCut)
        shapes = shapes_of(visits.nodes[int(samples.argmax())], parts.population.parameters(0), cut)
        fleet = Fleet(
            self._end,
            attendance,
            Policy(self._chosen.on_lost, self._chosen.deadline, self._chosen.patience, self._stop),
            shapes,
            execution.account.phases,
            lambda visit: engine.answers_of(visit)[0],
            labels=getattr(options, "labels", "") == "at_server",
        )
        visits.nodes, visits.asking = fleet.nodes, fleet
        self._meet(attendance)
        return replace(parts, facts=_Facts(parts.facts, _earlier(plan), fleet))

    def _meet(self, attendance: Attendance) -> None:
        """Waits for all nodes."""
        give_up = time.monotonic() + self._chosen.patience
        while attendance.missing:
            attendance.serve(_SLICE)
            missing = ", ".join(map(str, attendance.missing))
            if reason := self._stop():
                raise Stopped(f"stopped while nodes were missing ({missing}): {reason}")
            if attendance.missing and time.monotonic() > give_up:
                raise LostWorkersError(
                    f"these nodes have not come within {self._chosen.patience:g} s: {missing}"
                )


SUMMED = ("wire_to_nodes", "wire_from_nodes", "messages_to_nodes", "messages_from_nodes")
"""The facts that are added up over all calls of a run."""


def _earlier(plan: Plan) -> Mapping[str, Any]:
    """The attributes of an earlier result of a run, which may be there."""
    earlier = resume.earlier_result(plan)
    return earlier.attributes if earlier else {}


class _Facts(Mapping[str, Any]):
    """What is known about a run when it is asked for: the bytes that were sent, and what was left out.

    Args:
        own: the facts of the experiment.
        earlier: of the calls that this one continues.
        fleet: the nodes.
    """

    def __init__(self, own: Mapping[str, Any], earlier: Mapping[str, Any], fleet: Fleet) -> None:
        self._own, self._fleet = own, fleet
        self._before = {name: int(earlier.get(name, 0)) for name in SUMMED}
        self._lost = {}
        if earlier and not earlier.get("lossless", True):
            self._lost = {name: earlier[name] for name in ("lossless", "lossy_because") if name in earlier}

    def _now(self) -> dict[str, Any]:
        found = self._fleet.facts()
        added = {name: found[name] + self._before[name] for name in SUMMED}
        return {**self._own, **self._lost, **found, **added}

    def __getitem__(self, name: str) -> Any:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())
