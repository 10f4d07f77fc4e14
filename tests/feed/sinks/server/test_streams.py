"""The WebSocket and Server-Sent Events over real sockets, with fast and slow clients."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed
from feed.settings import Settings
from feed.sinks.server import broadcast, event_log, messages, streams
from feed.sinks.server.app import Server
from feed.sinks.server.broadcast import Broadcast
from tests.feed.sinks.server.support import Json, frame_of, read_events, soon_stale, stalled_client, subscribed
from tests.support import settings_for, until


async def test_a_client_gets_a_snapshot_and_then_every_event_with_a_number(
    http: aiohttp.ClientSession, venue: SimulatedVenue
) -> None:
    ws, snapshot = await subscribed(http, channels=["prices", "trades", "status"], coins=["btc"])
    assert (snapshot["type"], snapshot["coins"], set(snapshot["prices"])) == ("snapshot", ["BTC"], {"BTC"})
    assert snapshot["prices"]["BTC"]["fresh"]
    assert snapshot["status"]["state"] == "live"
    events = [await ws.receive_json(timeout=10) for _ in range(100)]
    assert [event["seq"] for event in events] == list(range(snapshot["seq"] + 1, snapshot["seq"] + 101))
    assert {event["type"] for event in events} == {"price", "trade"}
    assert {event["coin"] for event in events} == {"BTC"}
    ids = [int(event["trade_id"]) for event in events if event["type"] == "trade"]
    made = [trade.id for trade in venue.trades["BTC"]]
    assert ids == made[made.index(ids[0]) :][: len(ids)]
    venue.cut()
    while (event := await ws.receive_json(timeout=10))["type"] != "status":
        pass
    assert event["event"] == "disconnected"
    await ws.close()


async def test_resume_continues_without_a_loss_or_requires_a_snapshot(http: aiohttp.ClientSession) -> None:
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


async def test_quotes_are_served_even_if_the_settings_do_not_name_the_channel(http: aiohttp.ClientSession) -> None:
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
async def test_a_wrong_message_is_answered_and_the_connection_stays_open(
    http: aiohttp.ClientSession, message: str
) -> None:
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


async def test_clients_are_closed_with_1001_when_the_server_ends(feed: MarketFeed, settings: Settings) -> None:
    async with Server(feed, settings, port=0) as server, aiohttp.ClientSession(server.url) as http:
        ws, _ = await subscribed(http)
        ending = asyncio.create_task(server.close())
        while not ws.closed:
            await ws.receive(timeout=10)
        await ending
        assert ws.close_code == 1001


# --- clients that are too slow


async def frames_of(reader: asyncio.StreamReader) -> tuple[list[Json], int | None]:
    """Return all text frames before the close frame, and the close code."""
    texts: list[Json] = []
    while True:
        kind, payload = await frame_of(reader)
        if kind == 0x88:
            return texts, int.from_bytes(payload[:2], "big")
        if kind == 0x81:
            texts.append(json.loads(payload))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server keep few events, so that a client falls behind soon."""
    monkeypatch.setattr(event_log, "KEPT", 2000)


@pytest.mark.usefixtures("small")
async def test_a_slow_client_that_chose_the_error_policy_is_closed_with_1008(
    server: Server, venue: SimulatedVenue
) -> None:
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
async def test_a_stalled_client_delays_no_other_client_and_is_up_to_date_when_it_reads_again(
    server: Server, http: aiohttp.ClientSession, venue: SimulatedVenue, on_full: str
) -> None:
    reader, writer = await stalled_client(server, on_full)
    ws, snapshot = await subscribed(http, channels=["trades", "prices"])
    seen: dict[str, int] = {}
    newest: dict[str, int] = {}
    expected = snapshot["seq"]
    for _ in range(40):
        await venue.burst(500, coins=["BTC", "ETH"])
        newest = {coin: venue.trades[coin][-1].id for coin in ("BTC", "ETH")}
        while any(seen.get(coin, 0) < newest[coin] for coin in newest):  # until the other client has every event
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


async def test_server_sent_events_continue_after_the_last_event_id(http: aiohttp.ClientSession) -> None:
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


@soon_stale
async def test_heartbeats_say_that_the_feed_is_stale(http: aiohttp.ClientSession, venue: SimulatedVenue) -> None:
    async with http.get("/v1/events?channels=status") as answer:
        with venue.stalled():
            async with asyncio.timeout(15):
                async for line in answer.content:
                    if b'"state":"stale"' in line and b'"heartbeat"' in line:
                        break
        beat = json.loads(line.removeprefix(b"data: "))
        assert not beat["coins"]["BTC"]["fresh"]


async def test_server_sent_events_reach_a_client_of_http_1_0(server: Server) -> None:
    """Some proxies use HTTP/1.0 by default; the answer to such a request is not sent in chunks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /v1/events?coins=BTC HTTP/1.0\r\nHost: localhost\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert b" 200 OK" in head
    assert b"chunked" not in head
    lines = [(await asyncio.wait_for(reader.readline(), 10)).decode() for _ in range(20)]
    assert lines[0] == "retry: 1000\n"
    assert {line.partition(":")[0].strip() for line in lines} == {"retry", "id", "data", "event", ""}
    writer.transport.abort()


@pytest.mark.parametrize("last", ["\u00e9", "-1", "1e3", "9" * 5000, "0", " ", "12,13", "\u0664"])
async def test_an_unknown_last_event_id_is_answered_with_a_snapshot(http: aiohttp.ClientSession, last: str) -> None:
    async with http.get("/v1/events?coins=BTC", headers={"Last-Event-ID": last}) as answer:
        assert (await read_events(answer, 1))[0][1]["type"] == "snapshot"


@soon_stale
async def test_a_status_event_causes_a_heartbeat_at_once(
    http: aiohttp.ClientSession, venue: SimulatedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 60.0)
    async with http.get("/v1/events?channels=status") as answer:
        await read_events(answer, 1)
        with venue.stalled():
            async with asyncio.timeout(10):
                async for line in answer.content:
                    if b'"heartbeat"' in line and b'"state":"stale"' in line:
                        break


async def test_books_come_over_the_stream(simulator: Simulator) -> None:
    settings = settings_for(simulator, channels=["trades", "books"], book_depth=5)
    feed = MarketFeed(settings=settings)
    async with Server(feed, settings, port=0) as server, feed, aiohttp.ClientSession(server.url) as http:
        await until(lambda: feed.get_book("BTC") is not None)
        ws, snapshot = await subscribed(http, channels=["books"], coins=["BTC"])
        for book in (snapshot["books"]["BTC"], await ws.receive_json(timeout=10)):
            assert book["coin"] == "BTC"
            assert len(book["bids"]) == len(book["asks"]) == 5
            assert book["bids"][0][0] < book["asks"][0][0]
        await ws.close()


# --- what one client must not do to others


async def test_a_client_that_leaves_during_its_answer_does_not_affect_other_clients(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, _ = await subscribed(http, channels=["trades", "prices"])
    snapshot = Broadcast.snapshot
    monkeypatch.setattr(Broadcast, "snapshot", lambda self, log: snapshot(self, log) + b" " * 20_000_000)
    monkeypatch.setattr(broadcast, "IDLE", 0.0)
    # this client makes the same selection, and its answer does not fit into the socket
    _, writer = await stalled_client(server, "drop_oldest")
    (log,) = server._broadcast._logs.values()
    await until(lambda: log.users == 2)
    server._broadcast.tend()
    writer.transport.abort()
    await until(lambda: log.users == 1)
    server._broadcast.tend()
    seen = log.last
    while (await ws.receive_json(timeout=10))["seq"] <= seen:
        pass
    await ws.close()


async def test_a_selection_is_dropped_some_time_after_its_last_client_left(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, _ = await subscribed(http)
    await ws.close()
    await until(lambda: server._broadcast.clients == 0)
    server._broadcast.tend()
    assert server._broadcast._logs
    monkeypatch.setattr(broadcast, "IDLE", 0.0)
    server._broadcast.tend()
    assert not server._broadcast._logs


async def test_too_many_selections_are_refused(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "LOGS", 1)
    ws, _ = await subscribed(http, coins=["BTC"])
    other, answer = await subscribed(http, coins=["ETH"])
    assert "different selections" in answer["error"]
    await ws.close()
    await until(lambda: server._broadcast.clients == 1)
    # this selection replaces the selection that has no clients any more
    await other.send_json({"op": "subscribe", "channels": ["prices"], "coins": ["ETH"]})
    assert (await other.receive_json(timeout=10))["type"] == "snapshot"
    await other.close()


async def test_a_client_that_resumes_far_behind_gets_the_events_in_several_parts(
    server: Server, http: aiohttp.ClientSession, venue: SimulatedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "AT_ONCE", 50)
    ws, snapshot = await subscribed(http, channels=["trades", "prices"])
    (log,) = server._broadcast._logs.values()
    await venue.burst(3000, coins=["BTC"])
    await until(lambda: log.last - log.start > 5000)
    await ws.close()
    sizes: list[int] = []
    frames = messages.frames

    def counted(events: list[tuple[int, bytes]]) -> bytes:
        sizes.append(len(events))
        return frames(events)

    monkeypatch.setattr(messages, "frames", counted)
    again = await http.ws_connect("/v1/stream")
    await again.send_json({"op": "resume", "seq": snapshot["seq"]})
    seqs = [(await again.receive_json(timeout=10))["seq"] for _ in range(5000)]
    assert seqs == list(range(snapshot["seq"] + 1, snapshot["seq"] + 5001))
    assert max(sizes) <= 256  # events sent in one turn of the loop
    await again.close()


async def test_too_many_pings_end_the_connection(http: aiohttp.ClientSession) -> None:
    ws = await http.ws_connect("/v1/stream", autoping=False)
    await ws.ping(b"x")
    assert (await ws.receive(timeout=10)).data == b"x"
    for _ in range(streams.REQUESTS):
        await ws.ping()
    while not ws.closed:
        await ws.receive(timeout=10)
    assert ws.close_code == 1008
