"""WebSockets behave the same on both transports: reading, writing, pings, and the end of a connection."""

from __future__ import annotations

import asyncio
import json
import zlib
from base64 import b64encode
from collections import Counter
from hashlib import sha1
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from exchanges.ccxt_adapter.stream.client_guard import abort
from exchanges.ccxt_adapter.transport import http_client
from exchanges.simulator.connections.websocket_frames import close_frame, text_frame
from tests.exchanges.ccxt_adapter.transport.support import (
    dialled,
    frame,
    listening,
    raw,
    talking,
)
from tests.support import until


async def test_texts_and_bytes_are_sent_and_received(over_picows: bool) -> None:
    async def echo(request: web.Request, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await socket.send_str(message.data)
            await socket.send_bytes(message.data.encode())

    async with talking(echo) as url, dialled(url, over_picows) as made:
        long = {"long": "ä" * 100_000}
        for request in ({"a": "ü€😀"}, long, "ping"):
            await made.client.send(request)
        await until(lambda: len(made.frames) == 6)
        assert made.frames == [{"a": "ü€😀"}] * 2 + [long] * 2 + ["ping"] * 2


async def test_frames_that_come_with_the_handshake_are_not_lost(over_picows: bool) -> None:
    async with (
        talking(raw(*(text_frame(f'{{"n":{number}}}') for number in range(3)))) as url,
        dialled(url, over_picows) as made,
    ):
        await until(lambda: [each["n"] for each in made.frames] == [0, 1, 2])


@pytest.mark.parametrize("hot", [True, False])
async def test_a_burst_arrives_complete_and_in_order(over_picows: bool, hot: bool) -> None:
    """There are 100,000 small frames and pings between them; the fast decoder leaves every third frame to ccxt."""
    count, frames = 100_000, list[Any]()

    def take(text: str) -> bool:
        if text[2] != "h":
            return False
        frames.append(text)
        return True

    async def burst(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        for start in range(0, count, 1000):
            texts = (
                f'{{"{"cold" if number % 3 == 0 else "hot"}":{number},"filler":"{"x" * 120}"}}'
                for number in range(start, start + 1000)
            )
            request.transport.write(b"".join(map(text_frame, texts)) + frame(b"", 0x89))
            await asyncio.sleep(0)

    async with talking(burst) as url, dialled(url, over_picows, take=take if hot else None, frames=frames) as made:
        await until(lambda: len(frames) >= count, timeout=60)
        came = [json.loads(each) if isinstance(each, str) else each for each in frames]
        assert [next(iter(each.values())) for each in came] == list(range(count))
        assert sum(isinstance(each, str) for each in frames) == (66_666 if hot else 0)
        assert made.bad == []


async def test_a_slow_reader_slows_the_sender_down(over_picows: bool) -> None:
    """64 MB are sent faster than they are read. The sender waits: it is never ahead by more than the sockets hold."""
    size, count, sent, taken, most = 65_536, 1_000, 0, 0, 0

    def take(text: str) -> bool:
        nonlocal most, taken
        most = max(most, sent - taken)
        taken += 1
        return True

    async def flood(request: web.Request, socket: web.WebSocketResponse) -> None:
        nonlocal sent
        for _ in range(count):
            sent += 1
            await socket.send_str("x" * size)

    async with talking(flood, compress=False) as url, dialled(url, over_picows, take=take):
        await until(lambda: taken == count, timeout=60)
        assert most * size < 32_000_000


async def test_other_tasks_run_during_a_burst(over_picows: bool) -> None:
    """20 MB wait in the kernel; other tasks get their turn after every few hundred frames."""
    size, count, turn, came = 1_000, 20_000, 0, list[int]()

    def take(text: str) -> bool:
        came.append(turn)
        return True

    async def flood(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(text_frame("x" * size) * count)

    async def others() -> None:
        nonlocal turn
        while len(came) < count:
            turn += 1
            await asyncio.sleep(0)

    async with talking(flood, compress=False) as url, dialled(url, over_picows, take=take):
        await asyncio.wait_for(others(), 60)
        seen = Counter(each for each in came if each)  # without the frames before the counter began
        assert max(seen.values()) * size < 1_000_000


async def test_an_error_in_the_listener_loses_only_the_frame_at_which_it_occurs(over_picows: bool) -> None:
    def take(text: str) -> bool:
        if "1" in text:
            raise RuntimeError("a listener's own")
        return False

    pad = " " * 130
    async with (
        talking(raw(*(text_frame(f'{{"n":{number}}}{pad}') for number in range(3)))) as url,
        dialled(url, over_picows, take=take) as made,
    ):
        await until(lambda: [each["n"] for each in made.frames] == [0, 2])
        assert len(made.bad) == 1


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 10_000_000])
async def test_frames_of_any_size_are_read(over_picows: bool, size: int) -> None:
    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.send_str("x" * size)

    async with talking(talk) as url, dialled(url, over_picows) as made:
        await until(lambda: made.frames == ["x" * size])


async def test_a_message_above_the_limit_ends_the_connection(
    over_picows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "MOST_MESSAGE_BYTES", 1000)

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.send_str("x" * 900)
        await socket.send_str("x" * 1100)

    async with talking(talk, compress=False) as url, dialled(url, over_picows) as made:
        await until(lambda: made.client.closed() and bool(made.errors))
        assert made.frames == ["x" * 900]


async def test_fragments_are_joined(over_picows: bool) -> None:
    """Control frames may come between fragments, and a character may be split over two fragments."""
    euro = "€".encode()
    frames = (
        frame(b'{"a":"' + euro[:1], 0x01), frame(b"", 0x89), frame(euro[1:], 0x00), frame(b"", 0x00),
        frame(b'"}', 0x80), frame(b'{"b":1}', 0x81),
        frame(b'{"c"', 0x02), frame(b":1}", 0x80),
    )  # fmt: skip
    async with talking(raw(*frames)) as url, dialled(url, over_picows, take=lambda text: False) as made:
        await until(lambda: made.frames == [{"a": "€"}, {"b": 1}, {"c": 1}])


@pytest.mark.parametrize("takeover", [True, False])
async def test_compressed_messages_are_read(over_picows: bool, takeover: bool) -> None:
    """As RFC 7692 allows, there is one window for all messages or a new one for each, and one message is not
    compressed."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        head = {line.split(": ")[0].lower(): line.split(": ")[1] for line in request.split("\r\n")[1:-2]}
        key = head["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        answer = b64encode(sha1(key).digest()).decode()
        more = "" if takeover else "; server_no_context_takeover"
        writer.write(
            f"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {answer}\r\n"
            f"Sec-WebSocket-Extensions: permessage-deflate{more}\r\n\r\n".encode()
        )
        packer = zlib.compressobj(wbits=-15)
        for number in range(50):
            if not takeover:
                packer = zlib.compressobj(wbits=-15)
            text = f'{{"n":{number},"same":"{"same" * 50}"}}'.encode()
            packed = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            writer.write(frame(packed[:5], 0x41) + frame(packed[5:], 0x80))
        writer.write(text_frame('{"n":50}'))
        await reader.read(1)

    async with listening(talk) as at, dialled(f"ws://{at}/", over_picows, take=lambda text: False) as made:
        await until(lambda: [each["n"] for each in made.frames] == list(range(51)))
        assert made.frames[49]["same"] == "same" * 50


BREAKING = {
    "text that is no UTF-8": frame(b"\xff\xfe{}", 0x81),
    "a long text that is no UTF-8": bytes([0x81, 126, 0, 200]) + b"\xff" * 200,
    "an unknown opcode": frame(b"", 0x85),
    "a fragment without a beginning": frame(b"x", 0x80),
    "a message within a message": frame(b"x", 0x01) + frame(b"x", 0x81),
    "a reserved bit": frame(b"x", 0xC1),
    "a frame of 11 MB": bytes([0x81, 127]) + (11_000_000).to_bytes(8, "big") + b"x",
    "too much in fragments": b"".join(
        bytes([0x01 if part == 0 else 0x00, 127]) + (1_000_000).to_bytes(8, "big") + b"x" * 1_000_000
        for part in range(11)
    ),
}


@pytest.mark.parametrize("what", BREAKING)
async def test_a_connection_whose_peer_breaks_the_protocol_ends_with_a_reason(over_picows: bool, what: str) -> None:
    async with (
        talking(raw(BREAKING[what]), compress=False) as url,
        dialled(url, over_picows, take=lambda text: False) as made,
    ):
        await until(lambda: made.client.closed())
        await until(lambda: bool(made.errors))
        assert made.reason
        assert made.frames == made.bad == []


async def test_a_ping_is_answered_with_its_own_text(over_picows: bool) -> None:
    pongs = []

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.ping(b"are you there")
        pongs.append(await socket.receive())

    async with talking(talk) as url, dialled(url, over_picows):
        await until(lambda: bool(pongs))
        assert (pongs[0].type, pongs[0].data) == (WSMsgType.PONG, b"are you there")


async def test_the_answer_to_ccxts_own_ping_is_noted(over_picows: bool) -> None:
    """ccxt's keepalive depends on this."""

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)

    async with talking(talk) as url, dialled(url, over_picows) as made:
        assert made.client.lastPong is None
        await made.client.connection.ping()
        await until(lambda: made.client.lastPong is not None)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 4001])
async def test_a_close_frame_is_reported_with_its_code_after_earlier_messages(over_picows: bool, code: int) -> None:
    answered = asyncio.Event()

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        assert request.transport is not None
        request.transport.write(text_frame('{"last":1}') + close_frame(code, "bye"))
        if (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSING):
            answered.set()

    async with talking(talk, autoclose=False) as url, dialled(url, over_picows) as made:
        await until(lambda: bool(made.codes))
        assert made.codes[0] == code
        assert made.frames == [{"last": 1}]
        async with asyncio.timeout(10):
            await answered.wait()
        await until(made.client.closed)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_an_end_without_a_close_frame_is_reported_with_code_1006(over_picows: bool, how: str) -> None:
    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"last":1}')
        await socket.receive()
        assert request.transport is not None
        getattr(request.transport, how)()

    async with talking(talk) as url, dialled(url, over_picows) as made:
        await until(lambda: made.frames == [{"last": 1}])
        await made.client.send("now")
        await until(lambda: bool(made.codes))
        assert made.codes == [1006]
        assert made.client.closed()
        with pytest.raises(ConnectionError):
            await made.client.send("too late")


async def test_closing_sends_a_close_frame_and_ignores_later_messages(over_picows: bool) -> None:
    told = []

    async def talk(request: web.Request, socket: web.WebSocketResponse) -> None:
        told.append(await socket.receive())
        assert request.transport is not None
        request.transport.write(text_frame('{"late":1}') + close_frame(1000, ""))

    async with talking(talk, autoclose=False) as url, dialled(url, over_picows) as made:
        async with asyncio.timeout(5):
            await made.client.close()
        assert made.client.closed()
        assert (told[0].type, told[0].data) == (WSMsgType.CLOSE, 1000)
        assert made.frames == []


async def test_a_connection_can_be_dropped_without_an_answer_of_the_peer(over_picows: bool) -> None:
    """A peer that has gone does not answer a close frame."""
    ended = asyncio.Event()

    async def deaf(request: web.Request, socket: web.WebSocketResponse) -> None:
        await until(lambda: request.transport is None or request.transport.is_closing())
        ended.set()

    async with talking(deaf) as url, dialled(url, over_picows) as made:
        closing = asyncio.create_task(made.client.close())
        await asyncio.sleep(0)
        abort(made.client)
        async with asyncio.timeout(5):
            await closing
            await ended.wait()
