"""A WebSocket over picows, with the methods of aiohttp's WebSocket that ccxt's client uses.

It needs the extra ``[fast]``. A frame goes from the read buffer to its handler in the same turn of the loop, with no
task, future or queue between them. Messages and errors have aiohttp's types, because ccxt's client and the adapter know
these types.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from time import monotonic
from typing import Any

import aiohttp
import picows
from aiohttp import WebSocketError, WSMessage, WSMsgType

Tell = Callable[[WSMessage], object]
Offer = Callable[[str], bool]

CONTROL = 125  # the most bytes in the payload of a ping, pong or close frame: RFC 6455, 5.5
LOST = 1006  # the code of an end without a close frame
READ = 65_536  # bytes that are read at once: they fit into the processor's cache
FIRST, LEAST = 4096, 512  # bytes that are read at first, and at least
SLICE = 0.05  # seconds for which one read may be handled before other tasks run
CLOSE_WITHIN = 10.0  # seconds for the peer to answer a close frame, as with aiohttp

_CONTROLS = {picows.WSMsgType.PING: WSMsgType.PING, picows.WSMsgType.PONG: WSMsgType.PONG}
_KINDS = {picows.WSMsgType.TEXT: WSMsgType.TEXT, picows.WSMsgType.BINARY: WSMsgType.BINARY}


class WebSocket(picows.WSListener):
    """One open WebSocket. Messages that come before :meth:`begin` wait.

    Pings are passed on. Fragments are joined and compressed messages are decompressed; messages to the server are sent
    uncompressed. A peer that breaks the protocol causes a message of type ERROR; an end without a close frame causes a
    message of type CLOSED with the code 1006.
    """

    _conn = None  # ccxt's client looks for aiohttp's buffer there

    def __init__(self, inflate: Inflate | None, limit: int) -> None:
        super().__init__()
        self.on_read: Callable[[], object] = _ignore
        self._early: list[WSMessage] = []
        self._tell: Tell = self._early.append
        self._handle: Tell | None = None
        self._offer: Offer | None = None  # gets whole, uncompressed messages while no fragments wait
        self._begun: Offer | None = None
        self._inflate = inflate
        self._limit = limit
        self._kind: WSMsgType | None = None  # type of the message whose fragments wait
        self._compressed = False
        self._data = bytearray()
        self._connected = False
        self._closed = False
        self._ended = asyncio.Event()  # no more frames will come
        self._ending: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Connection over picows, {'closed' if self._closed else 'open'}>"

    def begin(self, tell: Tell, handle: Tell, offer: Offer | None, on_read: Callable[[], object]) -> None:
        """Deliver from now on: texts to ``offer``, and to ``handle`` if ``offer`` returns False; other messages to
        ``tell``.

        ``offer`` may see binary messages too, as text. ``on_read`` is called at each read of the socket, before the
        messages of that read are delivered.
        """
        self._tell, self._handle, self.on_read = tell, handle, on_read
        early, self._early = self._early, []
        for message in early:
            tell(message)
        if not self._closed:
            self._begun = self._offer = None if self._inflate is not None else offer
            self._resume()

    # --- what picows calls --------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self._connected = True
        self._loop = asyncio.get_running_loop()
        socket = transport.underlying_transport
        socket.set_protocol(_Measured(socket.get_protocol(), self))
        socket.pause_reading()  # until begin(): otherwise all messages until then would be handled in one turn

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        offer = self._offer
        # faster than reading the type: a frame longer than a control frame is a data frame
        if offer is None or frame.payload_size <= CONTROL or not frame.fin:
            self._read(frame)
            return
        try:
            text = frame.get_payload_as_utf8_text()
        except UnicodeDecodeError:
            self._read(frame)
            return
        if offer(text):
            return
        if frame.msg_type == picows.WSMsgType.TEXT and not frame.rsv1 and self._handle is not None:
            self._handle(WSMessage(WSMsgType.TEXT, text, None))
        else:
            self._read(frame)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        told = self._ended.is_set()
        self._ended.set()
        self._ending = self._loop.create_task(self._lost(told))

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, frame: picows.WSFrame) -> None:
        """Handle any frame."""
        if self._ended.is_set():
            return
        kind, payload = frame.msg_type, frame.get_payload_as_bytes()
        if kind == picows.WSMsgType.CLOSE:
            self._ended.set()
            self._offer = None
            self._tell(WSMessage(WSMsgType.CLOSE, int.from_bytes(payload[:2], "big"), payload[2:].decode()))
        elif kind in _CONTROLS:
            self._tell(WSMessage(_CONTROLS[kind], payload, ""))
        elif not self._closed:
            try:
                self._collect(kind, payload, bool(frame.fin), bool(frame.rsv1))
            except WebSocketError as error:
                self._fail(error)

    def _collect(self, kind: picows.WSMsgType, payload: bytes, fin: bool, compressed: bool) -> None:
        """Handle a data frame: a whole message or a part of it."""
        begins = kind != picows.WSMsgType.CONTINUATION
        if begins is (self._kind is not None):
            raise WebSocketError(aiohttp.WSCloseCode.PROTOCOL_ERROR, "fragments out of order")
        if begins:
            self._kind, self._compressed = _KINDS[kind], compressed
        if compressed and (self._inflate is None or not begins):
            raise WebSocketError(aiohttp.WSCloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        self._data += payload
        if len(self._data) > self._limit:
            raise _too_big(self._limit)
        if not fin:
            self._offer = None
            return
        told, data = self._kind, bytes(self._data)
        self._kind, self._data, self._offer = None, bytearray(), self._begun
        if self._compressed and self._inflate is not None:
            data = self._inflate(data, self._limit)
        if told is WSMsgType.BINARY:
            self._tell(WSMessage(told, data, None))
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise WebSocketError(aiohttp.WSCloseCode.INVALID_TEXT, f"invalid UTF-8: {error.reason}") from error
        self._tell(WSMessage(WSMsgType.TEXT, text, None))

    def _fail(self, error: WebSocketError) -> None:
        """End the connection because the peer broke the protocol: RFC 6455, 7.1.7."""
        tell = self._tell
        self._transport.send_close(picows.WSCloseCode(error.code))
        self._stop()
        self._transport.disconnect()
        tell(WSMessage(WSMsgType.ERROR, error, None))

    async def _lost(self, told: bool) -> None:
        """Report the end of the TCP connection, unless a close frame came before."""
        tell, error = self._tell, None
        try:
            await self._transport.wait_disconnected()
        except Exception as raised:  # noqa: BLE001 - picows raises whatever has ended the connection
            broken: Any = raised
            error = WebSocketError(broken.code, str(raised)) if isinstance(raised, picows.WSProtocolError) else raised
        if not self._closed and not told:
            self._stop()
            kind, data = (WSMsgType.CLOSED, LOST) if error is None else (WSMsgType.ERROR, error)
            tell(WSMessage(kind, data, None))

    def _stop(self) -> None:
        self._closed = True
        self._offer = self._begun = None
        if self._handle is not None:
            self._tell = self._handle = _ignore

    # --- what ccxt's client calls -------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent, without those in the operating system's buffers."""
        return int(self._transport.underlying_transport.get_write_buffer_size()) if self._connected else 0

    async def send_str(self, data: str) -> None:
        self._open().send(picows.WSMsgType.TEXT, data)

    async def ping(self, message: bytes = b"") -> None:
        self._open().send_ping(message)

    async def pong(self, message: bytes = b"") -> None:
        self._open().send_pong(message)

    async def close(self, *, code: int = 1000) -> bool:
        """Close with the handshake of RFC 6455, or answer the peer's close frame; False if it is closed already."""
        if self._closed:
            return False
        self._stop()
        self._tell = _ignore
        self._early.clear()
        self._resume()  # read the peer's answer, even if begin() was not called
        self._transport.send_close(picows.WSCloseCode(code))
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._ended.wait()
        except TimeoutError:
            self.abort()
        except BaseException:
            self.abort()
            raise
        self._transport.disconnect()
        return True

    def pause(self) -> None:
        """Stop reading in this turn of the loop."""
        socket = self._transport.underlying_transport
        if not socket.is_closing():
            socket.pause_reading()
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        socket = self._transport.underlying_transport
        if not socket.is_closing():
            socket.resume_reading()

    def abort(self) -> None:
        """Drop the TCP connection at once, if there is one."""
        if self._connected:
            self._transport.disconnect(False)

    def _open(self) -> picows.WSTransport:
        transport = self._transport
        if self._closed or transport.is_disconnected or transport.is_close_frame_sent:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        return transport


class _Measured(asyncio.BufferedProtocol):
    """picows's protocol, reading at most READ bytes at a time.

    picows alone would let its buffer grow to what the kernel holds, which is megabytes in a burst. All of it would be
    handled in one turn of the loop, and overflow the queues of coroutine callbacks. aiofastnet, which calls this class,
    reads about 256 KiB per turn, as asyncio does for aiohttp. If callbacks are slow, less is read, because timers must
    run too: the size of a read is halved as long as reads take more than SLICE. 64 KiB may be 32,768 frames.
    """

    def __init__(self, own: Any, connection: WebSocket) -> None:
        self._own = own
        self._connection = connection
        self._size = FIRST

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._own.get_buffer(sizehint))[: self._size]

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.on_read()
        began = monotonic()
        self._own.buffer_updated(nbytes)
        if (taken := monotonic() - began) > SLICE:
            self._size = max(self._size // 2, LEAST)
            self._connection.pause()
        elif self._size < READ and taken < SLICE / 4:
            self._size *= 2

    def eof_received(self) -> bool | None:
        closing: bool | None = self._own.eof_received()
        return closing

    def pause_writing(self) -> None:
        self._own.pause_writing()

    def resume_writing(self) -> None:
        self._own.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._own.connection_lost(exc)


def _ignore(*message: WSMessage) -> None:
    pass


class Inflate:
    """permessage-deflate, receiving: RFC 7692. ``fresh``: the server begins each message with an empty window."""

    def __init__(self, fresh: bool) -> None:
        self._fresh = fresh
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def __call__(self, data: bytes, limit: int) -> bytes:
        if self._fresh:
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            whole = self._stream.decompress(data + b"\x00\x00\xff\xff", limit + 1)
        except zlib.error as error:
            raise WebSocketError(aiohttp.WSCloseCode.PROTOCOL_ERROR, f"cannot be inflated: {error}") from error
        if len(whole) > limit:
            raise _too_big(limit)
        return whole


def _too_big(limit: int) -> WebSocketError:
    return WebSocketError(aiohttp.WSCloseCode.MESSAGE_TOO_BIG, f"a message of more than {limit} bytes")
