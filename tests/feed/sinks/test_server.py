"""The server over real sockets: a feed on the simulator, real clients, and what it does to bad ones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from exchanges.simulator import SimulatedVenue, Simulator
from feed import FeedError, MarketFeed
from feed.settings import Settings, Staleness
from feed.sinks.server import app as server_app
from feed.sinks.server import event_log, streams
from feed.sinks.server.app import Server
from feed.sinks.server.openapi import description
from tests.support import settings_for, until

TOKEN = "correct-horse-battery-staple"
Json = dict[str, Any]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), rate=200.0) as simulator:
        yield simulator


@pytest.fixture
def venue(simulator: Simulator) -> SimulatedVenue:
    return simulator["binance"]


@pytest.fixture
def settings(simulator: Simulator) -> Settings:
    return settings_for(simulator, staleness=Staleness(feed_stale_after=1, coin_stale_after=2))


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[MarketFeed]:
    feed = MarketFeed(settings=settings)
    yield feed
    await feed.disconnect()


@pytest.fixture
async def server(feed: MarketFeed, settings: Settings) -> AsyncIterator[Server]:
    async with Server(feed, settings, port=0) as server:
        await feed.connect()
        await until(lambda: len(feed.get_all_prices()) == 2)
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(30)) as session:
        yield session


async def get(http: aiohttp.ClientSession, path: str, **more: Any) -> tuple[int, Any]:
    async with http.get(path, **more) as answer:
        return answer.status, await answer.json()


# --- REST


async def test_prices_are_those_of_the_feed(http: aiohttp.ClientSession, feed: MarketFeed) -> None:
    status, price = await get(http, "/v1/prices/btc")
    assert status == 200
    assert set(price) == set(feed.get_all_prices()["BTC"].__slots__)
    assert (price["coin"], price["exchange"], price["market"]) == ("BTC", "binance", "BTC/USDT")
    status, prices = await get(http, "/v1/prices")
    assert (status, set(prices)) == (200, {"BTC", "ETH"})
    assert all(price["fresh"] and price["reason"] == "" for price in prices.values())


async def test_a_price_that_is_not_fresh_is_503_with_the_reason(
    http: aiohttp.ClientSession, venue: SimulatedVenue, feed: MarketFeed
) -> None:
    with venue.stalled():
        await until(lambda: feed.status.state == "stale")
        status, answer = await get(http, "/v1/prices/BTC")
        assert status == 503
        assert "silent" in answer["error"]
        prices = (await get(http, "/v1/prices"))[1]
        assert not prices["BTC"]["fresh"]
        assert "silent" in prices["BTC"]["reason"]
        assert (await get(http, "/v1/volatility/BTC"))[0] == 503
    status, answer = await get(http, "/v1/prices/BTC?max_age=0.000001")
    assert (status, answer["limit"]) == (503, 0.000001)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/prices/NOPE", 404),
        ("/v1/candles/NOPE", 404),
        ("/v1/volatility/NOPE", 404),
        ("/v1/nothing", 404),
        ("/v1/prices/BTC?max_age=nan", 400),
        ("/v1/prices/BTC?max_age=-1", 400),
        ("/v1/candles/BTC?limit=0", 400),
        ("/v1/candles/BTC?limit=1e9", 400),
        ("/v1/candles/BTC?timeframe=7q", 400),
        ("/v1/volatility/BTC?window=2", 400),
        ("/v1/events?channels=nothing", 400),
        ("/v1/events?coins=NOPE", 400),
        ("/v1/events?on_full=panic", 400),
        ("/v1/stream", 426),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(http: aiohttp.ClientSession, path: str, status: int) -> None:
    found, answer = await get(http, path)
    assert (found, list(answer)) == (status, ["error"])
    assert answer["error"]


async def test_candles_health_status_and_volatility(http: aiohttp.ClientSession) -> None:
    status, candles = await get(http, "/v1/candles/BTC?timeframe=1m&limit=5")
    assert status == 200
    assert [candle["closed"] for candle in candles] == [True] * 4 + [False]
    status, health = await get(http, "/health")
    assert (status, health["status"]) == (200, "healthy")
    status, found = await get(http, "/v1/status")
    assert (status, found["state"], found["coins"]) == (200, "live", ["BTC", "ETH"])
    assert (await get(http, "/v1/volatility/BTC?window=3"))[0] == 200
    async with http.post("/v1/status") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_health_is_503_once_the_feed_has_failed(http: aiohttp.ClientSession, feed: MarketFeed) -> None:
    await feed.disconnect()
    status, health = await get(http, "/health")
    assert (status, health["status"]) == (503, "failed")
    assert (await get(http, "/v1/prices/BTC"))[0] == 503


async def test_metrics_are_there(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        assert 'market_feed_events_total{channel="trades",exchange="binance"}' in await answer.text()


async def test_the_description_is_valid_and_names_every_path(http: aiohttp.ClientSession, server: Server) -> None:
    status, document = await get(http, "/v1/openapi.json")
    assert (status, document) == (200, description())
    validate(document)
    assert server._runner is not None
    served = {resource.canonical for resource in server._runner.app.router.resources()}
    assert served - set(document["paths"]) == {"/", "/v1/openapi.json", "/v1/stream"}


# --- the WebSocket


async def subscribed(http: aiohttp.ClientSession, **wanted: Any) -> tuple[aiohttp.ClientWebSocketResponse, Json]:
    ws = await http.ws_connect("/v1/stream")
    await ws.send_json({"op": "subscribe", "channels": ["prices"], **wanted})
    return ws, await ws.receive_json(timeout=10)


async def test_a_snapshot_and_then_every_event_numbered(http: aiohttp.ClientSession, venue: SimulatedVenue) -> None:
    ws, snapshot = await subscribed(http, channels=["prices", "trades", "status"], coins=["btc"])
    assert (snapshot["type"], snapshot["coins"], set(snapshot["prices"])) == ("snapshot", ["BTC"], {"BTC"})
    assert snapshot["prices"]["BTC"]["fresh"]
    assert snapshot["status"]["state"] == "live"
    events = [await ws.receive_json(timeout=10) for _ in range(100)]
    assert [event["seq"] for event in events] == list(range(snapshot["seq"] + 1, snapshot["seq"] + 101))
    assert {event["type"] for event in events} == {"price", "trade"}
    assert {event["coin"] for event in events} == {"BTC"}
    ids = [int(event["trade_id"]) for event in events if event["type"] == "trade"]
    made = [trade.id for trade in venue.tape["BTC"]]
    assert ids == made[made.index(ids[0]) :][: len(ids)]
    venue.cut()
    while (event := await ws.receive_json(timeout=10))["type"] != "status":
        pass
    assert event["event"] == "disconnected"
    await ws.close()


async def test_resume_goes_on_without_a_loss_and_says_where_it_cannot(http: aiohttp.ClientSession) -> None:
    ws, snapshot = await subscribed(http, channels=["trades"])
    events = [await ws.receive_json(timeout=10) for _ in range(10)]
    await ws.close()
    again = await http.ws_connect("/v1/stream")
    await again.send_json({"op": "resume", "seq": events[-1]["seq"]})
    events += [await again.receive_json(timeout=10) for _ in range(20)]
    assert [event["seq"] for event in events] == list(range(snapshot["seq"] + 1, snapshot["seq"] + 31))
    ids: dict[str, list[int]] = {}
    for event in events:
        ids.setdefault(event["coin"], []).append(int(event["trade_id"]))
    assert all(each == list(range(each[0], each[0] + len(each))) for each in ids.values())
    await again.send_json({"op": "resume", "seq": 7})
    while (event := await again.receive_json(timeout=10))["type"] == "trade":
        pass
    assert event == {"type": "snapshot_required", "seq": 7}
    await again.close()


async def test_quotes_come_though_the_settings_do_not_name_them(http: aiohttp.ClientSession) -> None:
    ws, _ = await subscribed(http, channels=["quotes"])
    assert (await ws.receive_json(timeout=20))["type"] == "quote"
    await ws.close()


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        '{"op":"fly"}',
        '{"op":"subscribe"}',
        '{"op":"subscribe","channels":[]}',
        '{"op":"subscribe","channels":["moons"]}',
        '{"op":"subscribe","channels":[1]}',
        '{"op":"subscribe","channels":["prices"],"coins":["NOPE"]}',
        '{"op":"subscribe","channels":["prices"],"on_full":"panic"}',
        '{"op":"subscribe","channels":["prices"],"on_full":["latest"]}',
        '{"op":"resume"}',
        '{"op":"resume","seq":true}',
        "[" * 10_000,
    ],
)
async def test_a_wrong_message_is_answered_and_the_connection_stays(http: aiohttp.ClientSession, message: str) -> None:
    ws = await http.ws_connect("/v1/stream")
    await ws.send_str(message)
    answer = await ws.receive_json(timeout=10)
    assert (answer["type"], list(answer)) == ("error", ["type", "error"])
    await ws.send_json({"op": "subscribe", "channels": ["prices"]})
    assert (await ws.receive_json(timeout=10))["type"] == "snapshot"
    await ws.close()


async def test_too_large_or_too_many_messages_end_the_connection(http: aiohttp.ClientSession) -> None:
    ws = await http.ws_connect("/v1/stream")
    await ws.send_str("x" * (streams.MESSAGE + 1))
    await ws.receive(timeout=10)
    assert ws.close_code == 1009
    ws = await http.ws_connect("/v1/stream")
    for _ in range(streams.REQUESTS + 1):
        await ws.send_str("x")
    while not ws.closed:
        await ws.receive(timeout=10)
    assert ws.close_code == 1008


async def test_the_end_of_the_server_is_1001(feed: MarketFeed, settings: Settings) -> None:
    async with Server(feed, settings, port=0) as server, aiohttp.ClientSession(server.url) as http:
        ws, _ = await subscribed(http)
        ending = asyncio.create_task(server.close())
        while not ws.closed:
            await ws.receive(timeout=10)
        await ending
        assert ws.close_code == 1001


# --- clients that are too slow


async def stalled_client(server: Server, on_full: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket that has subscribed to all trades and reads nothing, with little room in its socket."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    text = json.dumps({"op": "subscribe", "channels": ["trades", "prices"], "on_full": on_full}).encode()
    writer.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)  # masked with zeros
    await writer.drain()
    return reader, writer


async def frame_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte of a frame, and what it carries."""
    kind, size = await reader.readexactly(2)
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return kind, await reader.readexactly(size)


async def frames_of(reader: asyncio.StreamReader) -> tuple[list[Json], int | None]:
    """All text frames until the close frame, and its code."""
    texts: list[Json] = []
    while True:
        kind, payload = await frame_of(reader)
        if kind == 0x88:
            return texts, int.from_bytes(payload[:2], "big")
        if kind == 0x81:
            texts.append(json.loads(payload))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a client is behind soon."""
    monkeypatch.setattr(event_log, "KEPT", 2000)


@pytest.mark.usefixtures("small")
async def test_a_client_that_asked_for_an_error_is_closed_with_1008(server: Server, venue: SimulatedVenue) -> None:
    reader, writer = await stalled_client(server, "error")
    await until(lambda: server._broadcast.clients == 1)
    flooding = asyncio.create_task(venue.burst(100_000, coins=["BTC", "ETH"]))
    await until(lambda: bool(server._streams and server._streams._tasks), 60)
    texts, code = await asyncio.wait_for(frames_of(reader), 60)
    flooding.cancel()
    await asyncio.wait({flooding})
    assert code == 1008
    assert [text["seq"] for text in texts] == list(range(texts[0]["seq"], texts[0]["seq"] + len(texts)))
    writer.close()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("on_full", ["drop_oldest", "latest"])
async def test_a_stalled_client_costs_others_nothing_and_is_up_to_date_when_it_reads_again(
    server: Server, http: aiohttp.ClientSession, venue: SimulatedVenue, on_full: str
) -> None:
    reader, writer = await stalled_client(server, on_full)
    ws, snapshot = await subscribed(http, channels=["trades", "prices"])
    seen: dict[str, int] = {}
    newest: dict[str, int] = {}
    expected = snapshot["seq"]
    for _ in range(40):
        await venue.burst(500, coins=["BTC", "ETH"])
        newest = {coin: venue.tape[coin][-1].id for coin in ("BTC", "ETH")}
        while any(seen.get(coin, 0) < newest[coin] for coin in newest):  # the other client gets each of them
            event = await ws.receive_json(timeout=10)
            expected += 1
            assert event["seq"] == expected
            if event["type"] == "trade":
                seen[event["coin"]] = int(event["trade_id"])
    (client,) = server._broadcast._full
    assert client.transport.get_write_buffer_size() < 300_000
    ending: dict[str, int] = {}

    async def read() -> None:
        while any(ending.get(coin, 0) < newest[coin] for coin in newest):
            event = json.loads((await frame_of(reader))[1])
            if event["type"] == "trade":
                ending[event["coin"]] = int(event["trade_id"])

    await asyncio.wait_for(read(), 30)
    writer.close()
    await ws.close()


# --- Server-Sent Events


async def read_events(answer: aiohttp.ClientResponse, count: int) -> list[tuple[str, Json]]:
    """The ids and data of the first ``count`` events, without heartbeats."""
    found: list[tuple[str, Json]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = (await asyncio.wait_for(answer.content.readline(), 10)).decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields and "event" not in fields:
            found.append((fields["id"], json.loads(fields["data"])))
        fields = {}
    return found


async def test_server_sent_events_go_on_after_the_last_event_id(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/events?channels=trades&coins=BTC") as answer:
        assert answer.content_type == "text/event-stream"
        events = await read_events(answer, 10)
    assert events[0][1]["type"] == "snapshot"
    async with http.get("/v1/events?channels=trades&coins=BTC", headers={"Last-Event-ID": events[-1][0]}) as answer:
        events += await read_events(answer, 10)
    seqs = [int(number) for number, _ in events]
    assert seqs == list(range(seqs[0], seqs[0] + 20))
    assert [event["seq"] for _, event in events] == seqs
    async with http.get("/v1/events?channels=trades&coins=BTC", headers={"Last-Event-ID": "12"}) as answer:
        assert (await read_events(answer, 1))[0][1]["type"] == "snapshot"


async def test_heartbeats_say_that_the_feed_is_stale(http: aiohttp.ClientSession, venue: SimulatedVenue) -> None:
    async with http.get("/v1/events?channels=status") as answer:
        with venue.stalled():
            async with asyncio.timeout(15):
                async for line in answer.content:
                    if b'"state":"stale"' in line and b'"heartbeat"' in line:
                        break
        beat = json.loads(line.removeprefix(b"data: "))
        assert not beat["coins"]["BTC"]["fresh"]


# --- who may ask


async def test_a_token_guards_everything_but_health(feed: MarketFeed, settings: Settings) -> None:
    async with Server(feed, settings, port=0, token=TOKEN) as server, aiohttp.ClientSession(server.url) as http:
        assert (await get(http, "/health"))[0] == 503
        for path in ("/v1/status", "/v1/openapi.json", "/metrics", "/v1/events", "/v1/stream", "/nothing"):
            assert (await get(http, path))[0] == 401
            assert (await get(http, path, headers={"Authorization": f"Bearer {TOKEN}x"}))[0] == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert (await get(http, "/v1/status", headers=right))[0] == 200
        basic = {"Authorization": "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()}
        assert (await get(http, "/v1/status", headers=basic))[0] == 200
        async with http.ws_connect("/v1/stream", protocols=[f"bearer.{TOKEN}"]) as ws:
            assert ws.protocol == f"bearer.{TOKEN}"
        async with http.ws_connect("/v1/stream", headers=right) as ws:
            await ws.send_json({"op": "subscribe", "channels": ["prices"]})
            assert (await ws.receive_json(timeout=10))["type"] == "snapshot"
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await http.ws_connect("/v1/stream", protocols=["bearer.wrong"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[x"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost"}, 200),
    ],
)
async def test_a_page_of_another_host_may_not_ask(http: aiohttp.ClientSession, headers: Json, status: int) -> None:
    assert (await get(http, "/v1/status", headers=headers))[0] == status


async def test_pages_that_were_named_and_the_servers_own_may_ask(feed: MarketFeed, settings: Settings) -> None:
    origins = ["https://bots.example"]
    async with Server(feed, settings, port=0, origins=origins) as server, aiohttp.ClientSession(server.url) as http:
        for origin in (*origins, server.url.rstrip("/")):
            assert (await get(http, "/v1/status", headers={"Origin": origin}))[0] == 200


def test_another_host_needs_a_token(feed: MarketFeed, settings: Settings) -> None:
    with pytest.raises(FeedError, match=r"host: found '0.0.0.0' without a token"):
        Server(feed, settings, host="0.0.0.0")


# --- bounds


async def test_a_connection_without_a_request_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "FIRST_REQUEST", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /v1/status HTT")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_connections_and_clients_are_bounded(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CLIENTS", 2)
    sockets = [await http.ws_connect("/v1/stream") for _ in range(2)]
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await http.ws_connect("/v1/stream")
    monkeypatch.setattr(server_app, "CONNECTIONS", 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    for ws in sockets:
        await ws.close()


# --- the command


async def market_feed(*argv: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "feed", *argv, stdout=pipe, stderr=pipe)


async def test_serve_says_where_and_ends_on_sigterm_with_1001(simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(simulator.settings_yaml())
    process = await market_feed("serve", "BTC", "--port", "0", "--settings", str(file))
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        url = line.removeprefix("serving at ").strip()
        async with aiohttp.ClientSession(url) as http:
            ws, snapshot = await subscribed(http)
            assert snapshot["coins"] == ["BTC"]
            assert (await ws.receive_json(timeout=30))["type"] == "price"
            process.send_signal(signal.SIGTERM)
            while not ws.closed:
                await ws.receive(timeout=10)
            assert ws.close_code == 1001
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--host", "0.0.0.0"], "without a token"),
        (["--token-file", "missing"], "No such file"),
        (["--token-file", "short"], "16 to 256"),
    ],
)
async def test_serve_refuses_what_would_be_unsafe(tmp_path: Path, argv: list[str], words: str) -> None:
    (tmp_path / "short").write_text("secret")
    argv = [str(tmp_path / each) if each in ("missing", "short") else each for each in argv]
    process = await market_feed("serve", "--port", "0", *argv)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (2, b"")
    assert words in err.decode()
    assert b"Traceback" not in err
