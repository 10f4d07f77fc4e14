"""Poloniex: the time of a trade, what proves its books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges import normalize
from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.events import TradeEvent
from exchanges.venues.profile import Profile


class _Poloniex(Profile):
    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Correct the time: over REST ccxt uses "ts", the time at which the answer was sent."""
        trade.timestamp = normalize.milliseconds(info.get("createTime")) or trade.timestamp


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Book level 2": ``lastId`` is the id of the message before."""
    if isinstance(frame, dict) and frame.get("channel") == "book_lv2" and "data" in frame:
        whole = frame.get("action") == "snapshot"
        for row in frame["data"]:
            yield Numbers(row["symbol"], int(row["id"]), previous=int(row["lastId"]), snapshot=whole)


def books_anew(market_id: str, symbol: str, depth: int | None) -> list[Mapping[str, Any]]:
    """The requests after which the venue sends a new snapshot."""
    wanted = {"channel": ["book_lv2"], "symbols": [market_id]}
    return [{"event": event, **wanted} for event in ("unsubscribe", "subscribe")]


PROFILES = (
    _Poloniex(
        "poloniex",
        books=BookRules(ProofKind.SEQUENCE, lambda: NumberedFrames(book_numbers), window=True, anew=books_anew),
    ),
)
