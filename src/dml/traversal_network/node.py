"""The command line of a node: it answers the orchestrator until training has ended."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dml.errors import EXIT_AGAIN, EXIT_FAILED, InputError, one_line
from dml.network.contacts import Contact, address_of
from dml.network.endpoint import Endpoint
from dml.network.errors import Late, WireError
from dml.network.header import Key, Scalar
from dml.network.message import Message
from dml.signals import StopRequest, stop_on_signals
from dml.traversal_network.config import (
    ORCHESTRATOR,
    RUN,
    NodeConfig,
    known_keys,
    name_of,
    with_accelerator,
)
from dml.traversal_network.questions import (
    ANSWER,
    END,
    EXPERIMENT,
    HELLO,
    LEAVING,
    PARAMETERS,
    QUESTION,
    READY,
    REFUSED,
)
from dml.traversal_scripts.config import parse

if TYPE_CHECKING:
    from torch import Tensor

    from dml.traversal_network.worker import Worker

DESCRIPTION = (
    "Computes the part of one node for tl_orchestrator.py, which tells it what the experiment is, on the "
    "samples of this node. Flags of experiments that are given here must be as those of the orchestrator."
)

TAKEN = ("mode", "labels")
"""Further flags of experiments that it takes."""

_log = logging.getLogger(__name__)

_SLICE = 0.5
"""Seconds after which it looks again whether it is asked to stop, or the orchestrator is gone."""

_STUBBORN = 4.0
"""Seconds for which a refusal must last: a process that was here before may be gone in a moment."""


def main(argv: Sequence[str]) -> int:
    """Answers until training has ended.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code: 0 after the end of training, 1 if the orchestrator refuses this node or the run has
        failed, 75 if asked to stop or if the orchestrator is away for too long.
    """
    chosen, given = parse(NodeConfig, TAKEN, argv, prog="tl_node.py", description=DESCRIPTION)
    name = name_of(chosen.node)
    given = with_accelerator(chosen, given)
    pair, keys = known_keys(chosen.public_keys, name, ORCHESTRATOR)
    contact = Contact(ORCHESTRATOR, address_of(chosen.host, chosen.port), keys[0])
    with (
        stop_on_signals("stopping after this answer; Ctrl-C again stops at once") as stop,
        Endpoint(name, RUN, pair, [contact], None) as end,
    ):
        _log.info(f"{name}: connecting to {contact.address}")
        return Conversation(chosen, given, end, stop).work()


class _EndError(Exception):
    """The work is over."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(why)


class Conversation:
    """The conversation with the orchestrator.

    Args:
        chosen: the flags of the program.
        given: flags of experiments.
        end: the place on the wire.
        stop: gives a reason to stop, or None.
    """

    def __init__(
        self, chosen: NodeConfig, given: Mapping[str, Any], end: Endpoint, stop: StopRequest
    ) -> None:
        self._chosen, self._end, self._stop = chosen, end, stop
        local = {"accelerator", "data_dir", "threads"}
        self._local = {flag: value for flag, value in given.items() if flag in local}
        self._given = {flag: value for flag, value in given.items() if flag not in local}
        self._worker: Worker | None = None
        self._described: Mapping[str, Any] = {}
        self._greeted = 0
        self._seen = self._refused_since = 0.0

    def work(self) -> int:
        """Answers until there is nothing more to do; returns the exit code."""
        self._seen = time.monotonic()
        try:
            self._greet()
            while True:
                if reason := self._stop():
                    self._leave(f"stopped: {reason}; the same command goes on", EXIT_AGAIN)
                self._take(self._next())
        except _EndError as over:
            print(f"{self._end.name}: {one_line(str(over))}", file=sys.stderr)
            return over.code

    def _next(self) -> Message:
        """The next message of the orchestrator that is no parameters.

        Raises:
            _EndError: there will be none.
        """
        while True:
            try:
                return self._end.receive(lambda message: message.header.kind != PARAMETERS, seconds=_SLICE)
            except Late as late:
                self._check(late.why)
            if ORCHESTRATOR in self._end.restarted():
                _log.info(f"{self._end.name}: the orchestrator has begun anew")
                self._greet()

    def _take(self, message: Message) -> None:
        kind = message.header.kind
        self._refused_since = 0.0
        try:
            if kind == EXPERIMENT:
                self._prepare(message)
            elif kind == QUESTION and self._worker is not None:
                self._answer(self._worker, message)
            elif kind == REFUSED:
                why = f"the orchestrator refuses this node: {message.scalar('why', str)}"
                raise _EndError(EXIT_FAILED, f"error: {why}")
            elif kind == END:
                raise _EndError(int(message.scalar("code", int)), str(message.scalar("why", str)))
        except WireError as error:
            self._leave(f"error: what the orchestrator says is wrong: {error.detail}", EXIT_FAILED)

    def _prepare(self, message: Message) -> None:
        """Makes what the experiment needs, unless it is there already."""
        # Imported here, because it imports torch.
        from dml.traversal_network import worker

        described = dict(message.header.scalars)
        if self._worker is None or described != self._described:
            _log.info(f"{self._end.name}: connected; reading its part of the data")
            try:
                chosen = worker.config_of(message, self._given, self._local)
                self._worker = worker.Worker(chosen, self._chosen.node)
            except InputError as error:
                self._say_that_it_leaves(str(error))
                raise
            self._described = described
        self._send(READY, scalars=self._worker.ready())

    def _answer(self, worker: "Worker", question: Message) -> None:
        if "pass" in question.header.scalars:
            number = int(question.scalar("parameters", int))
            key = Key(ORCHESTRATOR, PARAMETERS, number)
            try:
                worker.load(self._end.receive(key, seconds=self._chosen.patience))
            except Late:
                return
            self._end.forget(
                lambda message: message.header.kind == PARAMETERS and message.header.number < number
            )
        tensors = worker.answer(question)
        self._send(ANSWER, question.header.number, question.header.phase, tensors=tensors)

    def _send(
        self,
        kind: str,
        number: int = 0,
        phase: int = 0,
        scalars: Mapping[str, Scalar | list[Scalar]] | None = None,
        tensors: "Mapping[str, Tensor] | None" = None,
    ) -> None:
        """Sends a message as soon as the orchestrator is connected."""
        if kind in (HELLO, READY):
            self._greeted += 1
            number = self._greeted
        while True:
            try:
                self._end.send(
                    ORCHESTRATOR, kind, number, phase, seconds=_SLICE, scalars=scalars, tensors=tensors
                )
            except Late as late:
                self._check(late.why)
            else:
                return

    def _check(self, why: str) -> None:
        """Ends the work if it must end.

        Args:
            why: what is known to be wrong with the connection.
        """
        if reason := self._stop():
            self._leave(f"stopped: {reason}; the same command goes on", EXIT_AGAIN)
        now = time.monotonic()
        if self._end.connected(ORCHESTRATOR) and not why:
            self._seen = now
        if "refuses us" in why or "key" in why:
            self._refused_since = self._refused_since or now
            if now - self._refused_since > _STUBBORN:
                raise _EndError(EXIT_FAILED, f"error: {ORCHESTRATOR}: {why}")
        if now - self._seen > self._chosen.patience:
            told = f"the orchestrator has been away for {self._chosen.patience:g} s"
            raise _EndError(EXIT_AGAIN, f"{told}{f' ({why})' if why else ''}; the same command goes on")

    def _greet(self) -> None:
        self._send(HELLO, scalars={"num_nodes": self._chosen.num_nodes or 0})

    def _leave(self, why: str, code: int) -> None:
        self._say_that_it_leaves(why)
        raise _EndError(code, why)

    def _say_that_it_leaves(self, why: str) -> None:
        self._greeted += 1
        with suppress(Late):
            self._end.send(ORCHESTRATOR, LEAVING, self._greeted, seconds=0.5, scalars={"why": why[:1000]})
