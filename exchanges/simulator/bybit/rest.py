"""Simulates Bybit v5's public market REST API for spot; enforces its limit of requests (403).

As documented at https://bybit-exchange.github.io/docs/v5/market/time
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiohttp import web

from exchanges.simulator.connections.rest_answers import Body, answer
from exchanges.simulator.connections.venue_laws import Window
from exchanges.simulator.markets.candles import BYBIT_INTERVALS, DAY, candle_start, fixed
from exchanges.simulator.markets.market import Market
from exchanges.simulator.venue import SimulatedVenue

_CLOUDFRONT = (
    "<!DOCTYPE HTML><HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD><BODY>"
    "<H1>{status} ERROR</H1>The Amazon CloudFront distribution is configured to block access from your country."
    "</BODY></HTML>"
)
RECENT_TRADES = 60  # the most trades of a spot market that one request returns


class BybitError(Exception):
    """An error answer in Bybit's own shape, with HTTP 200 unless ``status`` is another one."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class BybitRest(SimulatedVenue):
    """``/v5/market``: time, instruments-info, tickers, kline, recent-trade, orderbook."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._requests = Window()
        self._routes: dict[str, Callable[[web.Request], Any]] = {
            "time": self._time,
            "instruments-info": self._instruments_info,
            "tickers": self._tickers,
            "kline": self._kline,
            "recent-trade": self._recent_trades,
            "orderbook": self._orderbook,
        }

    async def rest(self, request: web.Request) -> web.Response:
        route = self._routes.get(request.path.removeprefix("/v5/market/"))
        if route is None or request.method != "GET":
            return web.Response(status=404, text="404 page not found")
        laws = self.laws
        if laws.rest_weight is not None and self._requests.add(monotonic(), laws.rest_window) > laws.rest_weight:
            self.violate(f"more than {laws.rest_weight} requests within {laws.rest_window:g} s")
            return web.Response(status=403, text="access too frequent")
        self._shown_time = None if request.path == "/v5/market/time" else self.rest_time()
        try:
            if request.path != "/v5/market/time" and request.query.get("category") != "spot":
                raise BybitError(10001, "params error: Category is invalid; this simulator has spot markets only")
            result = route(request)
        except BybitError as problem:
            return answer(request, self._envelope({}, problem.code, str(problem)), status=problem.status)
        return answer(request, result if isinstance(result, Body) else self._envelope(result))

    def _envelope(self, result: Any, code: int = 0, message: str = "OK") -> dict[str, Any]:
        return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": self.shown_now()}

    def blocked_response(self, status: int) -> web.Response:
        return web.Response(status=status, text=_CLOUDFRONT.format(status=status), content_type="text/html")

    # -- parameters ---------------------------------------------------------------------------------------------

    def _one(self, request: web.Request) -> Market:
        market = self.markets.get(request.query.get("symbol", ""))
        if market is None:
            raise BybitError(10001, "Not supported symbols")
        return self.shown(market)

    def _whole(self, request: web.Request, name: str, default: int | None = None) -> int | None:
        text = request.query.get(name)
        if text is None:
            return default
        if not text.isdecimal():
            raise BybitError(10001, f"params error: {name} invalid")
        return int(text)

    # -- routes -------------------------------------------------------------------------------------------------

    def _time(self, request: web.Request) -> Any:
        now = self.now()
        return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}

    def _instruments_info(self, request: web.Request) -> Any:
        if "symbol" in request.query:
            return {"category": "spot", "list": [self._instrument(self._one(request))]}
        if self.listed is None:
            rows = [self._instrument(market) for market in self.markets.values()]
            self.listed = Body(self._envelope({"category": "spot", "list": rows}))
        return self.listed

    def _instrument(self, market: Market) -> dict[str, Any]:
        return instrument(market, self.listings.is_halted(market))

    def _tickers(self, request: web.Request) -> Any:
        now = self.shown_now()
        markets = [self._one(request)] if "symbol" in request.query else map(self.shown, self.markets.values())
        return {"category": "spot", "list": [self.day(market, now) for market in markets]}

    def day(self, market: Market, now: int) -> dict[str, Any]:
        """The 24 h ticker as REST gives it."""
        day, price, lots = market.day(now), market.digits, market.lot_digits
        bid, ask = market.best()
        bids, asks = market.sizes()
        return {
            "symbol": market.id,
            "bid1Price": fixed(bid, price),
            "bid1Size": fixed(bids, lots),
            "ask1Price": fixed(ask, price),
            "ask1Size": fixed(asks, lots),
            "lastPrice": fixed(market.last_price, price),
            "prevPrice24h": fixed(day.open, price),
            "price24hPcnt": f"{(market.last_price - day.open) / day.open:.4f}",
            "highPrice24h": fixed(day.high, price),
            "lowPrice24h": fixed(day.low, price),
            "turnover24h": fixed(day.turnover, price + lots),
            "volume24h": fixed(day.lots, lots),
        }

    def _kline(self, request: web.Request) -> Any:
        market, name = self._one(request), request.query.get("interval", "")
        if name not in BYBIT_INTERVALS:
            raise BybitError(10001, "Invalid period!")
        interval, now = BYBIT_INTERVALS[name], self.shown_now()
        limit = min(1000, max(1, self._whole(request, "limit", 200) or 200))
        since, until = self._whole(request, "start"), self._whole(request, "end")
        last = now if until is None else min(now, until)
        if since is None:
            since = candle_start(max(0, last - limit * (interval or 28 * DAY)), interval)
        elif until is None:
            last = min(last, since + limit * (interval or 31 * DAY))
        candles = market.candles(interval, since, last, now)
        candles = candles[:limit] if "start" in request.query and until is None else candles[-limit:]
        price, lots = market.digits, market.lot_digits
        rows = [
            [str(candle.start),
            *(fixed(ticks, price) for ticks in (candle.open, candle.high, candle.low, candle.close)),
             fixed(candle.lots, lots), fixed(candle.turnover, price + lots)]
            for candle in reversed(candles)
        ]  # fmt: skip
        return {"category": "spot", "symbol": market.id, "list": rows}

    def _recent_trades(self, request: web.Request) -> Any:
        market = self._one(request)
        limit = min(RECENT_TRADES, max(1, self._whole(request, "limit", RECENT_TRADES) or RECENT_TRADES))
        rows = [
            {
                "execId": str(trade.id),
                "symbol": market.id,
                "price": f"{trade.price:.{market.digits}f}",
                "size": f"{trade.quantity:.{market.lot_digits}f}",
                "side": "Sell" if trade.buyer_maker else "Buy",
                "time": str(trade.timestamp),
                "isBlockTrade": trade.block,
                "isRPITrade": False,
                "seq": str(trade.order),
            }
            for trade in reversed(market.trades[-limit:])
        ]
        return {"category": "spot", "list": rows}

    def _orderbook(self, request: web.Request) -> Any:
        market = self._one(request)
        limit = min(200, max(1, self._whole(request, "limit", 1) or 1))
        refusal = self.book_refusal(market)
        if refusal is not None:
            raise BybitError(10016, "Internal server error", refusal)
        state, update = self.rest_book(market), self.rest_update(market)
        price, lots = market.digits, market.lot_digits
        bids, asks = (
            [[fixed(ticks, price), fixed(there, lots)] for ticks, there in state.levels(side, limit)]
            for side in ("bids", "asks")
        )
        now = self.shown_now()
        return {"s": market.id, "b": bids, "a": asks, "ts": now, "u": update, "seq": state.number, "cts": state.ms}

    @abstractmethod
    def rest_update(self, market: Market) -> int:
        """The update id that REST shows with a book."""


def instrument(market: Market, halted: bool) -> dict[str, Any]:
    """A row of instruments-info."""
    step = fixed(1, market.lot_digits)
    return {
        "symbol": market.id,
        "baseCoin": market.coin,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": "Closed" if halted else "Trading",
        "marginTrading": "none",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": step,
            "quotePrecision": "0.0000001",
            "minOrderQty": step,
            "maxOrderQty": "9000000",
            "minOrderAmt": "5",
            "maxOrderAmt": "4000000",
            "maxLimitOrderQty": "9000000",
            "maxMarketOrderQty": "4500000",
        },
        "priceFilter": {"tickSize": fixed(1, market.digits)},
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.1"},
    }
