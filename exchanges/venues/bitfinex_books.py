"""What proves Bitfinex's order books: a checksum of the 25 best levels, about every two seconds.

Source: "WebSocket checksum" of its documentation. Checksums come if they were requested (the flag OB_CHECKSUM). A
checksum is of the state after the last update before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from exchanges.books.checksum import ChecksummedBooks, Texts, TextUpdate, alternating
from exchanges.books.proof import BookRules, ProofKind, Verdict

LEVELS = 25
OB_CHECKSUM = 131072


class BitfinexChecksums:
    """The proof for one connection; the venue's answers to subscriptions say which channel number is which market."""

    def __init__(self) -> None:
        self._books = ChecksummedBooks(self._read, alternating, LEVELS)
        self._markets: dict[int, str] = {}  # channel -> market id

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge."""
        if isinstance(frame, dict):
            if frame.get("event") == "subscribed" and frame.get("channel") == "book":
                self._markets[int(frame["chanId"])] = str(frame["symbol"])
            return []
        if not isinstance(frame, list) or len(frame) < 2 or frame[0] not in self._markets or frame[1] == "hb":
            return []
        return self._books.judge(frame, text)

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        self._books.forget(market_id)

    def _read(self, frame: Any, text: str) -> Iterable[TextUpdate]:
        market_id = self._markets[frame[0]]
        if frame[1] == "cs":
            yield TextUpdate(market_id, checksum=int(frame[2]))
            return
        rows = json.loads(text, parse_float=str, parse_int=str)[1]
        whole = not rows or isinstance(rows[0], list)
        bids: list[Texts] = []
        asks: list[Texts] = []
        for price, count, amount in rows if whole else [rows]:  # a count of 0 removes the price
            (asks if amount.startswith("-") else bids).append((price, amount if int(count) else "0"))
        yield TextUpdate(market_id, bids, asks, whole)


RULES = BookRules(ProofKind.CHECKSUM, BitfinexChecksums, depths=(25, 100), window=True, merges=True)
