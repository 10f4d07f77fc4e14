"""A ban of any form is obeyed: there is no request and no dial until its end, and the wait is reported."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from exchanges import venue_time
from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.errors import Blocked, Disconnected, VenueError
from exchanges.simulator import Simulator
from feed import MarketFeed, NoExchangeAvailable, Settings
from feed.events import CoinConfig
from feed.settings import Connection, ExchangeConfig
from tests.exchanges.support import opened, served, streaming
from tests.support import Recorder, settings_for


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    return {"transport": request.param}


class Front:
    """A proxy before a simulated venue; it notes all requests, and answers them with ``refusal`` if this is set."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.refusal: dict[str, Any] | None = None
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.refusal is not None:
            return web.Response(**self.refusal)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.simulator.rest_url}{request.path_qs}") as passed,
        ):
            return web.Response(body=await passed.read(), content_type="application/json")


@asynccontextmanager
async def fronted(name: str) -> AsyncIterator[tuple[str, Front]]:
    async with Simulator(venues=(name,), rate=0) as simulator:
        front = Front(simulator)
        async with served(web.get("/{path:.*}", front.answer)) as at:
            yield at, front


def until_ms(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


def bans() -> dict[str, tuple[str, dict[str, Any]]]:
    """Each form of a ban: the venue that uses it, and the venue's answer. Every ban lasts about 60 s or more."""
    return {
        "418 and a time": ("binance", {"status": 418, "text": f"Way too much weight; IP banned until {until_ms(60)}."}),
        "429 and a time": ("binance", {"status": 429, "text": f'{{"code":-1003,"msg":"banned until {until_ms(60)}"}}'}),
        "418 and no word": ("binance", {"status": 418}),
        "403 too frequent": ("bybit", {"status": 403, "text": "access too frequent, please try again later"}),
        "a header's time": (
            "bybit",
            {
                "status": 429,
                "text": '{"retCode":10006,"retMsg":"Too many visits!"}',
                "headers": {"X-Bapi-Limit-Reset-Timestamp": str(until_ms(60))},
            },
        ),
    }


@pytest.mark.parametrize("what", bans())
async def test_while_a_ban_lasts_there_is_no_request_and_no_dial(options: dict[str, Any], what: str) -> None:
    """A ban over REST also holds for dials, and for all other objects of the same venue."""
    name, refusal = bans()[what]
    async with fronted(name) as (at, front), opened(name, at, options=options) as venue:
        await venue.load()
        front.refusal = refusal
        with pytest.raises(Disconnected) as caught:
            await venue.refresh()
        assert (caught.value.retry_after or 0) > 50
        asked = len(front.asked)
        for _ in range(3):
            with pytest.raises(Disconnected, match="wants to be left alone"):
                await venue.fetch_trades("BTC", "BTC/USDT")
            async with streaming(venue, ["BTC"]) as running:
                error = await running.ended()
            assert isinstance(error, Disconnected)
            assert (error.retry_after or 0) > 50
        async with opened(name, at, options=options) as other:
            with pytest.raises(Disconnected, match="wants to be left alone"):
                await other.load()
        assert len(front.asked) == asked


@pytest.mark.parametrize("what", ["418 and a time", "429 and a time", "403 too frequent"])
async def test_a_ban_in_the_answer_to_a_dial_holds_for_requests_too(options: dict[str, Any], what: str) -> None:
    """The ban is read from the body of the answer to the upgrade."""
    name, refusal = bans()[what]
    async with fronted(name) as (at, front), opened(name, at, options=options) as venue:
        await venue.load()
        front.refusal = refusal
        async with streaming(venue, ["BTC"]) as running:
            error = await running.ended()
        assert isinstance(error, Disconnected)
        assert (error.retry_after or 0) > 50
        asked = len(front.asked)
        with pytest.raises(Disconnected, match="wants to be left alone"):
            await venue.fetch_trades("BTC", "BTC/USDT")
        assert len(front.asked) == asked


async def test_a_block_because_of_the_location_does_not_count_as_a_ban(options: dict[str, Any]) -> None:
    async with fronted("bybit") as (at, front), opened("bybit", at, options=options) as venue:
        await venue.load()
        front.refusal = {"status": 403, "text": "<html><h1>Request blocked.</h1>CloudFront</html>"}
        for _ in range(2):
            with pytest.raises(Blocked):
                await venue.refresh()
            async with streaming(venue, ["BTC"]) as running:
                assert isinstance(await running.ended(), Blocked)


@pytest.mark.parametrize("ahead", [-3600, 3600])
@pytest.mark.parametrize("what", ["418 and a time", "a header's time"])
async def test_a_bans_end_is_computed_with_the_venues_clock(options: dict[str, Any], what: str, ahead: int) -> None:
    """This machine's clock is wrong by an hour, and the answer's Date header cannot be read."""
    name, refusal = bans()[what]
    end = str(until_ms(ahead + 60))
    if "headers" in refusal:
        refusal["headers"] = {"X-Bapi-Limit-Reset-Timestamp": end, "Date": "today"}
    else:
        refusal |= {"text": f"IP banned until {end}.", "headers": {"Date": "today"}}
    async with fronted(name) as (at, front), opened(name, at, options=options) as venue:
        await venue.load()
        venue_time.tell(name, until_ms(ahead))
        front.refusal = refusal
        with pytest.raises(Disconnected) as caught:
            await venue.fetch_tickers({"BTC": "BTC/USDT"})
        assert caught.value.retry_after == pytest.approx(60, abs=10)


async def test_requests_continue_after_the_end_of_a_ban(options: dict[str, Any]) -> None:
    async with fronted("binance") as (at, front), opened("binance", at, options=options) as venue:
        front.refusal = {"status": 418, "text": f"IP banned until {until_ms(1.5)}"}
        with pytest.raises(VenueError):
            await venue.load()
        front.refusal = None
        end = time.monotonic() + 20
        while not venue.loaded:
            assert time.monotonic() < end
            try:
                await venue.load()
            except Disconnected as error:
                assert error.retry_after  # noqa: PT017 - the error tells how long to wait
        assert front.asked == ["/api/v3/exchangeInfo"] * 2


async def test_a_feed_that_waits_for_the_end_of_a_ban_reports_it(options: dict[str, Any]) -> None:
    async with fronted("binance") as (at, front):
        front.refusal = {"status": 418, "text": f"IP banned until {until_ms(90)}"}
        settings = Settings(
            coins=[CoinConfig("BTC")],
            exchanges=[ExchangeConfig("binance", rest_url=f"http://{at}", ws_url=f"ws://{at}", options=options)],
            connection=Connection(backoff_initial=0.05, backoff_max=0.2),
        )
        feed = MarketFeed(settings=settings)
        recorder = Recorder(feed)
        with pytest.raises(NoExchangeAvailable):
            await feed.connect(3)
        await feed.disconnect()
        assert recorder.details("reconnecting")[0]["delay"] > 80
        assert len(front.asked) <= 2  # the request for markets, and another one at the same time


async def test_a_feed_uses_another_venue_during_a_ban(options: dict[str, Any]) -> None:
    async with fronted("binance") as (at, front), Simulator(venues=("bybit",), rate=50) as other:
        front.refusal = {"status": 418, "text": f"IP banned until {until_ms(90)}"}
        settings = settings_for(other, coins=("BTC",))
        banned = ExchangeConfig("binance", rest_url=f"http://{at}", ws_url=f"ws://{at}", options=options)
        settings.exchanges = [banned, *settings.exchanges]
        feed = MarketFeed(settings=settings)
        recorder = Recorder(feed)
        await feed.connect(20)
        try:
            assert feed.status.exchange == "bybit"
            assert "left alone" in recorder.details("failover")[0]["reason"]
            assert len(front.asked) <= 2
        finally:
            await feed.disconnect()
