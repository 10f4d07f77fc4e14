"""Every rule of the venues is enforced, and each violation is recorded."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.simulator import BINANCE_LAWS, BYBIT_LAWS, Simulator, VenueLaws
from exchanges.simulator.connections.venue_laws import Pace
from tests.simulator.client import Client, dial, get, status_of, until

SPOT = "/v5/public/spot"


async def test_a_sixth_message_within_a_second_closes_the_connection_with_1008() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        for _ in range(5):
            await client.ws.ping()
        await until(lambda: len(client.pongs) == 5)
        assert sim["binance"].violations == []
        await client.ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert await client.gone() == 1008
        assert sim["binance"].violations == ["6 messages within 1 s on connection 1"]
        assert sim["binance"].connections == []


def upgraded(sim: Simulator) -> socket.socket:
    """A WebSocket that any thread can write to, even while the loop is blocked."""
    raw = socket.create_connection((sim.host, sim.port))
    raw.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return raw


PING = bytes([0x89, 0x80, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("counts", "violations"), [((4, 5), []), ((4, 0), []), ((9, 1), []), ((20, 0), ["6 messages within 1 s"])]
)
async def test_messages_that_are_read_late_count_at_the_earliest_time_at_which_they_may_have_come(
    counts: tuple[int, int], violations: list[str]
) -> None:
    """A client that keeps to the limit must not be disconnected because the simulator's loop was blocked."""
    async with Simulator(rate=0, venues=("binance",)) as sim:
        raw, venue = upgraded(sim), sim["binance"]

        def send() -> None:
            for count in counts:
                raw.sendall(PING * count)
                time.sleep(1.1)

        pongs = bytearray()

        def answered() -> int:
            with suppress(BlockingIOError):
                pongs.extend(raw.recv(4096))
            return pongs.count(b"\x8a\x00")

        raw.sendall(PING)
        await until(lambda: len(venue.connections) == 1)
        raw.setblocking(False)
        await until(lambda: answered() == 1)
        sender = threading.Thread(target=send)
        sender.start()
        sender.join()  # blocks the loop
        await until(lambda: venue.violations if violations else answered() == 1 + sum(counts))
        assert [each.partition(" on ")[0] for each in venue.violations] == violations
        raw.close()


@given(st.lists(st.floats(0, 3), max_size=40), st.lists(st.tuples(st.floats(0, 30), st.floats(0, 3)), max_size=3))
def test_a_client_that_keeps_to_the_limit_has_no_violation(
    pauses: list[float], stalls: list[tuple[float, float]]
) -> None:
    """The client sends at most five messages a second; the simulator may read them late, after pauses of its loop."""
    sent: list[float] = []
    for pause in pauses:
        at = (sent[-1] if sent else 0.0) + pause
        sent.append(max(at, sent[-5] + 1.0) if len(sent) >= 5 else at)
    pace = Pace()
    for at in sent:
        begun, ended = next(((b, b + d) for b, d in sorted(stalls) if b <= at <= b + d), (at, at))
        assert not pace.add(begun, max(ended, at), 5, 1.0)


async def test_a_connection_carries_1024_streams_and_no_more() -> None:
    async with Simulator(rate=0, venues=("binance",), markets=1100) as sim, dial(sim) as client:
        venue = sim["binance"]
        names = [f"{market.lower()}@trade" for market in venue.markets]
        assert (await client.subscribe(*names[:1024]))["result"] is None
        assert venue.violations == []
        assert "error" in await client.subscribe(names[1024])
        assert venue.violations == ["1025 streams on connection 1"]
        assert len(venue.connections[0].subscriptions) == 1024


@pytest.mark.parametrize(("name", "path", "status"), [("binance", "/ws", 429), ("bybit", SPOT, 403)])
async def test_too_many_dials_are_refused(name: str, path: str, status: int) -> None:
    laws = {name: VenueLaws(dials=3, dial_window=300.0)}
    async with Simulator(rate=0, venues=(name,), laws=laws) as sim:
        for _ in range(3):
            async with dial(sim, path):
                pass
        assert sim[name].violations == []
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with dial(sim, path):
                pass
        assert refused.value.status == status
        assert sim[name].violations == ["more than 3 dials within 300 s"]
        assert len(sim[name].dials) == 4


def test_the_simulated_limits_equal_the_documented_limits() -> None:
    assert (BINANCE_LAWS.messages_per_second, BINANCE_LAWS.streams, BINANCE_LAWS.session_limit) == (5, 1024, 86_400)
    assert (BINANCE_LAWS.dials, BINANCE_LAWS.ping_every, BINANCE_LAWS.pong_within) == (300, 20, 60)
    assert (BYBIT_LAWS.args_per_request, BYBIT_LAWS.args_characters) == (10, 21_000)
    assert (BYBIT_LAWS.dials, BYBIT_LAWS.idle_limit) == (500, 600)
    assert BINANCE_LAWS.dial_window == BYBIT_LAWS.dial_window == 300


async def test_the_end_of_a_session_at_its_time_limit_is_no_violation() -> None:
    async with Simulator(rate=0, venues=("binance",), laws={"binance": VenueLaws(session_limit=0.2)}) as sim:
        async with dial(sim) as client:
            await client.gone()
        assert sim["binance"].violations == []


async def test_the_venue_pings_and_cuts_clients_that_do_not_answer() -> None:
    laws = {"binance": VenueLaws(ping_every=0.05, pong_within=0.3)}
    async with Simulator(rate=0, venues=("binance",), laws=laws) as sim:
        async with dial(sim) as client:
            assert await client.gone() == 1008
            assert client.pings
            assert client.pings[0].isdigit()
        assert sim["binance"].violations == ["no pong within 0.3 s on connection 1"]


async def test_a_client_that_answers_pings_stays_connected() -> None:
    laws = {"binance": VenueLaws(ping_every=0.05, pong_within=0.3)}
    async with Simulator(rate=0, venues=("binance",), laws=laws) as sim, dial(sim) as client:
        answered = 0
        while answered < 10:  # ten pings in half a second
            await until(lambda: len(client.pings) > answered)  # noqa: B023  # the lambda is used within this turn
            await client.ws.pong(client.pings[answered])
            answered += 1
        assert sim["binance"].violations == []
        assert len(sim["binance"].connections) == 1


async def test_bybit_refuses_a_request_with_more_than_ten_args_as_a_whole() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        names = [f"publicTrade.{market}" for market in list(sim["bybit"].markets)[:11]]
        refused = await client.subscribe(*names)
        assert (refused["success"], refused["ret_msg"]) == (False, "args size >10")
        assert sim["bybit"].violations == ["11 args in one request on connection 1"]
        assert not sim["bybit"].connections[0].subscriptions
        assert (await client.subscribe(*names[:10]))["success"]


async def _subscribe_in_tens(client: Client, names: list[str]) -> bool:
    for first in range(0, len(names), 10):
        if not (await client.subscribe(*names[first : first + 10]))["success"]:
            return False
    return True


async def test_bybit_counts_the_characters_of_all_args_of_a_connection() -> None:
    async with Simulator(rate=0, venues=("bybit",), laws={"bybit": VenueLaws(args_characters=210)}) as sim:
        async with dial(sim, SPOT) as client:
            names = [f"publicTrade.{market}" for market in sim["bybit"].markets]
            assert not await _subscribe_in_tens(client, names)
            assert sum(map(len, sim["bybit"].connections[0].subscriptions)) <= 210
        assert len(sim["bybit"].violations) == 1
        assert "characters of args on connection 1" in sim["bybit"].violations[0]


async def test_bybit_drops_idle_connections() -> None:
    async with Simulator(rate=0, venues=("bybit",), laws={"bybit": VenueLaws(idle_limit=0.2)}) as sim:
        async with dial(sim, SPOT) as client:
            assert await client.gone() == 1006
        assert sim["bybit"].violations == ["no message within 0.2 s on connection 1"]


async def test_the_weight_of_requests_is_limited_with_429_and_then_418() -> None:
    async with Simulator(rate=0, venues=("binance",), laws={"binance": VenueLaws(rest_weight=100)}) as sim:
        assert [await status_of(sim, "/api/v3/ticker/24hr") for _ in range(2)] == [200, 429]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{sim.rest_url}/api/v3/exchangeInfo?symbol=BTCUSDT") as response,
        ):
            assert response.status == 200  # a weight of 20 is still within the limit
            assert response.headers["X-MBX-USED-WEIGHT-1M"] == "100"
        statuses = [await status_of(sim, "/api/v3/ping") for _ in range(12)]
        assert statuses == [429] * 11 + [418]
        assert (await get(sim, "/api/v3/ping"))["code"] == -1003
    assert sim["binance"].violations


async def test_a_client_that_does_not_read_is_dropped() -> None:
    async with Simulator(rate=0, venues=("binance",), laws={"binance": VenueLaws(patience=1_000_000)}) as sim:
        venue = sim["binance"]
        async with aiohttp.ClientSession() as session, session.ws_connect(sim.ws_url + "/ws/btcusdt@trade") as ws:
            await until(lambda: venue.connections)
            async with asyncio.timeout(20):
                while not venue.dropped:
                    await venue.trade("BTC", count=2000)
            assert venue.connections == []
            del ws
        assert "reads too slowly" in venue.dropped[0]
        assert venue.violations == []


async def test_without_limits_every_request_is_answered() -> None:
    async with Simulator(rate=0, laws=False) as sim, dial(sim) as client:
        for _ in range(50):
            await client.ws.ping()
        await until(lambda: len(client.pongs) == 50)
        async with dial(sim, SPOT) as other:
            names = [f"publicTrade.{market}" for market in sim["bybit"].markets]
            assert (await other.subscribe(*names))["success"]
        assert sim["binance"].violations == sim["bybit"].violations == []
