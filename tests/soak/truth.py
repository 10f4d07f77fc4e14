"""What the venues did, as the referee asks for it; their tapes are kept short, lest hours of trades pile up."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from time import monotonic

from exchanges.simulator import Market, Simulator, Trade, Venue

KEPT = 12_000  # trades per market: more than a backfill's 300 s of the busiest coin
MINUTE = 60_000
HARMFUL = ("stall", "mute", "partition", "blocked", "refuse", "accept-then-drop", "rest-down", "slow-rest")
SHUNNED = 600.0  # seconds that the feed keeps away from a venue that blocked it, whatever the venue does meanwhile


class Truth:
    """One venue of the soak."""

    def __init__(self, simulator: Simulator, venue: Venue) -> None:
        self.simulator = simulator
        self.venue = venue
        self.well_since: float | None = monotonic()  # nothing that stops data or keeps the feed away; None: not now
        self._markets: dict[str, Market] = {market.coin: market for market in venue.markets.values()}
        self._blocked_at = -SHUNNED

    def look(self, now: float) -> None:
        """Note the faults in force, and forget old trades."""
        kinds = [fault for fault in self.venue.faults if fault.startswith(HARMFUL)]
        if any(fault.startswith("blocked") for fault in kinds):
            self._blocked_at = now
        if kinds or now - self._blocked_at < SHUNNED:
            self.well_since = None
        elif self.well_since is None:
            self.well_since = now

    def prune(self) -> None:
        for market in self._markets.values():
            if len(market.tape) > KEPT * 5 // 4:
                del market.tape[:-KEPT]

    def trade(self, coin: str, number: int) -> Trade | None:
        """The trade of that id, None if there is none (or it is too old). The simulator counts on every venue."""
        tape = self._markets[coin].tape
        index = number - tape[0].id if tape else -1
        return tape[index] if 0 <= index < len(tape) else None

    def between(self, coin: str, first: int, last: int) -> Iterator[Trade]:
        """The trades from one id to another, as far as they are kept."""
        found = (self.trade(coin, number) for number in range(first, last + 1))
        return (trade for trade in found if trade is not None)

    def had_price(self, coin: str, price: float, timestamp: int) -> bool:
        """Whether a trade of that millisecond had this price, or it was the last price when the millisecond began."""
        market = self._markets[coin]
        tape = market.tape
        first = bisect_left(tape, timestamp, key=lambda trade: trade.timestamp)
        last = bisect_right(tape, timestamp, lo=first, key=lambda trade: trade.timestamp)
        before = tape[first - 1].price if first else market.start_price / market.scale
        return price == before or any(trade.price == price for trade in tape[first:last])

    def day_change(self, coin: str, price: float) -> float:
        """The change in percent against 24 hours ago, if ``price`` is the last."""
        market = self._markets[coin]
        day = market.day(self.venue.now())
        return float(price * market.scale / day.open - 1) * 100

    def bar(self, coin: str, opened: int) -> tuple[float, ...]:
        """Open, high, low, close and volume of a minute."""
        market = self._markets[coin]
        bar = market.candle(opened, MINUTE, self.venue.now())
        prices = (each / market.scale for each in (bar.open, bar.high, bar.low, bar.close))
        return (*prices, bar.lots / market.lot_scale)
