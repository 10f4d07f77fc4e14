"""Coincheck: no order books, because ccxt takes its changes for whole books."""

from __future__ import annotations

from exchanges.venues.profile import Profile

PROFILES = (
    Profile(
        "coincheck",
        has={"watchOrderBook": False},  # the frames are changes, which ccxt takes for whole books (pro/coincheck.py)
    ),
)
