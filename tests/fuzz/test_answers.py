"""REST answers: arbitrary bytes, arbitrary JSON, and good answers with some wrong values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from exchanges import Access
from exchanges.ccxt_adapter.venue import CcxtVenue, open_venue
from exchanges.errors import VenueError
from tests.exchanges.support import served
from tests.fuzz import junk
from tests.fuzz.looped import Looped
from tests.properties import drawing
from tests.scenarios.support import feeding, fronted, only, quick, redirected, simulated

FUZZ = drawing(200, suppress_health_check=list(HealthCheck))
FEW = drawing(30, suppress_health_check=list(HealthCheck))
MARKETS = {"BTC": "BTC/USDT", "ETH": "ETH/USDT"}


class Rest(Looped):
    """One venue's REST. It answers with ``body``, or with the simulator's answer if ``body`` is None."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.body: bytes | None = None
        self.good: dict[str, Any] = {}  # path -> the last good answer
        super().__init__(name)

    async def _open(self) -> None:
        enter = self._stack.enter_async_context
        self.simulator = await enter(self._simulated)
        self._session = await enter(aiohttp.ClientSession())
        self._address = await enter(served(web.get("/{path:.*}", self._answer)))
        for coin in MARKETS:
            await only(self.simulator).trade(coin, count=5)
        self.venue = self.fresh()
        self._stack.push_async_callback(self.venue.close)
        await self.venue.load()
        self.markets = next(iter(self.good.values()))

    def fresh(self) -> CcxtVenue:
        """A venue that has not loaded its markets yet."""
        venue = open_venue(self.name, Access(rest_url=f"http://{self._address}", timeout=5))
        # the many examples must be fast: without ccxt's rate limit, and without its pause at the end
        venue._api.enableRateLimit = False
        venue._api.timeout_on_exit = 0
        return venue

    async def _answer(self, request: web.Request) -> web.Response:
        async with self._session.get(f"{self.simulator.rest_url}{request.path_qs}") as passed:
            path = request.path.rsplit("/", 1)[-1]
            self.good.pop(path, None)  # so that the newest answer is the last in the dict
            self.good[path] = await passed.json(content_type=None)
            text = await passed.read() if self.body is None else self.body
            return web.Response(body=text, content_type="application/json")

    async def ask(self, body: bytes | None, what: Callable[[CcxtVenue], Any], venue: CcxtVenue | None = None) -> Any:
        """The result of a call with this answer; None after a VenueError, the only error that is allowed."""
        self.body = body
        try:
            return await what(venue or self.venue)
        except VenueError:
            return None
        finally:
            self.body = None


@pytest.fixture(scope="module", params=["binance", "bybit"])
def rest(request: pytest.FixtureRequest) -> Iterator[Rest]:
    rest = Rest(request.param)
    yield rest
    rest.close()


ANSWERS: Mapping[str, Callable[[CcxtVenue], Any]] = {
    "tickers": lambda venue: venue.fetch_tickers(MARKETS),
    "trades": lambda venue: venue.fetch_trades("BTC", "BTC/USDT"),
    "candles": lambda venue: venue.fetch_candles("BTC", "BTC/USDT", "1m", 1_700_000_000_000),
}
arbitrary = st.one_of(junk.anything.map(str.encode), junk.texts.map(str.encode), junk.octets)


@FUZZ
@given(what=st.sampled_from(sorted(ANSWERS)), body=arbitrary)
def test_an_arbitrary_answer_gives_a_venue_error_or_an_empty_result(rest: Rest, what: str, body: bytes) -> None:
    assert not rest.run(rest.ask(body, ANSWERS[what]))


@FUZZ
@given(what=st.sampled_from(sorted(ANSWERS)), data=st.data())
def test_an_answer_with_some_wrong_values_gives_no_event_that_is_not_in_the_good_one(
    rest: Rest, what: str, data: st.DataObject
) -> None:
    """Every event of the answer with wrong values has a price that the good answer has too."""
    good = rest.run(rest.ask(None, ANSWERS[what]))
    answer = next(reversed(rest.good.values()))
    spoilt = data.draw(junk.spoiled_anywhere(answer))
    answered = rest.run(rest.ask(json.dumps(spoilt).encode(), ANSWERS[what]))
    for event in answered or ():
        assert event.exchange == rest.name
        if what == "candles":
            assert event.close in {each.close for each in good}
        elif what == "trades":
            real = {(each.price, each.quantity) for each in good}
            assert (event.price, event.quantity) in real
        else:
            assert event.last in {each.last for each in good}


@FEW
@given(body=arbitrary, data=st.data())
def test_loading_wrong_markets_gives_a_venue_error_or_usable_markets(
    rest: Rest, body: bytes, data: st.DataObject
) -> None:
    """The answers are arbitrary, or good ones with some wrong values."""

    async def load(body: bytes) -> None:
        venue = rest.fresh()
        try:
            await rest.ask(body, lambda venue: venue.load(), venue)
            if venue.loaded:
                with suppress(VenueError):
                    assert venue.market("BTC").startswith("BTC/USD")
        finally:
            await venue.close()

    spoilt = json.dumps(data.draw(junk.spoiled_anywhere(rest.markets))).encode()
    rest.run(load(data.draw(st.sampled_from([body, spoilt]))))


@pytest.mark.parametrize(("venue_name", "body"), [("binance", b'[{"a":[1]}]'), ("bybit", b"<html>busy</html>")])
async def test_a_feed_continues_to_stream_while_its_rest_answers_are_nonsense(venue_name: str, body: bytes) -> None:
    """When the markets are known, the answers for 24 h statistics, candles and gaps become nonsense. Trades of the
    stream continue to arrive, in order and once each."""
    babbling = False

    async def babble(request: web.Request) -> web.Response | None:
        return web.Response(body=body, content_type="application/json") if babbling else None

    async with simulated(venue_name, f"babble {body!r}", rate=30) as simulator, fronted(simulator, babble) as address:
        venue = only(simulator)
        async with feeding(redirected(quick(simulator), rest_url=f"http://{address}")) as (_, got):
            await got.more_trades(4)
            babbling = True
            venue.cut()
            await venue.trade("BTC", count=3)
            await got.until_event("gap_filled")
            assert not any(each["complete"] for each in got.details("gap_filled"))
            await got.more_trades(10)
            assert got.events.count("disconnected") == 1
            assert {"error", "exchange_blocked", "failover"} & set(got.events) == set()
            assert got.ids("BTC") == sorted(set(got.ids("BTC")))
