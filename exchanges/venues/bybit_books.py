"""Bybit v5's frames of depth, for books that we build; which depths it offers, and how to subscribe to a book again.

Source: https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, convert

from exchanges.books.delta_book import DeltaBook
from exchanges.books.proof import BookRules, BookUpdate, OwnBooks, ProofKind
from exchanges.venues.binance_books import Number, Price, Size
from exchanges.venues.fast_decoder import FrameContext

DEPTHS = (50, 200, 1000)  # depths that spot and perpetuals both have; a single level is a quote, not a book


class _Sides(Struct, gc=False):
    s: str
    b: list[tuple[Price, Size]]
    a: list[tuple[Price, Size]]
    u: Number
    seq: Number | None = None


class BybitDepth(Struct, kw_only=True, gc=False):
    """A snapshot or a delta; ``u`` counts them, and is 1 after a restart: such a message is always a snapshot."""

    topic: str
    type: Literal["snapshot", "delta"]
    ts: Number
    data: _Sides

    def event(self, scene: FrameContext | None, received_at: int) -> BookUpdate | None:
        data = self.data
        channel, depth, market_id = self.topic.split(".", 2)
        if channel != "orderbook" or depth == "1" or market_id != data.s:  # the best level alone is a quote
            return None
        whole = self.type == "snapshot" or data.u == 1
        return BookUpdate("", data.s, data.b, data.a, data.u, self.ts, received_at, snapshot=whole, cross=data.seq)


def _convert(frame: Any, received_at: int) -> BookUpdate | None:
    return convert(frame, BybitDepth, strict=False).event(None, received_at)


def _resubscribe(market_id: str, depth: int) -> list[Mapping[str, Any]]:
    topics = [f"orderbook.{depth}.{market_id}"]
    return [{"op": op, "args": topics} for op in ("unsubscribe", "subscribe")]


BOOKS = BookRules(
    ProofKind.SEQUENCE,
    depths=DEPTHS,
    window=True,
    own=OwnBooks(DeltaBook, _convert, resubscribe=_resubscribe),
)
