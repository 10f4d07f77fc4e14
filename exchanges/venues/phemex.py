"""Phemex. Limits: "WebSocket, API rate limits" of its documentation."""

from __future__ import annotations

from typing import Any

from exchanges.venue import Capacity, Limits
from exchanges.venues.profile import Profile, Rejection


class _Phemex(Profile):
    def is_history(self, frame: Any) -> bool:
        return isinstance(frame, dict) and frame.get("type") == "snapshot"

    def rejection(self, frame: Any) -> Rejection | None:
        error = frame.get("error")
        return Rejection(str(error.get("message"))) if isinstance(error, dict) else None


PROFILES = (_Phemex("phemex", "phemex", Limits(capacity=Capacity(20)), order="ties newest first"),)
