"""One venue over its real ccxt.pro class and REST: markets, tickers, trades, and errors in plain words."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from exchanges import Access
from exchanges.ccxt_adapter.venue import CcxtVenue, _to_its_end, open_venue
from exchanges.errors import Blocked, Disconnected, Halted, Rejected, VenueError
from exchanges.events import Ticker, TradeEvent
from exchanges.simulator import SimulatedVenue as Simulated
from exchanges.simulator import Simulator
from tests.exchanges.support import VENUES, opened, served, streaming


@pytest.fixture
async def venue(simulator: Simulator, simulated: Simulated) -> AsyncIterator[CcxtVenue]:
    async with opened(simulated.name, simulator) as venue:
        yield venue


# --- markets ----------------------------------------------------------------------------------------------------------


async def test_one_request_loads_the_spot_markets_and_no_other_type(venue: CcxtVenue, simulated: Simulated) -> None:
    """By default ccxt requests futures, options and currencies too; each answer has megabytes."""
    await venue.load()
    await venue.load()
    paths = [path for _, path in simulated.rest_calls]
    assert paths == [{"binance": "/api/v3/exchangeInfo", "bybit": "/v5/market/instruments-info"}[venue.name]]
    assert venue.loaded
    assert len(venue._api.markets) == len(simulated.markets)


async def test_a_coin_is_found_with_the_first_quote_currency_that_the_venue_lists() -> None:
    coins = ["BTC/USDC", "BTC/USDT", "ETH/USDC", "SOL/USD"]
    async with Simulator(venues=("binance",), rate=0, coins=coins) as simulator:
        async with opened("binance", simulator) as venue:
            await venue.load()
            assert [venue.market(coin) for coin in ("BTC", "ETH", "SOL")] == ["BTC/USDT", "ETH/USDC", "SOL/USD"]
        async with opened("binance", simulator, quote=("USDC", "USDT")) as venue:
            await venue.load()
            assert venue.market("BTC") == "BTC/USDC"
            reason = r"does not list SOL \(looked for SOL/USDC, SOL/USDT; it has USD, which `quote` does not list\)"
            with pytest.raises(Rejected, match=reason):
                venue.market("SOL")


async def test_only_the_market_that_an_override_names_is_used(venue: CcxtVenue) -> None:
    await venue.load()
    assert venue.market("BTC", "BTC/USDC") == "BTC/USDC"
    with pytest.raises(Rejected, match=r"does not list BTC \(looked for BTC/EUR\)"):
        venue.market("BTC", "BTC/EUR")


async def test_a_coin_that_is_not_listed_is_refused(venue: CcxtVenue) -> None:
    await venue.load()
    with pytest.raises(Rejected, match=r"NOPE/USDT, NOPE/USDC, NOPE/USD") as caught:
        venue.market("NOPE")
    assert caught.value.exchange == venue.name


async def test_a_market_that_is_not_traded_is_not_used(venue: CcxtVenue) -> None:
    await venue.load()
    venue._api.markets["BTC/USDT"]["active"] = False
    assert venue.market("BTC") == "BTC/USDC"
    venue._api.markets["SOL/USDC"]["active"] = venue._api.markets["SOL/USDT"]["active"] = False
    with pytest.raises(Halted, match=r"has halted SOL \(SOL/USDT, SOL/USDC is listed and not traded now\)"):
        venue.market("SOL")


async def test_a_renamed_coin_is_found_under_its_older_code() -> None:
    """A market under the current code is preferred, even if it has a later quote currency."""
    async with (
        Simulator(venues=("bybit",), rate=0, coins=["MATIC", "FTM", "S/USDC"]) as simulator,
        opened("bybit", simulator) as venue,
    ):
        await venue.load()
        assert venue.market("POL") == "MATIC/USDT"
        assert venue.market("S") == "S/USDC"
        async with streaming(venue, ["POL"]) as running:
            made = simulator["bybit"]
            await running.until(lambda: [len(each.subscriptions) for each in made.connections] == [1])
            await made.trade("MATIC")
            await running.until(lambda: len(running.heard.trades) == 1)
            assert running.heard.trades[0].coin == "POL"


@pytest.mark.parametrize(
    ("name", "market_type"), [("binance_us", "swap"), ("kraken", "swap"), ("krakenfutures", "spot")]
)
def test_a_market_type_that_a_venue_does_not_have_is_refused(name: str, market_type: str) -> None:
    """The refusal is not reported as an outage, which would be retried for ever."""
    with pytest.raises(Rejected, match=f"{name}: has no {market_type} markets"):
        open_venue(name, Access(market_type=market_type))


async def test_swap_markets_are_settled_in_their_quote_currency() -> None:
    venue = open_venue("binance", Access(market_type="swap"))
    assert venue._api.options["fetchMarkets"]["types"] == ["linear"]
    venue._api.markets = {"BTC/USDT:USDT": {"active": True}, "BTC/USDT": {"active": True}}
    assert venue.market("BTC") == "BTC/USDT:USDT"
    with pytest.raises(Rejected, match="ETH/USDT:USDT, ETH/USDC:USDC, ETH/USD:USD"):
        venue.market("ETH")
    await venue.close()


# --- 24 h statistics and trades ---------------------------------------------------------------------------------------


async def test_the_24_h_statistics_equal_those_of_the_venue(venue: CcxtVenue, simulated: Simulated) -> None:
    await simulated.trade("BTC", count=3)
    await venue.load()
    asked_at = simulated.now()
    tickers = await venue.fetch_tickers({"BTC": "BTC/USDT", "ETH": "ETH/USDT"})
    assert [ticker.coin for ticker in tickers] == ["BTC", "ETH"]
    for ticker in tickers:
        market = simulated.market(ticker.coin)
        assert ticker.exchange == venue.name
        assert ticker.last == market.last_price / market.scale
        days = [market.day(now) for now in (asked_at, simulated.now())]  # a minute may have ended meanwhile
        assert any(
            ticker.volume_24h == pytest.approx(day.turnover / market.scale / market.lot_scale, rel=1e-6)
            and ticker.change_24h == pytest.approx(100 * (market.last_price - day.open) / day.open, abs=0.01)
            for day in days
        )
    assert len(simulated.rest_calls) == 2


DAY_WITHOUT_A_LAST_PRICE = {
    "binance": [{"symbol": "BTCUSDT", "openPrice": "60000", "priceChange": "600", "priceChangePercent": "1",
                 "weightedAvgPrice": "60300", "volume": "10", "quoteVolume": "603000", "closeTime": 1_700_000_000_000}],
    "bybit": {"retCode": 0, "retMsg": "OK", "time": 1_700_000_000_000, "result": {"category": "spot", "list": [
        {"symbol": "BTCUSDT", "prevPrice24h": "60000", "price24hPcnt": "0.01", "volume24h": "10",
         "turnover24h": "603000"}]}},
}  # fmt: skip


@pytest.mark.parametrize("last", [None, "0", ""])
async def test_the_last_price_is_the_venues_own_and_is_never_computed(
    venue: CcxtVenue, simulated: Simulated, last: str | None
) -> None:
    """ccxt would compute the price from the day's opening price and change, which has too few digits."""
    await venue.load()
    day: Any = copy.deepcopy(DAY_WITHOUT_A_LAST_PRICE[simulated.name])
    row = day["result"]["list"][0] if simulated.name == "bybit" else day[0]
    if last is not None:
        row["lastPrice"] = last

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(day)

    async with served(web.get("/{path:.*}", answer)) as at:
        venue._api.access = replace(venue.access, rest_url=f"http://{at}")
        assert await venue.fetch_tickers({"BTC": "BTC/USDT"}) == []
        row["lastPrice"] = "60601.5"
        assert [ticker.last for ticker in await venue.fetch_tickers({"BTC": "BTC/USDT"})] == [60601.5]


async def test_recent_trades_over_rest_have_the_streams_ids(venue: CcxtVenue, simulated: Simulated) -> None:
    """Binance's aggregate trades, ccxt's default, have other ids, which could not close a gap."""
    made = await simulated.trade("BTC", count=50)
    await venue.load()
    trades = await venue.fetch_trades("BTC", "BTC/USDT")
    assert [
        (int(t.trade_id), t.price, t.quantity, t.is_buyer_maker, t.timestamp, t.coin, t.exchange) for t in trades
    ] == [(t.id, t.price, t.quantity, t.buyer_maker, t.timestamp, "BTC", venue.name) for t in made]


async def test_trades_can_be_fetched_beginning_with_an_id() -> None:
    async with Simulator(venues=("binance",), rate=0) as simulator, opened("binance", simulator) as venue:
        made = [trade.id for trade in await simulator["binance"].trade("BTC", count=2500)]
        await venue.load()
        for first in (0, 700, 2000):
            trades = await venue.fetch_trades("BTC", "BTC/USDT", from_id=made[first])
            assert [int(trade.trade_id) for trade in trades] == made[first : first + 1000]


async def test_streamed_and_fetched_trades_are_equal(venue: CcxtVenue, simulated: Simulated) -> None:
    async with streaming(venue, ["BTC"]) as running:
        await running.until(lambda: [len(each.subscriptions) for each in simulated.connections] == [1])
        await simulated.trade("BTC", count=20)
        await running.until(lambda: len(running.heard.trades) == 20)
        fetched = await venue.fetch_trades("BTC", "BTC/USDT")
        for trade in [*fetched, *running.heard.trades]:
            trade.received_at = 0
        assert fetched == running.heard.trades


# --- what can go wrong ------------------------------------------------------------------------------------------------

Call = Callable[[CcxtVenue], Awaitable[Any]]


async def load(venue: CcxtVenue) -> None:
    await venue.load()


async def figures(venue: CcxtVenue) -> list[Ticker]:
    return await venue.fetch_tickers({"BTC": "BTC/USDT"})


async def trades(venue: CcxtVenue) -> list[TradeEvent]:
    return await venue.fetch_trades("BTC", "BTC/USDT")


async def failure(call: Call, venue: CcxtVenue) -> VenueError:
    """The error of a call; it must be one of our errors, with the venue's name and a reason of one readable line."""
    with pytest.raises(VenueError) as caught:
        await call(venue)
    error = caught.value
    assert error.exchange == venue.name
    assert 0 < len(error.reason) <= 300
    assert "\n" not in error.reason
    assert "Traceback" not in error.reason
    return error


@pytest.mark.parametrize("status", [403, 451])
async def test_http_451_and_403_are_raised_as_blocked(venue: CcxtVenue, simulated: Simulated, status: int) -> None:
    with simulated.blocked(status):
        error = await failure(load, venue)
    assert isinstance(error, Blocked)
    assert error.status == status
    assert str(status) in error.reason
    await venue.load()


@pytest.mark.parametrize("status", [429, 418])
async def test_the_error_for_an_answer_with_retry_after_says_how_long_to_wait(status: int) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "17"}, text='{"code":-1003,"msg":"Too much"}')

    async with served(web.get("/{path:.*}", refuse)) as at, opened("binance", at) as venue:
        error = await failure(load, venue)
        assert isinstance(error, Disconnected)
        assert error.retry_after == 17
        assert str(status) in error.reason


async def test_no_request_is_sent_before_the_end_of_retry_after() -> None:
    """No kind of request is sent, because the limit is per IP address, and more requests would lead to a ban."""
    asked = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=429, headers={"Retry-After": "17"}, text="{}")

    async with served(web.get("/{path:.*}", refuse)) as at, opened("binance", at) as venue:
        await failure(load, venue)
        for _ in range(3):
            error = await failure(figures, venue)
            assert isinstance(error, Disconnected)
            assert error.retry_after is not None
            assert 10 < error.retry_after <= 17
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("inf", None), ("nan", None), ("soon", None), ("-1", 0), ("1e12", 259_200)]
)
async def test_an_implausible_retry_after_is_ignored(text: str, seconds: float | None) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": text}, text="{}")

    async with served(web.get("/{path:.*}", refuse)) as at, opened("binance", at) as venue:
        error = await failure(load, venue)
        assert isinstance(error, Disconnected)
        assert error.retry_after == seconds


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_answer_5xx_is_reported_as_an_outage(venue: CcxtVenue, simulated: Simulated, status: int) -> None:
    with simulated.rest_down(status):
        error = await failure(load, venue)
    assert isinstance(error, Disconnected)
    assert error.retry_after is None
    assert str(status) in error.reason


@pytest.mark.parametrize("name", VENUES)
async def test_a_port_where_nobody_listens_is_reported_as_an_outage(name: str, unused_tcp_port: int) -> None:
    async with opened(name, f"127.0.0.1:{unused_tcp_port}") as venue:
        error = await failure(load, venue)
        assert isinstance(error, Disconnected)
        assert f"127.0.0.1:{unused_tcp_port}" in error.reason


async def test_a_host_that_does_not_resolve_is_reported_as_an_outage() -> None:
    async with opened("bybit", "nowhere.invalid:443") as venue:
        error = await failure(load, venue)
        assert isinstance(error, Disconnected)
        assert "nowhere.invalid" in error.reason
        assert "ssl" not in error.reason  # aiohttp's text contains "ssl" even for plain http


async def test_a_request_is_given_up_after_the_timeout(simulator: Simulator, simulated: Simulated) -> None:
    async with opened(simulated.name, simulator, timeout=0.3) as venue:
        with simulated.slow_rest(5):
            before = time.monotonic()
            error = await failure(load, venue)
            assert time.monotonic() - before < 3
    assert isinstance(error, Disconnected)


async def test_a_reset_connection_is_reported_as_an_outage(venue: CcxtVenue, simulated: Simulated) -> None:
    with simulated.partition():
        assert isinstance(await failure(load, venue), Disconnected)


HTML = "<!DOCTYPE html><html><head><title>Maintenance</title></head>\n<body><h1>We'll be back</h1></body></html>"
GARBAGE = [
    HTML,
    "",
    "OK",
    "null",
    "7",
    "[]",
    "{}",
    "[null]",
    '{"symbols":[]}',
    '{"symbols":null}',
    '{"symbols":[null]}',
    '{"symbols":[{}]}',
    '{"symbols":[{"symbol":7,"baseAsset":[],"quoteAsset":{},"filters":7}]}',
    '{"retCode":0,"result":{}}',
    '{"retCode":0,"result":{"list":[]}}',
    '{"retCode":0,"result":{"list":[null]}}',
    '{"retCode":0,"result":{"list":[{"symbol":7,"baseCoin":[],"lotSizeFilter":"x"}]}}',
    '{"retCode":0,"result":null}',
    '{"truncated":',
    "\x00\x01\x02",
]


PAGES = [
    "<!DOCTYPE HTML><html><head><title>Error</title></head></html>",
    " <HTML><BODY>no</BODY></HTML>",
    "<?xml ?><a/>",
]


@pytest.mark.parametrize("status", [403, 404, 502])
@pytest.mark.parametrize("page", PAGES)
async def test_a_web_page_is_left_out_of_the_reason(page: str, status: int) -> None:
    """Gateways and content networks answer with web pages. The reason has only the address and the status, in one
    line."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=page)

    async with served(web.get("/{path:.*}", answer)) as at, opened("bybit", at) as venue:
        error = await failure(load, venue)
    assert "<" not in error.reason
    assert str(status) in error.reason
    assert error.reason.startswith(f"HTTP {status} from http://{at}/v5/")


@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize("name", VENUES)
async def test_a_meaningless_answer_raises_one_of_our_errors(name: str, status: int) -> None:
    """The answer to the request for markets has any content and any status."""
    body = ""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    async with served(web.get("/{path:.*}", answer)) as at, opened(name, at) as venue:
        venue._api.enableRateLimit = False
        for sent in GARBAGE:
            body = sent
            error = await failure(load, venue)
            assert isinstance(error, Disconnected | Rejected), body
            assert "object has no" not in error.reason or "cannot be read" in error.reason


@pytest.mark.parametrize("call", [figures, trades])
async def test_invalid_tickers_and_trades_are_dropped_or_raise_our_errors(venue: CcxtVenue, call: Call) -> None:
    """The answer has other content in place of tickers or trades."""
    await venue.load()
    body = ""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    rows = ['[{"symbol":"BTCUSDT"}]', '[{"id":{},"price":"x","qty":null,"time":"y"}]', '[["BTCUSDT"]]']
    more = ['{"retCode":0,"result":{"list":[{"symbol":"BTCUSDT","execId":[],"price":{},"time":"x"}]}}']
    async with served(web.get("/{path:.*}", answer)) as at:
        venue._api.enableRateLimit = False
        venue._api.access = replace(venue.access, rest_url=f"http://{at}")
        for sent in [*GARBAGE, *rows, *more]:
            body = sent
            with suppress(VenueError):
                assert await call(venue) == []


async def test_requests_that_fill_gaps_do_not_wait_for_other_requests(venue: CcxtVenue) -> None:
    await venue.load()
    venue._api.throttler.config.update(tokens=-1e9)  # as if other requests had used up the rate limit for a long time
    waiting = asyncio.create_task(venue.fetch_history("BTC", "BTC/USDT", "1m", 5))
    async with asyncio.timeout(10):
        await venue.fetch_trades("BTC", "BTC/USDT")
        await venue.fetch_candles("BTC", "BTC/USDT", "1m", 0)
        await venue.fetch_time()
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})


async def test_an_error_has_the_status_of_its_own_request(venue: CcxtVenue) -> None:
    """One request is cut off without an answer, while another request is refused with status 451."""
    await venue.load()
    asked, told = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if "time" in request.path:
            asked.set()
            await told.wait()
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=451)

    async with served(web.get("/{path:.*}", answer)) as at:
        venue._api.access = replace(venue.access, rest_url=f"http://{at}")
        waiting = asyncio.create_task(venue._api.fetch_time())
        await asked.wait()
        with pytest.raises(Blocked):
            await venue.fetch_tickers({"BTC": "BTC/USDT"})
        told.set()
        with pytest.raises(Exception) as raised:  # noqa: PT011 - any of ccxt's errors
            await waiting
        assert raised.value.status == 0  # type: ignore[attr-defined] # pytest only knows the base class


async def test_closing_an_instance_is_finished_even_if_the_owner_is_cancelled() -> None:
    """A half closed instance would leave its session open. The test cancels the owning task twice."""
    begun, may_end, closed = asyncio.Event(), asyncio.Event(), []

    async def close() -> None:
        begun.set()
        await may_end.wait()
        closed.append(True)

    async def owner() -> None:
        await _to_its_end(asyncio.create_task(close()))

    owning = asyncio.create_task(owner())
    await begun.wait()
    for _ in range(2):
        owning.cancel()
        await asyncio.sleep(0)
        assert not owning.done()
    may_end.set()
    await asyncio.wait({owning})
    assert owning.cancelled()
    assert closed == [True]
