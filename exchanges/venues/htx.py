"""HTX: trade ids, the order of trades, when a message was sent, what proves its books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges import normalize
from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.events import TradeEvent
from exchanges.venues.profile import Profile


class _Htx(Profile):
    def sent_at(self, frame: Any) -> int | None:
        return int(frame["ts"])

    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """Use "tradeId", because "id" has 27 digits and becomes a float. REST names the field "trade-id"."""
        trade.trade_id = normalize.trade_id(info.get("tradeId")) or normalize.trade_id(info.get("trade-id"))


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """Spot: "market by price, incremental", whose snapshot is an answer on the same socket; swaps: "incremental depth".

    A swap's version counts up by one. "Market depth" (depth.step0) sends whole books.
    """
    if not isinstance(frame, dict):
        return
    topic = str(frame.get("ch", frame.get("rep", ""))).split(".")
    book = frame.get("tick", frame.get("data"))
    if len(topic) < 4 or topic[2] not in ("mbp", "depth") or not isinstance(book, dict):
        return
    if "seqNum" in book:
        previous = int(book["prevSeqNum"]) if "prevSeqNum" in book and "rep" not in frame else None
        yield Numbers(topic[1], int(book["seqNum"]), previous=previous, snapshot=previous is None)
    elif "version" in book:
        yield Numbers(topic[1], int(book["version"]), snapshot=book.get("event", "snapshot") == "snapshot")


def unchanged(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An update without changes after a snapshot: ccxt (htx.py, handle_order_book_snapshot) drops the book of a coin
    that has no update within three seconds.
    """
    number = answer["data"]["seqNum"]
    tick = {"prevSeqNum": number, "seqNum": number, "bids": [], "asks": []}
    return {"ch": answer["rep"], "ts": answer["ts"], "tick": tick}


def _book_proof() -> NumberedFrames:
    return NumberedFrames(book_numbers, snapshot_asked=True)


PROFILES = (
    _Htx(
        "htx",
        replays_last=True,
        order="newest first",
        books=BookRules(
            ProofKind.SEQUENCE, _book_proof, depths=(150, 400), window=True, nonce=True, unchanged=unchanged
        ),
        swap={"books": BookRules(ProofKind.SEQUENCE, _book_proof, depths=(20, 150), window=True, nonce=True)},
    ),
)
