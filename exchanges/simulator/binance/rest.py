"""Simulates Binance spot's public REST API; enforces its request weights (429, then a ban with 418).

As documented at https://developers.binance.com/docs/binance-spot-api-docs/rest-api
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import islice
from json import loads
from time import monotonic
from typing import Any, ClassVar

from aiohttp import web

from exchanges.simulator.binance.recorded_book import RecordedBook
from exchanges.simulator.binance.rows import aggregated, book_row, kline_row, quote_fields, symbol_info, trade_row
from exchanges.simulator.connections.rest_answers import Body, answer, compact
from exchanges.simulator.connections.venue_laws import Window
from exchanges.simulator.markets.candles import BINANCE_INTERVALS, DAY, candle_start, fixed
from exchanges.simulator.markets.market import Market
from exchanges.simulator.venue import SimulatedVenue

_SYMBOL = re.compile(r"[A-Z0-9-_.]{1,50}")


class BinanceError(Exception):
    """An error answer in Binance's own shape."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def error(code: int, message: str, status: int) -> web.Response:
    return web.Response(text=compact({"code": code, "msg": message}), status=status, content_type="application/json")


def restricted(status: int) -> web.Response:
    """Binance's answer to restricted locations (451), or its edge servers' answer for another ``status``."""
    if status != 451:
        return web.Response(status=status, text="<html><body>Request blocked.</body></html>", content_type="text/html")
    text = "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use."
    return error(0, text, status)


class BinanceRest(SimulatedVenue):
    """``/api/v3``: ping, time, exchangeInfo, depth, trades, historicalTrades, aggTrades, klines, ticker/*."""

    PREFIX: ClassVar[str] = "/api/v3/"
    _banned_until = 0.0
    _strikes = 0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._weights = Window()
        self.recorded_books: dict[str, RecordedBook] = {}  # the captured books of a replay, by market id
        self._routes: dict[str, Callable[[web.Request], tuple[int, Callable[[], Any]]]] = {
            "ping": lambda request: (1, dict),
            "time": lambda request: (1, lambda: {"serverTime": self.now()}),
            "exchangeInfo": self._exchange_info,
            "depth": self.depth_route,
            "trades": self._trades,
            "historicalTrades": self._historical_trades,
            "aggTrades": self._aggregate_trades,
            "klines": self._klines,
            "ticker/24hr": self._day_tickers,
            "ticker/price": self._prices,
            "ticker/bookTicker": self._quotes,
        }

    async def rest(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix(self.PREFIX)
        route = self._routes.get(path)
        if route is None or request.method != "GET":
            return web.Response(status=404, text="<html><body><h2>404 Not found</h2></body></html>")
        self._shown_time = self.rest_time()
        try:
            weight, work = route(request)
            refusal = self._weigh(self.weight_of(path, request, weight))
            if refusal is not None:
                return refusal
            used = str(self._weights.sum(monotonic(), self.laws.rest_window))
            headers = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
            return answer(request, work(), headers=headers)
        except BinanceError as problem:
            return error(problem.code, str(problem), problem.status)

    def weight_of(self, path: str, request: web.Request, weight: int) -> int:
        """The weight of a request at this venue; ``weight`` is its weight on spot."""
        return weight

    def _weigh(self, weight: int) -> web.Response | None:
        """Answer 429 when the weight of a minute is used up, and 418 to clients that continue."""
        laws, now = self.laws, monotonic()
        if laws.rest_weight is None:
            return None
        if now < self._banned_until:
            text = f"Way too much request weight used; IP banned for {laws.ban_seconds:g} s."
            return self._slow_down(418, text, self._banned_until - now)
        if self._weights.sum(now, laws.rest_window) + weight <= laws.rest_weight:
            self._weights.add(now, laws.rest_window, weight)
            self._strikes = 0
            return None
        self._strikes += 1
        self.violate(f"request weight of more than {laws.rest_weight} within {laws.rest_window:g} s")
        if self._strikes > laws.ban_after:
            self._banned_until = now + laws.ban_seconds
        text = f"Too much request weight used; current limit is {laws.rest_weight} request weight per 1 MINUTE."
        return self._slow_down(429, text, self._weights.free_in(now, laws.rest_window))

    def _slow_down(self, status: int, text: str, seconds: float) -> web.Response:
        response = error(-1003, text, status)
        response.headers["Retry-After"] = str(int(seconds) + 1)
        return response

    # -- parameters ---------------------------------------------------------------------------------------------

    def _one(self, request: web.Request) -> Market:
        symbol = request.query.get("symbol")
        if not symbol:
            raise BinanceError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return self._find(symbol)

    def _find(self, symbol: str) -> Market:
        if not _SYMBOL.fullmatch(symbol):
            raise BinanceError(
                -1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,50}$'."
            )
        market = self.markets.get(symbol)
        if market is None:
            raise BinanceError(-1121, "Invalid symbol.")
        return self.shown(market)

    def _many(self, request: web.Request) -> list[Market] | None:
        """The markets of ``symbol`` or ``symbols``, None when all are meant."""
        if "symbol" in request.query:
            return [self._one(request)]
        if "symbols" not in request.query:
            return None
        try:
            symbols = loads(request.query["symbols"])
        except ValueError:
            symbols = None
        if not isinstance(symbols, list) or not symbols or not all(isinstance(name, str) for name in symbols):
            raise BinanceError(-1100, "Illegal characters found in parameter 'symbols'.")
        return [self._find(symbol) for symbol in symbols]

    def _whole(self, request: web.Request, name: str, default: int | None = None) -> int | None:
        text = request.query.get(name)
        if text is None:
            return default
        if not text.isdecimal():
            raise BinanceError(-1100, f"Illegal characters found in parameter '{name}'; legal are 1 to 20 digits.")
        return int(text)

    def _limit(self, request: web.Request) -> int:
        limit = self._whole(request, "limit", 500) or 0
        if limit < 1:
            raise BinanceError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, 1000)

    # -- routes: (weight, what computes the answer) -------------------------------------------------------------

    def _exchange_info(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        markets = self._many(request)
        if markets is not None:
            return 20, lambda: self._info_of(markets)
        if self.listed is None:
            self.listed = Body(self._info_of(self.markets.values()))
        return 20, lambda: self.listed

    def _info_of(self, markets: Iterable[Market]) -> dict[str, Any]:
        limit = self.laws.rest_weight or 6000
        return {
            "timezone": "UTC",
            "serverTime": self.now(),
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
                {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
            ],
            "exchangeFilters": [],
            "symbols": [self.symbol_row(market) for market in markets],
        }

    def symbol_row(self, market: Market) -> dict[str, Any]:
        """A symbol of exchangeInfo."""
        return symbol_info(market, self.listings.is_halted(market))

    def depth_route(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        market, limit = self._one(request), self._whole(request, "limit", 100) or 0
        if limit < 1:
            raise BinanceError(-1130, "Data sent for parameter 'limit' is not valid.")
        self.check_book(market)
        limit = min(limit, 5000)
        weight = 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250
        recorded = self.recorded_books.get(market.id)
        if recorded is None:
            return weight, lambda: book_row(market, self.rest_book(market), limit)
        if recorded.number is None:
            raise BinanceError(-1000, "An unknown error occurred while processing the request.", 503)
        return weight, lambda: recorded.row(limit)

    def check_book(self, market: Market) -> None:
        """Raise the venue's error answer if a fault makes the venue refuse requests for this book."""
        refusal = self.book_refusal(market)
        if refusal is not None:
            raise BinanceError(-1000, "An unknown error occurred while processing the request.", refusal)

    def _trades(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        market, limit = self._one(request), self._limit(request)
        return 25, lambda: [trade_row(market, trade) for trade in market.trades[-limit:]]

    def _historical_trades(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        market, limit, first = self._one(request), self._limit(request), self._whole(request, "fromId")
        if first is None:
            return 25, lambda: [trade_row(market, trade) for trade in market.trades[-limit:]]
        start = bisect_left(market.trades, first, key=lambda trade: trade.id)
        return 25, lambda: [trade_row(market, trade) for trade in market.trades[start : start + limit]]

    def _aggregate_trades(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        market, limit = self._one(request), self._limit(request)
        first, since, until = (self._whole(request, name) for name in ("fromId", "startTime", "endTime"))
        return 4, lambda: self._aggregates(market, limit, first, since, until)

    def _aggregates(self, market: Market, limit: int, first: int | None, since: int | None, until: int | None) -> Any:
        trades = market.trades
        start = max(0, len(trades) - 30 * limit)  # an order makes a few trades at one price, rarely many
        if first is not None:
            start = bisect_left(trades, first, key=lambda trade: trade.order)
        elif since is not None or until is not None:
            start = bisect_left(trades, since or 0, key=lambda trade: trade.timestamp)
        end = len(trades) if until is None else bisect_left(trades, until + 1, key=lambda trade: trade.timestamp)
        forward = first is not None or since is not None or until is not None
        runs = aggregated(market, islice(trades, start, end))
        rows = list(islice(runs, limit)) if forward else list(runs)[-limit:]
        return [
            {"a": one.order, "p": f"{one.price:.8f}", "q": quantity, "f": one.id, "l": last.id, "T": one.timestamp,
             "m": one.buyer_maker, "M": True}
            for one, last, quantity in rows
        ]  # fmt: skip

    def _klines(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        market, limit, name = self._one(request), self._limit(request), request.query.get("interval")
        if not name:
            raise BinanceError(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
        if name not in BINANCE_INTERVALS:
            raise BinanceError(-1120, "Invalid interval.")
        since, until = self._whole(request, "startTime"), self._whole(request, "endTime")
        return 2, lambda: self._candles(market, BINANCE_INTERVALS[name], since, until, limit)

    def _candles(self, market: Market, interval: int, since: int | None, until: int | None, limit: int) -> Any:
        now = self.shown_now()
        length = interval or 28 * DAY
        last = now if until is None else min(now, until)
        if since is not None:
            last = min(last, since + limit * (interval or 31 * DAY))
            candles = market.candles(interval, since, last, now)[:limit]
        else:
            candles = market.candles(interval, candle_start(max(0, last - limit * length), interval), last, now)[
                -limit:
            ]
        return [kline_row(market, candle, interval) for candle in candles]

    def _day_tickers(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        markets, now = self._many(request), self.shown_now()
        mini = request.query.get("type") == "MINI"
        weight = 80 if markets is None or len(markets) > 100 else 2 if len(markets) <= 20 else 40
        if "symbol" in request.query and markets:
            return weight, lambda: self._shown(self.day(markets[0], now), mini)
        chosen = [self.shown(market) for market in self.markets.values()] if markets is None else markets
        return weight, lambda: [self._shown(self.day(market, now), mini) for market in chosen]

    def _shown(self, day: dict[str, Any], mini: bool) -> dict[str, Any]:
        return {name: day[name] for name in _MINI} if mini else day

    def _prices(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        return self._per_market(
            request, lambda market: {"symbol": market.id, "price": fixed(market.last_price, market.digits, 8)}
        )

    def _quotes(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        return self._per_market(request, lambda market: {"symbol": market.id, **quote_fields(market)})

    def _per_market(self, request: web.Request, row: Callable[[Market], Any]) -> tuple[int, Callable[[], Any]]:
        markets = self._many(request)
        if "symbol" in request.query and markets:
            return 2, lambda: row(markets[0])
        chosen = [self.shown(market) for market in self.markets.values()] if markets is None else markets
        return 4, lambda: [row(market) for market in chosen]

    def day(self, market: Market, now: int) -> dict[str, Any]:
        """The 24 h ticker as REST gives it; the stream has the same values under one-letter names."""
        day, price, lots = market.day(now), market.digits, market.lot_digits
        change = market.last_price - day.open
        last_id = market.last_id if market.last_id is not None else market.first_id - 1
        average = day.turnover / (day.lots * market.scale) if day.lots else 0.0
        return {
            "symbol": market.id,
            "priceChange": fixed(change, price, 8),
            "priceChangePercent": f"{100 * change / day.open:.3f}",
            "weightedAvgPrice": f"{average:.8f}",
            "prevClosePrice": fixed(day.open, price, 8),
            "lastPrice": fixed(market.last_price, price, 8),
            "lastQty": fixed(market.last_lots, lots, 8),
            **quote_fields(market),
            "openPrice": fixed(day.open, price, 8),
            "highPrice": fixed(day.high, price, 8),
            "lowPrice": fixed(day.low, price, 8),
            "volume": fixed(day.lots, lots, 8),
            "quoteVolume": fixed(day.turnover, price + lots, 8),
            "openTime": now - DAY,
            "closeTime": now,
            "firstId": max(0, last_id - day.count + 1),
            "lastId": last_id,
            "count": day.count,
        }


_MINI = ("symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "closeTime",
         "firstId", "lastId", "count")  # fmt: skip
