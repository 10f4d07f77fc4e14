"""Faults before the first data: each step of connecting may be cut, refused, slow or wrong."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from feed import FeedState, MarketFeed, NoExchangeAvailable
from feed.settings import Connection
from tests.scenarios.support import (
    COINS,
    Gate,
    Witness,
    elsewhere,
    feeding,
    fronted,
    nothing_left,
    only,
    quick,
    redirected,
    simulated,
)
from tests.support import until


async def refused(feed: MarketFeed, timeout: float) -> Mapping[str, str]:
    """Check that the feed can't connect within ``timeout`` seconds; return the reason of each venue."""
    with pytest.raises(NoExchangeAvailable) as caught:
        await feed.connect(timeout)
    return caught.value.reasons


@pytest.mark.parametrize(
    ("venue_name", "phase", "after"),
    [
        ("binance", "rest", 1),
        ("binance", "rest", 700),
        ("bybit", "rest", 400),
        ("bybit", "upgrade", 1),
        ("binance", "upgrade", 60),
        ("binance", "frames", 170),
        ("bybit", "frames", 170),
    ],
)
async def test_a_connection_cut_before_the_first_data_is_dialled_again(
    venue_name: str, seed: str, phase: str, after: int
) -> None:
    """The cut is in the REST answer's head or body, in the upgrade, or in the first frames. The venue is tried
    again."""
    async with simulated(venue_name, seed) as simulator, Gate(simulator.port) as gate:
        gate.cut_after = after
        where = {"rest_url": f"http://{gate.address}"} if phase == "rest" else {"ws_url": f"ws://{gate.address}"}
        async with feeding(redirected(quick(simulator), **where)) as (feed, got):
            await until(lambda: gate.cuts == 1)
            await got.until(lambda: feed.status.state is FeedState.LIVE)
            assert "exchange_blocked" not in got.events
            assert "failover" not in got.events
            # aiohttp itself repeats REST requests, without an event
            assert sum(event in ("error", "disconnected") for event in got.events) <= 1
            await got.more_trades()
            assert gate.connections == 2 or phase == "rest"  # the 24 h statistics are not requested again


async def test_a_cut_while_subscribing_is_followed_by_all_subscriptions(venue_name: str, seed: str) -> None:
    async with simulated(venue_name, seed, rate=0) as simulator, nothing_left():
        venue = only(simulator)

        def cut_once() -> None:
            venue.on_subscription = None
            venue.cut()

        venue.on_subscription = cut_once
        feed = MarketFeed(settings=quick(simulator))
        got = Witness(feed)
        connecting = asyncio.create_task(feed.connect())
        await until(lambda: [len(each.subscriptions) for each in venue.connections] == [6])
        for coin in COINS:
            await venue.trade(coin)
        await connecting
        await got.until(lambda: {trade.coin for trade in got.trades} == set(COINS))
        assert len(venue.dials) == 2
        await feed.disconnect()


@pytest.mark.parametrize("venue_name", ["binance"])
async def test_without_an_acknowledgement_and_data_the_dial_is_given_up(venue_name: str, seed: str) -> None:
    """The venue accepts the connection and sends nothing. When it sends again, the next dial works."""
    async with simulated(venue_name, seed) as simulator:
        venue = only(simulator)
        settings = quick(simulator, connection=Connection(connect_timeout=0.8, backoff_initial=0.05, backoff_max=0.1))
        async with nothing_left():
            feed = MarketFeed(settings=settings)
            got = Witness(feed)
            with venue.muted():
                connecting = asyncio.create_task(feed.connect(20))
                await got.until_event("error")
                assert "no data within 0.8 s" in got.details("error")[0]["error"]
            await connecting
            await feed.disconnect()


@pytest.mark.parametrize("venue_name", ["binance"])
async def test_an_upgrade_without_an_answer_is_given_up(venue_name: str, seed: str) -> None:
    """The TCP connection is accepted, but the HTTP request gets no answer."""
    async with simulated(venue_name, seed) as simulator, Gate(simulator.port) as gate, nothing_left():
        gate.hangs = True
        settings = redirected(quick(simulator), ws_url=f"ws://{gate.address}")
        settings.connection.connect_timeout = 0.5
        feed = MarketFeed(settings=settings)
        reasons = await refused(feed, 1.6)
        assert "0.5 s" in reasons[venue_name]
        assert gate.connections >= 2


async def test_if_rest_is_down_at_the_first_connect_the_error_names_it(venue_name: str, seed: str) -> None:
    """Without markets no coin can be subscribed. When REST works again, the feed connects."""
    async with simulated(venue_name, seed) as simulator, nothing_left():
        venue = only(simulator)
        feed = MarketFeed(settings=quick(simulator))
        with venue.rest_down(503):
            reasons = await refused(feed, 0.7)
            assert "503" in reasons[venue_name]
            assert venue.dials == []
            got = Witness(feed)
            connecting = asyncio.create_task(feed.connect())
            await got.until_event("error")
        await connecting
        await feed.disconnect()


@pytest.mark.parametrize("venue_name", ["bybit"])
async def test_if_only_the_websocket_is_down_the_error_names_it(venue_name: str, seed: str) -> None:
    async with simulated(venue_name, seed) as simulator, nothing_left():
        venue = only(simulator)
        feed = MarketFeed(settings=quick(simulator))
        with venue.refusing(503):
            reasons = await refused(feed, 0.7)
            assert "503" in reasons[venue_name]
            assert len(venue.dials) >= 2
            got = Witness(feed)
            connecting = asyncio.create_task(feed.connect())
            await got.until_event("error")
        await connecting
        await feed.disconnect()


@pytest.mark.parametrize("venue_name", ["binance"])
async def test_slow_rest_delays_the_feed_but_does_not_fail(venue_name: str, seed: str) -> None:
    """The request for 24 h statistics delays the first stream for a moment. At the reconnect the statistics are known,
    so there is no delay."""
    async with simulated(venue_name, seed) as simulator:
        venue = only(simulator)
        with venue.slow_rest(0.3):
            async with feeding(quick(simulator)) as (_, got):
                assert "error" not in got.events
                venue.cut()
                began = monotonic()
                await got.until_event("connected", 2)
                assert monotonic() - began < 3


@pytest.mark.parametrize("venue_name", ["bybit"])
async def test_a_venue_whose_rest_exceeds_the_timeout_is_named_and_left(venue_name: str, seed: str) -> None:
    async with simulated(venue_name, seed) as simulator, nothing_left():
        settings = quick(simulator)
        settings.connection.connect_timeout = 0.5
        feed = MarketFeed(settings=settings)
        with only(simulator).slow_rest(1.2):
            reasons = await refused(feed, 1)
        assert "no answer in time" in reasons[venue_name]


@pytest.mark.parametrize("status", [451, 403])
@pytest.mark.parametrize("where", ["rest", "upgrade"])
async def test_a_venue_that_blocks_this_location_is_left_at_once(seed: str, status: int, where: str) -> None:
    """The venue may block REST or only the upgrade. It is reported as blocked and not tried again; the next venue
    delivers."""
    async with simulated("bybit", seed) as shut, simulated("binance", seed) as open_one:
        venue = only(shut)
        with venue.blocked(status) if where == "rest" else venue.refusing(status):
            began = monotonic()
            async with feeding(quick(shut, open_one)) as (feed, got):
                assert monotonic() - began < 4
                assert feed.status.exchange == "binance"
                told = got.details("exchange_blocked")
                assert [(each["exchange"], each["status"]) for each in told] == [("bybit", status)]
                asked = len(venue.dials), len(venue.rest_calls)
                await got.more_trades(30)
                assert (len(venue.dials), len(venue.rest_calls)) == asked


@pytest.mark.parametrize(("venue_name", "status"), [("binance", 418), ("bybit", 429)])
async def test_the_wait_is_at_least_the_upgrades_retry_after(venue_name: str, seed: str, status: int) -> None:
    """The backoff would dial after 50 ms; the venue's Retry-After takes precedence."""
    async with simulated(venue_name, seed) as simulator, nothing_left():
        venue = only(simulator)
        feed = MarketFeed(settings=quick(simulator))
        got = Witness(feed)
        with venue.refusing(status, retry_after=0.8):
            connecting = asyncio.create_task(feed.connect())
            again = await got.until_event("reconnecting")
            assert again["delay"] == 0.8
            assert str(status) in got.details("error")[0]["error"]
        await connecting
        assert len(venue.dials) == 2
        assert venue.dials[1] - venue.dials[0] >= 0.8
        await feed.disconnect()


@pytest.mark.parametrize(
    ("venue_name", "status", "header"),
    [("binance", 418, "Retry-After"), ("bybit", 429, "retry-after")],
)
async def test_the_wait_is_at_least_rests_retry_after(venue_name: str, seed: str, status: int, header: str) -> None:
    """The header may be in any letter case. The test counts only requests for markets, because the feed may request
    the venue's time at the same moment."""
    asked: list[float] = []

    async def too_many(request: web.Request) -> web.Response | None:
        if not request.path.endswith(("exchangeInfo", "instruments-info")):
            return None
        asked.append(monotonic())
        return web.Response(status=status, headers={header: "1"}, text="{}") if len(asked) == 1 else None

    async with simulated(venue_name, seed) as simulator, fronted(simulator, too_many) as address, nothing_left():
        feed = MarketFeed(settings=redirected(quick(simulator), rest_url=f"http://{address}"))
        got = Witness(feed)
        await feed.connect()
        assert got.details("reconnecting")[0]["delay"] == 1.0
        assert asked[1] - asked[0] >= 1.0
        await feed.disconnect()


async def test_if_a_venues_host_name_does_not_resolve_the_reason_names_it_and_the_next_venue_is_used(seed: str) -> None:
    """No server is asked: .invalid never resolves (RFC 6761)."""
    async with simulated("binance", seed) as simulator:
        settings = quick(simulator)
        settings.exchanges.insert(0, elsewhere("bybit", "venue.invalid"))
        async with feeding(settings) as (feed, got):
            assert feed.status.exchange == "binance"
            assert "venue.invalid" in got.details("error")[0]["error"]
        async with nothing_left():
            alone = quick()
            alone.exchanges = [elsewhere("bybit", "venue.invalid")]
            reasons = await refused(MarketFeed(settings=alone), 1)
            assert "venue.invalid" in reasons["bybit"]


@pytest.mark.parametrize("venue_name", ["bybit"])
async def test_the_error_names_a_websocket_host_that_does_not_resolve(venue_name: str, seed: str) -> None:
    async with simulated(venue_name, seed) as simulator, nothing_left():
        settings = redirected(quick(simulator), ws_url="ws://venue.invalid")
        assert "venue.invalid" in (await refused(MarketFeed(settings=settings), 1))[venue_name]


def self_signed(folder: Path) -> ssl.SSLContext:
    """The TLS context of a server with a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(("venue_name", "where"), [("binance", "rest"), ("bybit", "websocket")])
async def test_a_connection_whose_certificate_does_not_verify_is_refused(
    venue_name: str, seed: str, where: str, tmp_path: Path
) -> None:
    """The error names the certificate, and no request reaches the server."""
    reached: list[str] = []

    async def note(request: web.Request) -> None:
        reached.append(request.path)

    context = self_signed(tmp_path)
    async with simulated(venue_name, seed) as simulator, fronted(simulator, note, ssl_context=context) as address:
        settings = quick(simulator)
        if where == "rest":
            redirected(settings, rest_url=f"https://{address}")
        else:
            redirected(settings, ws_url=f"wss://{address}")
        async with nothing_left():
            feed = MarketFeed(settings=settings)
            assert "certificate" in (await refused(feed, 1))[venue_name].lower()
        assert reached == []
