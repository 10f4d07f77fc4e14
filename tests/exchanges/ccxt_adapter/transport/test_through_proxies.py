"""REST requests and WebSockets go through proxies, on both transports."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exchanges.errors import Disconnected
from exchanges.simulator import Simulator
from tests.exchanges.ccxt_adapter.transport.support import (
    SECRET,
    _passed,
    dial_failure,
    everything_said,
    failure,
    listening,
    proxying,
)
from tests.exchanges.support import opened, served, streaming


def address(simulator: Simulator) -> str:
    return simulator.rest_url.partition("//")[2]


FAR = {"rest_url": "http://venue.invalid", "ws_url": "ws://venue.invalid"}


@pytest.mark.parametrize("where", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "settings"])
async def test_a_proxy_carries_rest_and_the_stream(
    options: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        proxying(to=address(simulator)) as (at, proxy),
    ):
        named = f"http://me:{SECRET}@{at}"
        if where != "settings":
            monkeypatch.setenv(where, named)
        given = {"proxy": named} if where == "settings" else {}
        async with opened("binance", simulator, **FAR, options=options, **given) as venue:
            assert {str(each) for each in venue.proxies.values()} == {f"http://***@{at} ({where})"}
            async with streaming(venue, ["BTC"]) as running:
                await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
                await simulator["binance"].trade("BTC")
                await running.until(lambda: len(running.heard.trades) == 1)
        assert all("venue.invalid" in line for line in proxy.asked)
        assert len(proxy.asked) == 2
        assert proxy.logins == [f"Basic {b64encode(f'me:{SECRET}'.encode()).decode()}"] * 2


async def test_tls_goes_through_a_tunnel(
    options: dict[str, Any], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is for 127.0.0.1. For this address only the settings can name a proxy, not the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def no_market(request: web.Request) -> web.Response:
        return web.json_response({"symbols": []})

    async with served(web.get("/{path:.*}", no_market), tls=tls) as at, proxying(to=at) as (proxy_at, proxy):
        where = {"rest_url": "https://127.0.0.1:1", "ws_url": "wss://127.0.0.1:1"}
        async with opened("binance", at, **where, options=options, proxy=f"http://me:{SECRET}@{proxy_at}") as venue:
            assert "no spot market at all" in (await failure(venue.load())).reason
        assert proxy.asked == ["CONNECT 127.0.0.1:1 HTTP/1.1"]


@pytest.mark.parametrize("how", ["loopback", "none", "no_proxy"])
async def test_hosts_in_no_proxy_are_reached_directly(
    options: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, proxying(refusal="502 No") as (at, proxy):
        monkeypatch.setenv("ALL_PROXY", f"http://{at}")
        if how == "no_proxy":
            monkeypatch.setenv("NO_PROXY", ".invalid")
        given: dict[str, Any] = {} if how == "loopback" else FAR
        if how == "none":
            given = {**given, "proxy": "none"}
        async with opened("binance", simulator, options=options, **given) as venue:
            assert set(venue.proxies.values()) == {None}
            if how == "loopback":
                async with streaming(venue, ["BTC"]) as running:
                    await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
            else:
                assert isinstance(await failure(venue.load()), Disconnected)
        assert proxy.asked == []


async def test_a_wrong_proxy_of_the_environment_is_reported_with_its_variable(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"gopher://me:{SECRET}@proxy.example")
    async with Simulator(venues=("binance",), rate=0) as simulator:
        async with opened("binance", simulator, **FAR, options=options) as venue:
            error = await failure(venue.load())
            assert "the environment's HTTP_PROXY is 'gopher://***@proxy.example', allowed is" in error.reason
            assert error.reason in venue.proxies.values()
        async with opened("binance", simulator, ws_url=FAR["ws_url"], options=options) as venue:
            await venue.load()
            assert "HTTP_PROXY is 'gopher://***@proxy.example'" in (await dial_failure(venue)).reason


async def test_a_socks_proxy_carries_rest_and_the_stream(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy follows RFC 1928 and 1929: it looks up the host's name, and wants a user and a password."""
    pytest.importorskip("aiohttp_socks", reason="the extra [socks] is not installed")
    asked, logins = [], []
    async with Simulator(venues=("binance",), rate=0) as simulator:

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(b"\x05\x02")
            user = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            logins.append((user.decode(), password.decode()))
            writer.write(b"\x01\x00")
            *_, length = await reader.readexactly(5)
            asked.append((await reader.readexactly(length)).decode())
            await reader.readexactly(2)
            host, port = address(simulator).split(":")
            there, out = await asyncio.open_connection(host, int(port))
            writer.write(b"\x05\x00\x00\x01" + bytes(6))
            await asyncio.gather(_passed(reader, out), _passed(there, writer))

        async with listening(proxy) as at:
            monkeypatch.setenv("all_proxy", f"socks5h://me:{SECRET}@{at}")
            async with (
                opened("binance", simulator, **FAR, options=options) as venue,
                streaming(venue, ["BTC"]) as running,
            ):
                await running.until(lambda: any(each.subscriptions for each in simulator["binance"].connections))
        assert asked == ["venue.invalid"] * 2
        assert logins == [("me", SECRET)] * 2


async def test_the_error_says_that_the_socks_proxy_has_refused_and_not_the_venue(options: dict[str, Any]) -> None:
    pytest.importorskip("aiohttp_socks", reason="the extra [socks] is not installed")

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        await reader.readexactly(10)
        writer.write(b"\x05\x02\x00\x01" + bytes(6))  # connection not allowed by the proxy's rules

    async with Simulator(venues=("binance",), rate=0) as simulator, listening(refuse) as at:
        proxy = f"socks5://me:{SECRET}@{at}"
        async with opened("binance", simulator, **FAR, options=options, proxy=proxy) as venue:
            error = await failure(venue.load())
        assert isinstance(error, Disconnected)
        assert "the SOCKS proxy failed" in error.reason
        assert SECRET not in everything_said(error)
