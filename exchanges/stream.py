"""One connection to a venue: what it subscribes to, and which calls stand for that until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from exchanges.bars import Bars
from exchanges.delivery import Delivery, contract_size
from exchanges.errors import Refused, VenueError
from exchanges.events import Listener
from exchanges.fence import Reading, arm
from exchanges.profiles import Profile

Watch = Callable[[Sequence[str]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a stream carries.

    ``markets`` maps each coin to its market symbol, ``channels`` are among trades, ticker, candles and quotes,
    ``timeframes`` are the candles' (1m, 5m, ...). ``closed`` is the bar (open time, Unix ms) of each (coin, timeframe)
    that some venue has closed last: what follows is fetched unless it comes.
    """

    markets: Mapping[str, str]
    channels: Sequence[str]
    timeframes: Sequence[str] = ("1m",)
    closed: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Call:
    """One standing watch call."""

    channel: str
    symbols: tuple[str, ...]
    watch: Watch
    timeframe: str = ""  # of candles


class Stream:
    """One connection's life, from the dial to the error that ends it, over a ccxt.pro instance of its own.

    A fresh instance carries no dial backoff, subscription or future of an earlier connection, and an old one can be
    closed behind the new one's back. ``bars`` outlive it: a bar is closed once, over all connections. ``translate``
    makes a VenueError of whatever ccxt raised, ``release`` closes the instance within a bound.
    """

    def __init__(
        self,
        profile: Profile,
        exchange: Any,
        wanted: Subscription,
        listener: Listener,
        bars: Bars,
        *,
        on_going_down: Callable[[], None],
        ws_url: str | None,
        timeout: float,
        translate: Callable[[Exception], VenueError],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        self.name = profile.name
        self._profile = profile
        self._exchange = exchange
        self._wanted = wanted
        self._listener = listener
        self._on_going_down = on_going_down
        self._translate = translate
        self.close = release
        self._reading = Reading()
        self._coins = {symbol: coin for coin, symbol in wanted.markets.items()}
        native = "candles" in channels_of(exchange.has)
        self._builds_candles = "candles" in wanted.channels and "trades" in wanted.channels and not native
        timeframes, built = wanted.timeframes, self._builds_candles
        in_contracts = self._coins if profile.candles_in_contracts else ()
        scales = {symbol: contract_size(exchange.markets[symbol]) for symbol in in_contracts}
        connection = bars.begin(self._coins, timeframes, wanted.closed, native=not built, scales=scales)
        self._delivery = Delivery(
            profile, exchange, self._coins, timeframes, listener, self._reading, bars, connection, built=built
        )
        self._install(ws_url, timeout)

    def __repr__(self) -> str:
        dialled = ", ".join(self._exchange.clients or ()) or "not dialled"
        return f"<Stream {self.name}, {len(self._coins)} coins, {dialled}>"

    async def run(self) -> None:
        """Dial, subscribe and deliver to the listener until the connection ends, which raises Disconnected or Blocked.

        A channel or coin that the venue refuses is told to the listener and the rest goes on; Refused is raised when
        nothing is left.
        """
        self._exchange.open()  # ccxt's modules that ask for an address first start a task before they dial
        try:
            async with asyncio.TaskGroup() as group:
                for channel in self._wanted.channels:
                    if channel == "candles" and self._builds_candles:
                        continue
                    for call in self._calls(channel):
                        group.create_task(self._keep(call, group))
                for call in self._beside():
                    group.create_task(self._keep(call, group))
        except* VenueError as errors:
            raise errors.exceptions[0] from None
        raise Refused(self.name, "refused every subscription")

    def _install(self, ws_url: str | None, timeout: float) -> None:
        """Put stores of our own into ccxt's tables and arm the client that it will dial with."""
        exchange, reading, listener, delivery = self._exchange, self._reading, self._listener, self._delivery
        latest = (delivery.tickers, delivery.bidsasks)
        going_down, take = self._profile.going_down, delivery.taker()

        def on_frame(frame: Any) -> None:
            if reading.delivered:
                delivery.on_frame()
            elif going_down is not None and going_down(frame):
                self._on_going_down()

        exchange.on_new_client = lambda client: arm(
            client, reading, latest, listener.on_bad_frame, on_frame, ws_url, timeout, take
        )

    def _calls(self, channel: str) -> Iterator[_Call]:
        """The watch calls of one channel: multi-symbol ones in chunks the venue allows, else one per symbol."""
        has, symbols = self._exchange.has, list(self._coins)
        for (method, make), size in ((_MANY[channel], self._profile.chunk), (_ONE[channel], 1)):
            if has.get(method) is True and (size == 1 or channel not in self._profile.singly):
                for timeframe in self._wanted.timeframes if channel == "candles" else ("",):
                    watch = make(self._exchange, timeframe)
                    for start in range(0, len(symbols), size):
                        yield _Call(channel, tuple(symbols[start : start + size]), watch, timeframe)
                return
        self._unavailable(channel, symbols, f"{self.name} has no {channel} channel")

    def _beside(self) -> Iterator[_Call]:
        """The requests that the venue wants beside those of the channels."""
        for name, request in self._profile.beside.items():
            yield _Call(name, (), partial(self._ask, name, dict(request)))

    def _ask(self, name: str, request: dict[str, Any], symbols: Sequence[str]) -> Awaitable[Any]:
        exchange = self._exchange
        answered: Awaitable[Any] = exchange.watch(exchange.urls["api"]["ws"], name, request, name)
        return answered

    async def _keep(self, call: _Call, group: asyncio.TaskGroup) -> None:
        """Keep one watch call standing: it subscribes and carries errors, the data comes through the stores."""
        while True:
            try:
                await call.watch(call.symbols)
                await asyncio.sleep(0)  # a venue whose futures do wake must not starve the loop
            except Exception as error:  # noqa: BLE001 - ccxt's modules raise whatever their parsers meet
                failure = self._translate(error)
                if not (getattr(error, "stray", False) and self._delivery.has_brought(call.channel, call.symbols)):
                    break
        if not isinstance(failure, Refused):
            raise failure
        if len(call.symbols) == 1:
            self._unavailable(call.channel, call.symbols, failure.reason, call.timeframe)
            return
        for symbol in call.symbols:  # one bad market in a request has the whole request refused
            group.create_task(self._keep(replace(call, symbols=(symbol,)), group))

    def _unavailable(self, channel: str, symbols: Iterable[str], reason: str, timeframe: str = "") -> None:
        self._listener.on_unavailable(channel, [self._coins[symbol] for symbol in symbols], reason, timeframe)


# channel -> the entry of ccxt's `has`, and how the watch call for some symbols is made from an instance and a timeframe
_Make = Callable[[Any, str], Watch]
_MANY: Mapping[str, tuple[str, _Make]] = {
    "trades": ("watchTradesForSymbols", lambda exchange, _: exchange.watch_trades_for_symbols),
    "ticker": ("watchTickers", lambda exchange, _: exchange.watch_tickers),
    "candles": (
        "watchOHLCVForSymbols",
        lambda exchange, timeframe: lambda symbols: exchange.watch_ohlcv_for_symbols([[s, timeframe] for s in symbols]),
    ),
    "quotes": ("watchBidsAsks", lambda exchange, _: exchange.watch_bids_asks),
}
_ONE: Mapping[str, tuple[str, _Make]] = {
    "trades": ("watchTrades", lambda exchange, _: lambda symbols: exchange.watch_trades(symbols[0])),
    "ticker": ("watchTicker", lambda exchange, _: lambda symbols: exchange.watch_ticker(symbols[0])),
    "candles": ("watchOHLCV", lambda exchange, timeframe: lambda symbols: exchange.watch_ohlcv(symbols[0], timeframe)),
    "quotes": ("watchBidsAsks", lambda exchange, _: exchange.watch_bids_asks),
}


def channels_of(has: Mapping[str, Any]) -> tuple[str, ...]:
    """The channels that a venue streams, by ccxt's ``has`` table."""
    methods = {channel: (_MANY[channel][0], _ONE[channel][0]) for channel in _MANY}
    return tuple(channel for channel, names in methods.items() if any(has.get(name) is True for name in names))
