"""Turns ccxt's rows into events when ccxt stores them, and passes the events on; decides which trades are not new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exchanges import normalize, venue_time
from exchanges.books.proof import BookUpdate
from exchanges.ccxt_adapter.books.connection_books import ConnectionBooks
from exchanges.ccxt_adapter.stream.client_guard import SAMPLE, FrameReading
from exchanges.ccxt_adapter.stream.row_caches import Latest, RowCaches
from exchanges.ccxt_adapter.trade_ids import TradeReader
from exchanges.events import Candle, Listener, OrderBook, Quote, Ticker, TradeEvent
from exchanges.foreign_text import Cleaner
from exchanges.venues.fast_decoder import Blame, Destination, Take, taker, unambiguous
from exchanges.venues.profile import Profile
from exchanges.venues.units import of_coin, units_of

REPLAY = 2_000  # ms: a trade that is older may be a repeated trade; clocks differ by a second or so


class RowHandler:
    """Puts stores of our own into ccxt's tables; each row of an added coin becomes an event at once."""

    def __init__(self, exchange: Any, timeframes: Iterable[str], listener: Listener, reading: FrameReading) -> None:
        self._profile: Profile = exchange.profile
        self._exchange = exchange
        self._coins: dict[str, str] = {}
        self._listener = listener
        self._reading = reading
        self._timeframes = tuple(timeframes)
        self._symbols: dict[str, str] = {}
        self._units: dict[str, int] = {}  # coin -> size of the market's unit, if it is not one coin
        self._scales: dict[str, float] = {}
        # the venue's id -> coin and symbol of each market whose most frequent frames are read without ccxt
        self._taken: dict[str, tuple[str, str]] = {}
        self._reader = TradeReader(self._profile)
        self._past: list[TradeEvent] = []  # past trades of the frame that is being read
        self._turned: list[TradeEvent] = []  # trades of the frame that must be delivered from the last to the first
        # (coin, timeframe) -> its first candle, which waits until the frame is read, and whether it has a flag
        self._first_candles: dict[tuple[str, str], tuple[Candle, bool]] = {}
        self._begun_candles: set[tuple[str, str]] = set()  # (coin, timeframe) of each delivered candle
        self._untraded: set[str] = set()  # symbols without a trade so far, whose first trade may be a past one
        self._first_read: dict[str, int] = {}  # when the first frame with trades of such a symbol was read
        # type of event -> the coins that have had no such event so far
        self._unheard: dict[type, set[str]] = {kind: set() for kind in _EVENTS.values()}
        self._deliver_trade = listener.on_trade
        self.clean = Cleaner()  # cleans texts of the venue
        self.tickers_wanted = True  # whether tickers are wanted, for prices and day stats
        self.quotes_in_tickers = False
        self.books: ConnectionBooks | None = None  # the books, if the connection carries them
        self.on_no_quote: Callable[[str], None] = lambda symbol: None  # called once per symbol
        self._quoteless: set[str] = set()
        exchange.tickers = self.tickers = Latest((), exchange.markets, self._on_ticker)
        exchange.bidsasks = self.bidsasks = Latest((), exchange.markets, self._on_quote)
        exchange.trades = RowCaches((), self._on_trade)
        exchange.ohlcvs = RowCaches((), self._on_candle, lambda of_symbol: RowCaches(self._timeframes, of_symbol))

    def add(self, coins: Mapping[str, str]) -> None:
        """Deliver these markets (market symbol -> coin) too from now on."""
        exchange, profile = self._exchange, self._profile
        for unheard in self._unheard.values():
            unheard.update(coins.values() - self._symbols.keys())
        arriving = {**_arriving(coins, profile, exchange.markets), **coins}
        self._coins = {**arriving, **self._coins, **coins}
        self._symbols |= {coin: symbol for symbol, coin in coins.items()}
        ids = {exchange.markets[symbol]["id"] for symbol in arriving}
        taken = unambiguous({each: exchange.markets_by_id.get(each, ()) for each in ids}, arriving)
        self._units |= {coin: units for symbol, coin in coins.items() if (units := units_of(coin, symbol)) != 1}
        self._taken |= {
            market_id: (coin, self._symbols[coin]) for market_id, coin in taken.items() if coin not in self._units
        }
        if profile.replays_last:
            self._untraded |= coins.keys()
        for symbol in arriving:
            self._scales[symbol] = contract_size(exchange.markets[symbol])
            for stores in (exchange.trades, self.tickers, self.bidsasks):
                stores.add(symbol)
        for symbol in coins:
            exchange.ohlcvs.add(symbol)

    def on_frame(self) -> None:
        """Deliver what had to wait until ccxt has read the whole frame."""
        if self._first_candles:
            first, self._first_candles = self._first_candles, {}
            for candle, flagged in first.values():
                self._tell_candle(candle, flagged)
        if self._turned:
            turned, self._turned = self._turned, []
            for trade in reversed(turned):
                self._deliver_trade(trade)
        if self._past:
            past, self._past = self._past, []
            if past[0].timestamp > past[-1].timestamp:
                past.reverse()
            by_coin: dict[str, list[TradeEvent]] = {}
            for trade in sorted(past, key=lambda trade: trade.timestamp):
                by_coin.setdefault(trade.coin, []).append(trade)
            for trades in by_coin.values():
                self._listener.on_history(trades)

    def taker(self, blame: Blame) -> Take | None:
        """The decoder that reads the most frequent frames without ccxt, if the venue has one that can be used here."""
        table, listener = self._profile.fast_frames, self._listener
        on_update = None if self.books is None else self.books.on_update
        if table is None or not (self._taken or on_update) or not self._exchange.hotpath:
            return None
        books: dict[type, Destination] = {} if on_update is None else {BookUpdate: Destination(on_update, set())}
        return taker(
            table,
            self._taken,
            self._intervals(),
            self._profile.name,
            self._reading,
            {
                TradeEvent: Destination(self._deliver_trade, self._unheard[TradeEvent]),
                Ticker: Destination(listener.on_ticker, self._unheard[Ticker]),
                Quote: Destination(listener.on_quote, self._unheard[Quote]),
                Candle: Destination(self._on_flagged_candle, self._unheard[Candle]),
                **books,
            },
            lambda coin, info: self.tickers.stand(self._symbols[coin], lambda: {"info": info()}),
            blame,
        )

    def _intervals(self) -> dict[str, str]:
        """The venue's name of each wanted timeframe, if ccxt reads that name as the same timeframe."""
        ids, find = self._exchange.timeframes or {}, self._exchange.find_timeframe
        return {ids[each]: each for each in self._timeframes if each in ids and find(ids[each]) == each}

    def has_brought(self, channel: str, symbols: Iterable[str]) -> bool:
        """Whether data of this channel has come for one of these markets."""
        unheard = self._unheard[_EVENTS[channel]]
        return any(self._coins[symbol] not in unheard for symbol in symbols)

    def heard(self, kind: type, coin: str) -> None:
        """Note an event of this type and coin that did not come through the caches."""
        self._unheard[kind].discard(coin)

    def scales(self, symbols: Iterable[str]) -> dict[str, float]:
        """The size of one unit of each market's amounts, in its base currency."""
        return {symbol: self._scales[symbol] for symbol in symbols}

    def _bad_row(self, kind: str, row: Any) -> None:
        self._listener.on_bad_frame(self.clean(f"{kind}: {row}", SAMPLE))

    def _on_trade(self, symbol: str, row: Any) -> None:
        profile, reading = self._profile, self._reading
        reading.delivered += 1
        if not profile.trade_market and type(row) is dict and (own := row.get("symbol")) != symbol:
            # ccxt keeps all trades of a frame under the market of the first trade (pro/coinbase.py, handle_trade)
            if own in self._coins:
                symbol = own
            elif own in self._exchange.markets:
                return  # nobody wants this market
        coin = self._coins[symbol]
        if type(row) is dict:
            if profile.is_no_trade(row.get("info")):
                return
            if profile.is_off_book(row.get("info")):
                self._unheard[TradeEvent].discard(coin)
                self._listener.on_off_book(coin)
                return
        trade = self._reader.read(row, coin, reading.received_at, self._scales[symbol], self._symbols[coin])
        if trade is None or (profile.trade_market and not self._says(row["info"], symbol)):
            self._bad_row("trade", row)
            return
        if coin in self._units:
            of_coin(trade, self._units[coin])
        self._unheard[TradeEvent].discard(coin)
        if self._is_past(symbol, trade):
            self._past.append(trade)
        elif profile.order == "newest first":
            self._turned.append(trade)
        else:
            self._deliver_trade(trade)

    def _is_past(self, symbol: str, trade: TradeEvent) -> bool:
        """Whether the venue has repeated a past trade at the subscription: the frame says so, or the trade is old and
        in the symbol's first frame. A repeated trade that is younger than REPLAY counts as live.
        """
        profile, reading = self._profile, self._reading
        if profile.is_history(reading.frame):
            return True
        if symbol in self._untraded:
            self._untraded.remove(symbol)
            self._first_read[symbol] = reading.received_at
        if self._first_read.get(symbol) != reading.received_at:
            return False
        now: float | None = profile.sent_at(reading.frame)
        if now is None:
            now = venue_time.at_venue(profile.name)
        if now is None:
            now = reading.received_at // 1_000_000
        return now - trade.timestamp > REPLAY

    def _says(self, info: Mapping[str, Any], symbol: str) -> bool:
        """Whether a raw trade names its market, and has all fields that ccxt would guess."""
        profile, market_id = self._profile, self._exchange.markets[symbol]["id"]
        texts = (info.get(key) for key in profile.trade_texts)
        return info.get(profile.trade_market) == market_id and all(type(text) is str and text for text in texts)

    def on_book(self, book: Any) -> bool:
        """Take an order book that ccxt has updated; True if its market is wanted, so no future need be resolved."""
        if book["symbol"] not in self._coins:
            return False
        self._reading.delivered += 1
        if self.books is not None:
            self.books.on_book(book, self._reading.received_at)
        return True

    def _on_ticker(self, symbol: str, row: Any) -> None:
        self._reading.delivered += 1
        coin, name, received_at = self._coins[symbol], self._profile.name, self._reading.received_at
        market, scale = self._symbols[coin], self._scales[symbol]
        volume_scale = scale if self._profile.tickers_in_contracts else 1.0
        ticker = normalize.ticker(row, coin, name, received_at, scale, volume_scale, market)
        quote = None
        if ticker is None or self.quotes_in_tickers:
            quote = normalize.quote(row, coin, name, received_at, scale, market)
        if ticker is None and quote is None:
            self._bad_row("ticker", row)
        if ticker is not None and coin in self._units:
            of_coin(ticker, self._units[coin])
        if ticker is not None and self.tickers_wanted:
            self._unheard[Ticker].discard(coin)
            self._listener.on_ticker(ticker)
        if self.quotes_in_tickers:
            if quote is not None:
                self._tell_quote(quote)
            elif symbol not in self._quoteless and (row.get("bid") is None or row.get("ask") is None):
                self._quoteless.add(symbol)
                self.on_no_quote(symbol)

    def _on_quote(self, symbol: str, row: Any) -> None:
        self._reading.delivered += 1
        coin, scale, received_at = self._coins[symbol], self._scales[symbol], self._reading.received_at
        quote = normalize.quote(row, coin, self._profile.name, received_at, scale, self._symbols[coin])
        if quote is None:
            self._bad_row("quote", row)
        else:
            self._tell_quote(quote)

    def on_quote_of_book(self, quote: Quote) -> None:
        """Deliver the best bid and ask of a proven book, in units of the coin."""
        self._unheard[Quote].discard(quote.coin)
        self._listener.on_quote(quote)

    def _tell_quote(self, quote: Quote) -> None:
        if quote.coin in self._units:
            of_coin(quote, self._units[quote.coin])
        self.on_quote_of_book(quote)

    def _on_candle(self, symbol: str, timeframe: str, row: Any) -> None:
        profile, reading, coin = self._profile, self._reading, self._coins[symbol]
        reading.delivered += 1
        closed = profile.candle_is_closed(reading.frame, row)
        told = row
        if (base := profile.base_volume(reading.frame, row)) is not None:
            told = [*row[:5], base]
        scale = self._scales[symbol] if profile.candles_in_contracts else 1.0
        candle = normalize.candle(
            told, coin, timeframe, profile.name, reading.received_at, closed is True, scale, self._symbols[coin]
        )
        if candle is None:
            self._bad_row("candle", told)
            return
        of_coin(candle, self._units.get(coin, 1))
        self._unheard[Candle].discard(coin)
        if (coin, timeframe) in self._begun_candles:
            self._listener.on_candle(candle, closed is not None)
        else:  # some venues repeat hundreds of past candles at a subscription: only the last one is current
            self._first_candles[coin, timeframe] = candle, closed is not None

    def _on_flagged_candle(self, candle: Candle) -> None:
        self._tell_candle(candle, True)

    def _tell_candle(self, candle: Candle, flagged: bool) -> None:
        self._begun_candles.add((candle.coin, candle.timeframe))
        self._listener.on_candle(candle, flagged)


_EVENTS: Mapping[str, type] = {
    "trades": TradeEvent,
    "ticker": Ticker,
    "quotes": Quote,
    "candles": Candle,
    "books": OrderBook,
}


def _arriving(coins: Mapping[str, str], profile: Profile, markets: Mapping[str, Any]) -> dict[str, str]:
    """Market symbol -> coin, for coins whose data carries the symbol of another market."""
    return {other: coin for symbol, coin in coins.items() if (other := profile.arrives_as(symbol)) in markets}


def contract_size(market: Mapping[str, Any]) -> float:
    """The size of one unit of a market's amount in the base currency: 1 on spot, else ccxt's contractSize."""
    size = market.get("contractSize")
    return float(size) if market.get("contract") and size else 1.0
