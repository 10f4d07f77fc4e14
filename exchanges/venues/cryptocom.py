"""Crypto.com Exchange v1: channels per connection, rejections, the 24 h change, past trades, what proves its books.

Sources: "common API reference" and "ticker" of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.venue import Capacity, Limits
from exchanges.venues import frame_markets
from exchanges.venues.profile import Profile, Rejection


class _CryptoCom(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        """ccxt does not find the request: a rejection has the number 0, and ccxt sends its requests without numbers."""
        return (
            Rejection(str(frame.get("message"))) if frame.get("method") == "subscribe" and frame.get("code") else None
        )

    def correct_ticker_row(self, row: dict[str, Any]) -> None:
        """Correct the change: "c" is -0.0022 for -0.22 %, and ccxt passes it on unchanged."""
        if row.get("percentage") is not None:
            row["percentage"] = str(Decimal(str(row["percentage"])) * 100)


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "book.{instrument_name}": an update has the number of the update before; in a quiet book, its own number."""
    result = frame.get("result") if isinstance(frame, dict) else None
    if isinstance(result, dict) and result.get("channel") in ("book", "book.update"):
        whole = result["channel"] == "book"
        for row in result["data"]:
            previous = None if whole else int(row["pu"])
            yield Numbers(result["instrument_name"], int(row.get("u", row.get("s"))), previous=previous, snapshot=whole)


PROFILES = (
    _CryptoCom(
        "cryptocom",
        Limits(capacity=Capacity(400)),  # channels: measured, not documented
        options={"ws": {"settle": 1.0}},  # "add a 1-second sleep after" the dial, says its documentation
        markets_named=frame_markets.cryptocom,
        replays_last=True,  # not documented
        books=BookRules(
            ProofKind.SEQUENCE, lambda: NumberedFrames(book_numbers), depths=(50,), window=True, nonce=True
        ),
        all_tickers=True,  # public/get-tickers takes one instrument or none
    ),
)
