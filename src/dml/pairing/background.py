"""The background thread of a peer, which owns its endpoint."""

import logging
import threading

from dml.network import peers
from dml.network.endpoint import Endpoint
from dml.network.limits import Limits
from dml.pairing.config import PairingConfig
from dml.pairing.layout import PIECE
from dml.pairing.work import Shared, Work

_logger = logging.getLogger(__name__)

LIMITS = Limits(message=PIECE + 2**17, kept_bytes=64 * PIECE, unconfirmed_bytes=8 * PIECE)
"""Little is under way to each peer at a time, so that the thread that trains never waits for much of it."""

_CONFIRM = 0.1
"""Seconds for which the end of the thread waits until peers have confirmed what they were sent."""


class Background:
    """The thread and its endpoint.

    Args:
        config: the file of peers.
        name: of this peer.
        shared: what both threads know.

    Raises:
        InputError: the port is in use, a host does not resolve, or a key does not match.
        DamagedFileError: the key of this host is damaged.
    """

    def __init__(self, config: PairingConfig, name: str, shared: Shared) -> None:
        self._config, self._name, self._shared = config, name, shared
        self._pair = peers.own_pair(config, name)
        self._endpoint: Endpoint | None = None
        self._error: BaseException | None = None
        self._closing = False
        self._started = threading.Event()
        # The end of a script does not wait for the thread, even if the peer was not closed.
        self._thread = threading.Thread(target=self._run, name=f"peer {name}", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise self._error

    def connected(self, name: str) -> bool:
        """Whether a neighbour is connected."""
        assert self._endpoint is not None
        return self._endpoint.connected(name)

    def traffic(self) -> tuple[int, int]:
        """The bytes on the wire: sent, and received."""
        assert self._endpoint is not None
        traffic = self._endpoint.traffic
        return sum(traffic.sent.copy().values()), sum(traffic.received.copy().values())

    def wake(self) -> None:
        """Has the thread look at what is new.

        Raises:
            RuntimeError: the thread has ended.
        """
        if not self._thread.is_alive():
            why = f"after an error: {self._error!r}" if self._error else "as it is closed"
            raise RuntimeError(f"{self._name} exchanges no models any more, {why}")
        assert self._endpoint is not None
        self._endpoint.wake()

    def close(self, seconds: float) -> None:
        """Ends the thread, and waits for that for at most some seconds."""
        self._closing = True
        if self._endpoint is not None:
            self._endpoint.wake()
        self._thread.join(seconds)

    def _run(self) -> None:
        config, name = self._config, self._name
        try:
            contacts = config.contacts(config.neighbours(name))
            listen = config.listen(name)
            self._endpoint = Endpoint(name, config.run, self._pair, contacts, listen, LIMITS, _logger.warning)
        except BaseException as error:
            self._error = error
            return
        finally:
            self._started.set()
        try:
            Work(self._endpoint, config, name, self._shared).until(lambda: self._closing)
        except BaseException as error:
            self._error = error
            _logger.exception("%s exchanges no models any more", name)
        finally:
            self._endpoint.close(_CONFIRM)
            if self._shared.fetch is not None:
                self._shared.fetch.over.set()
