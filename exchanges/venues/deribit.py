"""Deribit v2."""

from __future__ import annotations

from typing import Any

from exchanges.venues import frame_markets
from exchanges.venues.profile import Profile


class _Deribit(Profile):
    def is_off_book(self, info: Any) -> bool:
        """Part of a block trade."""
        return isinstance(info, dict) and bool(info.get("block_trade_id"))


PROFILES = (_Deribit("deribit", "deribit", markets_named=frame_markets.deribit),)
