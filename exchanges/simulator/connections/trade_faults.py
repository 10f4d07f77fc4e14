"""Applies active faults to trades and candles on their way to the stream."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from exchanges.simulator.connections.active_faults import REPEATED_AFTER
from exchanges.simulator.connections.sessions import Sessions, remember
from exchanges.simulator.faults import ALL
from exchanges.simulator.markets.market import Market, Trade


@dataclass(frozen=True, slots=True)
class Altered:
    """A trade that the stream showed with a wrong id or stamp."""

    market: str
    true: Trade
    sent: Trade


@dataclass(slots=True)
class Repeats:
    """The trades of one market that come again, each with the number of the trade after which it comes again."""

    sent: int = 0
    waiting: deque[tuple[int, Trade]] = field(default_factory=deque)


class TradeFaults(Sessions):
    """``altered`` are the trades sent with a wrong id or stamp, for tests to look at."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.altered: list[Altered] = []
        self._leaps: dict[Market, int] = {}  # market -> by how much its next id will be too high
        self._stamps: dict[Market, int] = {}  # market -> ms by which the next stamp will be too late
        self._repeats: dict[Market, Repeats] = {}
        self._bad_due = 0.0
        self._bad_sent = 0
        self._late: set[asyncio.TimerHandle] = set()

    @abstractmethod
    def send_trades(self, market: Market, trades: list[Trade]) -> None: ...

    @property
    @abstractmethod
    def listed_markets(self) -> list[Market]: ...

    # -- changes of one trade ------------------------------------------------------------------------------------

    def leap(self, ahead: int, coin: str = ALL) -> None:
        self._leaps |= dict.fromkeys(self._named(coin), ahead)

    def stamp_ahead(self, seconds: float, coin: str = ALL) -> None:
        self._stamps |= dict.fromkeys(self._named(coin), round(seconds * 1000))

    def _named(self, coin: str) -> list[Market]:
        return [market for market in self.listed_markets if coin.upper() in (ALL, market.coin)]

    def _altered(self, market: Market, trades: list[Trade]) -> list[Trade]:
        leap, stamp = self._leaps.pop(market, 0), self._stamps.pop(market, 0)
        if not (leap or stamp) or not trades:
            return trades
        true = trades[0]
        sent = replace(true, id=true.id + leap, timestamp=true.timestamp + stamp)
        remember(self.altered, Altered(market.id, true, sent))
        return [sent, *trades[1:]]

    # -- changes of all trades -----------------------------------------------------------------------------------

    def publish(self, market: Market, trades: list[Trade]) -> None:
        """Send trades to their subscribers, with the active faults applied."""
        if not self.dumb and not self.withheld(market):
            self.send_trades(market, self._disturbed(market, trades))

    def _disturbed(self, market: Market, trades: list[Trade]) -> list[Trade]:
        if self._leaps or self._stamps:
            trades = self._altered(market, trades)
        missing, late, doubled, repeated = (self._share(kind) for kind in ("missing", "late", "doubled", "repeated"))
        if not repeated:
            self._repeats.clear()
        if not (missing or late or doubled or repeated):
            return trades
        passed = []
        for trade in trades:
            if self.dice.random() < missing:
                continue
            if self.dice.random() < late:
                self._delay(market, trade)
                continue
            passed.append(trade)
            if self.dice.random() < doubled:
                passed.append(trade)
            if repeated:
                passed += self._repeated(market, trade, repeated)
        return passed

    def _repeated(self, market: Market, trade: Trade, share: float) -> list[Trade]:
        """The past trades that come again after this trade."""
        repeats = self._repeats.setdefault(market, Repeats())
        repeats.sent += 1
        if self.dice.random() < share:
            fault = self.active("repeated")
            after = REPEATED_AFTER if fault is None or fault.seconds is None else fault.seconds
            repeats.waiting.append((repeats.sent + int(after), trade))
        due = []
        while repeats.waiting and repeats.waiting[0][0] <= repeats.sent:
            due.append(repeats.waiting.popleft()[1])
        return due

    def _share(self, kind: str) -> float:
        fault = self.active(kind)
        return 0.0 if fault is None else float(fault.argument or 0.0)

    def _delay(self, market: Market, trade: Trade) -> None:
        fault = self.active("late")
        seconds = 1.0 if fault is None or fault.seconds is None else fault.seconds
        self.send_later(seconds, market, lambda: self.send_trades(market, [trade]))

    def send_later(self, seconds: float, market: Market, send: Callable[[], None]) -> None:
        """Call ``send`` after this many seconds, unless a fault stops all data then."""

        def deliver() -> None:
            self._late.discard(handle)
            if not self.dumb and not self.withheld(market):
                send()
                self.flush()

        handle = asyncio.get_running_loop().call_later(seconds, deliver)
        self._late.add(handle)

    def forget_late(self) -> None:
        for handle in self._late:
            handle.cancel()
        self._late.clear()

    def mix(self, good: list[str], spoil: Callable[[str, int], str]) -> list[str]:
        """The good frames, and bad ones between them while the fault ``malformed`` lasts.

        ``spoil`` makes a bad frame from a good one and a number.
        """
        share = self._share("malformed")
        if not share:
            return good
        mixed = []
        for payload in good:
            self._bad_due += share
            while self._bad_due >= 1.0:
                self._bad_due -= 1.0
                self._bad_sent += 1
                mixed.append(spoil(payload, self._bad_sent))
            mixed.append(payload)
        return mixed
