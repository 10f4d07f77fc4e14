"""KuCoin: topics per connection, trade ids and times, rejections, candle volumes, what proves its books.

Limits: "WebSocket, introduction" and "Get trade history" of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchanges import normalize
from exchanges.books.proof import BookRules, NumberedFrames, Numbers, ProofKind
from exchanges.events import TradeEvent
from exchanges.venue import Capacity, Limits
from exchanges.venues import frame_markets
from exchanges.venues.profile import Profile, Rejection


class _KuCoin(Profile):
    def rejection(self, frame: Any) -> Rejection | None:
        return Rejection(str(frame.get("data"))) if frame.get("type") == "error" else None

    def correct_trade(self, trade: TradeEvent, info: Mapping[str, Any]) -> None:
        """REST has the id only as "sequence". ccxt converts the nanoseconds with a float, which may be wrong by 1
        ms.
        """
        trade.trade_id = normalize.trade_id(info.get("tradeId")) or normalize.trade_id(info.get("sequence"))
        trade.timestamp = normalize.milliseconds(info.get("time")) or trade.timestamp


def book_numbers(frame: Any) -> Iterable[Numbers]:
    """Spot: "level2 market data", the first and last change of a message; futures: one change per message, numbered."""
    if not isinstance(frame, dict) or frame.get("type") != "message":
        return
    path, _, market_id = str(frame.get("topic")).partition(":")
    if path in ("/market/level2", "/contractMarket/level2"):
        data = frame["data"]
        if "sequenceEnd" in data:
            yield Numbers(data.get("symbol", market_id), int(data["sequenceEnd"]), first=int(data["sequenceStart"]))
        else:
            yield Numbers(market_id, int(data["sequence"]))


def _book_proof() -> NumberedFrames:
    return NumberedFrames(book_numbers, joins_late=True)


PROFILES = (
    _KuCoin(
        "kucoin",
        Limits(capacity=Capacity(300), recent_trades=100),  # topics
        markets_named=frame_markets.kucoin,
        chunk=100,  # topics per batch
        singly=frozenset({"ticker"}),  # /market/ticker, which allows several markets, has no turnover and no change
        options={
            "ws": {"cost": 14},  # times 7.5 ms: 100 messages per 10 s and connection
            "fetchMarkets": {"fetchTickersFees": False},
            "watchOrderBook": {"snapshotDelay": 0},  # updates before ccxt fetches a book; joining.py waits for more
        },
        books=BookRules(ProofKind.SEQUENCE, _book_proof, nonce=True, fetched=100),
        candles_in_contracts=True,  # the sixth column (futures, klines), which ccxt's parse_ohlcv passes on
    ),
)
