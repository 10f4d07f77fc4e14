"""If REST over TLS gives a stream's address, the stream is never dialled in plain text."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from exchanges import Access
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.errors import VenueError
from tests.exchanges.conftest import certificate as certificate
from tests.exchanges.support import served, streaming
from tests.venues.wire import script, venue


async def test_a_plain_text_address_that_came_over_tls_is_not_dialled(
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """KuCoin returns the stream's address over REST."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with venue("kucoin") as wire:

        async def answer(request: web.Request) -> web.Response:
            body = script("kucoin").rest(request.path, request.query, wire)
            text = json.dumps(body).replace("wss://", "ws://")
            return web.Response(text=text, content_type="application/json")

        async with served(web.route("*", "/{path:.*}", answer), tls=tls) as at:
            session = open_venue("kucoin", Access(rest_url=f"https://{at}", timeout=5.0))
            try:
                async with streaming(session, ["BTC"]) as running:
                    error = await running.ended()
            finally:
                await session.close()
        assert isinstance(error, VenueError)
        assert "is not dialled: it has no TLS, although it was received over TLS" in error.reason
        assert not wire.dials
