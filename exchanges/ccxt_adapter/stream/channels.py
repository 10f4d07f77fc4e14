"""Decides which of ccxt's watch calls delivers each channel, and what replaces it where that call does not work.

The delivery relies on the way in which ccxt's modules store rows (see :mod:`exchanges.ccxt_adapter.stream.row_caches`).
``STAND_INS`` names every module that stores them in another way; tests/exchanges/test_modules.py checks the table
against ccxt's source.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

Watch = Callable[[Sequence[str]], Awaitable[Any]]


class StandIn(StrEnum):
    """What replaces a channel if the module does not keep its rows as all other modules do."""

    TRADES = "candles are built from trades"
    TICKERS = "quotes come with the tickers"
    UNSTAMPED = "tickers count as having no time"
    NOTHING = "the channel is not available"


STAND_INS: Mapping[tuple[str, str], StandIn] = {
    ("cex", "trades"): StandIn.NOTHING,  # all rows go to the last requested market
    ("cex", "candles"): StandIn.TRADES,  # the module mixes all timeframes
    ("ndax", "candles"): StandIn.TRADES,  # an open candle is changed in place
    ("upbit", "candles"): StandIn.TRADES,  # one-second candles only, which ccxt does not keep
    ("whitebit", "candles"): StandIn.TRADES,  # the module mixes all timeframes
    ("onetrading", "ticker"): StandIn.UNSTAMPED,  # the time is added after the row is kept
    ("nado", "ticker"): StandIn.NOTHING,  # the rows of this channel have only bid and ask
    ("kraken", "quotes"): StandIn.TICKERS,
    ("modetrade", "quotes"): StandIn.TICKERS,
    ("woofipro", "quotes"): StandIn.TICKERS,
}
"""(ccxt id, channel) -> what replaces the channel."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of a watch call besides its symbols: a timeframe, a book's levels and ccxt's ``params``."""

    timeframe: str = ""
    depth: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


# channel -> the entry of ccxt's `has` and the method of the call for several symbols
_MANY: Mapping[str, tuple[str, str]] = {
    "trades": ("watchTradesForSymbols", "watch_trades_for_symbols"),
    "ticker": ("watchTickers", "watch_tickers"),
    "candles": ("watchOHLCVForSymbols", "watch_ohlcv_for_symbols"),
    "quotes": ("watchBidsAsks", "watch_bids_asks"),
    "books": ("watchOrderBookForSymbols", "watch_order_book_for_symbols"),
}
# channel -> the entry of ccxt's `has` and the method of the call for one symbol
_ONE: Mapping[str, tuple[str, str]] = {
    "trades": ("watchTrades", "watch_trades"),
    "ticker": ("watchTicker", "watch_ticker"),
    "candles": ("watchOHLCV", "watch_ohlcv"),
    "books": ("watchOrderBook", "watch_order_book"),
}
CHANNELS = ("trades", "ticker", "candles", "quotes", "books")


def has_calls(exchange: Any, channel: str) -> bool:
    """Whether ccxt has a watch call for the channel (one of CHANNELS)."""
    return any(channel in table and exchange.has.get(table[channel][0]) is True for table in (_MANY, _ONE))


def calls(
    exchange: Any, channel: str, symbols: Sequence[str], chunk: int, asked: Asked = Asked()
) -> Iterator[tuple[tuple[str, ...], Watch]]:
    """Yield the watch calls of one channel, each with its symbols: ``chunk`` symbols in a call if ccxt can do that,
    else one symbol in a call.

    A ``chunk`` of 1 chooses ccxt's calls for one symbol, where ccxt has them.
    """
    ways = [(table[channel], size) for table, size in ((_MANY, chunk), (_ONE, 1)) if channel in table]
    for way, size in ways if chunk > 1 else reversed(ways):
        has, method = way
        if exchange.has.get(has) is True:
            watch = partial(_watch, getattr(exchange, method), channel, asked, way is _ONE.get(channel))
            for start in range(0, len(symbols), size):
                yield tuple(symbols[start : start + size]), watch
            return


def _watch(call: Callable[..., Awaitable[Any]], channel: str, asked: Asked, alone: bool, symbols: Sequence[str]) -> Any:
    """Make one of ccxt's watch calls; ``alone``: ``call`` is the one for a single symbol."""
    if channel == "candles" and not alone:
        return call([[symbol, asked.timeframe] for symbol in symbols])
    more = {"candles": (asked.timeframe,), "books": (asked.depth, dict(asked.params))}.get(channel, ())
    return call(symbols[0] if alone else symbols, *more)


def streamed(exchange: Any) -> tuple[str, ...]:
    """The channels that a venue streams and whose rows ccxt keeps as they came, so that they can be delivered."""
    without = (StandIn.NOTHING, StandIn.TRADES)
    return tuple(
        channel
        for channel in CHANNELS
        if has_calls(exchange, channel) and STAND_INS.get((exchange.id, channel)) not in without
    )


def source_of_quotes(exchange: Any) -> str:
    """The channel whose calls give best bid and ask: "quotes", else "ticker", else "books"; "" if none does."""
    own = streamed(exchange)
    return next((way for way in ("quotes", "ticker") if way in own), "books" if has_calls(exchange, "books") else "")


def quotes_in_tickers(exchange: Any) -> bool:
    """Whether ccxt keeps the rows with the best bid and ask as tickers."""
    return source_of_quotes(exchange) == "ticker" or STAND_INS.get((exchange.id, "quotes")) is StandIn.TICKERS
