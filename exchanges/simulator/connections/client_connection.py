"""One client's WebSocket: frames wait in ``pending`` and are sent in one write.

A client that reads too slowly is dropped.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import Transport
from contextlib import suppress
from time import monotonic
from typing import Any

from aiohttp import web

from exchanges.simulator.connections.venue_laws import Pace
from exchanges.simulator.connections.websocket_frames import close_frame

CLOSE_WITHIN = 1.0  # seconds for the peer to answer a close frame
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


def reset(transport: Any) -> None:
    """Abort a TCP connection with a reset: no close frame, no FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class ClientConnection:
    """``id`` counts the venue's connections from 1; ``subscriptions`` are its streams, in order."""

    def __init__(self, number: int, request: web.Request, transport: Transport, combined: bool) -> None:
        self.id = number
        self.combined = combined  # Binance: events wrapped as {"stream", "data"}
        self.subscriptions: dict[str, None] = {}
        self.pending: list[bytes] = []
        self.inbound = Pace()
        self.opened = self.last_inbound = self.last_ping = monotonic()
        self.unanswered: float | None = None  # when the unanswered ping was sent
        self.closing = False
        self.half_open = False  # written data does not arrive any more, and the peer does not notice
        self._transport = transport
        self._writer = request.writer
        self._deadline: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<connection {self.id}: {len(self.subscriptions)} subscriptions, {self.waiting} bytes waiting>"

    @property
    def waiting(self) -> int:
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    @property
    def gone(self) -> bool:
        return self.closing or self._transport.is_closing()

    def flush(self) -> None:
        """Write what is pending."""
        if not self.gone and not self.half_open:
            self._transport.write(b"".join(self.pending))
        self.pending.clear()

    async def drain(self) -> None:
        """Wait until the reader has taken most of what was written."""
        if not self.gone:
            with suppress(ConnectionError):
                await self._writer.drain()

    def reset(self) -> None:
        """Cut the connection: the peer gets a TCP reset."""
        self.closing = True
        reset(self._transport)

    def drop(self) -> None:
        """End the TCP connection normally, but without a close frame: the peer sees code 1006."""
        self.closing = True
        self._transport.close()

    def close(self, code: int, reason: str = "") -> None:
        """Send pending frames and a close frame; the TCP connection ends with the answer, or CLOSE_WITHIN later."""
        if self.gone:
            return
        self.pending.append(close_frame(code, reason))
        self.flush()
        self.closing = True
        self._deadline = asyncio.get_running_loop().call_later(CLOSE_WITHIN, self._transport.abort)

    def finish(self) -> None:
        """Call this when the connection's handler has ended."""
        self.closing = True
        if self._deadline is not None:
            self._deadline.cancel()
