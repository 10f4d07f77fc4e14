"""Keeps what a collector received lately; decides what it publishes first when it takes over from another. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exchanges.events import Candle, TradeEvent

KEEP = 60.0  # seconds for which trades are kept
MOST = 100_000  # the most trades that are kept
GAPS = 1000  # the most gaps that are remembered
CLOSED = 3  # closed candles kept per coin and timeframe


@dataclass(slots=True)
class Continuation:
    """What follows the bus's last events, in order; ``missed``: coins that may lack trades before these."""

    trades: list[TradeEvent] = field(default_factory=list)
    candles: list[Candle] = field(default_factory=list)
    latest: list[tuple[str, Any]] = field(default_factory=list)
    """(channel, event): the newest state of each other channel and coin."""
    missed: list[str] = field(default_factory=list)


class Backlog:
    """The trades of the last KEEP seconds, the candles closed last, and the latest state of the other channels.

    ``consecutive``: trade ids of the exchange count up by one.
    """

    def __init__(self, consecutive: bool) -> None:
        self._consecutive = consecutive
        self._trades: deque[tuple[float, TradeEvent]] = deque()
        self._newest: dict[str, TradeEvent] = {}
        self._gaps: deque[tuple[str, TradeEvent | None]] = deque(maxlen=GAPS)  # coin, and the trade before the gap
        self._closed: defaultdict[tuple[str, str], deque[Candle]] = defaultdict(lambda: deque(maxlen=CLOSED))
        self._latest: dict[tuple[str, str], Any] = {}

    def add_trade(self, trade: TradeEvent, now: float) -> None:
        trades = self._trades
        trades.append((now, trade))
        self._newest[trade.coin] = trade
        while len(trades) > MOST or now - trades[0][0] > KEEP:
            trades.popleft()

    def add_gap(self, coin: str) -> None:
        """Call this when trades are missing after the coin's newest trade and will not come."""
        self._gaps.append((coin, self._newest.get(coin)))

    def add_candle(self, candle: Candle) -> None:
        if candle.closed:
            self._closed[candle.coin, candle.timeframe].append(candle)

    def set_latest(self, channel: str, event: Any) -> None:
        self._latest[channel, event.coin] = event

    def drop_latest(self, channel: str, coin: str) -> None:
        self._latest.pop((channel, coin), None)

    def after(
        self,
        trades: Mapping[str, TradeEvent],
        candles: Mapping[tuple[str, str], Candle],
        latest: Mapping[tuple[str, str], int],
    ) -> Continuation:
        """What must be published next after the bus's last events.

        The arguments describe the bus's last events: the last trade of each coin, the last candle of each (coin,
        timeframe), and the timestamp of the last event of each other (channel, coin).
        """
        found = Continuation()
        own: defaultdict[str, list[TradeEvent]] = defaultdict(list)
        for _, trade in self._trades:
            own[trade.coin].append(trade)
        for coin in own.keys() | trades.keys():
            known = own.get(coin, [])
            fresh, whole = self._fresh(known, trades.get(coin))
            found.trades += fresh
            if not whole or (not self._consecutive and self._has_gap(coin, known, len(fresh))):
                found.missed.append(coin)
        for key, closed in self._closed.items():
            found.candles += [candle for candle in closed if follows(candle, candles.get(key))]
        found.latest = [
            (channel, event)
            for (channel, coin), event in self._latest.items()
            if not event.timestamp or event.timestamp > latest.get((channel, coin), 0)
        ]
        return found

    def _has_gap(self, coin: str, own: list[TradeEvent], fresh: int) -> bool:
        """Whether trades are missing before one of the coin's ``fresh`` newest trades, or before the next trade."""
        after = own[max(0, len(own) - fresh - 1) :]
        return any(
            gap == coin and (any(each is before for each in after) if before is not None else fresh == len(own))
            for gap, before in self._gaps
        )

    def _fresh(self, own: list[TradeEvent], last: TradeEvent | None) -> tuple[list[TradeEvent], bool]:
        """The trades of ``own`` that follow ``last``, and whether none can be missing in between."""
        if last is None:
            return own, True
        for at in range(len(own) - 1, -1, -1):
            if last.trade_id and own[at].trade_id == last.trade_id and own[at].market == last.market:
                return own[at + 1 :], True
        if self._consecutive and last.trade_id.isdecimal():
            known = int(last.trade_id)
            fresh = [trade for trade in own if not trade.trade_id.isdecimal() or int(trade.trade_id) > known]
            first = next((int(trade.trade_id) for trade in fresh if trade.trade_id.isdecimal()), None)
            begun = not own or first is None or first == known + 1
            return fresh, begun
        # this may include trades that the bus has: the bus refuses duplicates by their message ids
        fresh = [trade for trade in own if trade.timestamp >= last.timestamp]
        return fresh, bool(own) and own[0].timestamp <= last.timestamp


def follows(candle: Candle, last: Candle | None) -> bool:
    """Whether a candle may come after ``last``, the last candle of its coin and timeframe on the bus."""
    if last is None or candle.timestamp > last.timestamp:
        return True
    return candle.timestamp == last.timestamp and not last.closed
