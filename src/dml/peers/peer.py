"""The command line of one peer: the process of one node of an experiment."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dml import command_line, config, main
from dml.errors import EXIT_AGAIN, InputError
from dml.guard import guard
from dml.network import peers as peers_file
from dml.peers.config import DEFAULT_FOLDER, FOLDER_OF_LAUNCHER, ExperimentPeers, PeerConfig
from dml.plan import Plan, make_plan
from dml.ranks.launch import end_with_parent
from dml.shown_defaults import shown_defaults
from dml.signals import stop_on_signals
from dml.validation import input_error

if TYPE_CHECKING:
    from dml.ranks.ranks import Ranks

DESCRIPTION = (
    "Runs one node of an experiment, and talks to the nodes that it shares edges with. Each of the others is "
    "such a process, on this host or another."
)

OWN = ("measure", "deadline", "slow_deadline")
"""Keys of the file that flags replace."""


def main_of(argv: Sequence[str]) -> int:
    """Runs the node.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code.
    """
    given = command_line.parse(
        [*(("peer", flag, info) for flag, info in PeerConfig.flags()), *config.fields()],
        argv,
        prog="peer.py",
        description=DESCRIPTION,
        defaults=shown_defaults(),
    )
    call, peers = _read({flag: given.pop(flag) for flag, _ in PeerConfig.flags() if flag in given})
    flags = {"out_dir": str(DEFAULT_FOLDER), **_texts(peers), **given}
    planned = make_plan(config.make(flags))
    return _run(planned, peers, call.node)


def _read(given: dict[str, Any]) -> tuple[PeerConfig, ExperimentPeers]:
    from pydantic import ValidationError

    try:
        call = PeerConfig(**given)
    except ValidationError as error:
        raise input_error(error, PeerConfig.flags()) from None
    if call.peers is None:
        raise InputError("peers", None, "name the file of peers; launch_peers.py writes one")
    peers = peers_file.load(call.peers, ExperimentPeers)
    changed: dict[str, object] = {name: value for name in OWN if (value := getattr(call, name)) is not None}
    if peers.parts is not None:
        changed["parts"] = call.peers.parent / peers.parts
    return call, peers.model_copy(update=changed)


def _texts(peers: ExperimentPeers) -> dict[str, object]:
    """The flags of the experiment in the file, as a command line would give them."""
    return {
        flag: tuple(value) if isinstance(value, list) else value for flag, value in peers.experiment.items()
    }


def _run(planned: Plan, peers: ExperimentPeers, node: int | None) -> int:
    from dml.peers import meeting, parts
    from dml.ranks.join import quiet

    if launchers := os.environ.get(FOLDER_OF_LAUNCHER):
        end_with_parent(threading.Event(), Path(launchers))
    node = meeting.check(planned, peers, node)
    if peers.parts is None:
        raise InputError(
            "parts", None, "the file of peers names no folder of parts; launch_peers.py cuts them"
        )
    folder, identity = peers.parts, planned.identity.id
    own = parts.read(folder, node, len(peers.nodes), identity)

    def say(line: str) -> None:
        print(f"{peers.names[node]}: {line}", file=sys.stderr, flush=True)

    if node:
        from dml import experiment

        quiet()
        with stop_on_signals() as stop, meeting.met(planned, peers, node, own, say) as ranks:
            try:
                experiment.take_part(
                    planned.config, ranks, stop, parts.assembling(own, folder, ranks, identity)
                )
            except experiment.Stopped:
                return EXIT_AGAIN
        return 0
    with meeting.met(planned, peers, node, own, say) as ranks:
        joined = False

        @contextmanager
        def join(missing: bool) -> "Iterator[Ranks]":
            nonlocal joined
            joined = True
            ranks.largest(int(missing))
            yield ranks

        assemble = parts.assembling(own, folder, ranks, identity)
        code = main.run(planned, assembling=lambda stop: assemble, joining=join)
        if not joined:
            # The others wait to hear whether there is something to compute.
            ranks.largest(0)
        return code


if __name__ == "__main__":
    guard(lambda: main_of(sys.argv[1:]), go_on="run the same commands to continue from the last checkpoint")
