"""Who may send requests to the server: tokens, origins, host names."""

from __future__ import annotations

import base64

import aiohttp
import pytest

from feed import FeedError, MarketFeed
from feed.settings import Settings
from feed.sinks.server.app import Server
from tests.feed.sinks.server.support import TOKEN, Json, ask, get


async def test_every_path_except_health_needs_the_token(feed: MarketFeed, settings: Settings) -> None:
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
async def test_requests_from_another_hosts_page_are_refused(
    http: aiohttp.ClientSession, headers: Json, status: int
) -> None:
    assert (await get(http, "/v1/status", headers=headers))[0] == status


async def test_allowed_pages_and_the_servers_own_page_may_send_requests(feed: MarketFeed, settings: Settings) -> None:
    origins = ["https://bots.example"]
    async with Server(feed, settings, port=0, origins=origins) as server, aiohttp.ClientSession(server.url) as http:
        for origin in (*origins, server.url.rstrip("/")):
            assert (await get(http, "/v1/status", headers={"Origin": origin}))[0] == 200


def test_serving_on_another_host_needs_a_token(feed: MarketFeed, settings: Settings) -> None:
    with pytest.raises(FeedError, match=r"host: found '0.0.0.0' without a token"):
        Server(feed, settings, host="0.0.0.0")


# --- pages of other hosts: the headers that a browser needs

PAGE = "https://bots.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


async def test_an_allowed_page_may_read_the_answers_and_send_its_token(feed: MarketFeed, settings: Settings) -> None:
    async with (
        Server(feed, settings, port=0, token=TOKEN, origins=[PAGE]) as server,
        aiohttp.ClientSession(server.url) as http,
    ):
        async with http.options("/v1/status", headers=PREFLIGHT) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
            assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        right = {"Authorization": f"Bearer {TOKEN}", "Origin": PAGE}
        for path, headers, status in (
            ("/v1/status", right, 200),
            ("/v1/events", right, 200),
            ("/v1/status", {"Origin": PAGE}, 401),
        ):
            async with http.get(path, headers=headers) as answer:
                assert answer.status == status
                assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (PAGE, "Origin")
        async with http.options("/v1/status", headers=PREFLIGHT | {"Origin": "https://evil.example"}) as answer:
            assert (answer.status, "Access-Control-Allow-Origin" in answer.headers) == (403, False)
        async with http.get("/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert (answer.status, "Access-Control-Allow-Origin" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9:1", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("2130706433", 403),
        ("[::1", 403),
        ("", 403),
        ("localhost@evil.example", 403),
    ],
)
async def test_without_a_token_only_requests_to_loopback_names_are_served(
    http: aiohttp.ClientSession, host: str, status: int
) -> None:
    """Otherwise the owner of a page could point the page's host name to 127.0.0.1 and let the page read the answers
    (DNS rebinding)."""
    assert (await get(http, "/v1/status", headers={"Host": host}))[0] == status


async def test_a_request_without_a_host_name_is_refused_without_a_look_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: pytest.fail("a look-up blocks the event loop"))
    answer = await ask(server, b"GET /v1/status HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 403 ")


async def test_requests_to_the_ipv6_loopback_address_are_served(feed: MarketFeed, settings: Settings) -> None:
    async with Server(feed, settings, host="::1", port=0) as server, aiohttp.ClientSession(server.url) as http:
        assert server.url == f"http://[::1]:{server.port}/"
        assert (await get(http, "/v1/status"))[0] == 200


async def test_one_right_token_among_wrong_tokens_is_enough(feed: MarketFeed, settings: Settings) -> None:
    async with Server(feed, settings, port=0, token=TOKEN) as server, aiohttp.ClientSession(server.url) as http:
        wrong = {"Authorization": "Bearer wrong"}
        async with http.ws_connect("/v1/stream", protocols=[f"bearer.{TOKEN}"], headers=wrong) as ws:
            assert ws.protocol == f"bearer.{TOKEN}"
        for value in (
            "Bearer",
            "Basic !!",
            "Basic =",
            "Bearer \u00e9",
            f"Bearer {TOKEN}, Bearer {TOKEN}",
            f"Digest {TOKEN}",
        ):
            assert (await get(http, "/v1/status", headers={"Authorization": value}))[0] == 401
