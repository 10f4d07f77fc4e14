"""Errors show no password, no key and no control characters; authorities that the environment names are trusted."""

from __future__ import annotations

import ssl
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exchanges.errors import VenueError
from exchanges.simulator import Simulator
from tests.exchanges.ccxt_adapter.transport.support import (
    SECRET,
    dial_failure,
    everything_said,
    failure,
    proxying,
)
from tests.exchanges.support import opened, served, streaming
from tests.support import until


@pytest.mark.parametrize("where", ["settings", "HTTPS_PROXY"])
@pytest.mark.parametrize("refusal", ["407 Proxy Authentication Required", "404 Not Found", "502 Bad", "451 No"])
async def test_no_error_shows_a_proxys_password(
    options: dict[str, Any], refusal: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy of this test repeats the login in its answer."""
    encoded = b64encode(f"me:{SECRET}".encode()).decode()
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        proxying(refusal=f"{refusal} to {encoded} {SECRET}") as (at, proxy),
    ):
        named = f"http://me:{SECRET}@{at}"
        if where != "settings":
            monkeypatch.setenv(where, named)
            monkeypatch.setenv("HTTP_PROXY", named)
        given = {"proxy": named} if where == "settings" else {}
        for scheme in ("", "s"):
            far = {"rest_url": f"http{scheme}://venue.invalid"}
            async with opened("binance", simulator, **far, options=options, **given) as venue:
                said = everything_said(await failure(venue.load())) + repr(venue) + repr(venue.access)
            assert SECRET not in said
            assert encoded.rstrip("=") not in said
        if where != "settings":
            for scheme in ("ws", "wss"):
                async with opened("binance", simulator, ws_url=f"{scheme}://venue.invalid", options=options) as venue:
                    await venue.load()
                    said = everything_said(await dial_failure(venue))
                assert SECRET not in said
                assert encoded.rstrip("=") not in said
        assert proxy.logins


async def test_a_venues_text_in_an_error_is_printable_and_shows_no_key(options: dict[str, Any]) -> None:
    key = "AKIA-0123456789"
    nasty = f"\x1b[2J\x9b31m\u202ebad\u2066\x07 {key} \r\n{'x' * 5000}"

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"code": -1, "msg": nasty}, status=400, dumps=lambda value: str(value["msg"]))

    async def close(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            await socket.send_bytes(f'{{"e":"trade","x":"{nasty}'.encode())
            await socket.send_str(f'{{"e":"trade","s":"BTCUSDT","p":"\u202e{key}","q":{{}}}}')
            await socket.close(code=4001, message="\x1b]0;\u202e".encode())
        return socket

    given = {"options": {**options, "apiKey": key}}
    async with Simulator(venues=("binance",), rate=0) as simulator:
        async with served(web.get("/{path:.*}", refuse)) as at, opened("binance", at, **given) as venue:
            error = await failure(venue.load())
            assert error.reason.isprintable()
            assert len(error.reason) <= 250
            assert key not in everything_said(error)
        async with (
            served(web.get("/{path:.*}", close)) as at,
            opened("binance", simulator, ws_url=f"ws://{at}", **given) as venue,
            streaming(venue, ["BTC"]) as running,
        ):
            ended = await running.ended()
            assert isinstance(ended, VenueError)
            assert ended.reason.isprintable()
            await until(lambda: bool(running.heard.bad))
            for sample in running.heard.bad:
                assert sample.isprintable()
                assert key not in sample
                assert len(sample) <= 250


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_an_authority_that_the_environment_names_is_trusted(
    options: dict[str, Any], certificate: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def talk(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade"):
            return web.Response(status=429, headers={"Retry-After": "9"})
        return web.json_response({"symbols": []})

    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(web.get("/{path:.*}", talk), tls=tls) as at,
    ):
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv(how, str(certificate if how == "SSL_CERT_FILE" else certificate.parent))
            async with opened("binance", at, rest_url=f"https://{at}", options=options) as venue:
                rest = (await failure(venue.load())).reason
            async with opened("binance", simulator, ws_url=f"wss://{at}", options=options) as venue:
                await venue.load()
                dial = (await dial_failure(venue)).reason
            for reason in (rest, dial):
                assert ("CERTIFICATE_VERIFY_FAILED" in reason) is not trusted
                assert all((name in reason) is not trusted for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_a_variable_that_names_a_missing_file_is_reported(
    how: str, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(how, str(tmp_path / "nothing"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with (
        Simulator(venues=("binance",), rate=0) as simulator,
        served(tls=tls) as at,
    ):
        async with opened("binance", simulator) as venue:
            await venue.load()  # plain http needs no certificates
        async with opened("binance", at, rest_url=f"https://{at}") as venue:
            assert f"{how} names" in (await failure(venue.load())).reason
