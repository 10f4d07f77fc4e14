"""Answers the REST paths: latest state, freshness, candles (limited requests at a time), health, metrics."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from exchanges.bus import payloads
from feed.errors import FeedError, SettingsError, StaleDataError
from feed.settings.schema import MAX_DEPTH
from feed.sinks.server.broadcast import Broadcast
from feed.sinks.server.openapi import description

if TYPE_CHECKING:
    from feed.market_feed import MarketFeed
    from feed.sinks.metrics import FeedCollector

ASKING = 4  # requests for candles that may run at the exchange at the same time
WAITING = 32  # the most further requests for candles that may wait
NUMBER = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}(e-?[0-9]{1,3})?\Z", re.ASCII)


def answer(value: Any, status: int = 200) -> web.Response:
    """An HTTP answer with ``value`` as JSON, which must not be cached."""
    headers = {"Cache-Control": "no-store"}
    body = payloads.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def failure(error: str, status: int, **more: Any) -> web.Response:
    return answer({"error": error, **more}, status)


class Rest:
    """The handlers of the paths under /v1, /health and /metrics."""

    def __init__(self, feed: MarketFeed, broadcast: Broadcast, collector: FeedCollector | None) -> None:
        self._feed = feed
        self._broadcast = broadcast
        self._collector = collector
        self._asking = asyncio.Semaphore(ASKING)
        self._waiting = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/prices", self.prices),
            web.get("/v1/prices/{coin}", self.price),
            web.get("/v1/candles/{coin}", self.candles),
            web.get("/v1/books/{coin}", self.book),
            web.get("/v1/volatility/{coin}", self.volatility),
            web.get("/v1/status", self.status),
            web.get("/v1/openapi.json", self.openapi),
            web.get("/health", self.health),
            web.get("/metrics", self.metrics),
        ]

    async def prices(self, request: web.Request) -> web.Response:
        return answer(self._broadcast.prices(self._broadcast.coins))

    async def price(self, request: web.Request) -> web.Response:
        return answer(self._fresh(request, self._feed.require_fresh))

    async def book(self, request: web.Request) -> web.Response:
        depth = _whole(request, "depth", 20, 1, MAX_DEPTH)
        return answer(self._fresh(request, lambda coin, max_age: self._feed.require_fresh_book(coin, max_age, depth)))

    async def volatility(self, request: web.Request) -> web.Response:
        tick, window = self._fresh(request, self._feed.require_fresh), _whole(request, "window", 60, 3, 1500)
        return answer({"coin": tick.coin, "window": window, "volatility": self._feed.volatility(tick.coin, window)})

    async def status(self, request: web.Request) -> web.Response:
        return answer(self._feed.get_status())

    async def health(self, request: web.Request) -> web.Response:
        health = self._feed.get_health()
        return answer(health, 503 if health["status"] == "failed" else 200)

    async def openapi(self, request: web.Request) -> web.Response:
        return answer(description())

    async def metrics(self, request: web.Request) -> web.Response:
        if self._collector is None:
            return failure("metrics need prometheus_client: pip install 'market-feed[metrics]'", 501)
        from feed.sinks.metrics import text

        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=text(self._collector), headers={"Content-Type": kind, "Cache-Control": "no-store"})

    async def candles(self, request: web.Request) -> web.Response:
        coin, limit = self._coin(request), _whole(request, "limit", 100, 1, 1000)
        timeframe = request.query.get("timeframe", "1m")
        if self._waiting >= WAITING:
            raise _problem("too many requests for candles wait for the exchange; try again later", 429)
        self._waiting += 1
        try:
            async with self._asking:
                return answer(await self._feed.candles_history(coin, timeframe, limit))
        except SettingsError as error:
            return failure(str(error), 400)
        except FeedError as error:
            return failure(str(error), 503)
        finally:
            self._waiting -= 1

    def _coin(self, request: web.Request) -> str:
        coin = request.match_info["coin"].upper()
        known = self._broadcast.coins
        if coin not in known:
            raise _problem(f"coin: found {coin[:100]!a}, allowed are {', '.join(known)}", 404)
        return coin

    def _fresh(self, request: web.Request, require: Callable[[str, float | None], Any]) -> Any:
        """The result of ``require`` for the request's coin and max_age; 503 if it raises StaleDataError."""
        coin, max_age = self._coin(request), None
        if "max_age" in request.query:
            text = request.query["max_age"]
            max_age = float(text) if NUMBER.match(text) else math.nan
            if not 0 < max_age <= 86_400:
                raise _problem(
                    f"max_age: found {text[:100]!a}, allowed is a number of seconds above 0, at most 86400", 400
                )
        try:
            return require(coin, max_age)
        except StaleDataError as error:
            raise _problem(str(error), 503, coin=coin, age=error.age, limit=error.limit) from None


def _whole(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise _problem(f"{name}: found {text[:100]!a}, allowed is a whole number from {low} to {high}", 400)
    return int(text)


def _problem(error: str, status: int, **more: Any) -> Problem:
    return Problem(failure(error, status, **more))


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response
