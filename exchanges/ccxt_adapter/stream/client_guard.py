"""Guards one ccxt WebSocket client: how it dials, answers pings and reads; an unreadable frame does not end the stream.

An exception in ccxt's message handler leaves ``Client.receive_loop`` through a done-callback, and nothing starts that
loop again: the stream ends, but the socket stays open and the caller gets no error (measured on ccxt 4.5.90). So this
module guards the handler. It also leaves the client's futures unresolved for rows that the stores have delivered.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import WebSocketError, WSMsgType
from loguru import logger
from msgspec import json

from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.ccxt_adapter.stream.row_caches import Latest, in_rows, is_book, pushed
from exchanges.foreign_text import READ, Cleaner, beginning
from exchanges.venues.fast_decoder import Blame, FrameClock, Take

SLICE = 0.05  # seconds for which waiting messages are handled before other tasks run
LOOK_EVERY = 16  # messages that are handled between two readings of the clock
UNSENT = 4 << 20  # the most bytes that may wait for the peer: more than all subscriptions of a connection have
SAMPLE = 200  # the most characters of a bad frame that are reported


@dataclass(slots=True, eq=False)
class FrameReading(FrameClock):
    """What a connection is reading at this moment; the stores take the receipt times of their events from here."""

    frame: Any = None  # the decoded frame, None before decoding
    delivered: int = 0  # rows that the frame has delivered so far
    text: str = ""  # the frame as it was sent, if it is text and ccxt reads it


def arm(
    client: Any,
    reading: FrameReading,
    latest: Sequence[Latest],
    on_bad_frame: Callable[[str], None],
    on_frame: Callable[[Any], None],
    timeout: float,
    taker: Callable[[Blame], Take | None] | None = None,
    on_book: Callable[[Any], bool] = lambda book: False,
    clean: Cleaner | None = None,
    check: Callable[[Any], None] = lambda frame: None,
    look: Callable[[Any, str], bool] = lambda frame, text: True,
) -> None:
    """Guard ``client``, a ccxt ``Client`` that has not dialled yet.

    ``timeout``: seconds that a dial may take, rounded up to whole seconds for ccxt. The function that ``taker`` makes
    gets each text before ccxt does, and returns whether it has delivered the text. ``on_book`` gets each order book
    that ccxt has updated. ``on_frame`` is called after ccxt has handled a frame that was not taken. ``clean`` makes a
    venue's text printable and safe. ``check`` raises OtherMarket for a frame, or one of its rows, that must not be
    delivered. ``look`` gets each frame, decoded and as text, and returns whether ccxt must read the frame.
    """
    handle, dispatch = client.handle_message, client.on_message_callback
    resolve, reject, begin_dial, send = client.resolve, client.reject, client.open, client.send
    dispatching = False
    pong = _answering(client)
    clean = clean or Cleaner()

    def bad(data: Any, error: Exception) -> None:
        on_bad_frame(clean(_sample(data, error), SAMPLE))

    def blamed(text: str, delivered: int, error: Exception) -> None:
        reading.frame, reading.delivered = json.decode(text), delivered
        _salvage(text, error)
        _through(text)

    take = None if taker is None else taker(blamed)

    def read() -> None:
        reading.received_at = time.time_ns()

    def handled(message: Any) -> None:
        if message.type is WSMsgType.PING:
            pong(message.data)
            return
        if message.type is WSMsgType.ERROR:
            error = message.data
            broken = isinstance(error, WebSocketError)
            client.on_error(errors.NetworkError(f"it breaks the WebSocket protocol: {error}" if broken else error))
            return
        reading.frame = None
        reading.delivered = 0
        reading.text = message.data if type(message.data) is str else ""
        try:
            handle(message)
        except Exception as error:  # noqa: BLE001 - ccxt's parsers may raise anything on an unexpected frame
            _salvage(message.data, error)
        _through(message.data)

    def guarded(message: Any) -> None:
        read()
        if take is None or type(message.data) is not str or not take(message.data):
            handled(message)

    def _salvage(data: Any, error: Exception) -> None:
        told = clean.lines
        logger.opt(lazy=True).debug(
            "a frame could not be handled\n{}", lambda: told("".join(traceback.format_exception(error)))
        )
        # ccxt's handlers take the rows of a "data" list in order (checked for Bybit, HashKey): skip those delivered
        rows = list(in_rows(reading.frame))[reading.delivered :]
        if not rows:
            bad(data, error)
        for row in rows:
            try:
                check(row)
                dispatch(client, row)
            except Exception as row_error:  # noqa: BLE001 - as above
                bad(row["data"], row_error)

    def _through(data: Any) -> None:
        if reading.frame is not None:
            try:
                on_frame(reading.frame)
            except Exception as error:  # noqa: BLE001 - on_frame may raise anything on an unexpected frame
                bad(data, error)

    def noted(client: Any, frame: Any) -> None:
        nonlocal dispatching
        reading.frame = frame
        check(frame)
        if not look(frame, reading.text):
            return
        dispatching = True
        try:
            dispatch(client, frame)
        finally:
            dispatching = False

    def quiet(result: Any, message_hash: Any) -> Any:
        if is_book(result):
            return result if on_book(result) else resolve(result, message_hash)
        return result if pushed(result, latest) else resolve(result, message_hash)

    def addressed(error: Any, message_hash: Any = None) -> Any:
        if message_hash is None and dispatching:
            error.frame = reading.frame  # each watch call gets the error, and decides whether the frame concerns it
            bad(reading.frame, error)
        return reject(error, message_hash)

    async def opened(*dial: Any) -> None:
        client.dialling = asyncio.current_task()
        await begin_dial(*dial)

    async def sent(message: Any) -> None:
        if not client.error and _unsent(client) > UNSENT:
            client.on_error(errors.NetworkError("it does not read what we send"))
            abort(client)
        if client.error:
            raise ConnectionError(str(client.error))
        await send(message)

    drained = _drained(client)

    def received(message: Any) -> None:
        if message.type is WSMsgType.CLOSED:
            client.on_close(message.data)
        else:
            guarded(message)

    def receive_loop() -> None:
        begin = getattr(client.connection, "begin", None)
        if begin is None:  # an aiohttp session
            drained()
        else:
            begin(received, handled, take, read)

    client.open = opened
    client.send = sent
    client.receive_loop = receive_loop
    client.handle_message = guarded
    client.reject = addressed
    client.on_message_callback = noted
    client.resolve = quiet
    client.connectionTimeout = math.ceil(timeout) * 1000
    client.maxPingPongMisses = math.inf  # ccxt uses the wall clock, which may step; the feed itself watches for silence


def _answering(client: Any) -> Callable[[bytes], None]:
    """Return a function that answers pings. If several pings come in one turn of the loop, it answers only the last,
    which is enough (RFC 6455, 5.5.3). ccxt would start a task for each ping.
    """
    newest: bytes | None = None

    async def answer() -> None:
        nonlocal newest
        while newest is not None:
            data, newest = newest, None
            with suppress(OSError):  # the connection has ended
                await client.connection.pong(data)

    def pong(data: bytes) -> None:
        nonlocal newest
        newest = data
        if client.answering is None or client.answering.done():
            client.answering = client.asyncio_loop.create_task(answer())

    client.answering = None
    return pong


def _drained(client: Any) -> Callable[[], None]:
    """Return a ``receive_loop`` for the client that first reads the messages that wait in the buffer.

    ccxt's own method would do the same, but looks up the buffer, a property five attributes deep, twice per message. It
    also empties the whole buffer at once: with slow callbacks it would block the loop's timers for many seconds.
    """
    own: Callable[[], None] = client.receive_loop
    # what aiohttp adds to each message's size; a version of ccxt without this reads the buffer in another way
    overhead = getattr(sys.modules[type(client).__module__], "MSG_SIZE_OVERHEAD", None)
    if overhead is None:
        return own

    def receive_loop() -> None:
        buffer = None if client.closed() else client.buffer
        if buffer and len(buffer) > 1:
            handle, drained, count, end = client.handle_message, 0, 0, time.monotonic() + SLICE
            while len(buffer) > 1:
                message, size = buffer.popleft()
                drained += size + overhead
                handle(message)
                count += 1
                if count == LOOK_EVERY:
                    count = 0
                    if time.monotonic() > end:
                        break
            if buffer:  # aiohttp subtracts the sizes when the last message is read
                message, size = buffer[0]
                buffer[0] = message, size + drained
            if len(buffer) > 1:
                client.asyncio_loop.call_soon(receive_loop)
                return
        own()

    return receive_loop


def _sample(data: Any, error: Exception) -> str:
    """The beginning of an unreadable frame, and the error."""
    text = data[: 4 * READ + 4].decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
    return f"{type(error).__name__}: {beginning(text)}"


async def hang_up(client: Any) -> None:
    """Cancel the client's dial and wait until it has ended: ccxt would continue it after a close."""
    tasks = (getattr(client, "dialling", None), getattr(client, "answering", None))
    running = {task for task in tasks if task is not None and not task.done()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def abort(client: Any) -> None:
    """Drop the client's TCP connection at once, without a close handshake that a dead peer would never answer."""
    end = getattr(client.connection, "abort", None) or getattr(_transport(client), "abort", None)
    if end is not None:
        end()


def _unsent(client: Any) -> int:
    """Bytes that wait until the peer reads."""
    unsent = getattr(client.connection, "unsent", None)
    if unsent is None:
        transport = _transport(client)
        unsent = 0 if transport is None else transport.get_write_buffer_size()
    return int(unsent)


def _transport(client: Any) -> Any:
    """The transport of aiohttp's WebSocket, None if there is none."""
    return getattr(getattr(client.connection, "_conn", None), "transport", None)
