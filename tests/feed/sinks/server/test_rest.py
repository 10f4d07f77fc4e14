"""REST over real sockets, with a feed on the simulator: answers to valid requests, and errors for wrong requests."""

from __future__ import annotations

import aiohttp
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from yarl import URL

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed
from feed.sinks.server.app import Server
from feed.sinks.server.openapi import description
from tests.feed.sinks.server.support import TOKEN, Json, get, soon_stale
from tests.support import settings_for, until


async def test_prices_over_rest_equal_the_prices_of_the_feed(http: aiohttp.ClientSession, feed: MarketFeed) -> None:
    status, price = await get(http, "/v1/prices/btc")
    assert status == 200
    assert set(price) == set(feed.get_all_prices()["BTC"].__slots__)
    assert (price["coin"], price["exchange"], price["market"]) == ("BTC", "binance", "BTC/USDT")
    status, prices = await get(http, "/v1/prices")
    assert (status, set(prices)) == (200, {"BTC", "ETH"})
    assert all(price["fresh"] and price["reason"] == "" for price in prices.values())


@soon_stale
async def test_the_answer_for_a_price_that_is_not_fresh_is_503_with_the_reason(
    http: aiohttp.ClientSession, venue: SimulatedVenue, feed: MarketFeed
) -> None:
    with venue.stalled():
        await until(lambda: feed.status.state == "stale")
        status, answer = await get(http, "/v1/prices/BTC")
        assert status == 503
        assert "silent" in answer["error"]
        prices = (await get(http, "/v1/prices"))[1]
        assert not prices["BTC"]["fresh"]
        assert "silent" in prices["BTC"]["reason"]
        assert (await get(http, "/v1/volatility/BTC"))[0] == 503
    status, answer = await get(http, "/v1/prices/BTC?max_age=0.000001")
    assert (status, answer["limit"]) == (503, 0.000001)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/prices/NOPE", 404),
        ("/v1/candles/NOPE", 404),
        ("/v1/volatility/NOPE", 404),
        ("/v1/nothing", 404),
        ("/v1/prices/BTC?max_age=nan", 400),
        ("/v1/prices/BTC?max_age=-1", 400),
        ("/v1/candles/BTC?limit=0", 400),
        ("/v1/candles/BTC?limit=1e9", 400),
        ("/v1/candles/BTC?timeframe=7q", 400),
        ("/v1/volatility/BTC?window=2", 400),
        ("/v1/events?channels=nothing", 400),
        ("/v1/events?coins=NOPE", 400),
        ("/v1/events?on_full=panic", 400),
        ("/v1/stream", 426),
    ],
)
async def test_the_answer_to_a_wrong_request_says_what_is_wrong(
    http: aiohttp.ClientSession, path: str, status: int
) -> None:
    found, answer = await get(http, path)
    assert (found, list(answer)) == (status, ["error"])
    assert answer["error"]


async def test_candles_health_status_and_volatility_are_served(http: aiohttp.ClientSession) -> None:
    status, candles = await get(http, "/v1/candles/BTC?timeframe=1m&limit=5")
    assert status == 200
    assert [candle["closed"] for candle in candles] == [True] * 4 + [False]
    status, health = await get(http, "/health")
    assert (status, health["status"]) == (200, "healthy")
    status, found = await get(http, "/v1/status")
    assert (status, found["state"], found["coins"]) == (200, "live", ["BTC", "ETH"])
    assert (await get(http, "/v1/volatility/BTC?window=3"))[0] == 200
    async with http.post("/v1/status") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_health_is_503_once_the_feed_has_failed(http: aiohttp.ClientSession, feed: MarketFeed) -> None:
    await feed.disconnect()
    status, health = await get(http, "/health")
    assert (status, health["status"]) == (503, "failed")
    assert (await get(http, "/v1/prices/BTC"))[0] == 503


async def test_metrics_are_served(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        assert 'market_feed_events_total{channel="trades",exchange="binance"}' in await answer.text()


async def test_the_openapi_description_is_valid_and_has_every_path(http: aiohttp.ClientSession, server: Server) -> None:
    status, document = await get(http, "/v1/openapi.json")
    assert (status, document) == (200, description())
    validate(document)
    assert server._runner is not None
    served = {resource.canonical for resource in server._runner.app.router.resources()}
    assert served - set(document["paths"]) == {"/", "/v1/openapi.json", "/v1/stream"}


@pytest.mark.parametrize("coin", ["BTC", "btc", "%42tc"])
async def test_a_coin_may_be_written_in_any_case(http: aiohttp.ClientSession, coin: str) -> None:
    async with http.get(URL(f"/v1/prices/{coin}", encoded=True)) as answer:
        assert (answer.status, (await answer.json())["coin"]) == (200, "BTC")


@pytest.mark.parametrize("coin", ["%3Cimg%20src=x%3E", "%ff%00", "BTC%2FUSDT", "%F0%9F%92%A9", "x" * 5000])
async def test_the_answer_for_an_unknown_coin_names_the_coin_in_ascii(http: aiohttp.ClientSession, coin: str) -> None:
    async with http.get(URL(f"/v1/prices/{coin}", encoded=True)) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type, text.isascii()) == (404, "application/json", True)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert len(text) < 400


async def test_head_is_answered_like_get_without_a_body_and_opens_no_stream(http: aiohttp.ClientSession) -> None:
    for path, status in (("/", 200), ("/v1/prices/BTC", 200), ("/v1/events", 405), ("/v1/stream", 405)):
        async with http.head(path) as answer:
            assert (answer.status, await answer.read()) == (status, b"")


@soon_stale
async def test_health_is_200_while_the_feed_is_degraded(
    http: aiohttp.ClientSession, venue: SimulatedVenue, feed: MarketFeed
) -> None:
    with venue.stalled():
        await until(lambda: feed.status.state == "stale")
        status, health = await get(http, "/health")
        assert (status, health["status"]) == (200, "degraded")


async def test_an_error_of_the_server_is_answered_with_500_and_the_next_request_is_served(
    http: aiohttp.ClientSession, feed: MarketFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(feed, "get_status", lambda: 1 / 0)
        async with http.get("/v1/status") as answer:
            assert (answer.status, b"ZeroDivision" in await answer.read()) == (500, False)
    assert (await get(http, "/v1/status"))[0] == 200


OLD = "/v1/prices/BTC?max_age=0.000001"
ASKED = {
    "/v1/prices": ["/v1/prices"],
    "/v1/prices/{coin}": ["/v1/prices/BTC", OLD, "/v1/prices/NO", "/v1/prices/BTC?max_age=x"],
    "/v1/candles/{coin}": ["/v1/candles/BTC?limit=3", "/v1/candles/BTC?limit=x", "/v1/candles/NO"],
    "/v1/books/{coin}": ["/v1/books/BTC?depth=5", "/v1/books/BTC?depth=0", "/v1/books/NO"],
    "/v1/volatility/{coin}": ["/v1/volatility/BTC", "/v1/volatility/BTC?window=1", "/v1/volatility/NO"],
    "/v1/status": ["/v1/status"],
    "/health": ["/health"],
    "/metrics": ["/metrics"],
    "/v1/events": ["/v1/events?channels=moons"],
}  # fmt: skip


async def test_every_answer_conforms_to_the_openapi_description(simulator: Simulator) -> None:
    """The good and bad answers of each path are checked against the path's schema, which allows no further fields."""
    settings = settings_for(simulator, channels=["trades", "ticker", "candles", "books"])
    feed = MarketFeed(settings=settings)
    document = description()
    assert ASKED.keys() == document["paths"].keys()
    async with Server(feed, settings, port=0, token=TOKEN) as server, feed, aiohttp.ClientSession(server.url) as http:
        right = {"Authorization": f"Bearer {TOKEN}"}

        async def check(path: str, asked: str, headers: Json) -> int:
            responses = document["paths"][path]["get"]["responses"]
            async with http.get(asked, headers=headers) as answer:
                content = responses[str(answer.status)]["content"]
                assert answer.content_type in content, asked
                if answer.content_type == "application/json":
                    schema = content[answer.content_type]["schema"]
                    value = await answer.json()
                    OAS31Validator(schema | {"components": document["components"]}).validate(value)
                    found = schema
                    if found.get("type") == "array":
                        found, value = found["items"], value[0]
                    elif "additionalProperties" in found:
                        found, value = found["additionalProperties"], next(iter(value.values()))
                    if "$ref" in found and not found["$ref"].endswith("Error"):
                        assert (
                            value.keys()
                            == document["components"]["schemas"][found["$ref"].split("/")[-1]]["properties"].keys()
                        )
                return answer.status

        await until(lambda: feed.get_book("BTC") is not None and len(feed.get_all_prices()) == 2, 30)
        statuses = {await check(path, asked, right) for path, paths in ASKED.items() for asked in paths}
        assert statuses == {200, 400, 404, 503}
        assert {await check(path, paths[0], {}) for path, paths in ASKED.items() if path != "/health"} == {401}
        await feed.disconnect()
        assert await check("/health", "/health", {}) == 503
