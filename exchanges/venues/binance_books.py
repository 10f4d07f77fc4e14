"""Binance's frames of depth, and the sizes and weights of its REST snapshots, for books that we build.

Sources: "Diff. depth stream" and "How to manage a local order book correctly" of the web socket streams of spot
(https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams) and of USD-M futures; "Order book" of the
REST API for the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert

from exchanges import normalize
from exchanges.books.diff_book import FIRST, DiffBook
from exchanges.books.proof import BookRules, BookSnapshot, BookUpdate, OwnBooks, ProofKind, SnapshotRules
from exchanges.venues.fast_decoder import FrameContext

Price = Annotated[float, Meta(gt=0.0, lt=normalize.ABSURD)]
Size = Annotated[float, Meta(ge=0.0, lt=normalize.ABSURD)]
Number = Annotated[int, Meta(ge=0)]


class BinanceDepth(Struct, kw_only=True, gc=False):
    """A diff: ``U`` to ``u`` are its changes, ``pu`` (perpetuals) the number of the state before it."""

    e: Literal["depthUpdate"]
    E: Number
    s: str
    U: Number
    u: Number
    pu: Number | None = None
    b: list[tuple[Price, Size]]
    a: list[tuple[Price, Size]]

    def event(self, scene: FrameContext | None, received_at: int) -> BookUpdate:
        return BookUpdate("", self.s, self.b, self.a, self.u, self.E, received_at, self.U, self.pu)


class _Snapshot(Struct, gc=False):
    lastUpdateId: Number
    bids: list[tuple[Price, Size]]
    asks: list[tuple[Price, Size]]


def _convert(frame: Any, received_at: int) -> BookUpdate:
    return convert(frame, BinanceDepth, strict=False).event(None, received_at)


def _read(answer: Any, limit: int) -> BookSnapshot:
    read = convert(answer, _Snapshot, strict=False)
    return BookSnapshot(read.bids, read.asks, read.lastUpdateId, limit)


def _rules(method: str, weights: Mapping[int, int], per_minute: int, first: float = FIRST) -> BookRules:
    snapshots = SnapshotRules(method, weights, per_minute, _read, {"binancecoinm": "dapiPublicGetDepth"})
    own = OwnBooks(lambda depth: DiffBook(depth, tuple(weights), first), _convert, snapshots=snapshots)
    return BookRules(ProofKind.SEQUENCE, own=own)


_SPOT_WEIGHTS = {100: 5, 500: 25, 1000: 50, 5000: 250}

# 40 % of the venue's weight per minute (6000, 1200 on Binance US, 2400 on perpetuals): trades and candles have the rest
SPOT = _rules("publicGetDepth", _SPOT_WEIGHTS, 2_400)
US = _rules("publicGetDepth", _SPOT_WEIGHTS, 480)
# a small first snapshot: ccxt waits 50 ms per unit of weight between requests
SWAP = _rules("fapiPublicGetDepth", {50: 2, 100: 5, 500: 10, 1000: 20}, 960, 2.5)
