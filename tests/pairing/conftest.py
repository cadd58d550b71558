"""Peers of one process, and files of peers with free ports."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import torch
from torch import nn

from dml.pairing import Peer


@pytest.fixture(autouse=True)
def _own_keys(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DML_KEYS", str(tmp_path_factory.getbasetemp() / "keys"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        found = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of peers."""

    def write(count: int, text: str = "", ports: Sequence[int] = ()) -> Path:
        path = tmp_path / f"peers{len(list(tmp_path.iterdir()))}.yaml"
        nodes = "".join(f"  - {{port: {port}}}\n" for port in ports or free_ports(count))
        path.write_text(f"nodes:\n{nodes}backoff_ms: 50\n{text}\n")
        return path

    return write


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Makes peers, which are closed after the test."""
    with ExitStack() as stack:

        def make(i: int, path: Path, model: nn.Module | None = None) -> Peer:
            return stack.enter_context(Peer(model or constant(float(i)), f"node {i}", path))

        yield make


def constant(value: float, count: int = 3) -> nn.Module:
    """A model whose numbers all are the same."""
    model = nn.Linear(count, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model
