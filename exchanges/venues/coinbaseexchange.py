"""Coinbase Exchange: channels without a login, what a trade must have, what proves its books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from exchanges.books.frame_proofs import RisingNumbers
from exchanges.books.proof import BookRules, Numbers, ProofKind
from exchanges.venues.profile import Profile

_CHANNELS = ["level2_batch"]  # level2 needs a login
_JITTER = 10_000  # microseconds by which an update's time may be before that of the last update
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Level2 channel": only the time of an update, in microseconds, shows its place in the order.

    The channel has no ``sequence``, unlike the channels "full" and "heartbeat".
    """
    kind = frame.get("type") if isinstance(frame, dict) else None
    if kind == "snapshot":
        yield Numbers(frame["product_id"], 0, snapshot=True)
    elif kind == "l2update" and "time" in frame:
        moment = datetime.fromisoformat(frame["time"]) - _EPOCH
        yield Numbers(frame["product_id"], moment // timedelta(microseconds=1))


def books_anew(market_id: str, symbol: str, depth: int | None) -> list[Mapping[str, Any]]:
    """The requests after which the venue sends a new snapshot."""
    wanted = {"product_ids": [market_id], "channels": _CHANNELS}
    return [{"type": kind, **wanted} for kind in ("unsubscribe", "subscribe")]


PROFILES = (
    Profile(
        "coinbaseexchange",
        trade_market="product_id",
        trade_texts=("maker_order_id", "taker_order_id"),  # without them, ccxt takes the maker's side for the taker's
        keyless_streams=True,
        books=BookRules(
            ProofKind.PLAUSIBILITY,
            lambda: RisingNumbers(book_numbers, ties=True, jitter=_JITTER),
            window=True,
            params={"channels": _CHANNELS},
            anew=books_anew,
        ),
    ),
)
