"""Every status event in one table: details, text for people, level in the log, and whether the breaker counts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class StatusEvent(StrEnum):
    """The events that ``subscribe_status`` callbacks receive."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    RECONNECTING = "reconnecting"
    EXCHANGE_BLOCKED = "exchange_blocked"
    FAILOVER = "failover"
    FAILBACK = "failback"
    EXHAUSTED = "exhausted"
    ERROR = "error"
    CLOSED = "closed"
    FEED_STALE = "feed_stale"
    FEED_RECOVERED = "feed_recovered"
    FEED_LAGGING = "feed_lagging"
    FEED_CAUGHT_UP = "feed_caught_up"
    COIN_STALE = "coin_stale"
    COIN_RECOVERED = "coin_recovered"
    COIN_UNAVAILABLE = "coin_unavailable"
    MARKET_CHANGED = "market_changed"
    PRICE_MISMATCH = "price_mismatch"
    BOOK_UNSYNCED = "book_unsynced"
    BOOK_SYNCED = "book_synced"
    SOURCE = "source"
    GAP = "gap"
    GAP_FILLED = "gap_filled"
    BAD_FRAME = "bad_frame"
    CIRCUIT_OPEN = "circuit_open"
    CIRCUIT_HALF_OPEN = "circuit_half_open"
    CIRCUIT_CLOSED = "circuit_closed"
    CALLBACK_ERROR = "callback_error"
    SLOW_CALLBACK = "slow_callback"


@dataclass(frozen=True, slots=True)
class EventKind:
    """One event's row.

    ``details``: the names of the details, without ``exchange`` and ``at`` (Unix ms). ``words``: the line for people,
    with details in braces; ``otherwise``: the line if a detail named in ``words`` is missing; ``for_many``: the line
    for several coins at once. ``level``: the level in the log. ``failure``: the circuit breaker counts the event.
    ``error``: the feed's status counts it. ``places``: the event says which exchange the feed uses.
    ``good``: the event says that something works again.
    """

    details: tuple[str, ...]
    words: str
    for_many: str = ""
    otherwise: str = ""
    level: str = "INFO"
    failure: bool = False
    error: bool = False
    places: bool = False
    good: bool = False


_ = StatusEvent
KINDS: Mapping[StatusEvent, EventKind] = {
    _.CONNECTING: EventKind((), "{exchange}", places=True),
    _.CONNECTED: EventKind((), "{exchange}", places=True, good=True),
    _.DISCONNECTED: EventKind(("reason",), "{exchange}: {reason}", level="WARNING", failure=True, error=True),
    _.RECONNECTING: EventKind(("attempt", "delay"), "{exchange}: attempt {attempt} in {delay:.1f} s"),
    _.EXCHANGE_BLOCKED: EventKind(("status", "reason"), "{exchange}: {reason}", level="WARNING", error=True),
    _.FAILOVER: EventKind(
        ("from", "to", "reason"), "{from} -> {to}: {reason}", level="WARNING", failure=True, places=True
    ),
    _.FAILBACK: EventKind(("from", "to"), "{from} -> {to}, which works again", places=True, good=True),
    _.EXHAUSTED: EventKind(("reason",), "{reason}", level="WARNING", failure=True, error=True),
    _.ERROR: EventKind(("error",), "{exchange}: {error}", level="WARNING", error=True),
    _.CLOSED: EventKind((), "{exchange}"),
    _.FEED_STALE: EventKind(("seconds",), "{exchange}: silent for {seconds:.1f} s", level="WARNING", failure=True),
    _.FEED_RECOVERED: EventKind(("seconds",), "{exchange}: data flows again after {seconds:.1f} s", good=True),
    _.FEED_LAGGING: EventKind(("seconds",), "{exchange}: {seconds:.1f} s behind", level="WARNING", failure=True),
    _.FEED_CAUGHT_UP: EventKind(("seconds",), "{exchange}: up to date again after {seconds:.1f} s", good=True),
    _.COIN_STALE: EventKind(
        ("coin", "seconds"), "{exchange}: {coin} silent for {seconds:.0f} s", "{exchange}: {coins} coins silent"
    ),
    _.COIN_RECOVERED: EventKind(
        ("coin", "seconds"),
        "{exchange}: {coin} is back",
        "{exchange}: {coins} coins are back",
        good=True,
    ),
    _.COIN_UNAVAILABLE: EventKind(
        ("coin", "reason", "channel", "timeframe"),
        "{exchange}: {coin}: {reason}",
        "{exchange}: {coins} coins not available",
        level="WARNING",
    ),
    _.MARKET_CHANGED: EventKind(
        ("coin", "from", "to"),
        "{coin}: {from[market]} on {from[exchange]} -> {to[market]} on {to[exchange]}",
        level="WARNING",
    ),
    _.PRICE_MISMATCH: EventKind(
        ("coin", "from", "to", "ratio"),
        "{coin}: price on {to[exchange]} withheld, {ratio:.3g} times apart from that on {from[exchange]}",
        level="WARNING",
    ),
    _.BOOK_UNSYNCED: EventKind(
        ("coin", "reason"),
        "{exchange}: {coin}: order book not synchronized: {reason}",
        "{exchange}: {coins} order books not synchronized",
        level="WARNING",
    ),
    _.BOOK_SYNCED: EventKind(
        ("coin", "seconds"),
        "{exchange}: {coin}: order book synchronized after {seconds:.1f} s",
        "{exchange}: {coins} order books synchronized",
        good=True,
    ),
    _.SOURCE: EventKind(("source", "reason", "coins"), "{exchange}: data comes from {source}: {reason}"),
    _.GAP: EventKind(
        ("coin", "missing", "fetched", "from_id", "to_id", "from_ts", "to_ts"),
        "{exchange}: {coin} missed {missing} trades",
        "{exchange}: {coins} coins missed trades",
        level="WARNING",
    ),
    _.GAP_FILLED: EventKind(
        ("coin", "trades", "complete"),
        "{exchange}: {coin} got {trades} missed trades",
        "{exchange}: {coins} coins got {trades} missed trades",
        good=True,
    ),
    _.BAD_FRAME: EventKind(("count", "sample"), "{exchange}: {count} frames that could not be read", level="WARNING"),
    _.CIRCUIT_OPEN: EventKind(("reason", "until"), "not tradable: {reason}", level="WARNING"),
    _.CIRCUIT_HALF_OPEN: EventKind((), "tradable again; the next failure stops trading at once"),
    _.CIRCUIT_CLOSED: EventKind((), "steady again: one failure no longer stops trading", good=True),
    _.CALLBACK_ERROR: EventKind(
        ("callback", "error", "count"),
        "{callback} raised {error}",
        level="DEBUG",  # the dispatcher logs the error itself, with its traceback
        error=True,
    ),
    _.SLOW_CALLBACK: EventKind(
        ("callback", "ms", "count", "dropped", "behind", "waiting"),
        "{callback} took {ms:.0f} ms",
        otherwise="{callback} is {behind:.0f} s behind, {waiting} events wait",
        level="WARNING",
    ),
}
