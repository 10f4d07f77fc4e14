"""The interface between the feed and any venue: what a venue must provide, and the default limits of a venue.

ccxt is one kind of venue; a recording, a message bus or a program's own source can be others. The feed imports this
module and :mod:`exchanges.registry`, and none of the modules that implement a venue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from exchanges.events import Candle, Listener, Ticker, TradeEvent
from exchanges.foreign_text import (
    Cleaner,
    address_shown,
    secrets_in_address,
    secrets_in_environment,
    secrets_in_options,
    values_shown,
)

NO_PROXY = "none"
"""In the settings, and in ``Access``: no proxy, even if the environment names one."""

__all__ = ["NO_PROXY", "Access", "BusAddress", "Capacity", "Connection", "Limits", "Listener", "Subscription", "Venue"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one connection may carry: ``limit`` counts subscriptions, or their characters if the venue limits these.

    A subscription uses ``each`` of the limit, and in addition ``per_character`` for every character of its market's id.
    """

    limit: int
    each: int = 1
    per_character: int = 0

    def weight(self, market_id: str, subscriptions: int) -> int:
        """The part of the limit that this number of ``subscriptions`` of one market uses."""
        return subscriptions * (self.each + self.per_character * len(market_id))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a venue allows, and the properties of its trades; the defaults suit a venue that documents nothing."""

    capacity: Capacity | None = None
    """What one connection may carry; None if the venue names no limit."""
    session_limit: float | None = None
    """Seconds after which the venue ends a connection; None if it names no limit."""
    dials: int = 100
    """Connection attempts per 5 minutes."""
    requests: int = 60
    """REST requests per minute, for trades and candles."""
    consecutive_ids: bool = False
    """Trade ids of a market count up by one, so that ids alone show what is missing."""
    older_trades: bool = False
    """REST can return the trades from a given id onwards."""
    recent_trades: int = 1000
    """The most trades that one request returns."""


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where the bus is: ``servers`` of one NATS cluster (nats://host:port, tls://host:port), and the login for it.

    ``creds`` is a file with a user's JWT and key, ``ca`` a file with the authority of the servers' certificates.
    """

    servers: Sequence[str]
    user: str = ""
    password: str = ""
    token: str = ""
    creds: str = ""
    ca: str = ""

    def __repr__(self) -> str:
        """Like the repr of a dataclass, without secrets."""
        return f"BusAddress({', '.join(map(address_shown, self.servers))})"

    def secrets(self) -> Iterator[str]:
        """The texts that must not be shown."""
        for server in self.servers:
            yield from secrets_in_address(server)
        yield from (secret for secret in (self.password, self.token) if secret)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a venue. ``timeout`` is in seconds, for each REST request and each dial.

    ``market_type`` is spot or swap. ``quote`` has the quote currencies in the order in which a market is looked for.

    ``rest_url`` and ``ws_url`` replace the scheme and host of every address. ``proxy``: see
    ccxt_adapter/transport/proxies.py. ``options`` are passed to ccxt unchanged, except these:

    - ``sandbox: true`` selects the venue's testnet;
    - ``hotpath: false`` makes ccxt read every frame;
    - ``transport`` is ``aiohttp`` or ``picows`` (ccxt_adapter/transport/choose.py);
    - ``market_cache`` says whether the list of markets is kept on disk (ccxt_adapter/markets/disk_cache.py).

    With ``bus`` the venue is read from that bus; then only ``market_type``, ``quote`` and ``timeout`` are used.
    """

    market_type: str = "spot"
    quote: Sequence[str] = ("USDT", "USDC", "USD")
    rest_url: str | None = None
    ws_url: str | None = None
    proxy: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0
    bus: BusAddress | None = None

    def __repr__(self) -> str:
        """Like the repr of a dataclass, without secrets."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["proxy"] = None if self.proxy is None else address_shown(self.proxy)
        return f"Access({', '.join(f'{name}={value!r}' for name, value in values_shown(shown).items())})"

    def secrets(self) -> Iterator[str]:
        """The texts that must not be shown, such as passwords: of addresses, options and the environment's proxies."""
        for address in (self.proxy, self.rest_url, self.ws_url):
            yield from secrets_in_address(address) if address else ()
        yield from secrets_in_options(self.options)
        yield from secrets_in_environment()
        yield from self.bus.secrets() if self.bus is not None else ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a connection carries.

    ``markets`` maps each coin to its market symbol. ``channels`` are some of trades, ticker, candles, quotes and books.
    ``timeframes`` are those of the candles (1m, 5m, ...). ``book_depth`` is how many levels of each side of a book are
    wanted.
    """

    markets: Mapping[str, str]
    channels: Sequence[str]
    timeframes: Sequence[str] = ("1m",)
    book_depth: int = 20


class Connection(Protocol):
    """One connection to a venue, from the dial to the error that ends it."""

    async def run(self) -> None:
        """Dial, subscribe and deliver until the connection ends; raises VenueError."""

    def add(self, markets: Mapping[str, str]) -> None:
        """Carry these coins (coin -> market symbol) too."""

    def distrust_book(self, coin: str, reason: str) -> None:
        """Synchronize a coin's book again, because its receiver has found that it is wrong.

        Calls ``on_book_unsynced`` at once.
        """

    async def close(self) -> None:
        """End the connection within about a second, whatever the other side does."""


class Venue(Protocol):
    """One exchange as the feed sees it. Methods that send it requests raise VenueError (:mod:`exchanges.errors`)."""

    name: str
    clean: Cleaner
    """Makes text from the venue safe to show: printable, and without the secrets of the settings."""

    @property
    def limits(self) -> Limits: ...

    @property
    def loaded(self) -> bool:
        """Whether the venue's markets are known."""

    @property
    def aged(self) -> bool:
        """Whether the list of markets is so old that it should be requested again soon."""

    @property
    def can_fetch_trades(self) -> bool: ...

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The timeframes of past candles; empty if the venue has none."""

    def streams(self, channel: str) -> bool:
        """Whether a connection delivers the channel."""

    @property
    def proxies(self) -> Mapping[str, object]:
        """Address -> the proxy that is used for it, None if there is none; ``str`` of a proxy may be shown."""

    async def load(self, coins: Mapping[str, str | None] | None = None, *, anew: bool = False) -> None:
        """Load the markets, unless they are loaded and list all of ``coins`` (coin -> market symbol or None).

        ``anew``: request the list again for coins that are halted or not listed; at most once a second.
        """

    async def refresh(self) -> Collection[str]:
        """Request the markets again; returns the symbols of markets that are gone or changed."""

    def market(self, coin: str, override: str | None = None) -> str:
        """The market symbol of a coin. Raises Halted if its market is not traded now, or Rejected if the venue has no
        market for it; the error says why.
        """

    def market_id(self, symbol: str) -> str:
        """The venue's own id of a market."""

    def connect(self, subscription: Subscription, listener: Listener, on_going_down: Callable[[], None]) -> Connection:
        """A new connection, not dialled yet. ``on_going_down`` is called when the venue announces its end."""

    async def fetch_time(self) -> int | None:
        """The venue's clock, Unix ms; None if the venue has no such request."""

    async def fetch_tickers(self, markets: Mapping[str, str]) -> list[Ticker]:
        """The 24 h summary of each coin in ``markets`` (coin -> symbol)."""

    async def fetch_trades(
        self, coin: str, symbol: str, from_id: int | None = None, limit: int | None = None
    ) -> list[TradeEvent]:
        """Trades with the stream's own ids, oldest first: the newest, or those from ``from_id`` on."""

    async def fetch_candles(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        """The candles that opened at ``since`` (Unix ms) or later; the newest candle may still be open."""

    async def fetch_history(self, coin: str, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """The newest ``limit`` candles, oldest first, all marked as closed."""

    async def close(self) -> None:
        """Close all resources except connections, which are closed one by one."""
