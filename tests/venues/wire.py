"""A venue on loopback that follows its script and enforces its rules, with HTTP and WebSocket on one port."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from pkgutil import iter_modules
from time import monotonic, time_ns
from typing import Any, Literal, Protocol, cast

import pytest
from aiohttp import WSMsgType, web

from tests.support import PATIENCE
from tests.venues.books import depth as books
from tests.venues.books.depth import Change, Depth
from tests.venues.market import Day, Deal, VenueCandle

Frame = str | bytes | dict[str, Any] | list[Any]  # dicts and lists are sent as JSON
Topic = tuple[str, str]  # channel and coin


@dataclass(frozen=True, slots=True)
class VenueLaws:
    """A venue's limits, from its documentation; None if there is no such limit. Times in seconds."""

    messages: tuple[int, float] | None = None  # (messages of the client, within seconds), per connection
    dials: tuple[int, float] | None = None  # (dials, within seconds)
    batch: int | None = None  # topics in one request
    size: int | None = None  # characters in one request
    topics: int | None = None  # topics per connection
    requests: int | None = None  # requests with topics, per connection
    replaces: bool = False  # each request for topics replaces the previous one
    settle: float = 0.0  # least time between the dial and the client's first message
    subscribe_within: float | None = None  # longest time between the dial and the first subscription
    ping_within: float | None = None  # longest time without a message of the client
    paths: Mapping[str, str] = field(default_factory=dict)  # channel -> the only path with this channel
    token: str = ""  # the "token" that a dial's query must have
    wanted: Collection[str] = ()  # channels without a coin that a client must subscribe to


class Script(Protocol):
    """The functions that a module of this package must have to be a venue's script."""

    LAWS: VenueLaws
    LACKS: Collection[str]
    """What the venue lacks: the fields "timestamp", "turnover" and "change" of its tickers, and the channels "candles"
    and "ticker"."""
    SENDS_OLD_TRADES: bool
    """Whether a subscription is answered with earlier trades."""
    REFUSES_WHOLE: bool
    """Whether a request with one wrong market is refused as a whole."""
    GREETING: Sequence[Frame]
    """Frames that the venue sends to a client that has just connected."""
    HEARTBEATS: Sequence[Frame]
    """Frames without data that the venue sends by itself."""

    def rest(self, path: str, query: Mapping[str, str], wire: Wire) -> Any:
        """The answer to a REST request, or None if there is no such path; ``query`` has the body if the request has
        one."""

    def asked(self, request: Any) -> Iterable[Topic]:
        """The topics that a client's frame subscribes to; the coin is "" for a channel without a coin."""

    def answer(self, request: Any, wire: Wire) -> Iterable[Frame]:
        """The venue's immediate answers to a client's frame: confirmations, errors, pongs, snapshots."""

    def trades(self, deals: Sequence[Deal]) -> Iterable[Frame]:
        """Frames for new trades of one coin, as few as the venue would send."""

    def ticker(self, day: Day) -> Iterable[Frame]: ...

    def candle(self, candle: VenueCandle) -> Iterable[Frame]: ...


def names() -> list[str]:
    """The names of the scripts: all modules of this package except the harness and the tests."""
    modules = {module.name for module in iter_modules([str(Path(__file__).parent)])}
    return sorted(
        modules
        - {"books", "conftest", "contract", "market", "wire"}
        - {name for name in modules if name.startswith("test_")}
    )


def script(name: str) -> Script:
    return cast(Script, import_module(f"tests.venues.{name}"))


def venue_name(name: str) -> str:
    """The venue of a script: its VENUE, which scripts for other market types have, or the script's own name."""
    return str(getattr(script(name), "VENUE", name))


def market_type(name: str) -> Literal["spot", "swap"]:
    """The market type, from the script's MARKET_TYPE."""
    return "swap" if getattr(script(name), "MARKET_TYPE", "spot") == "swap" else "spot"


def options(name: str) -> dict[str, Any]:
    """Options with which ccxt sends its messages faster, because the script's rules are faster by the same factor."""
    return dict(getattr(script(name), "OPTIONS", {}))


def pace(name: str) -> float:
    """The factor by which ccxt sends faster here, from the script's PACE; the rules are scaled by the same factor."""
    return float(getattr(script(name), "PACE", 1.0))


def quotes(name: str) -> Sequence[str]:
    """The quote currencies for the settings: the usual ones, or the script's QUOTES if the venue has none of them."""
    return tuple(getattr(script(name), "QUOTES", ("USDT", "USDC", "USD")))


def dialled(name: str, request: web.Request) -> Iterable[Topic]:
    """The topics in a dial's address, for venues whose addresses have topics."""
    by_address: Any = getattr(script(name), "dialled", None)
    return [] if by_address is None else by_address(request.path, request.query)


def refuses_silently(name: str) -> bool:
    """Whether the venue does not answer for a market that it does not list, from the script's REFUSES_SILENTLY."""
    return bool(getattr(script(name), "REFUSES_SILENTLY", False))


def sends_old_candles(name: str) -> bool:
    """Whether the venue answers a subscription to candles with earlier candles, from the script's SENDS_OLD_CANDLES."""
    return bool(getattr(script(name), "SENDS_OLD_CANDLES", False))


def trade_id(name: str, number: int) -> str:
    """A trade's id as the venue writes it: the number, or the result of the script's ``trade_id``."""
    spelled: Any = getattr(script(name), "trade_id", str)
    return str(spelled(number))


def server_time(path: str, query: Mapping[str, str], now: int) -> Any:
    """The venues' documented answers to requests for their time (``now``, Unix ms)."""
    if path == "/info":  # Hyperliquid has one address for all requests
        return {"specialStatuses": None, "time": now} if query.get("type") == "exchangeStatus" else None
    if path == "/timestamp":  # Poloniex
        return {"serverTime": now}
    answers = {
        "/api/v3/time": {"serverTime": now},  # Binance, MEXC
        "/fapi/v1/time": {"serverTime": now},
        "/v5/market/time": {
            "retCode": 0,
            "retMsg": "OK",
            "result": {"timeSecond": str(now // 1000), "timeNano": f"{now}000000"},
            "retExtInfo": {},
            "time": now,
        },
        "/api/v5/public/time": {"code": "0", "data": [{"ts": str(now)}], "msg": ""},
        "/api/v4/spot/time": {"server_time": now},
        "/api/v2/public/time": {
            "code": "00000",
            "msg": "success",
            "requestTime": now,
            "data": {"serverTime": str(now)},
        },
        "/v1/common/timestamp": {"status": "ok", "data": now},
        "/0/public/Time": {"error": [], "result": {"unixtime": now // 1000, "rfc1123": ""}},
        "/api/v1/timestamp": {"code": "200000", "msg": "success", "data": now},
        "/v2/time": {"data": {"epoch": now // 1000, "iso": ""}},
        "/time": {"epoch": now / 1000, "iso": ""},  # Coinbase Exchange
    }
    return answers.get(path)


class Window:
    """Counts events within a span of seconds."""

    def __init__(self, limit: tuple[int, float] | None) -> None:
        self._most, self._span = limit or (1 << 62, 1.0)
        self._times: deque[float] = deque()

    def exceeded(self) -> bool:
        """Count one more event; returns whether there are too many."""
        now = monotonic()
        self._times.append(now)
        while self._times[0] <= now - self._span:
            self._times.popleft()
        return len(self._times) > self._most


class Connection:
    """One client's WebSocket and its subscriptions."""

    def __init__(
        self, path: str, socket: web.WebSocketResponse, transport: asyncio.Transport | None, laws: VenueLaws
    ) -> None:
        self.path = path
        self.socket = socket
        self.transport = transport
        self.opened = monotonic()
        self.topics: set[Topic] = set()
        self.asked = 0  # requests that subscribed to something
        self.numbers = count()  # numbers the connection's frames, if the venue numbers them
        self.messages = Window(laws.messages)

    def numbered(self, frames: Iterable[Frame], counted: str) -> list[Frame]:
        """The frames, numbered in the field that ``counted`` names, if the venue numbers a connection's frames."""
        return [
            {**frame, counted: next(self.numbers)} if isinstance(frame, dict) and counted in frame else frame
            for frame in frames
        ]

    async def send(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, bytes):
                await self.socket.send_bytes(frame)
            else:
                await self.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))


class Wire:
    """One venue. ``refused`` coins get its error answer; ``history`` and ``old_candles`` have trades and candles from
    before the subscription, oldest first.

    Tests can read ``violations`` of the rules, ``dials``, ``requests`` (the client's frames), ``missing`` (REST
    requests that the script has no answer for).
    """

    def __init__(self, name: str, port_of: web.AppRunner) -> None:
        self.name = name
        self.script = script(name)
        self.books: Any = books.script(name) if name in books.names() else None
        self.depths: dict[str, Depth] = {}
        self.refused: set[str] = set()
        self.history: dict[str, list[Deal]] = {}
        self.old_candles: dict[str, list[VenueCandle]] = {}
        self.violations: list[str] = []
        self.requests: list[Any] = []
        self.missing: list[str] = []
        self.dials = 0
        self.began = time_ns() // 1_000_000
        self.connections: list[Connection] = []
        self._runner = port_of
        self._dialled = Window(self.script.LAWS.dials)
        self._stirred = asyncio.Event()
        self._broken: Exception | None = None  # the error of a script that does not know a client's frame

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._runner.addresses[0][1]}"

    @property
    def topics(self) -> set[Topic]:
        """All topics to which open connections are subscribed."""
        return {topic for connection in self.connections for topic in connection.topics}

    async def until_told(self, request: Any) -> None:
        """Wait until the client has sent this frame."""
        async with asyncio.timeout(PATIENCE):
            while request not in self.requests:
                self._stirred.clear()
                await self._stirred.wait()

    async def until_asked(self, topics: Collection[Topic]) -> None:
        """Wait until the client has subscribed to all of these topics."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not self.topics.issuperset(topics):
                    if self._broken is not None:
                        raise self._broken
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            raise AssertionError(
                f"not asked for: {sorted(set(topics) - self.topics)}; requests {self.requests[-5:]}, "
                f"REST without an answer {self.missing}"
            ) from None

    async def say(self, channel: str, coin: str, frames: Iterable[Frame]) -> None:
        """Send frames to the subscribers of a topic."""
        for connection in self.connections:
            if (channel, coin) in connection.topics:
                await connection.send(connection.numbered(frames, self._counted))

    def told(self, changes: Iterable[Change]) -> list[list[tuple[Connection, list[Frame]]]]:
        """The receivers and frames of each change of a book; the venue's books become those after the changes."""
        steps = []
        for change in changes:
            self.depths[change.coin] = change.after
            frames = self.books.change(change)
            if getattr(self.books, "PACKED", False):
                frames = [gzip.compress(json.dumps(frame).encode()) for frame in frames]
            listening = [each for each in self.connections if ("books", change.coin) in each.topics]
            steps.append([(each, each.numbered(frames, self._counted)) for each in listening])
        return steps

    async def change(self, *changes: Change) -> None:
        """Send changes of a book to its subscribers."""
        for step in self.told(changes):
            for connection, frames in step:
                await connection.send(frames)

    @property
    def _counted(self) -> str:
        return str(getattr(self.books, "COUNTED", ""))

    async def say_all(self, frames: Iterable[Frame]) -> None:
        for connection in self.connections:
            await connection.send(frames)

    def cut(self) -> None:
        """End every connection without a close frame."""
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.abort()
        self.connections.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve(request)
        query = await request.json() if request.can_read_body else request.query
        body = self.script.rest(request.path, query, self)
        if body is None and hasattr(self.books, "rest"):
            body = self.books.rest(request.path, query, self.depths)
        if body is None:
            body = server_time(request.path, query, time_ns() // 1_000_000)
        if body is None:
            self.missing.append(request.path_qs)
            return web.json_response({}, status=404)
        return web.json_response(body)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.dials += 1
        if self._dialled.exceeded():
            self.violations.append(f"too many dials: {self.dials}")
        if self.script.LAWS.token != request.query.get("token", ""):
            self.violations.append(f"dialled with the token {request.query.get('token')!r}")
        socket = web.WebSocketResponse(compress=False, timeout=0.1)
        await socket.prepare(request)
        connection = Connection(request.path, socket, request.transport, self.script.LAWS)
        connection.topics.update(dialled(self.name, request))
        self._stirred.set()
        self.connections.append(connection)
        await connection.send(self.script.GREETING)
        if hasattr(self.books, "dialled"):
            for coin in self.books.dialled(request.path, request.query):
                connection.topics.add(("books", coin))
                await connection.send(connection.numbered(self.books.opening(self.depths[coin]), self._counted))
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._receive(connection, message.data)
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
        return socket

    async def _receive(self, connection: Connection, text: str) -> None:
        try:
            request = json.loads(text)
        except ValueError:
            request = text  # some venues' pings are no JSON
        self.requests.append(request)
        if self.books is not None and await self._receive_for_books(connection, request):
            return
        try:
            asked = list(self.script.asked(request))
            answers = list(self.script.answer(request, self))
        except Exception as error:  # noqa: BLE001 - a script's mistake must fail the test, not the connection
            self._broken = error
            asked, answers = [], []
        self._judge(connection, asked, len(text))
        good = [topic for topic in asked if topic[1] not in self.refused]
        if len(good) == len(asked) or not self.script.REFUSES_WHOLE:
            if asked and self.script.LAWS.replaces:
                connection.topics.clear()
            connection.topics.update(good)
        await connection.send(connection.numbered(answers, self._counted))
        self._stirred.set()

    async def _receive_for_books(self, connection: Connection, request: Any) -> bool:
        """Answer a request for books; returns False for any other request."""
        books, frames = self.books, None
        coins = books.wanted(request) if hasattr(books, "wanted") else []
        gone = books.unwanted(request) if hasattr(books, "unwanted") else []
        if coins:
            connection.topics.update(("books", coin) for coin in coins)
            plain = [frame for coin in coins for frame in books.opening(self.depths[coin])]
            frames = books.answer(request, self.depths) if hasattr(books, "answer") else plain
        elif gone:
            connection.topics.difference_update(("books", coin) for coin in gone)
            frames = books.left(request)
        elif hasattr(books, "reply"):
            frames = books.reply(request, self.depths)
        if not frames:
            return False
        if getattr(books, "PACKED", False):
            frames = [gzip.compress(json.dumps(frame).encode()) for frame in frames]
        await connection.send(connection.numbered(frames, self._counted))
        self._stirred.set()
        return True

    def _judge(self, connection: Connection, asked: Collection[Topic], size: int) -> None:
        """Note each rule that is broken by a frame of ``size`` characters."""
        laws, violate = self.script.LAWS, self.violations.append
        if laws.size is not None and size > laws.size:
            violate(f"{size} characters in one request")
        if connection.messages.exceeded():
            violate(f"more than {laws.messages} messages")
        if laws.batch is not None and len(asked) > laws.batch:
            violate(f"{len(asked)} topics in one request")
        if laws.topics is not None and len(connection.topics.union(asked)) > laws.topics:
            violate(f"more than {laws.topics} topics on one connection")
        connection.asked += bool(asked)
        if laws.requests is not None and connection.asked > laws.requests:
            violate(f"more than {laws.requests} requests for topics on one connection")
        late = monotonic() - connection.opened
        if late < laws.settle:
            violate(f"the first message came {late:.2f} s after the dial")
        if laws.subscribe_within is not None and not connection.topics and late > laws.subscribe_within:
            violate(f"the first subscription came after {late:.1f} s")
        for channel, coin in asked:
            if connection.path != laws.paths.get(channel, connection.path):
                violate(f"{channel} of {coin} asked for on {connection.path}")


@asynccontextmanager
async def venue(name: str) -> AsyncIterator[Wire]:
    """The venue whose script is ``tests/venues/<name>.py``, on a port of its own."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    wire = Wire(name, runner)
    app.router.add_route("*", "/{path:.*}", wire.handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            # ccxt's clock runs faster; if messages cost less instead, ccxt would send bursts after each pause
            patch.setattr(import_module("ccxt.async_support.base.throttler"), "time", lambda: pace(name) * monotonic())
            yield wire
    finally:
        await runner.cleanup()
