"""The guard of a ccxt client passes on good frames and rows, and reports bad ones without ending the connection."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType
from ccxt.async_support.base.ws.client import Client

from exchanges.ccxt_adapter.stream.client_guard import SAMPLE, FrameReading, arm
from exchanges.ccxt_adapter.stream.row_caches import Latest, RowCaches
from tests.support import until

Handler = Callable[[Any, Any], None]


def text(data: Any) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, data if isinstance(data, str) else json.dumps(data), None)


class Armed:
    """A real ccxt client that never dials, with the guard; ``handler`` is the function that gets the venue's frames."""

    def __init__(self, handler: Handler, timeout: float = 10.0) -> None:
        self.trades: list[Any] = []
        self.bad: list[str] = []
        self.shown: list[Any] = []
        self.reading = FrameReading()
        self.stores = RowCaches(["BTC/USDT"], self._on_trade)
        self.tickers = Latest(["BTC/USDT"], ["BTC/USDT"], lambda symbol, row: None)
        self.client = Client("wss://venue.example:9443/ws?x=1", handler, *[lambda *args: None] * 3)
        told = (self.bad.append, self.shown.append)
        arm(self.client, self.reading, (self.tickers,), *told, timeout)

    def _on_trade(self, symbol: str, row: Any) -> None:
        self.reading.delivered += 1
        self.trades.append(row)

    def receive(self, *frames: Any) -> None:
        for frame in frames:
            self.client.handle_message(text(frame))


def rows_into(armed: Callable[[], Armed]) -> Handler:
    """A handler like ccxt's: it parses and appends row by row, and raises at the first row that it can't read."""

    def handle(client: Any, frame: Any) -> None:
        store = armed().stores["BTC/USDT"]
        for row in frame["data"]:
            store.append({"id": row["i"], "amount": float(row["v"])})
        client.resolve(store, "trades")

    return handle


@pytest.fixture
async def armed() -> Armed:
    made: list[Armed] = []
    made.append(Armed(rows_into(lambda: made[0])))
    return made[0]


def row(number: int, amount: str = "1.5") -> dict[str, str]:
    return {"i": str(number), "v": amount}


def ids(armed: Armed) -> list[int]:
    return [int(trade["id"]) for trade in armed.trades]


BAD: list[Any] = [None, {}, {"i": "9"}, row(9, "many"), 7, "text", []]


async def test_a_good_frame_passes(armed: Armed) -> None:
    armed.receive({"data": [row(1), row(2)]})
    assert ids(armed) == [1, 2]
    assert armed.bad == []


@pytest.mark.parametrize(
    "frame",
    ["{", '{"data":[{"i":"1"', "{}", '{"data":null}', '{"data":7}', "pong", "", '{"data":[null]}', "[1,2]"],
)
async def test_an_unreadable_frame_is_reported_and_the_next_is_read(armed: Armed, frame: str) -> None:
    armed.receive(frame, {"data": [row(1)]})
    assert ids(armed) == [1]
    assert len(armed.bad) == 1


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_row_affects_no_other_row(armed: Armed, bad: Any, place: int) -> None:
    good = [row(1), row(2)]
    armed.receive({"data": [*good[:place], bad, *good[place:]]})
    assert ids(armed) == [1, 2]
    assert len(armed.bad) == 1


async def test_several_bad_rows_are_reported_one_by_one(armed: Armed) -> None:
    armed.receive({"data": [None, row(1), None, row(2), row(3, "x"), row(4)]})
    assert ids(armed) == [1, 2, 4]
    assert len(armed.bad) == 3


async def test_rows_of_a_frame_are_not_confused_with_rows_of_the_previous_frame(armed: Armed) -> None:
    armed.receive({"data": [row(1), row(2), row(3)]}, {"data": [row(4), None, row(5)]})
    assert ids(armed) == [1, 2, 3, 4, 5]


async def test_the_sample_of_a_bad_frame_is_one_short_line_that_names_the_error(armed: Armed) -> None:
    armed.receive('{"broken":\n "' + "x" * 10_000)
    (sample,) = armed.bad
    assert sample.startswith("JSONDecodeError: {")
    assert "\n" not in sample
    assert len(sample) <= SAMPLE + 40


async def test_bytes_that_are_not_text_are_reported(armed: Armed) -> None:
    armed.client.handle_message(WSMessage(WSMsgType.BINARY, b"\xff\xfe\x00", None))
    assert len(armed.bad) == 1


async def test_each_frame_has_the_time_at_which_it_was_read(armed: Armed) -> None:
    before = time.time_ns()
    armed.receive({"data": [row(1)]})
    first = armed.reading.received_at
    armed.receive({"data": [row(2)]})
    assert before <= first <= armed.reading.received_at <= time.time_ns()
    assert armed.reading.frame == {"data": [row(2)]}


async def test_each_frame_is_passed_on_after_ccxt_has_handled_it(armed: Armed) -> None:
    """The frame may announce that the venue cuts the connection, or have rows that wait for the frame's end."""
    frames = [{"data": [row(1)]}, {"data": [], "e": "serverShutdown"}, {"data": [None]}]
    armed.receive(*frames)
    assert armed.shown == frames
    assert len(armed.bad) == 1


async def test_delivered_rows_resolve_no_future_but_answers_do(armed: Armed) -> None:
    trades = armed.client.future("trades")
    armed.receive({"data": [row(1)]})
    assert not trades.done()
    armed.client.resolve({"success": True}, "trades")
    assert await trades == {"success": True}


@pytest.mark.parametrize(("seconds", "ms"), [(10.0, 10_000), (0.2, 1000), (1.5, 2000)])
async def test_ccxt_gets_whole_seconds_for_the_dial(seconds: float, ms: int) -> None:
    """ccxt would round a time below one second down to zero."""
    assert Armed(lambda client, frame: None, timeout=seconds).client.connectionTimeout == ms


class Reader:
    """The part of an aiohttp connection that ccxt's client reads: waiting messages with their sizes."""

    closed = False

    def __init__(self, *waiting: tuple[WSMessage, int]) -> None:
        self._buffer = deque(waiting)
        self._conn = self.protocol = self._payload = self
        self.read: list[tuple[WSMessage, int]] = []

    async def receive(self) -> WSMessage:
        if not self._buffer:
            await asyncio.Event().wait()
        self.read.append(self._buffer.popleft())
        return self.read[-1][0]


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_waiting_messages_are_read_in_order_and_counted(armed: Armed, count: int) -> None:
    """aiohttp stops reading if its count of waiting bytes never falls, so the guard must count sizes as ccxt's loop
    does."""
    read = []
    own = Client("wss://venue.example", lambda client, frame: None, *[lambda *args: None] * 3)
    for client in (armed.client, own):
        client.connection = Reader(*((text({"data": [row(number)]}), 100 + number) for number in range(count)))
        client.asyncio_loop = asyncio.get_running_loop()
        client.receive_loop()
        await until(lambda client=client: client.connection.read and not client.connection._buffer)  # type: ignore[misc] # mypy cannot check a lambda with a default
        read.append([size for _, size in client.connection.read])
        client.connection.closed = True
    assert ids(armed) == list(range(count))
    assert read[0] == read[1]
    assert read[0][0] >= sum(range(100, 100 + count))


async def test_a_frame_that_the_fast_decoder_takes_never_reaches_ccxt() -> None:
    """A frame that the decoder does not take reaches ccxt unchanged."""
    frames: list[Any] = []
    taken: list[str] = []
    told: list[Any] = []
    reading = FrameReading()
    client = Client("wss://venue.example", lambda client, frame: frames.append(frame), *[lambda *args: None] * 3)

    def take(data: str) -> bool:
        if '"hot"' not in data:
            return False
        taken.append(data)
        return True

    arm(client, reading, (), told.append, told.append, 10.0, lambda blame: take)
    client.handle_message(text({"hot": 1}))
    client.handle_message(text({"cold": 1}))
    client.handle_message(WSMessage(WSMsgType.BINARY, b'{"hot":2}', None))
    assert taken == ['{"hot": 1}']
    assert frames == told == [{"cold": 1}, {"hot": 2}]
