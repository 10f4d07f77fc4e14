"""What proves Kraken's order books: a checksum of the ten best levels in every message.

Source: "Book checksum (WebSocket v2)" of its documentation. Prices and sizes are JSON numbers in full precision, so
they are read as texts. Levels beyond the requested depth are cut off: the venue sends nothing about them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exchanges.books.checksum import ChecksummedBooks, Texts, TextUpdate
from exchanges.books.proof import BookRules, ProofKind, Verdict

LEVELS = 10  # levels of each side in the checksum
DEPTHS = (10, 25, 100, 500, 1000)


class KrakenChecksums:
    """The proof of one connection; it remembers the depth at which the venue keeps each market."""

    def __init__(self) -> None:
        self._books = ChecksummedBooks(self._read, payload, LEVELS)
        self._depths: dict[str, int] = {}

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge; a market's id is ccxt's symbol here."""
        if not isinstance(frame, dict):
            return []
        if frame.get("method") == "subscribe" and isinstance(taken := frame.get("result"), dict):
            if taken.get("channel") == "book" and "depth" in taken:
                self._depths[taken["symbol"]] = int(taken["depth"])
        elif frame.get("channel") == "book" and "data" in frame:
            return self._books.judge(frame, text)
        return []

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        self._books.forget(market_id)

    def _read(self, frame: Any, text: str) -> Iterable[TextUpdate]:
        whole = frame["type"] == "snapshot"
        for row in json.loads(text, parse_float=str, parse_int=str)["data"]:
            symbol = row["symbol"]
            bids, asks = ([(level["price"], level["qty"]) for level in row.get(side, ())] for side in ("bids", "asks"))
            if whole and symbol not in self._depths:  # a market may have fewer levels than were requested
                deepest = max(len(bids), len(asks))
                self._depths[symbol] = min((depth for depth in DEPTHS if depth >= deepest), default=deepest)
            yield TextUpdate(symbol, bids, asks, whole, int(row["checksum"]), self._depths.get(symbol))


def payload(bids: Sequence[Texts], asks: Sequence[Texts]) -> str:
    """The asks, best first, then the bids: the digits of price and size without leading zeros."""
    levels = (*asks, *bids)
    decimals = [max((len(level[each].partition(".")[2]) for level in levels), default=0) for each in (0, 1)]
    return "".join(
        _padded(text, wanted).replace(".", "").lstrip("0")
        for level in levels
        for text, wanted in zip(level, decimals, strict=True)
    )


def _padded(text: str, decimals: int) -> str:
    """The number with all decimals of the market, even if the frame left out zeros at its end."""
    missing = decimals - len(text.partition(".")[2])
    return text if missing <= 0 else text + ("" if "." in text else ".") + "0" * missing


def anew(market_id: str, symbol: str, depth: int | None) -> list[Mapping[str, Any]]:
    """The requests after which the venue sends a new snapshot."""
    params = {"channel": "book", "symbol": [symbol], "depth": depth}
    return [{"method": method, "params": params} for method in ("unsubscribe", "subscribe")]


RULES = BookRules(ProofKind.CHECKSUM, KrakenChecksums, depths=DEPTHS, window=True, anew=anew)
