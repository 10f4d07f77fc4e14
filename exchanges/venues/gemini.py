"""Gemini: past trades, rejections and confirmations of v2, what proves the books of v1.

Recent trades: "REST, trade history" of its documentation.
"""

from __future__ import annotations

from typing import Any

from exchanges.books.frame_proofs import CountedFrame, CountedFrames
from exchanges.books.proof import BookRules, ProofKind
from exchanges.venue import Limits
from exchanges.venues.profile import Profile, Rejection


class _Gemini(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        return Rejection(str(frame.get("reason")), unnamed=True) if frame.get("result") == "error" else None

    def confirmation(self, frame: Any) -> tuple[str, str] | None:
        """The answer to a subscription to candles has the candles so far."""
        return ("candles", frame["symbol"].lower()) if str(frame.get("type")).startswith("candles_") else None


def book_numbers(frame: Any) -> CountedFrame | None:
    """ "Multi market data": ``socket_sequence`` counts the messages of a connection, heartbeats too.

    Version 2, which ccxt uses for a single market, has no numbers; its first message has the trades with the book.
    """
    if not isinstance(frame, dict):
        return None
    if frame.get("type") == "l2_updates":
        return CountedFrame(None, ((frame["symbol"].lower(), "trades" in frame),))
    if "socket_sequence" not in frame:
        return None
    changes = [event for event in frame.get("events") or () if event.get("type") == "change"]
    books = {event["symbol"].lower(): event.get("reason") == "initial" for event in changes}
    return CountedFrame(int(frame["socket_sequence"]), tuple(books.items()))


PROFILES = (
    _Gemini(
        "gemini",
        Limits(recent_trades=500),
        history=("type", "l2_updates"),  # v2, which ccxt uses for a single coin's trades; live trades are "trade"
        books=BookRules(ProofKind.SEQUENCE, lambda: CountedFrames(book_numbers), window=True),
    ),
)
