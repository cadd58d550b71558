"""Decides whose connections are accepted: those of the known keys, and no others.

ZeroMQ asks by ZAP (RFC 27) during the hand-shake of each connection. The answers are given in a thread of
their own, so that a process that computes for a long time still meets its peers.
"""

import threading
from collections import deque
from collections.abc import Set

import zmq
import zmq.utils.z85

_PLACE = "inproc://zeromq.zap.01"

DOMAIN = b"dml"
"""With a domain, a connection is refused while nobody answers."""


class Gate:
    """Answers for the sockets of one context; ends with the context.

    Args:
        context: of the sockets.
        keys: the public keys to accept. It may be replaced at any time.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", keys: Set[str]) -> None:
        self.keys = keys
        self.refused: deque[tuple[str, str]] = deque(maxlen=1000)  # (public key, the host's number)
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_PLACE)
        self._thread = threading.Thread(target=self._answer, name="keys of connections", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits for the end, which comes when the context ends."""
        self._thread.join()

    def _answer(self) -> None:
        try:
            while True:
                version, request, _, host, _, mechanism, *credentials = self._socket.recv_multipart()
                key = zmq.utils.z85.encode(credentials[0]).decode() if len(credentials) == 1 else ""
                welcome = mechanism == b"CURVE" and key in self.keys
                if not welcome:
                    self.refused.append((key, host.decode(errors="replace")))
                status = (b"200", b"") if welcome else (b"400", b"unknown key")
                # The key is then found in every message of the connection, as its User-Id.
                self._socket.send_multipart([version, request, *status, key.encode(), b""])
        except zmq.ContextTerminated:
            self._socket.close()
