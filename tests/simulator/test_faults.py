"""Every fault has its effect while it is active, and no effect afterwards."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from exchanges.simulator import SimulatedVenue, Simulator, parse_fault
from exchanges.simulator.faults import KINDS
from tests.simulator.client import Client, dial, get, status_of, until

TRADES = "/ws/btcusdt@trade/dogeusdt@trade"
SPOT = "/v5/public/spot"


def ids(client: Client) -> list[int]:
    """The ids of the trades in the good frames that the client received."""
    found = []
    for frame in client.frames:
        try:
            event = json.loads(frame)
        except ValueError:
            continue
        if event.get("e") == "trade" and isinstance(event["t"], int):
            found.append(event["t"])
    return found


async def test_a_stalled_venue_keeps_connections_open_and_sends_no_data() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, TRADES) as client:
        venue = sim["binance"]
        await until(lambda: venue.connections)
        with venue.stalled():
            await venue.trade("BTC", ids=[1])
            await client.ws.ping()
            await until(lambda: client.pongs)
            assert (await client.subscribe("ethusdt@trade"))["result"] is None
            rows = await get(sim, "/api/v3/trades", symbol="BTCUSDT")
            assert [row["id"] for row in rows] == [1]
        await venue.trade("BTC", ids=[2])
        await until(lambda: ids(client) == [2])


async def test_a_mute_venue_answers_no_request() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, TRADES) as client:
        venue = sim["binance"]
        await until(lambda: venue.connections)
        with venue.muted():
            await client.ws.ping()
            await client.ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
            await venue.trade("BTC", ids=[1])
            inbound = venue.connections[0].inbound
            await until(lambda: len(inbound._events) == 2)
            assert await status_of(sim, "/api/v3/ping") == 200
        assert (client.frames, client.pongs, client.closed) == ([], [], None)
        await client.ws.ping()
        await until(lambda: client.pongs)


@pytest.mark.parametrize(("name", "path"), [("binance", TRADES), ("bybit", SPOT)])
async def test_a_cut_is_a_reset_without_a_close_frame(name: str, path: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path) as client:
        await until(lambda: sim[name].connections)
        sim[name].cut()
        assert sim[name].connections == []
        assert await client.gone() == 1006
        assert isinstance(client.ws.exception(), ConnectionResetError | None)
        async with dial(sim, path):
            await until(lambda: len(sim[name].connections) == 1)


async def test_a_cut_resets_the_tcp_connection() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        head = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: sim["binance"].connections)
        sim["binance"].cut()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1006])
async def test_a_close_has_the_given_code(code: int) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, TRADES) as client:
        await until(lambda: sim["binance"].connections)
        sim["binance"].close(code)
        assert await client.gone() == code
        assert sim["binance"].connections == []


async def test_a_partition_cuts_all_connections_and_accepts_none() -> None:
    async with Simulator(rate=0) as sim, dial(sim, TRADES) as client, dial(sim, SPOT) as other:
        await until(lambda: sim["binance"].connections and sim["bybit"].connections)
        with sim["binance"].partition():
            assert await client.gone() == 1006
            with pytest.raises(aiohttp.ClientError):
                async with dial(sim):
                    pass
            with pytest.raises(aiohttp.ClientError):
                await get(sim, "/api/v3/ping")
            assert await status_of(sim, "/v5/market/time") == 200
        assert other.closed is None
        assert await status_of(sim, "/api/v3/ping") == 200
        async with dial(sim):
            pass
        assert len(sim["binance"].dials) >= 3  # after a reset aiohttp itself dials once more


PLACES = [("binance", "/ws", "/api/v3/ping"), ("bybit", SPOT, "/v5/market/time")]


@pytest.mark.parametrize(("name", "path", "rest"), PLACES)
@pytest.mark.parametrize("status", [451, 403])
async def test_a_blocked_venue_answers_upgrades_and_rest_requests_with_the_status(
    name: str, path: str, rest: str, status: int
) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim:
        with sim[name].blocked(status):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with dial(sim, path):
                    pass
            assert refused.value.status == status
            assert await status_of(sim, rest) == status
        assert await status_of(sim, rest) == 200


async def test_a_refusing_venue_answers_only_upgrades_with_the_status() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        with sim["binance"].refusing(429, retry_after=3):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with dial(sim):
                    pass
            assert refused.value.status == 429
            assert refused.value.headers is not None
            assert refused.value.headers["Retry-After"] == "3"
            assert await status_of(sim, "/api/v3/ping") == 200
        async with dial(sim):
            pass


async def test_rest_can_be_down_or_slow_while_the_stream_continues() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, TRADES) as client:
        venue = sim["binance"]
        with venue.rest_down(502):
            assert await status_of(sim, "/api/v3/ping") == 502
            await venue.trade("BTC", ids=[1])
            await until(lambda: ids(client) == [1])
        loop = asyncio.get_running_loop()
        with venue.slow_rest(0.3):
            started = loop.time()
            assert await status_of(sim, "/api/v3/ping") == 200
            assert loop.time() - started >= 0.3


async def test_accept_then_drop_closes_each_new_connection_at_once() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        with sim["binance"].accept_then_drop():
            async with dial(sim) as client:
                assert await client.gone() == 1008
        async with dial(sim) as client:
            await client.ws.ping()
            await until(lambda: client.pongs)


@pytest.mark.parametrize(("name", "path"), [("binance", TRADES), ("bybit", SPOT)])
async def test_bad_frames_come_in_addition_to_all_good_frames(name: str, path: str) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, path) as client:
        venue = sim[name]
        if name == "bybit":
            await client.subscribe("publicTrade.BTCUSDT")
            client.frames.clear()
        with venue.malformed(0.5):
            for first in range(1, 13):
                await venue.trade("BTC", ids=[first])
        await until(lambda: len(client.frames) == 18)
        await venue.trade("BTC", ids=[13])
        await until(lambda: len(client.frames) == 19)
    kinds = [kind_of(frame) for frame in client.frames]
    assert kinds.count("good") == 13
    assert kinds.count("truncated") == kinds.count("null") == kinds.count("not a number") == 2


def kind_of(frame: str) -> str:
    try:
        event = json.loads(frame)
    except ValueError:
        return "truncated"
    row = event["data"][0] if "data" in event else event
    if row is None or row.get("p") is None:
        return "null"
    return "not a number" if "many" in (row.get("q"), row.get("v")) else "good"


async def test_a_silent_coin_does_not_affect_other_coins() -> None:
    streams = "/ws/btcusdt@trade/dogeusdt@trade/dogeusdt@miniTicker/btcusdt@miniTicker"
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, streams) as client:
        await until(lambda: sim["binance"].connections)
        with sim["binance"].silent("doge"):
            await sim["binance"].trade("DOGE", ids=[1])
            await sim["binance"].trade("BTC", ids=[2])
            await client.first(lambda e: e["e"] == "24hrMiniTicker" and e["s"] == "BTCUSDT")
        assert {event["s"] for event in client.events} == {"BTCUSDT"}
        assert sim["binance"].trades["DOGE"][0].id == 1


@pytest.mark.parametrize("dropped", ["doge", "all"])
async def test_a_dropped_subscription_gets_trades_again_after_a_new_request(dropped: str) -> None:
    """During the fault no connection gets the trades, but tickers continue."""
    streams = "/ws/btcusdt@trade/dogeusdt@trade/dogeusdt@miniTicker/btcusdt@miniTicker"
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, streams) as before:
        venue = sim["binance"]
        await until(lambda: venue.connections)
        with ExitStack() as fault:
            fault.enter_context(venue.tradeless(dropped))
            async with dial(sim, streams) as meanwhile:
                await until(lambda: len(venue.connections) == 2)
                for coin in ("BTC", "DOGE"):
                    await venue.trade(coin, ids=[1])
                for client in (before, meanwhile):
                    await client.first(lambda e: e["e"] == "24hrMiniTicker" and e["s"] == "DOGEUSDT")
                    traded = {event["s"] for event in client.events if event["e"] == "trade"}
                    assert traded == ({"BTCUSDT"} if dropped == "doge" else set())
                fault.close()
                async with dial(sim, streams) as after:
                    await until(lambda: len(venue.connections) == 3)
                    await venue.trade("DOGE", ids=[2])
                    await until(lambda: ids(after) == [2])
                    assert 2 not in ids(before) + ids(meanwhile)


async def test_late_trades_come_out_of_order() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, TRADES) as client:
        await until(lambda: sim["binance"].connections)
        with sim["binance"].late(1.0, seconds=0.2):
            await sim["binance"].trade("BTC", ids=[1])
        await sim["binance"].trade("BTC", ids=[2])
        await until(lambda: ids(client) == [2, 1])


async def test_doubled_trades_come_twice_and_missing_trades_come_only_over_rest() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, TRADES) as client:
        venue = sim["binance"]
        await until(lambda: venue.connections)
        with venue.doubled(1.0):
            await venue.trade("BTC", ids=[1])
        with venue.missing(1.0):
            await venue.trade("BTC", ids=[2])
        await venue.trade("BTC", ids=[3])
        await until(lambda: ids(client) == [1, 1, 3])
        rows = await get(sim, "/api/v3/historicalTrades", symbol="BTCUSDT", fromId=1)
        assert [row["id"] for row in rows] == [1, 2, 3]


async def test_the_same_fault_may_be_nested() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        venue = sim["binance"]
        with venue.stalled():
            with venue.stalled():
                pass
            assert venue.faults == ["stall"]
        assert venue.faults == []


@pytest.mark.parametrize("name", ["binance", "bybit"])
@pytest.mark.parametrize("coins", [["BTC"], ["BTC", "ETH", "SOL", "DOGE"]])
async def test_a_burst_between_bad_frames_comes_complete_and_in_order(name: str, coins: list[str]) -> None:
    async with Simulator(rate=0, venues=(name,)) as sim, dial(sim, "/ws" if name == "binance" else SPOT) as client:
        venue = sim[name]
        streams = [f"{coin.lower()}usdt@trade" if name == "binance" else f"publicTrade.{coin}USDT" for coin in coins]
        await client.subscribe(*streams)
        await venue.burst(10_000, coins=coins, malformed=0.05)
        assert sum(len(venue.trades[coin]) for coin in coins) == 10_000
        await venue.trade(coins[0], ids=[1 << 40])  # this trade marks the end
        await until(lambda: client.frames and str(1 << 40) in client.frames[-1])
        for coin in coins:
            got = [identity for symbol, identity in good_rows(client.frames) if symbol == f"{coin}USDT"]
            assert got == [str(trade.id) for trade in venue.trades[coin]]
        assert any(kind_of(frame) == "truncated" for frame in client.frames)


def good_rows(frames: list[str]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for frame in frames:
        if '"e":"trade"' in frame or "publicTrade" in frame:
            if kind_of(frame) != "good":
                continue
            event = json.loads(frame)
            rows += [(row["s"], str(row.get("i") or row["t"])) for row in event.get("data", [event])]
    return rows


async def test_a_burst_waits_for_a_slow_reader_and_ends_when_that_reader_is_cut() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        venue = sim["binance"]
        async with aiohttp.ClientSession() as session, session.ws_connect(sim.ws_url + "/ws/btcusdt@trade"):
            await until(lambda: venue.connections)
            burst = asyncio.create_task(venue.burst(300_000, coins=["BTC"]))  # 50 MB: more than the sockets hold
            made = -1
            async with asyncio.timeout(20):
                while made != len(venue.trades["BTC"]):  # until no more trades are made
                    made = len(venue.trades["BTC"])
                    await asyncio.sleep(0.3)
            assert made < 300_000
            assert venue.connections[0].waiting < 1_000_000
            assert not burst.done()
            venue.cut()
            async with asyncio.timeout(20):
                await burst
        assert len(venue.trades["BTC"]) == 300_000
        assert venue.dropped == []


def test_the_documented_table_of_faults_is_complete_and_right() -> None:
    """Every kind of fault has a row, every fault in a row can be parsed, and every method in a row exists."""
    text = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    rows = [line.split("|")[1:3] for line in text.partition("| method |")[2].splitlines() if line.startswith("| `")]
    methods = [each for row in rows for each in re.findall(r"`(\w+)\(", row[0])]
    specs = [each for row in rows for each in re.findall(r"`([^`]+)`", row[1])]
    assert {parse_fault(spec).fault.kind for spec in specs} == set(KINDS)
    assert all(callable(getattr(SimulatedVenue, method)) for method in methods)
    assert len(set(methods)) == len(KINDS)
