"""A TCP proxy for tests: it counts bytes, stalls or resets connections, changes bytes, and cuts them up."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self


class Proxy:
    """Passes connections on to an address, until it is told otherwise.

    Args:
        target: where to, such as ``tcp://127.0.0.1:5555``.
        piece: the largest number of bytes that are passed on at a time.
    """

    def __init__(self, target: str, piece: int = 2**16) -> None:
        self._piece = piece
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = host, int(port)
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self.up = self.down = 0  # Bytes to the target, and from it.
        self._break_after: int | None = None
        self._change_after: dict[bool, int] = {}  # By whether it is on the way to the target.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._pass_on, "127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.go_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stall(self) -> None:
        """Passes nothing on, and keeps the connections."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def go_on(self) -> None:
        """Ends a stall."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def reset(self) -> None:
        """Resets all connections; new ones are made as before."""
        self._do(self._reset())

    def reset_after(self, size: int) -> None:
        """Resets all connections, once, when so many more bytes have gone to the target."""
        self._break_after = self.up + size

    def change_after(self, size: int, up: bool) -> None:
        """Changes one bit, once, after so many more bytes to the target (``up``) or from it."""
        self._change_after[up] = (self.up if up else self.down) + size

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _reset(self) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._writers += [writer, back]
        await asyncio.gather(self._flow(reader, back, True), self._flow(there, writer, False))

    async def _flow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self._piece):
                await self._flowing.wait()
                place = self._change_after.get(up, 2**63) - (self.up if up else self.down)
                if place < len(data):
                    del self._change_after[up]
                    data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                if up and self._break_after is not None and self.up >= self._break_after:
                    self._break_after = None
                    await self._reset()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()
