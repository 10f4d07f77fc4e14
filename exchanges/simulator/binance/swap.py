"""Simulates Binance's USD-M perpetuals: the paths, rows and streams that differ from spot.

As documented at https://developers.binance.com/docs/derivatives/usds-margined-futures
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from aiohttp import web

from exchanges.simulator.binance.depth import levels_text
from exchanges.simulator.binance.rest import BinanceError
from exchanges.simulator.binance.rows import bad_trade, symbol_info
from exchanges.simulator.binance.streams import Binance
from exchanges.simulator.books.book_stream import BookStream, Told
from exchanges.simulator.connections.sessions import Entry
from exchanges.simulator.connections.topics import Topic
from exchanges.simulator.markets.candles import fixed
from exchanges.simulator.markets.market import Market, Trade

_FORM = re.compile(r"(?P<levels>5|10|20)?(?:@(?P<speed>100|250|500)ms)?")
_WEIGHTS = {"exchangeInfo": 1, "trades": 5, "historicalTrades": 20, "aggTrades": 20}
# (weight for one market, weight for all markets)
_MARKET_WEIGHTS = {"ticker/24hr": (1, 40), "ticker/price": (1, 2), "ticker/bookTicker": (2, 5)}
_KLINE_WEIGHTS = ((99, 1), (499, 2), (1000, 5))  # (most rows, weight)
_DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
_SPOT_ONLY = ("permissions", "permissionSets", "isSpotTradingAllowed", "isMarginTradingAllowed")
_NO_QUOTE = ("prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty")


class BinanceSwap(Binance):
    """``/fapi/v1``, ``/public`` (books, best prices, trades) and ``/market`` (everything else).

    A book's message has the number of the message before it as ``pu``: the numbers themselves have gaps.
    """

    PREFIX: ClassVar[str] = "/fapi/v1/"
    BOOK_HOLES: ClassVar[bool] = True

    @staticmethod
    def owns(path: str) -> bool:
        return path.startswith(("/fapi/", "/public/", "/market/"))

    @staticmethod
    def is_stream(path: str) -> bool:
        return not path.startswith("/fapi/")

    def entry(self, request: web.Request) -> Entry | web.Response:
        return self.entry_of(request, "/" + request.path.split("/", 2)[2])

    # -- REST ---------------------------------------------------------------------------------------------------

    def weight_of(self, path: str, request: web.Request, weight: int) -> int:
        if path == "klines":
            limit = min(int(request.query.get("limit", 500)), 1000)
            return next(weight for most, weight in _KLINE_WEIGHTS if limit <= most)
        if path in _MARKET_WEIGHTS:
            one, of_all = _MARKET_WEIGHTS[path]
            return one if "symbol" in request.query else of_all
        return _WEIGHTS.get(path, weight)

    def symbol_row(self, market: Market) -> dict[str, Any]:
        row = symbol_info(market, self.listings.is_halted(market))
        for name in _SPOT_ONLY:
            del row[name]
        row |= {
            "pair": market.id,
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "onboardDate": 1569398400000,
        }
        row |= {"marginAsset": market.quote, "pricePrecision": market.digits, "quantityPrecision": market.lot_digits}
        row |= {"underlyingType": "COIN", "contractStatus": row["status"]}
        return row

    def day(self, market: Market, now: int) -> dict[str, Any]:
        day = super().day(market, now)
        return {name: figure for name, figure in day.items() if name not in _NO_QUOTE}

    def depth_route(self, request: web.Request) -> tuple[int, Callable[[], Any]]:
        market, limit = self._one(request), self._whole(request, "limit", 500) or 0
        if limit > 1000:
            raise BinanceError(-1130, "Data sent for parameter 'limit' is not valid.")
        if limit not in _DEPTH_WEIGHTS:
            raise BinanceError(-4021, f"{limit} is not valid depth limit")
        self.check_book(market)
        return _DEPTH_WEIGHTS[limit], lambda: self._book_row(market, limit)

    def _book_row(self, market: Market, limit: int) -> dict[str, Any]:
        state, price, lots = self.rest_book(market), market.digits, market.lot_digits
        bids, asks = (
            [[fixed(ticks, price), fixed(there, lots)] for ticks, there in state.levels(side, limit)]
            for side in ("bids", "asks")
        )
        return {"lastUpdateId": state.number, "E": self.shown_now(), "T": state.ms, "bids": bids, "asks": asks}

    # -- streams ------------------------------------------------------------------------------------------------

    def book_topic(self, stream: str, market: Market | None, rest: str) -> Topic | None:
        form = _FORM.fullmatch(rest)
        if form is None:
            return None
        return Topic(stream, "books", market, "depth", int(form["speed"] or 250), levels=int(form["levels"] or 0))

    def partial(self, stream: BookStream, told: Told, now: int) -> str:
        last, stream.update = stream.update or told.number - 1, told.number
        return self._event(stream.market, told, last + 1, last, now)

    def difference(self, stream: BookStream, told: Told, first: int, now: int) -> str:
        last, stream.update = stream.update or first - 1, told.number
        return self._event(stream.market, told, told.first, last, now)

    def _event(self, market: Market, told: Told, first: int, last: int, now: int) -> str:
        bids, asks = (levels_text(market, levels, 0) for levels in (told.bids, told.asks))
        produced = now if market.book is None else min(market.book.ms, now)
        return (
            f'{{"e":"depthUpdate","E":{now},"T":{produced},"s":"{market.id}","U":{first},"u":{told.number},'
            f'"pu":{last},"b":{bids},"a":{asks}}}'
        )

    def quote_event(self, market: Market) -> str:
        head, _, rest = super().quote_event(market).partition(',"s"')
        now = self.now()
        return f'{{"e":"bookTicker",{head[1:]},"E":{now},"T":{now},"s"{rest}'

    def trade_events(self, market: Market, trades: list[Trade]) -> list[str]:
        now, digits, lots = self.now(), market.digits, market.lot_digits
        return self.mix(
            [
                f'{{"e":"trade","E":{now},"T":{trade.timestamp},"s":"{market.id}","t":{trade.id},'
                f'"p":"{trade.price:.{digits}f}","q":"{trade.quantity:.{lots}f}","X":"MARKET",'
                f'"m":{"true" if trade.buyer_maker else "false"}}}'
                for trade in trades
            ],
            bad_trade,
        )

    def ticker_event(self, variant: str, market: Market, now: int) -> dict[str, Any]:
        event = super().ticker_event(variant, market, now)
        return {name: figure for name, figure in event.items() if name not in ("x", "b", "B", "a", "A")}
