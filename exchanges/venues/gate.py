"""Gate v4 and Gate EU: closed candles and their volume, trades off the book, what proves their books.

Candles: "spot candlesticks channel" and the futures' klines of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.venues.profile import Profile


class _Gate(Profile):
    def candle_is_closed(self, frame: Any, row: Any) -> bool | None:
        """The field "w": the window is closed."""
        closed = _candle(frame, row).get("w")
        return None if closed is None else bool(closed)

    def is_off_book(self, info: Any) -> bool:
        """The trade is a position that the insurance fund or deleveraging has taken over (futures).

        The venue's candles leave such a trade out too.
        """
        return isinstance(info, dict) and info.get("is_internal") is True

    def base_volume(self, frame: Any, row: Any) -> Any:
        """Use the field "a", the amount in base currency; ccxt uses "v", which is in quote currency on spot."""
        return _candle(frame, row).get("a") if frame["channel"].startswith("spot") else None


def _candle(frame: Any, row: Any) -> Mapping[str, Any]:
    candles = frame["result"] if isinstance(frame["result"], list) else [frame["result"]]
    return next((candle for candle in candles if int(candle["t"]) * 1000 == row[0]), {})


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Order book v2" of spot, and the futures' "order book update", which begins with no snapshot."""
    if not isinstance(frame, dict) or frame.get("event") not in ("update", "all"):
        return
    channel, book = str(frame.get("channel")), frame["result"]
    if channel.endswith(".obu"):
        whole = book.get("full") is True
        first = None if whole else int(book["U"])
        yield Numbers(str(book["s"]).split(".")[1], int(book["u"]), first=first, snapshot=whole)
    elif channel.endswith(".order_book_update"):
        yield Numbers(book["s"], int(book["u"]), first=int(book["U"]), snapshot=book.get("full") is True)


def _book_proof() -> NumberedFrames:
    return NumberedFrames(book_numbers, joins_late=True)


PROFILES = (
    _Gate(
        "gate",
        candles_in_contracts=True,  # on swap "v" counts contracts, and ccxt passes the number on unchanged
        books=BookRules(ProofKind.SEQUENCE, _book_proof, depths=(50, 400), window=True, nonce=True),
        swap={"books": BookRules(ProofKind.SEQUENCE, _book_proof, depths=(100,), window=True, nonce=True)},
    ),
    _Gate(
        "gateeu",
        options={"watchOrderBook": {"snapshotDelay": 0}},  # updates before ccxt's fetch; joining.py waits for more
        books=BookRules(ProofKind.SEQUENCE, _book_proof, depths=(100,), nonce=True, fetched=100),
    ),
)
