"""Kraken Futures. Source: "trade feed" and "trade history" of its documentation."""

from __future__ import annotations

from typing import Any

from exchanges.venues.profile import Profile


class _KrakenFutures(Profile):
    def is_off_book(self, info: Any) -> bool:
        """Part of a block trade, or a position that was terminated or assigned."""
        return isinstance(info, dict) and info.get("type") in ("block", "termination", "assignment")


PROFILES = (_KrakenFutures("krakenfutures", "krakenfutures"),)
