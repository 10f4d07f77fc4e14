"""Exchanges over TLS in company networks: proxies, certificate authorities of companies, and wrong certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from loguru import logger

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from feed import MarketFeed, Settings
from tests.scenarios.support import Witness, elsewhere, feeding, quick, simulated
from tests.scenarios.tls import DAY, Authority, tls_before, tunnelling

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
VENUE = "venue.example"  # a name that only the proxy can look up
PASSWORDS = ["hunter2-S3cr3t", "p@ss:w/rd#1?", "pässwörd-€", "with space%41"]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return str(request.param)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """All log lines, in loguru's most detailed form, which shows the variables of a traceback."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level=0, diagnose=True, backtrace=True, colorize=False)
    for package in ("feed", "exchanges"):
        logger.enable(package)
    yield lines
    for package in ("feed", "exchanges"):
        logger.disable(package)
    logger.remove(sink)


def far(transport: str, **more: Any) -> Settings:
    settings = quick(coins=["BTC"])
    venue = elsewhere("binance", VENUE, "s")
    venue.options = {"transport": transport}
    for name, value in more.items():
        setattr(venue, name, value)
    settings.exchanges = [venue]
    return settings


@pytest.mark.parametrize(
    ("where", "password"), list(zip(("settings", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), PASSWORDS, strict=True))
)
async def test_a_stream_over_tls_goes_through_a_tunnel(
    transport: str,
    where: str,
    password: str,
    authority: Authority,
    log: list[str],
    seed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy gets the login unchanged. No event, log line or repr shows the password."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with (
        simulated("binance", seed, coins=["BTC"]) as simulator,
        tls_before(simulator.port, authority.server(VENUE)) as at,
        tunnelling(at) as (proxy_at, tunnel),
    ):
        named = f"http://me%40here:{quote(password, safe='')}@{proxy_at}"
        if where != "settings":
            monkeypatch.setenv(where, named)
        settings = far(transport, **({"proxy": named} if where == "settings" else {}))
        async with feeding(settings) as (feed, got):
            await got.more_trades(5)
            said = "\n".join([*map(repr, got.status), *log, repr(feed), repr(settings), str(feed.get_status())])
        assert set(tunnel.asked) == {f"CONNECT {VENUE}:443 HTTP/1.1"}
        assert tunnel.logins == {f"me@here:{password}"}
        assert_hidden(password, said)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("407 Proxy Authentication Required", "both"),
        ("403 Forbidden", "stream"),
        ("451 Unavailable", "both"),
        ("502 Bad Gateway", "stream"),
        ("hangs", "both"),
        ("hangs", "stream"),
        ("closes", "both"),
        ("closes", "stream"),
        ("goes dumb", "both"),
        ("goes dumb", "stream"),
    ],
)
async def test_a_proxys_failure_is_reported_as_such_and_the_next_venue_is_used(
    transport: str,
    how: str,
    what: str,
    authority: Authority,
    log: list[str],
    seed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password = PASSWORDS[1]
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with (
        simulated("binance", seed, coins=["BTC"]) as simulator,
        simulated("bybit", seed, coins=["BTC"]) as other,
        tunnelling(how=how) as (proxy_at, tunnel),
    ):
        named = f"http://me:{quote(password, safe='')}@{proxy_at}"
        more: dict[str, Any] = {"proxy": named}
        if what == "stream":
            monkeypatch.setenv("https_proxy", named)
            more = {"rest_url": simulator.rest_url}
        settings = far(transport, **more)
        settings.exchanges += quick(other).exchanges
        async with feeding(settings) as (feed, got):
            assert feed.status.exchange == "bybit"
            said = "\n".join([*map(repr, got.status), *log])
        told = [details["error"] for details in got.details("error")]
        assert tunnel.asked
        assert_hidden(password, said)
        if how[0].isdigit():
            assert all(f"the proxy answered HTTP {how[:3]}: {how[4:]}" in each for each in told)
        if how == "closes":
            assert all(f"(through the proxy http://***@{proxy_at}" in each for each in told)
        assert "exchange_blocked" not in got.events  # a refusal by the proxy is not one by the exchange


def assert_hidden(password: str, said: str) -> None:
    assert password not in said
    assert quote(password, safe="") not in said


CERTIFICATES: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"since": 2 * DAY, "until": -DAY}, "is this machine's clock right?"),
    "not valid yet": ({"since": -DAY, "until": 2 * DAY}, "is this machine's clock right?"),
    "self-signed": ({"itself": True}, "SSL_CERT_FILE"),
    "of another host": ({"host": "other.example"}, "somebody else answers in the host's place"),
    "of another address": ({"host": "127.0.0.2"}, "somebody else answers in the host's place"),
    "of an unknown authority": ({}, "SSL_CERT_FILE"),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
@pytest.mark.parametrize(
    ("what", "way", "transport"),
    [
        ("REST", "direct", "aiohttp"),
        ("REST", "through a tunnel", "aiohttp"),
        ("stream", "direct", "aiohttp"),
        ("stream", "direct", "picows"),
        ("stream", "through a tunnel", "aiohttp"),
    ],
    indirect=["transport"],
)
async def test_a_wrong_certificate_is_reported_with_a_hint(
    transport: str,
    kind: str,
    what: str,
    way: str,
    authority: Authority,
    seed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No request reaches the server."""
    how, words = CERTIFICATES[kind]
    if kind != "of an unknown authority":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    host = VENUE if way != "direct" else "127.0.0.1"
    async with (
        simulated("binance", seed, coins=["BTC"]) as simulator,
        tls_before(simulator.port, authority.server(**{"host": host, **how})) as at,
        tunnelling(at) as (proxy_at, _),
    ):
        target = at if way == "direct" else VENUE
        if way != "direct":
            monkeypatch.setenv("https_proxy", f"http://{proxy_at}")
        rest_url = f"https://{target}" if what == "REST" else simulator.rest_url
        feed = MarketFeed(settings=far(transport, rest_url=rest_url, ws_url=f"wss://{target}"))
        got = Witness(feed)
        connecting = asyncio.create_task(feed.connect())
        error = (await got.until_event("error"))["error"]
        connecting.cancel()
        await feed.disconnect()
        assert "certificate" in error.lower()
        assert words in error
        assert simulator["binance"].rest_calls == [] or what == "stream"
        assert simulator["binance"].dials == []
