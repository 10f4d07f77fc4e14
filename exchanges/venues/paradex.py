"""Paradex: trades off the order book; each of its messages is a whole book."""

from __future__ import annotations

from typing import Any

from exchanges.books.proof import BookRules, ProofKind
from exchanges.venues.profile import Profile


class _Paradex(Profile):
    def is_off_book(self, info: Any) -> bool:
        return isinstance(info, dict) and info.get("trade_type") in ("BLOCK_TRADE", "TRANSFER", "SETTLE_MARKET")


PROFILES = (_Paradex("paradex", books=BookRules(ProofKind.SNAPSHOTS)),)
