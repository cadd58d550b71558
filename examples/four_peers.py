#!/usr/bin/env python
"""Four training scripts that average their models in pairs, each on its own part of the digits.

python examples/four_peers.py                                        # starts four peers on this machine
python examples/four_peers.py --name "node 2" --config peers.yaml    # is one of the peers of a file

Nine in ten samples of a peer show only two or three of the ten digits. All peers are tested on the same
samples of all digits. Afterwards, each peer trains again for as long without the others.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from dml.pairing import Peer

PEERS, SECONDS, BATCH, LR = 4, 5.0, 32, 0.1
"""How many peers there are, how long they train, the samples in a batch, and the first learning rate."""


def data(part: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The samples and labels of one peer, and those by which all are tested."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    shuffled = np.random.default_rng(0).permutation(len(x))
    test, train = shuffled[:400], shuffled[400:]
    # Nine in ten samples go to the peer of their label, and the others to anybody.
    owner = np.where(np.random.default_rng(1).random(len(x)) < 0.9, y % PEERS, shuffled % PEERS)
    own = train[owner[train] == part]
    return tuple(map(torch.from_numpy, (x[own], y[own], x[test], y[test])))


def train(part: int, peer_of: Callable[[nn.Module], Peer] | None) -> float:
    """Trains one model.

    Args:
        part: of the data.
        peer_of: makes the model a peer; None to train alone.

    Returns:
        The share of the test samples that the model gets right.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)  # All peers start from the same model.
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), LR)
    x, y, test_x, test_y = data(part)
    draw = np.random.default_rng(part)

    with ExitStack() as stack:
        peer = stack.enter_context(peer_of(model)) if peer_of else None
        if peer:
            peer.meet(30)
        loss, began = 1.0, time.monotonic()
        while (passed := (time.monotonic() - began) / SECONDS) < 1:
            optimizer.param_groups[0]["lr"] = LR * (1 - passed)
            if peer:
                peer.update_send(loss)

            batch = draw.integers(len(x), size=BATCH)
            error = cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            loss = error.item()

            if peer:
                peer.update_wait(loss)
    model.eval()
    with torch.no_grad():
        return (model(test_x).argmax(1) == test_y).float().mean().item()


def peers_of_this_machine(path: Path) -> None:
    """Writes a file of peers with free ports."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(PEERS)]
        ports = [one.getsockname()[1] for one in sockets]
    path.write_text("nodes:\n" + "".join(f"  - {{port: {port}}}\n" for port in ports))


def main() -> None:
    """Is one peer, or starts all of them."""
    parser = argparse.ArgumentParser(description="Four training scripts that average their models in pairs.")
    parser.add_argument("--name", help="be this peer; by default, all peers are started")
    parser.add_argument("--config", type=Path, help="file of peers; by default, four peers of this machine")
    arguments = parser.parse_args()
    if arguments.name:
        name, part = arguments.name, int(arguments.name.split()[-1])
        together = train(part, lambda model: Peer(model, name, arguments.config))
        # All peers write here; a line in one piece stays in one piece.
        sys.stdout.write(f"{name}: accuracy {together:.3f}, and {train(part, None):.3f} alone\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        config = arguments.config or Path(folder) / "peers.yaml"
        if not arguments.config:
            peers_of_this_machine(config)
        command = [sys.executable, __file__, "--config", config, "--name"]
        peers = [subprocess.Popen([*command, f"node {i}"]) for i in range(PEERS)]
        sys.exit(max(peer.wait() for peer in peers))


if __name__ == "__main__":
    main()
