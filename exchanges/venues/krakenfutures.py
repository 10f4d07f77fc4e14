"""Kraken Futures: trades off the order book, what proves its books.

Source: "trade feed" and "trade history" of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.venues.profile import Profile


class _KrakenFutures(Profile):
    def is_off_book(self, info: Any) -> bool:
        """The trade is part of a block trade, or comes from a position that was terminated or assigned."""
        return isinstance(info, dict) and info.get("type") in ("block", "termination", "assignment")


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Book feed": the venue counts the messages of each product."""
    if isinstance(frame, dict) and frame.get("feed") in ("book", "book_snapshot") and "seq" in frame:
        yield Numbers(frame["product_id"], int(frame["seq"]), snapshot=frame["feed"] == "book_snapshot")


def books_anew(market_id: str, symbol: str, depth: int | None) -> list[Mapping[str, Any]]:
    """The requests after which the venue sends a new snapshot."""
    return [{"event": event, "feed": "book", "product_ids": [market_id]} for event in ("unsubscribe", "subscribe")]


PROFILES = (
    _KrakenFutures(
        "krakenfutures",
        books=BookRules(ProofKind.SEQUENCE, lambda: NumberedFrames(book_numbers), window=True, anew=books_anew),
    ),
)
