"""Phemex: markets per connection, past trades and their order, rejections, what proves its books.

Limits: "WebSocket, API rate limits" of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exchanges.books.frame_proofs import RisingNumbers
from exchanges.books.proof import BookRules, Numbers, ProofKind
from exchanges.venue import Capacity, Limits
from exchanges.venues.profile import Profile, Rejection


class _Phemex(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        error = frame.get("error")
        return Rejection(str(error.get("message"))) if isinstance(error, dict) else None


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Orderbook": all markets share the numbers, so one market's numbers rise with gaps. A whole book comes once a
    minute.
    """
    if isinstance(frame, dict) and ("book" in frame or "orderbook_p" in frame) and "sequence" in frame:
        yield Numbers(frame["symbol"], int(frame["sequence"]), snapshot=frame.get("type") == "snapshot")


PROFILES = (
    _Phemex(
        "phemex",
        Limits(capacity=Capacity(20)),
        history=("type", "snapshot"),
        order="ties newest first",
        books=BookRules(ProofKind.PLAUSIBILITY, lambda: RisingNumbers(book_numbers, ties=True), window=True),
    ),
)
