"""What proves Bitget's order books: a checksum of the 25 best levels, or the number of the state before an update.

Source: "Depth channel" of its documentation. v2 has ``checksum`` and a ``seq`` that rises. v3 (unified accounts) has a
``checksum`` of 0, and ``pseq``, the number of the state before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.checksum import ChecksummedBooks, TextUpdate, alternating
from exchanges.books.frame_proofs import OrderedProofs, RisingNumbers
from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind

LEVELS = 25


def linked(frame: Any) -> Iterable[Numbers]:
    """The numbers of v3, which are linked."""
    for market_id, row, whole in _rows(frame):
        if "pseq" in row:
            yield Numbers(market_id, int(row["seq"]), previous=int(row["pseq"]), snapshot=whole)


def rising(frame: Any) -> Iterable[Numbers]:
    """The numbers of v2, which do not say which update they follow."""
    for market_id, row, whole in _rows(frame):
        if "pseq" not in row and "seq" in row:
            yield Numbers(market_id, int(row["seq"]), snapshot=whole)


def updates(frame: Any, text: str) -> Iterable[TextUpdate]:
    """The levels of a message, and the checksum of the state after an update.

    Like ccxt, this does not read a snapshot's checksum.
    """
    for market_id, row, whole in _rows(frame):
        bids, asks = ([(level[0], level[1]) for level in row.get(name, row.get(name[0], ()))] for name in _SIDES)
        checksum = 0 if whole else int(row.get("checksum") or 0)
        yield TextUpdate(market_id, bids, asks, whole, checksum or None)


_SIDES = ("bids", "asks")


def _rows(frame: Any) -> Iterable[tuple[str, Mapping[str, Any], bool]]:
    arg = frame.get("arg") if isinstance(frame, dict) else None
    if not isinstance(arg, dict) or "data" not in frame:
        return
    channel = arg.get("channel", arg.get("topic"))
    if not isinstance(channel, str) or not channel.startswith("books"):
        return
    whole = frame.get("action") == "snapshot"
    rows = frame["data"] if isinstance(frame["data"], list) else [frame["data"]]
    for row in rows:
        yield str(arg.get("instId", arg.get("symbol"))), row, whole


def _proof() -> OrderedProofs:
    return OrderedProofs(
        NumberedFrames(linked), RisingNumbers(rising, ties=True), ChecksummedBooks(updates, alternating, LEVELS)
    )


RULES = BookRules(ProofKind.CHECKSUM, _proof, window=True, merges=True)
