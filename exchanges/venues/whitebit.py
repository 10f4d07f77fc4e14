"""WhiteBIT v4: what proves its order books, and which depths it offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.venues.profile import Profile


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Depth": an update has the number of the update before; a whole book comes when nothing has changed for 10 s."""
    if isinstance(frame, dict) and frame.get("method") == "depth_update":
        whole, book, market_id = frame["params"][:3]
        previous = None if whole else int(book["past_update_id"])
        yield Numbers(market_id, int(book["update_id"]), previous=previous, snapshot=whole is True)


PROFILES = (
    Profile(
        "whitebit",
        books=BookRules(
            ProofKind.SEQUENCE,
            lambda: NumberedFrames(book_numbers),
            depths=(1, 5, 10, 20, 30, 50, 100),
            window=True,
        ),
    ),
)
