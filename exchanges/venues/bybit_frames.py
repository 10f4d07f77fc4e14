"""Bybit v5's frames on spot that fast_decoder.py reads: trades, tickers, candles, depth.

Source: https://bybit-exchange.github.io/docs/v5/websocket/public/trade, .../ticker and .../kline
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Annotated, Any

from msgspec import Meta, Struct, json

from exchanges import normalize
from exchanges.books.proof import BookUpdate
from exchanges.events import Candle, Ticker, TradeEvent
from exchanges.venues.bybit_books import BybitDepth
from exchanges.venues.fast_decoder import FrameContext, FrameTable, Positive, Time, many, one, whole

_new = object.__new__

_SOLD = {"Buy": False, "Sell": True}


class _BybitRow(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    i: Annotated[str, Meta(min_length=1, max_length=normalize.LONGEST_NAME)]
    T: Time
    p: Positive
    v: Positive
    S: str
    s: str
    L: Any = None
    BT: Any = None
    RPI: Any = None
    seq: Any = None


class _BybitTrades(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    topic: str
    ts: Any = None
    type: Any = None
    data: list[_BybitRow]

    def events(self, scene: FrameContext, received_at: int) -> Sequence[TradeEvent]:
        channel, _, market_id = self.topic.partition(".")
        if channel != "publicTrade" or market_id not in scene.markets:
            return ()
        coin, market = scene.markets[market_id]
        trades, exchange = [], scene.exchange
        for row in self.data:
            sold, timestamp, trade_id = _SOLD.get(row.S), row.T, row.i
            if (
                sold is None
                or row.BT  # a block trade
                or row.s != market_id
                or "e+" in trade_id
                or not trade_id.isprintable()
                or (timestamp > scene.latest and scene.ahead(timestamp, received_at))
            ):
                return ()
            # does the same as TradeEvent(...), in half the time
            trade = _new(TradeEvent)
            trade.coin = coin
            trade.price = row.p
            trade.quantity = row.v
            trade.is_buyer_maker = sold
            trade.timestamp = timestamp
            trade.exchange = exchange
            trade.trade_id = trade_id
            trade.received_at = received_at
            trade.backfilled = False
            trade.market = market
            trades.append(trade)
        return trades


class _BybitDay(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    symbol: str
    lastPrice: float
    highPrice24h: Any = None
    lowPrice24h: Any = None
    prevPrice24h: float
    volume24h: float
    turnover24h: float
    # a fraction, to be turned into percent exactly, as ccxt does
    price24hPcnt: Annotated[str, Meta(pattern=r"\A-?[0-9]{1,9}(\.[0-9]{1,18})?\Z")]
    usdIndexPrice: Any = None


class _BybitTicker(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    topic: str
    ts: int
    type: str
    cs: Any = None
    data: _BybitDay

    def event(self, scene: FrameContext, received_at: int) -> Ticker | None:
        day = self.data
        known = scene.markets.get(day.symbol)
        if known is None or self.type != "snapshot" or self.topic != f"tickers.{day.symbol}":
            return None
        percent = float(f"{day.price24hPcnt}e2")
        # a change of zero may be rounded: ccxt computes the change from the open
        if not percent or not 0.0 < day.prevPrice24h < inf or not 0.0 <= day.volume24h < inf:
            return None
        row = {
            "last": day.lastPrice, "timestamp": self.ts, "quoteVolume": day.turnover24h, "percentage": percent,
        }  # fmt: skip
        coin, market = known
        return whole(normalize.ticker(row, coin, scene.exchange, received_at, market=market))


class _BybitCandle(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    start: Any
    end: Any = None
    interval: Any = None
    open: float
    close: float
    high: float
    low: float
    volume: float
    turnover: Any = None
    confirm: Any
    timestamp: Any = None


class _BybitKline(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    topic: str
    ts: Any = None
    type: Any = None
    data: Annotated[list[_BybitCandle], Meta(min_length=1, max_length=1)]  # frames with several candles go to ccxt

    def event(self, scene: FrameContext, received_at: int) -> Candle | None:
        channel, _, market_id = self.topic.rpartition(".")
        channel, _, interval = channel.partition(".")
        if channel != "kline":
            return None
        candle = self.data[0]
        if candle.interval is not None and candle.interval != interval:
            return None
        row = candle.start, candle.open, candle.high, candle.low, candle.close, candle.volume
        return scene.candle(market_id, interval, row, candle.confirm, received_at)


_KLINE = one(Candle, _BybitKline)

BYBIT = FrameTable(
    at=10,
    kinds={
        "p": (many(TradeEvent, _BybitTrades),),
        "t": (one(Ticker, _BybitTicker),),
        "k": (_KLINE,),
        "o": (one(BookUpdate, BybitDepth),),
        "n": (_KLINE,),  # frames in which the type (a snapshot) comes before the topic
    },
    ticker_info=lambda text: json.decode(text)["data"],
)
