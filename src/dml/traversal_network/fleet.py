"""All nodes of a run, in processes of their own, as they are asked for the gradient of each batch."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from dml.errors import FailingWorkersError, LostWorkersError
from dml.experiment import Stopped
from dml.network.endpoint import Endpoint
from dml.network.errors import Late, WireError
from dml.network.header import Key
from dml.network.message import Message
from dml.traversal.asking import Asking, OfBatch
from dml.traversal.messages import Phases
from dml.traversal.node import Node
from dml.traversal.plan import Visit
from dml.traversal_network.attendance import KINDS, Attendance
from dml.traversal_network.config import OnLost, name_of
from dml.traversal_network.questions import ANSWER, PARAMETERS, numbered
from dml.traversal_network.remote_node import RemoteNode, Sending, Shapes, UnderWayError, sending_of

_log = logging.getLogger(__name__)

T = TypeVar("T")

_SLICE = 0.1
"""Seconds after which it looks again whether a question can be sent, or a deadline is over."""


@dataclass(frozen=True)
class Policy:
    """What happens if a node is lost.

    Args:
        on_lost: wait for it, end, or go on with the others.
        deadline: seconds to wait for an answer, or for a node that is lost.
        patience: seconds to wait for all nodes at the start.
        stop: gives a reason to stop, or None.
    """

    on_lost: OnLost
    deadline: float
    patience: float
    stop: Callable[[], str | None]


class _NodeLostError(Exception):
    """The batch is to be computed without a node."""


def _from(name: str) -> Callable[[Message], bool]:
    return lambda message: message.header.sender == name


class Fleet(Asking):
    """Sends each question to all nodes before it waits for an answer, so that they compute at the same time.

    Args:
        end: the orchestrator's place on the wire.
        attendance: which nodes are there.
        policy: what happens if one is lost.
        shapes: of the answers.
        phases: what visits send, by the formulas.
        answers_of: how many answers of a visit count in the loss.
        labels: whether nodes send their labels.

    Attributes:
        nodes: all nodes.
        asking: whether questions are sent now; otherwise answers are taken.
    """

    def __init__(
        self,
        end: Endpoint,
        attendance: Attendance,
        policy: Policy,
        shapes: Shapes,
        phases: Phases,
        answers_of: Callable[[Visit], int],
        labels: bool,
    ) -> None:
        self._end, self._attendance, self._policy = end, attendance, policy
        self._shapes, self._phases, self._answers_of, self.labels = shapes, phases, answers_of, labels
        self.nodes = [RemoteNode(node, self, shapes) for node in range(len(attendance.begun))]
        self.asking = False
        # An answer to an orchestrator that was killed is no answer to the one that follows it.
        self._number = secrets.randbits(40) << 20
        self._visited: list[RemoteNode] = []
        self._late: set[int] = set()
        self._left_out: list[Visit] = []
        self._lost: dict[int, int] = {}
        self._rows: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        self._by_formula = [0, 0]

    # Batches.

    def batch(self, number: int, visits: Sequence[Visit], total: int, of_batch: OfBatch) -> list[Tensor]:
        """The gradient of a batch; without the nodes that are lost, if it goes on without them.

        Raises:
            LostWorkersError: a node is lost, and has not come back in time; or none is left.
            FailingWorkersError: a node is lost, which ends the run.
            Stopped: asked to, while a node is missing.
        """
        while True:
            here, counted = self._here(visits, total)
            if not here:
                self._leave_out(visits)
                return [torch.zeros_like(own) for own in self._shapes.gradients["step"]]
            self._begin(number, here)
            try:
                found = of_batch(number, here, counted)
            except _NodeLostError:
                continue
            finally:
                self.asking = False
            for node in self._visited:
                node.keep_sums()
            there = {visit.node for visit in here}
            self._leave_out([visit for visit in visits if visit.node not in there])
            rows = np.zeros(len(self.nodes), np.int64)
            for visit in here:
                rows[visit.node] = len(visit.local)
            self._rows.append(rows)
            # Answers to questions that were asked again.
            self._end.forget(lambda message: message.header.kind == ANSWER)
            return found

    def _here(self, visits: Sequence[Visit], total: int) -> tuple[Sequence[Visit], int]:
        """The visits that can be made, and how many of their answers count."""
        missing = self._attendance.missing
        if not missing or self._policy.on_lost != "renormalise":
            return visits, total
        self._look_for(missing)
        missing = self._attendance.missing
        if len(missing) == len(self.nodes):
            raise LostWorkersError("all nodes are lost")
        here, row = [], 0
        for visit in visits:
            if visit.node in missing:
                total -= self._answers_of(visit)
            else:
                here.append(replace(visit, rows=slice(row, row + len(visit.local))))
                row += len(visit.local)
        return here, total

    def _look_for(self, missing: list[int]) -> None:
        """Looks whether lost nodes have come back."""
        while self._attendance.serve(0) is not None:
            pass
        for node in self._late.intersection(missing):
            with suppress(Late):
                self._end.receive(_from(name_of(node)), seconds=0)
                _log.info(f"{name_of(node)} answers again")
                self._late.discard(node)
                self._attendance.ready.add(node)

    def _leave_out(self, visits: Sequence[Visit]) -> None:
        self._left_out += visits
        for visit in visits:
            self._lost[visit.node] = self._lost.get(visit.node, 0) + 1

    def left_out(self) -> list[Visit]:
        """The visits since the last call that could not be made."""
        found, self._left_out = self._left_out, []
        return found

    def _begin(self, number: int, visits: Sequence[Visit]) -> None:
        """Sends the parameters to all nodes of a batch."""
        parameters = sending_of(numbered(self._shapes.parameters))
        self._visited = [self.nodes[visit.node] for visit in visits]
        for node, visit in zip(self._visited, visits, strict=True):
            node.visit(number, visit, parameters)
        ready = [node for node in self._visited if node.number in self._attendance.ready]
        self._number += 1
        with suppress(Late):  # Those who have not got it are sent it again, each by itself.
            names = [node.name for node in ready]
            self._end.send(names, PARAMETERS, self._number, seconds=_SLICE, tensors=parameters.tensors)
            for node in ready:
                node.sent, node.begun = 1, self._attendance.begun[node.number]
                node.parameters_number = self._number

    # Questions.

    def each(self, question: Callable[..., T], nodes: Iterable[Node], *values: Iterable[Any]) -> Iterator[T]:
        """The answer of each node, in their order, after all of them have been asked."""
        asked = list(zip(nodes, *values, strict=True))
        self.asking = True
        for one in asked:
            with suppress(UnderWayError):
                question(*one)
        self.asking = False
        self._send()
        for one in asked:
            yield question(*one)

    def _send(self) -> None:
        """Sends what has not been sent to nodes that are there."""
        for node in self._visited:
            if node.number in self._attendance.ready:
                self._send_to(node)

    def _send_to(self, node: RemoteNode) -> None:
        begun = self._attendance.begun[node.number]
        if node.begun != begun:
            # The process is another one, and knows nothing of this batch.
            node.sent, node.begun = 0, begun
        while node.sent < len(node.to_send):
            sending = node.to_send[node.sent]
            if not self._sent(node, sending):
                return
            node.sent += 1

    def _sent(self, node: RemoteNode, sending: Sending) -> bool:
        self._number += 1
        scalars = {**sending.scalars, "parameters": node.parameters_number}
        if sending.kind == PARAMETERS:
            scalars, node.parameters_number = {}, self._number
        else:
            node.question = self._number, sending.phase
        try:
            self._end.send(
                node.name,
                sending.kind,
                self._number,
                sending.phase,
                seconds=0,
                scalars=scalars,
                tensors=sending.tensors,
            )
        except Late:
            return False
        return True

    # Answers.

    def answer_of(self, node: RemoteNode, read: Callable[[Message], T]) -> T:
        """Waits for the answer of a node to its last question.

        Args:
            node: who was asked.
            read: takes what is wanted out of the answer.

        Raises:
            LostWorkersError, FailingWorkersError, Stopped: as for :meth:`batch`.
        """
        since = time.monotonic()
        while True:
            key = Key(node.name, ANSWER, *node.question)
            if (message := self._receive(key)) is None:
                self._send()
            elif message.header.kind != ANSWER:
                if self._attendance.take(message) == node.number:
                    since = time.monotonic()
                self._send()
            else:
                try:
                    return read(message)
                except WireError as error:
                    self._attendance.refuse(node.number, error.detail)
            self._check(node.number, since)

    def _receive(self, key: Key) -> Message | None:
        """The answer, or a message by which a node comes or goes; None if none has come in a while."""
        with suppress(Late):
            return self._end.receive(
                lambda message: message.header.key == key or message.header.kind in KINDS, seconds=_SLICE
            )
        return None

    def _check(self, node: int, since: float) -> None:
        """Decides whether to go on waiting for a node."""
        policy, here = self._policy, node in self._attendance.ready
        over = time.monotonic() - since > policy.deadline
        if here and not over:
            return
        why = f"{name_of(node)} " + (f"has not answered for {policy.deadline:g} s" if over else "is lost")
        if policy.on_lost == "renormalise":
            _log.warning(f"{why}; the others go on without it")
            self._attendance.ready.discard(node)
            if here:
                self._late.add(node)
            raise _NodeLostError
        if policy.on_lost == "abort":
            raise FailingWorkersError(f"{why}, and the run ends (--on_lost abort)")
        if over:
            raise LostWorkersError(why)
        if reason := policy.stop():
            raise Stopped(f"stopped while {name_of(node)} was missing: {reason}")

    # Facts.

    def facts(self) -> dict[str, Any]:
        """For the file: bytes on the wire and by the formulas, and whether nodes were left out."""
        if self._rows:
            rows, self._rows = np.stack(self._rows), []
            for phase in self._phases:
                self._by_formula[0] += int(phase.to_nodes(rows).sum())
                self._by_formula[1] += int(phase.from_nodes(rows).sum())
        traffic = self._end.traffic
        found: dict[str, Any] = {
            "wire_to_nodes": sum(traffic.sent.values()),
            "wire_from_nodes": sum(traffic.received.values()),
            "messages_to_nodes": self._by_formula[0],
            "messages_from_nodes": self._by_formula[1],
        }
        if self._lost:
            told = ", ".join(f"{count} of {name_of(node)}" for node, count in sorted(self._lost.items()))
            found |= {
                "lossless": False,
                "lossy_because": f"nodes were lost, and visits left out: {told}",
            }
        return found
