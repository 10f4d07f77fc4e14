"""Gemini v2. Recent trades: "REST, trade history" of its documentation."""

from __future__ import annotations

from typing import Any

from exchanges.venue import Limits
from exchanges.venues.profile import Profile, Rejection


class _Gemini(Profile):
    def is_history(self, frame: Any) -> bool:
        """Of v2 alone, which ccxt asks for a single coin's trades; live ones are "trade"."""
        return isinstance(frame, dict) and frame.get("type") == "l2_updates"

    def rejection(self, frame: Any) -> Rejection | None:
        return Rejection(str(frame.get("reason")), unnamed=True) if frame.get("result") == "error" else None

    def confirmation(self, frame: Any) -> tuple[str, str] | None:
        """A subscription to candles is answered with those that there are."""
        return ("candles", frame["symbol"].lower()) if str(frame.get("type")).startswith("candles_") else None


PROFILES = (_Gemini("gemini", "gemini", Limits(recent_trades=500)),)
