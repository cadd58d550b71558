"""The command line that runs an experiment as one process per node on this machine."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import Field

from dml import command_line, config
from dml.data.catalogue import check_fetched
from dml.errors import EXIT_AGAIN, EXIT_FAILED, InputError, one_line
from dml.field_types import UserPath
from dml.files import check_writable, folder_for
from dml.messages import amount
from dml.network import keys
from dml.peers.config import AWAY_S, DEFAULT_FOLDER, FOLDER_OF_LAUNCHER, ExperimentPeers, WaitingConfig
from dml.plan import Plan, make_plan
from dml.shown_defaults import shown_defaults
from dml.signals import StopRequest, stop_on_signals
from dml.validation import input_error

DESCRIPTION = (
    "Runs an experiment with one process per node on this machine. Cuts the data of each node into a file of "
    "its own, starts the processes, waits for them, and writes one HDF5 file."
)

PEERS, LOG = "peers.yaml", "stderr_{}"

PROGRAM = "dml.peers.peer"
"""The module that a peer runs."""

TOLERANCE = 1e-5
"""The largest difference of models that were trained by other engines, or in other orders."""

GRACE_S = 5.0
"""Seconds beyond their deadline that peers get to end by themselves when one of them has ended."""


class LaunchConfig(WaitingConfig):
    """The flags of ``launch_peers.py`` besides those of the experiment."""

    compare: bool = Field(
        False,
        description="run the experiment in one process, too, and print the largest difference of the models",
    )
    prepare: UserPath | None = Field(
        None, description="write the file of peers and the parts into this folder, and start nothing"
    )


def main(argv: Sequence[str]) -> int:
    """Runs the experiment.

    Args:
        argv: the words after the program's name.

    Returns:
        The exit code.
    """
    from pydantic import ValidationError

    given = command_line.parse(
        [*(("peers", flag, info) for flag, info in LaunchConfig.flags()), *config.fields()],
        argv,
        prog="launch_peers.py",
        description=DESCRIPTION,
        defaults=shown_defaults(),
    )
    try:
        call = LaunchConfig(**{flag: given.pop(flag) for flag, _ in LaunchConfig.flags() if flag in given})
    except ValidationError as error:
        raise input_error(error, LaunchConfig.flags()) from None
    flags = {"out_dir": str(DEFAULT_FOLDER), **given}
    planned = make_plan(config.make(flags))
    check_fetched([planned.config.data.dataset], planned.config.data.data_dir)
    if call.prepare is not None:
        _prepare(planned, call, flags, call.prepare)
        print(
            f"{call.prepare / PEERS}\nstart each node by: peer.py --node NODE --peers {call.prepare / PEERS}"
        )
        return 0
    folder = Path(tempfile.mkdtemp(prefix="distributed_ml-peers-"))
    try:
        with stop_on_signals("stopping after this round; Ctrl-C again stops at once") as stop:
            _prepare(planned, call, flags, folder)
            code = _started(planned, call, folder, stop)
        return _compared(planned, flags) if call.compare and code == 0 else code
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(planned: Plan, call: LaunchConfig, flags: Mapping[str, Any], folder: Path) -> None:
    """Writes the file of peers and the part of each node."""
    from dml.assembly import whole
    from dml.peers import meeting, parts

    n = planned.topology.n
    ports = free_ports(n)
    keys.own_keys()
    peers: dict[str, Any] = {
        "nodes": [{"port": port} for port in ports],
        "parts": ".",
        # What is left of another call on the same ports is refused.
        "run": secrets.token_hex(8),
        "experiment": {flag: _plain(value) for flag, value in flags.items()},
        **{
            name: _plain(value)
            for name in ("measure", "deadline", "slow_deadline")
            if (value := getattr(call, name)) is not None
        },
    }
    meeting.check(planned, ExperimentPeers(**peers), 0)
    check_writable(folder, "prepare")
    with folder_for(folder, "prepare"):
        folder.chmod(0o700)
        parts.cut(whole(planned), folder, planned.identity.id)
        _write(folder / PEERS, peers)


def _plain(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    import yaml

    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")


def free_ports(n: int) -> list[int]:
    """Ports of the loopback interface on which nobody listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _started(planned: Plan, call: LaunchConfig, folder: Path, stop: StopRequest) -> int:
    """Starts the peers, and waits until all have ended; the exit code."""
    processes = [_start(folder, node) for node in range(planned.topology.n)]
    deadline = float("inf")
    told = False
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
            if stop() and not told:
                told = True
                for process in processes:
                    process.send_signal(signal.SIGTERM)
            if deadline == float("inf") and any(process.poll() for process in processes):
                deadline = time.monotonic() + (call.deadline or AWAY_S) + GRACE_S
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    return _told(folder, [process.returncode for process in processes])


def _start(folder: Path, node: int) -> "subprocess.Popen[bytes]":
    # Node 0 prints the summary; what all would say is said by it.
    told = [sys.executable, "-m", PROGRAM, "--node", str(node), "--peers", str(folder / PEERS)]
    with (folder / LOG.format(node)).open("wb") as log:
        return subprocess.Popen(
            told,
            # Held by this process alone, so that a peer notices when it has ended.
            stdin=subprocess.PIPE,
            env={**os.environ, FOLDER_OF_LAUNCHER: str(folder)},
            stdout=None if node == 0 else subprocess.DEVNULL,
            stderr=None if node == 0 else log,
            # Ctrl-C in a terminal is for this process, which tells the peers.
            start_new_session=True,
        )


def _told(folder: Path, codes: Sequence[int]) -> int:
    """Prints why peers have ended, and gives the exit code."""
    bad = {node: code for node, code in enumerate(codes) if code}
    for node, code in bad.items():
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        log = folder / LOG.format(node)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "")
        if code < 0 or code != EXIT_AGAIN:
            shown = f": {one_line(why.removeprefix('error: '))}" if why else ""
            print(f"node {node} has ended ({how}){shown}", file=sys.stderr)
    if not bad:
        return 0
    wrong = [code for code in bad.values() if code > 0 and code != EXIT_AGAIN]
    if wrong:
        return wrong[0]
    print("run the same command to continue", file=sys.stderr)
    return EXIT_AGAIN


def _compared(planned: Plan, flags: Mapping[str, Any]) -> int:
    """Runs the experiment in this process, and prints how far the models of the peers are from its models."""
    import numpy as np

    from dml import experiment, results
    from dml.results import checkpoint

    with tempfile.TemporaryDirectory(prefix="distributed_ml-compare-") as folder:
        alone = make_plan(config.make({**flags, "out_dir": folder}))
        experiment.run(alone.config)
        own, theirs = (
            checkpoint.read(checkpoint.path_of(plan.result), plan.identity.id) for plan in (alone, planned)
        )
        if own is None or theirs is None:
            right = "needs the checkpoints of both runs at the end; leave out --no_keep_checkpoint"
            raise InputError("compare", True, right)
        largest = float(np.abs(own.X.astype(np.float64) - theirs.X).max())
        files = [results.load(plan.result) for plan in (planned, alone)]
        sent = int(np.sum(own.edge_bytes))
        wire = files[0].segments[-1]["wire_bytes_sent"]
        engine = files[1].segments[-1]["engine"]
    allowed = 0.0 if engine == "loop" else TOLERANCE
    print(f"largest difference of the models from those of one process: {largest:.3g} (engine {engine})")
    print(f"bytes: {amount(sent)} of the algorithm over the edges, {amount(sum(wire))} on the wire")
    return 0 if largest <= allowed else EXIT_FAILED
