"""Bitstamp: announced cuts, rejections, the 24 h change, what proves its books.

Sources: "WebSocket v2, forced reconnection" and "Tickers" of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges.books.frame_proofs import RisingNumbers
from exchanges.books.proof import BookRules, Numbers, ProofKind
from exchanges.venues.profile import Profile, Rejection


class _Bitstamp(Profile):
    def announces_cut(self, frame: Any) -> bool:
        return isinstance(frame, dict) and frame.get("event") == "bts:request_reconnect"

    def rejection(self, frame: Any) -> Rejection | None:
        if frame.get("event") != "bts:error":
            return None
        return Rejection(str((frame.get("data") or {}).get("message")), unnamed=True)

    def confirmation(self, frame: Any) -> tuple[str, str] | None:
        """Read the channel and market from "live_trades_btcusd" or "order_book_btcusd"."""
        if frame.get("event") != "bts:subscription_succeeded":
            return None
        kind, _, market_id = frame["channel"].rpartition("_")
        return "trades" if kind == "live_trades" else "quotes", market_id

    def correct_ticker_row(self, row: dict[str, Any]) -> None:
        """Remove "open", which is the price at the start of the calendar day: ccxt would compute the change from it."""
        if isinstance(info := row.get("info"), dict):
            row["open"], row["percentage"] = None, info.get("percent_change_24")


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """ "Live full order book": only the time of an update shows its place in the order. "Live order book" sends whole
    books.
    """
    if not isinstance(frame, dict) or frame.get("event") != "data":
        return
    for kind, whole in (("diff_order_book_", False), ("order_book_", True), ("detail_order_book_", True)):
        if str(frame.get("channel")).startswith(kind):
            number = int(frame["data"]["microtimestamp"])
            yield Numbers(frame["channel"].removeprefix(kind), number, snapshot=whole)


def span(update: Mapping[str, Any]) -> tuple[int, int]:
    """The time of an update, as its first and its last number.

    ccxt looks for the update with the snapshot's time, and leaves out all updates if no update has this time.
    """
    number = int(update["microtimestamp"])
    return number, number


PROFILES = (
    _Bitstamp(
        "bitstamp",
        options={"watchOrderBook": {"snapshotDelay": 0}},  # updates before ccxt's fetch; joining.py waits for more
        books=BookRules(
            ProofKind.PLAUSIBILITY,
            lambda: RisingNumbers(book_numbers, joins_late=True),
            window=True,  # the snapshot from REST is the whole book ("Order book": a list of open orders)
            nonce=True,
            span=span,
            numbers_per_ms=1000,  # ccxt's times are whole seconds
        ),
    ),
)
