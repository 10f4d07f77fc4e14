"""What a venue's profile can set beyond ccxt's ``has``, with the defaults (50 markets per subscription call, ...).

A venue's file makes one or more profiles. Their fields hold data; overridden methods read a frame or a row as the venue
sends it. A frame is the decoded message; ``info`` is the venue's own row of a trade or ticker as ccxt passes it on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from exchanges.books.proof import BookRules
from exchanges.events import TradeEvent
from exchanges.names import ALIASES
from exchanges.venue import Limits
from exchanges.venues.fast_decoder import FrameTable
from exchanges.venues.frame_markets import Named

MARKET_ID = "{market id}"
"""In a profile's request: the place where the venue's id of the requested market is put."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A venue's frame that rejects the request with its number, or else the market or channel that it names.

    ``alone``: only the named market is rejected, not the rest of the request. ``channel``: "" if the frame names none.
    ``unnamed``: the frame rejects one of the requests without an answer, and does not say which.
    """

    reason: str
    alone: bool = False
    channel: str = ""
    unnamed: bool = False


@dataclass(frozen=True)
class Profile:
    """One venue: its name, its limits, and how it differs from what ccxt says."""

    name: str
    limits: Limits = field(default_factory=Limits)
    sandbox: bool = False  # the profile is for its testnet
    testnet: bool = True  # False if it has no testnet although ccxt has an address
    options: Mapping[str, Any] = field(default_factory=dict)  # ccxt's options
    chunk: int = 50  # markets in one subscription call
    sockets: tuple[int, float] | None = None  # number of sockets, and seconds within which they may be opened
    needs: Mapping[str, str] = field(default_factory=dict)  # module that ccxt imports -> our extra that installs it
    has: Mapping[str, bool] = field(default_factory=dict)  # corrections of ccxt's ``has``
    singly: frozenset[str] = frozenset()  # channels that are requested for one market at a time
    candles_in_contracts: bool = False  # candle volumes of swaps are in contracts
    tickers_in_contracts: bool = False  # ticker volumes of swaps are in contracts
    # parameters of fetch_trades that give trades with the stream's ids: the newest, and those from "fromId" on
    recent_trades: Mapping[str, Any] = field(default_factory=dict)
    older_trades: Mapping[str, Any] = field(default_factory=dict)
    keyless: frozenset[str] = frozenset()  # REST paths for which ccxt wants an API key and the venue does not
    markets_named: Named | None = None  # finds the markets that a frame names in its topic and in its rows
    trade_market: str = ""  # the raw trade's field with its market's id, if ccxt uses the id of the frame
    trade_texts: tuple[str, ...] = ()  # fields that a raw trade must have: otherwise ccxt guesses them
    order: Literal["oldest first", "newest first", "ties newest first"] = "oldest first"
    """The order of a frame's trades; "ties": only trades of one millisecond have it, because ccxt sorts by time."""
    history: tuple[str, str] | None = None  # a field of a frame, and its value if the frame's trades are past ones
    replays_last: bool = False  # the first trade of each market after a subscription may be a past one
    swap: Mapping[str, Any] = field(default_factory=dict)  # the fields that differ on perpetual swaps
    fast_frames: FrameTable | None = None  # the frames that are read without ccxt
    joined: Callable[[Sequence[Any]], Any] | None = None  # joins requests, if each request replaces the last
    ticker_market: str = ""  # the raw REST ticker's field with its market's id, to skip other markets
    all_tickers: bool = False  # REST gives the tickers of one market or of all markets, but not of several
    rows_by_place: bool = False  # the meaning of a row in its list of markets depends on its place
    lean: bool = False  # no ccxt method used here reads a market's "info"
    books: BookRules = field(default_factory=BookRules)  # how its order books are proven, see books/proof.py
    keyless_streams: bool = False  # streams for which ccxt would log in are public
    note: str = ""

    @property
    def ccxt_id(self) -> str:
        """The name of the venue's class in ccxt."""
        return ALIASES.get(self.name, self.name)

    def for_market_type(self, market_type: str) -> Self:
        """This profile, on perpetual swaps with the fields that differ there."""
        return replace(self, **self.swap) if market_type == "swap" else self

    def candle_is_closed(self, frame: Any, row: Any) -> bool | None:
        """The venue's own flag whether this candle (a ccxt row) is closed; None if the frame has none."""
        return None

    def base_volume(self, frame: Any, row: Any) -> Any:
        """A candle's volume in base currency; None if that is the volume that ccxt's row has."""
        return None

    def is_history(self, frame: Any) -> bool:
        """Whether a frame has past trades, sent at a subscription."""
        mark = self.history
        return mark is not None and isinstance(frame, dict) and frame.get(mark[0]) == mark[1]

    def sent_at(self, frame: Any) -> int | None:
        """The time, Unix ms, at which the venue sent a frame of trades; None if the frame does not say it."""
        return None

    def announces_cut(self, frame: Any) -> bool:
        """Whether a frame announces that the venue will cut the connection."""
        return False

    def rejection(self, frame: Any) -> Rejection | None:
        """What a frame rejects, if ccxt does not report it."""
        return None

    def confirmation(self, frame: Any) -> tuple[str, str] | None:
        """The channel and market id that a frame accepts, for venues whose rejections name no market."""
        return None

    def is_no_trade(self, info: Any) -> bool:
        """Whether a raw row is not a trade and must be ignored."""
        return False

    def is_off_book(self, info: Any) -> bool:
        """Whether a raw trade was made off the order book, such as a block trade or a taken-over position."""
        return False

    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Set fields from the venue's own row that ccxt's row has lost or changed: the id, the time."""

    def correct_trade_row(self, row: dict[str, Any]) -> None:
        """Change a trade that ccxt has parsed."""

    def correct_ticker_row(self, row: dict[str, Any]) -> None:
        """Change a ticker before ccxt completes it."""

    def arrives_as(self, symbol: str) -> str:
        """The market symbol that the data of ``symbol`` carries."""
        return symbol

    def extra_requests(self) -> Mapping[str, Mapping[str, Any]]:
        """Requests by name that are sent in addition to those of the channels."""
        return {}
