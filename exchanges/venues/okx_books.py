"""What proves OKX's order books: each update has the number of the state before it.

Source: "WS, order book channel, sequence ID" of its documentation. A message without changes, about once a minute,
repeats the number. After maintenance the numbers may continue from a lower number; each update still has the number of
the update before. ``checksum`` is 0 since 2026: it is only read if a frame has no numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.checksum import ChecksummedBooks, TextUpdate, alternating
from exchanges.books.frame_proofs import OrderedProofs
from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind

LEVELS = 25  # levels of each side in a checksum


def numbers(frame: Any) -> Iterable[Numbers]:
    """The numbers of channels with updates (books, books-l2-tbt, ...); the small channels send whole books."""
    for market_id, row, whole in _rows(frame):
        if "seqId" in row:
            yield Numbers(market_id, int(row["seqId"]), previous=int(row.get("prevSeqId", -1)), snapshot=whole)


def updates(frame: Any, text: str) -> Iterable[TextUpdate]:
    """The levels of frames without numbers, as they were until 2022."""
    for market_id, row, whole in _rows(frame):
        if "seqId" not in row:
            bids, asks = ([(level[0], level[1]) for level in row[side]] for side in ("bids", "asks"))
            yield TextUpdate(market_id, bids, asks, whole, int(row.get("checksum") or 0) or None)


def _rows(frame: Any) -> Iterable[tuple[str, Mapping[str, Any], bool]]:
    arg = frame.get("arg") if isinstance(frame, dict) else None
    if isinstance(arg, dict) and str(arg.get("channel")).startswith("books") and "data" in frame:
        whole = frame.get("action", "snapshot") == "snapshot"  # books5 has no action
        for row in frame["data"]:
            yield arg["instId"], row, whole


def _proof() -> OrderedProofs:
    return OrderedProofs(NumberedFrames(numbers), ChecksummedBooks(updates, alternating, LEVELS))


RULES = BookRules(ProofKind.SEQUENCE, _proof, window=True, nonce=True)
