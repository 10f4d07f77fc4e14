"""Turns simulated trades, candles and symbols into rows of Binance's REST API; aggregates trades as Binance does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from exchanges.simulator.markets.candles import SimulatedCandle, candle_end, fixed
from exchanges.simulator.markets.market import Market, Trade
from exchanges.simulator.markets.order_book import BookState


def symbol_info(market: Market, halted: bool) -> dict[str, Any]:
    """A symbol of exchangeInfo."""
    tick, step = fixed(1, market.digits, 8), fixed(1, market.lot_digits, 8)
    return {
        "symbol": market.id,
        "status": "BREAK" if halted else "TRADING",
        "baseAsset": market.coin,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "90000.00000000",
             "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
             "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }  # fmt: skip


_ZEROS = [".00000000", *("0" * (8 - digits) for digits in range(1, 9))]


def decimal(amount: float, digits: int) -> str:
    """A price or quantity that has ``digits`` decimals, as Binance writes it: with eight decimals."""
    return f"{amount:.{digits}f}{_ZEROS[digits]}"


def trade_row(market: Market, trade: Trade) -> dict[str, Any]:
    ticks, lots = round(trade.price * market.scale), round(trade.quantity * market.lot_scale)
    return {
        "id": trade.id,
        "price": fixed(ticks, market.digits, 8),
        "qty": fixed(lots, market.lot_digits, 8),
        "quoteQty": fixed(ticks * lots, market.digits + market.lot_digits, 8),
        "time": trade.timestamp,
        "isBuyerMaker": trade.buyer_maker,
        "isBestMatch": True,
    }


def aggregated(market: Market, trades: Iterable[Trade]) -> Iterator[tuple[Trade, Trade, str]]:
    """Successive trades of one taker's order at one price, joined: the first trade, the last trade and the total
    quantity.
    """
    for _, group in groupby(trades, key=lambda trade: trade.order):
        run = list(group)
        lots = sum(round(trade.quantity * market.lot_scale) for trade in run)
        yield run[0], run[-1], fixed(lots, market.lot_digits, 8)


def kline_row(market: Market, candle: SimulatedCandle, interval: int) -> list[Any]:
    price, lots = market.digits, market.lot_digits
    prices = [fixed(ticks, price, 8) for ticks in (candle.open, candle.high, candle.low, candle.close)]
    turnover, bought = fixed(candle.turnover, price + lots, 8), fixed(candle.buy_turnover, price + lots, 8)
    volume, buys = fixed(candle.lots, lots, 8), fixed(candle.buy_lots, lots, 8)
    return [
        candle.start,
        *prices,
        volume,
        candle_end(candle.start, interval) - 1,
        turnover,
        candle.count,
        buys,
        bought,
        "0",
    ]


def quote_fields(market: Market) -> dict[str, str]:
    bid, ask = market.best()
    bids, asks = market.sizes()
    price, lots = market.digits, market.lot_digits
    return {
        "bidPrice": fixed(bid, price, 8),
        "bidQty": fixed(bids, lots, 8),
        "askPrice": fixed(ask, price, 8),
        "askQty": fixed(asks, lots, 8),
    }


def book_row(market: Market, state: BookState, limit: int) -> dict[str, Any]:
    """The best ``limit`` levels of each side of an order book."""
    price, lots = market.digits, market.lot_digits
    bids, asks = (
        [[fixed(ticks, price, 8), fixed(there, lots, 8)] for ticks, there in state.levels(side, limit)]
        for side in ("bids", "asks")
    )
    return {"lastUpdateId": state.number, "bids": bids, "asks": asks}


def bad_trade(good: str, number: int) -> str:
    """A bad frame made of a good one; in turn: truncated JSON, a row of nulls, an amount that is no number."""
    if number % 3 == 0:
        return good[: len(good) // 2]
    head, _, _ = good.partition(',"t":')
    if number % 3 == 1:
        return head + ',"t":null,"p":null,"q":null,"T":null,"m":null,"M":null}'
    return head + ',"t":"x","p":"1.0","q":"many","T":0,"m":false,"M":true}'
