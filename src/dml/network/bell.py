"""A bell by which any thread can end the wait of the thread that owns an endpoint."""

import contextlib
import socket


class Bell:
    """A pair of sockets; a byte on its way from one to the other can be waited for together with messages."""

    def __init__(self) -> None:
        self._rope, self._bell = socket.socketpair()
        self._rope.setblocking(False)
        self._bell.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        """The number of the socket that becomes readable when the bell rings."""
        return self._bell.fileno()

    def ring(self) -> None:
        """Rings. Any thread may call this at any time."""
        # Without room for another byte it rings already, and when it is closed nobody waits for it.
        with contextlib.suppress(OSError):
            self._rope.send(b"\0")

    def hear(self) -> None:
        """Notes that it rings; it then can ring again."""
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(1024)
        self._rung = True

    def rung(self) -> bool:
        """Whether it has rung since the last call."""
        rung, self._rung = self._rung, False
        return rung

    def close(self) -> None:
        """Closes both sockets."""
        self._rope.close()
        self._bell.close()
