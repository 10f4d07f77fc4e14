"""Bitstamp. Sources: "WebSocket v2, forced reconnection" and "Tickers" of its documentation."""

from __future__ import annotations

from typing import Any

from exchanges.venues.profile import Profile, Rejection


class _Bitstamp(Profile):
    def announces_cut(self, frame: Any) -> bool:
        return isinstance(frame, dict) and frame.get("event") == "bts:request_reconnect"

    def rejection(self, frame: Any) -> Rejection | None:
        if frame.get("event") != "bts:error":
            return None
        return Rejection(str((frame.get("data") or {}).get("message")), unnamed=True)

    def confirmation(self, frame: Any) -> tuple[str, str] | None:
        """Of "live_trades_btcusd" or "order_book_btcusd"."""
        if frame.get("event") != "bts:subscription_succeeded":
            return None
        kind, _, market_id = frame["channel"].rpartition("_")
        return "trades" if kind == "live_trades" else "quotes", market_id

    def correct_ticker_row(self, row: dict[str, Any]) -> None:
        """Its "open", from which ccxt works out the change, is that of the calendar day."""
        if isinstance(info := row.get("info"), dict):
            row["open"], row["percentage"] = None, info.get("percent_change_24")


PROFILES = (_Bitstamp("bitstamp", "bitstamp"),)
