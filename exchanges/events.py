"""The types that both packages use: one venue's events, the listener that receives them, and the price tick.

Prices are in the quote currency, quantities in the base currency. ``timestamp`` is the venue's time in Unix ms, and
``received_at`` is the local Unix time in ns at which the frame was read. ``market`` is ccxt's symbol of the event's
market: BTC/USDT on spot, BTC/USDT:USDT for a perpetual swap. Events are plain and mutable, so the sender of an event
keeps no reference to it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from typing import Protocol


@dataclass(slots=True)
class TradeEvent:
    """One public trade, as the venue reported it.

    ``price`` is in quote currency, ``quantity`` in base currency. ``timestamp`` is the venue's time in Unix ms, and
    ``received_at`` the local Unix time in ns at which the frame was read. ``is_buyer_maker`` is True when the taker
    sold. ``backfilled`` marks a trade that was fetched over REST after an outage. ``trade_id`` is the venue's id. If
    the venue sends no id, it is made of the trade's values and its number among equal trades, or "" if that is not
    possible.
    """

    coin: str
    price: float
    quantity: float
    is_buyer_maker: bool
    timestamp: int
    exchange: str = ""
    trade_id: str = ""
    received_at: int = 0
    backfilled: bool = False
    market: str = ""


@dataclass(slots=True)
class Candle:
    """One candle, or its state so far; ``closed`` is True exactly once per candle.

    ``timestamp`` is the candle's open time in Unix ms. Prices are in quote currency, ``volume`` is in base currency.
    ``received_at`` is the local Unix time in ns at which the frame or the answer was read.
    """

    coin: str
    timeframe: str
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool
    exchange: str = ""
    received_at: int = 0
    market: str = ""


def copied(candle: Candle, closed: bool | None = None, received_at: int | None = None) -> Candle:
    """Copy a candle: a delivered candle belongs to its receivers, who may change it.

    This runs for every candle; dataclasses.replace takes six times as long.
    """
    return Candle(
        candle.coin, candle.timeframe, candle.timestamp, candle.open, candle.high, candle.low, candle.close,
        candle.volume,
        candle.closed if closed is None else closed,
        candle.exchange, candle.received_at if received_at is None else received_at, candle.market,
    )  # fmt: skip


@dataclass(slots=True)
class Quote:
    """The best ``bid`` and ``ask`` in quote currency, with their sizes in base currency.

    A size that the venue does not send is 0.0. ``timestamp`` is the venue's time in Unix ms, 0 if the venue sends none
    (as Binance). ``received_at`` is the local Unix time in ns at which the frame was read.
    """

    coin: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    timestamp: int
    exchange: str = ""
    received_at: int = 0
    market: str = ""


@dataclass(slots=True)
class Ticker:
    """The venue's own 24 h summary of one market.

    ``volume_24h`` is the turnover in quote currency, and ``change_24h`` a percentage; None if the venue does not send
    them. ``timestamp`` is 0 if the venue's message has none.
    """

    coin: str
    last: float
    timestamp: int
    volume_24h: float | None = None
    change_24h: float | None = None
    bid: float | None = None
    bid_size: float | None = None
    ask: float | None = None
    ask_size: float | None = None
    exchange: str = ""
    received_at: int = 0
    market: str = ""


@dataclass(slots=True)
class PriceTick:
    """A coin's latest price, which the feed makes and a recording holds.

    ``price`` is in quote currency. ``timestamp`` is the venue's time in Unix ms. ``volume_24h`` is the 24 h turnover in
    quote currency, and ``change_24h`` is in percent. ``received_at`` is the local Unix time in ns at which the frame
    was read. ``market`` is ccxt's symbol of the market: BTC/USDT on spot, BTC/USDT:USDT for a perpetual swap.
    """

    coin: str
    price: float
    timestamp: int
    volume_24h: float
    change_24h: float
    exchange: str = ""
    received_at: int = 0
    market: str = ""


_ROUNDING = 1e-12  # share by which rounding may make a sum smaller: 0.7 + 0.1 is not exactly 0.8


@dataclass(slots=True)
class OrderBook:
    """A proven order book of one market; ``bids`` and ``asks`` are lists of (price, size), best first.

    Prices are in quote currency, sizes in base currency and above 0. ``timestamp`` is the venue's time in Unix ms, 0 if
    the venue sends none. ``sequence`` is the venue's number of this state (Binance's ``u``), None if it has no number.
    ``received_at`` is the local Unix time in ns at which the book's last frame was read.
    """

    coin: str
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    timestamp: int
    exchange: str = ""
    received_at: int = 0
    sequence: int | None = None
    market: str = ""

    @property
    def best_bid(self) -> float | None:
        """The highest price that a buyer offers; None while there are no bids."""
        return self.bids[0][0] if self.bids else None

    @property
    def best_ask(self) -> float | None:
        """The lowest price that a seller asks; None while there are no asks."""
        return self.asks[0][0] if self.asks else None

    @property
    def mid(self) -> float | None:
        """The price halfway between best bid and best ask; None while one side is empty."""
        return (self.bids[0][0] + self.asks[0][0]) / 2 if self.bids and self.asks else None

    @property
    def spread(self) -> float | None:
        """Best ask - best bid, in quote currency; None while one side is empty."""
        return self.asks[0][0] - self.bids[0][0] if self.bids and self.asks else None

    def cost(self, side: str, quantity: float) -> float | None:
        """The average price at which "buy" or "sell" of ``quantity`` (base currency) would fill at once.

        None when the book is not that deep. Raises ValueError for another side, or a quantity not above 0.
        """
        if side not in ("buy", "sell"):
            raise ValueError(f"side is {side!r}; allowed are buy and sell")
        if not 0 < quantity < inf:
            raise ValueError(f"quantity is {quantity!r}; allowed is a number above 0")
        left, paid = quantity, 0.0
        for price, size in self.asks if side == "buy" else self.bids:
            taken = min(size, left)
            paid += taken * price
            left -= taken
            if left <= quantity * _ROUNDING:
                return paid / quantity
        return None

    def imbalance(self, levels: int = 5) -> float | None:
        """(bid size - ask size) / their sum over the best ``levels`` of each side: -1 to 1, None if the book is empty.

        Raises ValueError for ``levels`` below 1.
        """
        if levels < 1:
            raise ValueError(f"levels is {levels!r}; allowed is a whole number from 1")
        bids = sum(size for _, size in self.bids[:levels])
        asks = sum(size for _, size in self.asks[:levels])
        return (bids - asks) / (bids + asks) if bids + asks else None


class Listener(Protocol):
    """Receives one venue's events synchronously, in the order in which they were read. Its methods must not raise."""

    def on_trade(self, trade: TradeEvent, number: int | None = None) -> object:
        """Take a trade; ``number`` is its id as a number, if the connection knows it."""

    def on_history(self, trades: list[TradeEvent]) -> None:
        """Take past trades of one coin that the venue sends at a subscription, oldest first; they are no new prices."""

    def on_ticker(self, ticker: Ticker) -> None: ...

    def on_candle(self, candle: Candle, flagged: bool) -> None:
        """Take a candle as the venue sends it, open or closed; the listener decides what is delivered.

        ``flagged``: the venue sends whether a candle is closed, and ``candle.closed`` is its flag. Otherwise a candle
        ends with the first row of a later candle.
        """

    def on_quote(self, quote: Quote) -> None: ...

    def on_book(self, book: OrderBook) -> None:
        """Take a proven book after a change within ``Subscription.book_depth``. The sender keeps no reference."""

    def on_book_unsynced(self, coin: str, reason: str) -> None:
        """Called when the coin's book is not proven from now on, until the next ``on_book`` of the coin."""

    def on_off_book(self, coin: str) -> None:
        """Count a trade outside the order book, such as a block trade; it is not delivered and is no price."""

    def on_source(self, source: str, reason: str, missed: Collection[str]) -> None:
        """Note that data comes from another ``source`` than before (a collector on a bus); this call is no new data.

        Trades of the coins in ``missed`` may be missing before the coin's next trade.
        """

    def on_bad_frame(self, sample: str) -> None:
        """Count a frame or row that could not be read; ``sample`` is its beginning."""

    def on_unavailable(self, channel: str, coins: list[str], reason: str, timeframe: str = "") -> None:
        """Called when the venue has no such channel for these coins, or has rejected the subscription; others continue.

        ``timeframe``: that of the rejected candles, "" for all timeframes.
        """
