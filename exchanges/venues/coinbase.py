"""Coinbase Advanced Trade: past trades, side of trades, rejections, USD for USDC, heartbeats, what proves its books.

Sources: its "Rate limits" and "Channels" pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exchanges.books.frame_proofs import CountedFrame, CountedFrames
from exchanges.books.proof import BookRules, ProofKind
from exchanges.venues.profile import Profile, Rejection

_OPPOSITE = {"buy": "sell", "sell": "buy"}


class _Coinbase(Profile):
    def is_history(self, frame: Any) -> bool:
        return isinstance(frame, dict) and any(event.get("type") == "snapshot" for event in frame.get("events", ()))

    def rejection(self, frame: Any) -> Rejection | None:
        return Rejection(str(frame.get("message"))) if frame.get("type") == "error" else None

    def correct_trade_row(self, row: dict[str, Any]) -> None:
        """Correct the side: market_trades and REST send the maker's side, which ccxt passes on as the taker's."""
        row["side"] = _OPPOSITE.get(row["side"])

    def arrives_as(self, symbol: str) -> str:
        """USD and USDC share one book; all public channels name its markets -USD."""
        base, _, quote = symbol.partition("/")
        return f"{base}/USD" if quote == "USDC" else symbol

    def extra_requests(self) -> Mapping[str, Mapping[str, Any]]:
        """Subscribe to heartbeats: without them the venue closes quiet channels."""
        return {"heartbeats": {"type": "subscribe", "channel": "heartbeats"}}


def book_numbers(frame: Any) -> CountedFrame | None:
    """ "Sequence numbers": the venue counts the messages of a connection over all channels."""
    if not isinstance(frame, dict) or "sequence_num" not in frame:
        return None
    books = tuple(_books(frame))
    topic = f"{frame.get('channel')} {','.join(market_id for market_id, _ in books)}"
    return CountedFrame(int(frame["sequence_num"]), books, topic)


def _books(frame: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    if frame.get("channel") == "l2_data":
        for event in frame["events"]:
            yield event["product_id"], event["type"] == "snapshot"


PROFILES = (
    _Coinbase(
        "coinbase",
        options={"ws": {"cost": 4}},  # times 34 ms between messages: 8 per second
        books=BookRules(ProofKind.SEQUENCE, lambda: CountedFrames(book_numbers), window=True),
        note="tickers every 5 s",
    ),
)
