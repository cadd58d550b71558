"""A training script as a peer of others: it publishes its model, and mixes those of others into it."""

import atexit
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dml import randomness
from dml.algorithms.pairwise.interpolation import Header
from dml.errors import InputError
from dml.field_types import suggestion
from dml.pairing.background import Background
from dml.pairing.config import load
from dml.pairing.fetching import Fetch
from dml.pairing.layout import Layout
from dml.pairing.snapshots import Snapshots
from dml.pairing.work import Shared

if TYPE_CHECKING:
    from torch import nn

_CLOSE = 0.9
"""The longest time for closing, in seconds."""

_LOOK_AGAIN = 0.01
"""Seconds between looks at who is connected."""


class Peer:
    """Makes a training script a peer of others, which average their models in pairs (as dpwa does).

    The peers are equal, each trains at its own pace, and each may leave and come back at any time. What is
    exchanged are the trained parameters and the float buffers of the model. All peers should start from the
    same model, such as one made from the same seed.

    The calls belong to the thread that trains. Models are sent and received in a thread of their own.

    Args:
        model: any module, on any device. It may move to another device, but must keep its tensors' shapes.
        name: the name of this peer in the file.
        config: the file of peers; docs/network.md lists its keys.

    Raises:
        InputError: the file cannot be read or a value in it is wrong, there is no such name, the port is in
            use, a host does not resolve, or a key does not match.
        ValueError: the model holds nothing that can be exchanged.
        DamagedFileError: the key of this host is damaged.
    """

    def __init__(self, model: "nn.Module", name: str, config: str | Path) -> None:
        self.config = load(Path(config))
        if name not in self.config.names:
            names = self.config.names
            right = f"there is no such peer{suggestion(name, names)}; there are: {', '.join(names)}"
            raise InputError("name", name, right)
        self.name = name
        self.clock = 0.0
        """The number of updates, mixed as the model is."""
        self._interpolation = self.config.interpolate()
        self._alone = not self.config.neighbours(name)
        self._draw = randomness.generator(self.config.seed, "fetch", self.config.names.index(name))
        layout = Layout(model)
        self._shared = Shared(layout, Snapshots(layout.rows), layout.rows())
        self._fetches = 0
        self._closed = False
        self._background = Background(self.config, name, self._shared)
        # At the end of the process, sockets are closed while there still is a Python that can.
        self._at_exit = _closer(weakref.ref(self))
        atexit.register(self._at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def meet(self, seconds: float) -> list[str]:
        """Waits until all neighbours are connected. Peers that start together need not train alone at first.

        Args:
            seconds: the longest time to wait.

        Returns:
            The names of those that are connected.
        """
        self._check_open()
        names, connected = self.config.neighbours(self.name), self._background.connected
        end = time.monotonic() + seconds
        while not all(map(connected, names)) and time.monotonic() < end:
            time.sleep(_LOOK_AGAIN)
        return list(filter(connected, names))

    def update_send(self, loss: float) -> None:
        """Publishes the model as it is, and may begin to fetch that of another peer.

        Call it before the training of each batch, during which the model is fetched. It takes the time of
        copying the model, whatever the peers do. If a model is still being fetched, or was fetched and not
        waited for, no other fetch begins.

        Args:
            loss: the training loss of the last batch. If it is not finite, no peer mixes this model in.

        Raises:
            RuntimeError: the peer is closed.
        """
        self._check_open()
        shared = self._shared
        self.clock += 1
        shared.publishing = True
        try:
            shared.snapshots.publish(shared.layout.copy_to, Header(self.clock, float(loss)))
        finally:
            shared.publishing = False
        # It is drawn even if it is not needed, so that whether a fetch begins depends on the step alone.
        if self._draw.random() < self.config.pull_probability and not self._alone and shared.fetch is None:
            shared.fetch = Fetch(self._fetches, time.monotonic() + self.config.timeout)
            self._fetches += 1
            self._background.wake()

    def update_wait(self, loss: float) -> float:
        """Waits for the model that is being fetched, if there is one, and mixes it in.

        It waits until ``timeout_ms`` after the fetch began, at most.

        Args:
            loss: the training loss of the batch since :meth:`update_send`.

        Returns:
            f, the share of the fetched model in the new one; 0 if no model was mixed in.

        Raises:
            RuntimeError: the peer is closed.
        """
        self._check_open()
        fetch = self._shared.fetch
        if fetch is None:
            return 0.0
        in_time = fetch.over.wait(max(0.0, fetch.deadline - time.monotonic()))
        self._shared.fetch = None
        if not in_time or fetch.header is None:
            return 0.0
        share = self._interpolation(Header(self.clock, float(loss)), fetch.header)
        if share:
            self._shared.layout.mix(self._shared.rows, share)
            self.clock += share * (fetch.header.clock - self.clock)
        return share

    @property
    def counts(self) -> dict[str, int]:
        """What the fetches have come to so far.

        ``fetched``: models that came. ``refused_headers``: models that came, but were not mixed in, as a loss
        or a clock was negative or not finite. ``late``: fetches that took too long. ``refused``: models that
        were not as they must be, or held numbers that are not finite. ``nobody``: fetches for which there was
        nobody to ask, as all peers were asked in vain or rest after a failure. Within a fetch, several peers
        may be asked: ``unreachable``, ``empty`` and ``different`` count peers without a connection, without a
        model as yet, and with a model of other tensors.
        """
        return {**self._shared.counts, "refused_headers": self._interpolation.refused}

    @property
    def traffic(self) -> tuple[int, int]:
        """The bytes on the wire so far: sent, and received."""
        return self._background.traffic()

    def close(self) -> None:
        """Leaves the peers, in less than a second. The model stays as it is."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        self._background.close(_CLOSE)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self.name} is closed")


def _closer(reference: "weakref.ref[Peer]") -> Callable[[], None]:
    """Closes the peer, if it still is."""

    def close() -> None:
        peer = reference()
        if peer is not None:
            peer.close()

    return close
