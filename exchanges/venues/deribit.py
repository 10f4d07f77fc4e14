"""Deribit v2: block trades, the markets that a frame names, what proves its books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.venues import frame_markets
from exchanges.venues.profile import Profile


class _Deribit(Profile):
    def is_off_book(self, info: Any) -> bool:
        """The trade is part of a block trade."""
        return isinstance(info, dict) and bool(info.get("block_trade_id"))


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "book.{instrument}.{interval}": a change has the id of the change before."""
    params = frame.get("params") if isinstance(frame, dict) else None
    if isinstance(params, dict) and str(params.get("channel")).startswith("book."):
        book = params["data"]
        whole = book.get("type", "snapshot") == "snapshot"
        previous = None if whole else int(book["prev_change_id"])
        yield Numbers(book["instrument_name"], int(book["change_id"]), previous=previous, snapshot=whole)


def books_anew(market_id: str, symbol: str, depth: int | None) -> list[Mapping[str, Any]]:
    """The requests after which the venue sends a new snapshot."""
    params = {"channels": [f"book.{market_id}.100ms"]}
    return [{"jsonrpc": "2.0", "method": f"public/{what}", "params": params} for what in ("unsubscribe", "subscribe")]


PROFILES = (
    _Deribit(
        "deribit",
        markets_named=frame_markets.deribit,
        books=BookRules(
            ProofKind.SEQUENCE, lambda: NumberedFrames(book_numbers), window=True, merges=True, anew=books_anew
        ),
    ),
)
