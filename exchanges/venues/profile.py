"""What can be special about a venue, and how a user wants it reached. The venues' own rows are in ``venues``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from exchanges.foreign_text import address_shown, secrets_in_address, secrets_in_options, values_shown
from exchanges.venues.fast_decoder import FrameTable
from exchanges.venues.frame_markets import Named

CandleFlag = Callable[[Any, Any], bool | None]
"""(frame, ccxt row) -> the venue's own word on whether that bar is closed; None where the frame does not say."""

RENAMES: tuple[tuple[str, str], ...] = (("POL", "MATIC"), ("S", "FTM"), ("RENDER", "RNDR"))
"""Coins that were renamed, one for one, with their older codes, under which some venues still list them.

What a venue merely spells in its own way (BCHSV, or Bitfinex's IOT and DOG) ccxt reads as BSV, IOTA and MDOGE.
"""


def codes_of(coin: str) -> tuple[str, ...]:
    """The codes under which a coin may be listed: its own first, then the one that it had before or has now."""
    return coin, *(other for pair in RENAMES if coin in pair for other in pair if other != coin)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A venue's frame refuses the request whose number it has, or else what it names.

    ``alone``: only the market that it names is refused, the rest of the request stands. ``channel``: "" where the frame
    does not say. ``unnamed``: it is for one of the requests without an answer, and says nothing of which.
    """

    reason: str
    alone: bool = False
    channel: str = ""
    unnamed: bool = False


MARKET_ID = "{market id}"
"""Stands in a profile's request for what the venue calls the market asked about."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one connection may carry: ``limit`` subscriptions, or characters of them where a subscription has a length.

    A subscription counts as ``each``, and ``per_character`` more for every character of its market's id.
    """

    limit: int
    each: int = 1
    per_character: int = 0

    def weight(self, market_id: str, subscriptions: int) -> int:
        """What so many subscriptions of one market take of the limit."""
        return subscriptions * (self.each + self.per_character * len(market_id))


@dataclass(frozen=True, slots=True)
class Profile:
    """One venue: its ccxt id and what the adapter must know beyond ccxt's ``has``."""

    name: str
    ccxt_id: str
    sandbox: bool = False  # talk to the venue's testnet
    testnet: bool = True  # False where ccxt's testnet addresses are another venue's
    options: Mapping[str, Any] = field(default_factory=dict)  # merged into ccxt's own, the user's come on top
    chunk: int = 50  # markets per multi-symbol subscription call
    capacity: Capacity | None = None  # of one connection; None where the venue names no limit
    needs: Mapping[str, str] = field(default_factory=dict)  # module that ccxt imports -> our extra that brings it
    has: Mapping[str, bool] = field(default_factory=dict)  # of ccxt's ``has``, what is otherwise
    day_change: str = ""  # the raw REST ticker's field with the change in 24 h in percent, where ccxt's is not it
    dials: int = 100  # connection attempts per 5 minutes that the venue allows
    sockets: tuple[int, float] | None = None  # how many may be opened within how many seconds
    candle_closed: CandleFlag | None = None
    candle_volume: Callable[[Any, Any], Any] | None = None  # (frame, ccxt row) -> base volume, where ccxt's is not it
    candles_in_contracts: bool = False  # the volume of its contracts' bars; elsewhere ccxt's rows have base currency
    tickers_in_contracts: bool = False  # the same of its tickers
    consecutive_ids: bool = False  # trade ids of a market count up by one
    recent_trades: Mapping[str, Any] = field(default_factory=dict)  # fetch_trades params: the newest, the stream's ids
    older_trades: Mapping[str, Any] = field(default_factory=dict)  # the same from an id on, which goes under "fromId"
    keyless: frozenset[str] = frozenset()  # REST paths for which ccxt wants an API key and the venue does not
    trade_market: str = ""  # the raw trade's field with its market's id, where ccxt takes the frame's word for it
    no_trade: Callable[[Any], bool] | None = None  # whether a raw trade is none at all, and not bad either
    off_book: Callable[[Any], bool] | None = None  # whether it was made off the order book: a block trade, a take-over
    markets_named: Named | None = None  # the markets of which a frame speaks, in its topic and in its rows
    trade_id: tuple[str, ...] = ()  # the raw trade's field with its id (WebSocket, REST), where ccxt's is not it
    trade_time: str = ""  # the raw trade's field with its time, where ccxt takes another one
    quote_arrives_as: Mapping[str, str] = field(default_factory=dict)  # quote asked for -> quote of what then comes
    trade_texts: tuple[str, ...] = ()  # with that: fields of the raw trade in whose place ccxt guesses
    history: Callable[[Any], bool] | None = None  # whether a frame's trades are past ones, sent at a subscription
    replays_last: bool = False  # the first trade of each market after a subscription may be a past one
    venue_time: Callable[[Any], int] | None = None  # the time, Unix ms, at which the venue sent a frame of trades
    newest_first: bool = False  # the order of the trades in a frame
    ties_newest_first: bool = False  # the same where ccxt sorts them by time: it leaves those of one ms as they came
    recent_limit: int = 1000  # trades that such a request gives at most
    fetches: int = 60  # such requests per minute that the venue allows
    session_limit: float | None = None  # seconds after which the venue cuts a connection
    going_down: Callable[[Any], bool] | None = None  # whether a frame announces that the venue will cut it
    swap: Mapping[str, Any] = field(default_factory=dict)  # the fields of this row that differ on perpetual swaps
    refusal: Callable[[Any], Rejection | None] | None = None  # what a frame refuses, where ccxt tells nobody
    confirms: Callable[[Any], tuple[str, str] | None] | None = None  # the channel and market id that it has accepted
    hotpath: FrameTable | None = None  # the frames that are read without ccxt
    singly: frozenset[str] = frozenset()  # channels that are asked for one market at a time
    maker_sides: bool = False  # ccxt hands on the maker's side as if it were the taker's
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # name -> request sent beside the channels'
    joined: Callable[[Sequence[Any]], Any] | None = None  # one request of several, where each replaces the one before
    change_is_ratio: bool = False  # a ticker's "percentage" in ccxt's row is 0.01 for one percent
    all_tickers: bool = False  # a REST request for the tickers of several markets must be one for those of all
    rows_by_place: bool = False  # in its lists of markets, what a row means depends on its place
    lean: bool = False  # nothing that is called here reads a market's "info", the venue's own answer about it
    note: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a venue. ``timeout`` in seconds, per REST request and per dial.

    ``market_type`` spot or swap, ``quote`` the quote currencies in the order in which a market is looked for.

    ``rest_url`` and ``ws_url`` replace the scheme and host of every address, ``proxy`` is told in
    ccxt_adapter/transport/proxies.py. ``options`` are handed to ccxt as they are, but for ``sandbox: true``, which asks
    for the venue's testnet, ``hotpath: false``, which has ccxt read every frame, ``transport: aiohttp`` or ``picows``
    (ccxt_adapter/transport/choose.py), and ``market_cache``, which says whether the list of markets is kept on disk
    (ccxt_adapter/markets/disk_cache.py).
    """

    market_type: str = "spot"
    quote: Sequence[str] = ("USDT", "USDC", "USD")
    rest_url: str | None = None
    ws_url: str | None = None
    proxy: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0

    def __repr__(self) -> str:
        """As a dataclass shows itself, without what is secret."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["proxy"] = None if self.proxy is None else address_shown(self.proxy)
        return f"Access({', '.join(f'{name}={value!r}' for name, value in values_shown(shown).items())})"

    def secrets(self) -> Iterator[str]:
        """What may be shown to nobody: passwords and tokens of the addresses, and what the options keep secret."""
        for address in (self.proxy, self.rest_url, self.ws_url):
            yield from secrets_in_address(address) if address else ()
        yield from secrets_in_options(self.options)
