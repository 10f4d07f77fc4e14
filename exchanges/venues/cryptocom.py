"""Crypto.com Exchange v1. Sources: "common API reference" and "ticker" of its documentation."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from exchanges.venue import Capacity, Limits
from exchanges.venues import frame_markets
from exchanges.venues.profile import Profile, Rejection


class _CryptoCom(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        """It has the number 0, ccxt's requests have none."""
        return (
            Rejection(str(frame.get("message"))) if frame.get("method") == "subscribe" and frame.get("code") else None
        )

    def correct_ticker_row(self, row: dict[str, Any]) -> None:
        """ "c" is -0.0022 for -0.22 %, which ccxt passes on."""
        if row.get("percentage") is not None:
            row["percentage"] = str(Decimal(str(row["percentage"])) * 100)


PROFILES = (
    _CryptoCom(
        "cryptocom",
        "cryptocom",
        Limits(capacity=Capacity(400)),  # channels: measured, not documented
        options={"ws": {"settle": 1.0}},  # "add a 1-second sleep after"
        markets_named=frame_markets.cryptocom,
        replays_last=True,  # not documented either way
        all_tickers=True,  # public/get-tickers takes one instrument or none
    ),
)
