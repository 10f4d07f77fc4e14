"""Redirects are followed only to hosts that the settings name, and never from TLS to plain text."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from exchanges.ccxt_adapter.transport.http_client import why_refused
from exchanges.errors import Disconnected
from exchanges.simulator import Simulator
from tests.exchanges.ccxt_adapter.transport.support import Handler, dial_failure, everything_said, failure
from tests.exchanges.support import opened, served, streaming

# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "to", "followed"),
    [
        ("https://a.example/x", "https://a.example/y", True),
        ("https://a.example/x", "https://A.example:443/y", True),
        ("http://a.example/x", "https://a.example/x", True),
        ("ws://a.example/x", "https://a.example/x", True),
        ("ws://a.example/x", "wss://a.example/x", True),
        ("https://a.example/x", "https:///a.example/x", False),
        ("http://a.example:8080/x", "https://a.example:8443/x", False),
        ("https://a.example/x", "http://a.example/x", False),
        ("wss://a.example/x", "ws://a.example/x", False),
        ("wss://a.example/x", "http://named.example/x", False),
        ("https://a.example/x", "https://b.example/x", False),
        ("https://a.example/x", "https://b.a.example/x", False),
        ("https://a.example/x", "https://a.example.evil/x", False),
        ("https://a.example/x", "https://a.example@evil/x", False),
        ("https://a.example/x", "https://a.example:444/x", False),
        ("https://a.example/x", "https://named.example/x", True),
        ("https://a.example/x", "https://named.example:8443/x", False),
    ],
)
def test_a_redirect_to_plain_text_or_another_host_is_not_followed(at: str, to: str, followed: bool) -> None:
    assert (why_refused(URL(at), URL(to), {("named.example", 443), ("named.example", 80)}) == "") is followed


def redirecting(to: Callable[[], str], status: int) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": to()})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(options: dict[str, Any], status: int) -> None:
    asked = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"symbols": []})

    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", elsewhere)) as other,
        served(web.get("/{path:.*}", redirecting(lambda: f"http://{other}/there", status))) as at,
    ):
        async with opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue:
            error = await failure(venue.load())
            assert "is not followed: it leads to another host, which the settings do not name" in error.reason
        async with opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue:
            await venue.load()
            error = await dial_failure(venue)
            assert "is not followed: it leads to another host, which the settings do not name" in error.reason
        assert asked == []


@pytest.mark.parametrize(
    ("to", "words"), [("/round", "redirects of"), (None, "302")], ids=["in a circle", "without an address"]
)
async def test_a_redirect_in_a_circle_or_without_an_address_is_reported(
    options: dict[str, Any], to: str | None, words: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={} if to is None else {"Location": to})

    async with Simulator(venues=("binance",), rate=0) as simulator, served(web.get("/{path:.*}", answer)) as at:
        async with opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue:
            assert words in (await failure(venue.load())).reason
        async with opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue:
            await venue.load()
            assert words in (await dial_failure(venue)).reason


async def test_a_redirect_to_a_host_that_the_settings_name_is_followed(options: dict[str, Any]) -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator:

        async def moved(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{simulator.rest_url}{request.path_qs}")

        async with (
            served(web.get("/{path:.*}", moved)) as at,
            opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue,
        ):
            await venue.load()
            assert venue.market("BTC") == "BTC/USDT"
        async with (
            served(web.get("/{path:.*}", moved)) as at,
            opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue,
            streaming(venue, ["BTC"]) as running,
        ):
            await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
            await simulator["binance"].trade("BTC", count=3)
            await running.until(lambda: len(running.heard.trades) == 3)


@pytest.mark.parametrize(
    "to", ["http://{host}/there", "http://127.0.0.1:9/", "ftp://127.0.0.1/", "http://[", "//127.0.0.1:9/x"]
)
async def test_a_redirect_from_tls_to_plain_text_is_not_followed(
    options: dict[str, Any], certificate: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    host = ""
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", redirecting(lambda: to.format(host=host), 302)), tls=tls) as at,
    ):
        host = at
        async with opened("binance", simulator, rest_url=f"https://{at}", options=options) as venue:
            assert isinstance(error := await failure(venue.load()), Disconnected)
            assert "redirect" in error.reason
        async with opened("binance", simulator, ws_url=f"wss://{at}", options=options) as venue:
            await venue.load()
            assert "redirect" in (await dial_failure(venue)).reason


@pytest.mark.parametrize("scheme", ["ws", "wss", "ftp"])
async def test_a_redirect_to_a_scheme_other_than_http_is_not_followed(options: dict[str, Any], scheme: str) -> None:
    """Without our check, aiohttp's error for the redirect of a WebSocket handshake would show only the address."""
    to = ""
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", redirecting(lambda: to, 307))) as at,
    ):
        to = f"{scheme}://{at}/there"
        async with opened("binance", simulator, rest_url=f"http://{at}", options=options) as venue:
            assert "no http:// or https:// address" in (await failure(venue.load())).reason
        async with opened("binance", simulator, ws_url=f"ws://{at}", options=options) as venue:
            await venue.load()
            assert "no http:// or https:// address" in (await dial_failure(venue)).reason


@pytest.mark.parametrize("before", range(0, 240, 8))
async def test_the_error_of_a_long_redirect_shows_no_part_of_a_key(before: int) -> None:
    """The address comes last in the error. The address is shortened only after the key in it has been hidden."""
    key = "".join(map(chr, range(ord("A"), ord("Z"))))
    location = f"http://other.invalid/{'x' * before}{key}{'y' * 5000}"
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", redirecting(lambda: location, 302))) as at,
    ):
        given = {"options": {"apiKey": key}}
        async with opened("binance", simulator, rest_url=f"http://{at}", **given) as venue:
            error = await failure(venue.load())
            assert "which the settings do not name" in error.reason
            assert key[:8] not in everything_said(error)
