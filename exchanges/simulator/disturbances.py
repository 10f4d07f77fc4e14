"""A venue's faults while they last: context managers for tests, and what they do to trades on their way out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random
from time import monotonic

from .connection import Connection
from .errors import SimulatorError
from .faults import ALL, KINDS, LISTING, Fault
from .market import Market, Trade

GROWTH = 0.5  # seconds by which a stream that falls behind does so each second


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A fault in force: since when, in monotonic seconds and in the venue's Unix ms."""

    fault: Fault
    since: float
    since_ms: int


class Disturbances(ABC):
    """The faults of one venue. Each method is a plain context manager that undoes the fault on exit."""

    def __init__(self, seed: str) -> None:
        self._active: dict[str, list[Running]] = {}
        self._dice = Random(seed)
        self._bad_due = 0.0
        self._bad_sent = 0
        self._late: set[asyncio.TimerHandle] = set()

    @property
    @abstractmethod
    def connections(self) -> list[Connection]: ...

    @abstractmethod
    def send_trades(self, market: Market, trades: list[Trade]) -> None: ...

    @abstractmethod
    def flush(self) -> None: ...

    @abstractmethod
    def now(self) -> int:
        """The venue's time, Unix ms."""

    @abstractmethod
    def drop_trades(self) -> None:
        """Forget who has subscribed to the trades of a coin that is tradeless now."""

    @abstractmethod
    def relist(self) -> None:
        """List what the faults in force leave of the venue's markets."""

    @abstractmethod
    def withheld(self, market: Market) -> bool:
        """Whether no data of this market goes out."""

    # -- starting and ending ------------------------------------------------------------------------------------

    @contextmanager
    def inject(self, fault: Fault) -> Iterator[None]:
        """Have this fault while inside; one that doesn't last (a cut, a close) strikes at once."""
        if not KINDS[fault.kind].lasts:
            self.strike(fault)
            yield
            return
        running = Running(fault, monotonic(), self.now())
        self._active.setdefault(fault.kind, []).append(running)
        if fault.kind == "partition":
            self.cut()
        elif fault.kind == "tradeless":
            self.drop_trades()
        elif fault.kind in LISTING:
            self.relist()
        try:
            yield
        finally:
            self._active[fault.kind].remove(running)
            if fault.kind in LISTING:
                self.relist()

    def strike(self, fault: Fault) -> None:
        """A fault that happens at once."""
        if fault.kind == "cut":
            self.cut()
        elif fault.kind == "shutdown-notice":
            self.shutdown_notice()
        else:
            self.close(int(fault.argument or 1006))

    def active(self, kind: str) -> Fault | None:
        """The fault of this kind that was started last, None when there is none."""
        running = self._active.get(kind)
        return running[-1].fault if running else None

    def each(self, kind: str) -> list[Fault]:
        """The faults of this kind that are in force."""
        return [running.fault for running in self._active.get(kind, ())]

    @property
    def faults(self) -> list[str]:
        """The lasting faults in force, as they are written."""
        return [str(running.fault) for faults in self._active.values() for running in faults]

    # -- at once ------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Abort every connection now: a TCP reset, no close frame."""
        for connection in self.connections:
            connection.reset()

    def close(self, code: int, reason: str = "") -> None:
        """Close every connection with ``code``; 1006 ends the TCP connection without a close frame."""
        for connection in self.connections:
            if code == 1006:
                connection.drop()
            else:
                connection.close(code, reason)

    def shutdown_notice(self) -> None:
        raise SimulatorError("this venue sends no notice before it shuts down: shutdown-notice is Binance's")

    def can_have(self, fault: Fault) -> bool:
        """False for a notice that this venue does not send."""
        return fault.kind != "shutdown-notice"

    # -- while they last ----------------------------------------------------------------------------------------

    def stalled(self) -> AbstractContextManager[None]:
        """The wire is up, pings and requests are answered, no data comes."""
        return self.inject(Fault("stall"))

    def muted(self) -> AbstractContextManager[None]:
        """Reads and ignores: no data, no pongs, no acknowledgements."""
        return self.inject(Fault("mute"))

    def partition(self) -> AbstractContextManager[None]:
        """Every connection is cut, and every further TCP connection to this venue reset."""
        return self.inject(Fault("partition"))

    def blocked(self, status: int = 451) -> AbstractContextManager[None]:
        """Upgrades and REST are answered with ``status``."""
        return self.inject(Fault("blocked", status))

    def refusing(self, status: int, retry_after: float | None = None) -> AbstractContextManager[None]:
        """Upgrades are answered with ``status`` (and Retry-After)."""
        return self.inject(Fault("refuse", status, retry_after))

    def accept_then_drop(self) -> AbstractContextManager[None]:
        """Upgrades are accepted and closed with 1008 at once."""
        return self.inject(Fault("accept-then-drop"))

    def rest_down(self, status: int = 503) -> AbstractContextManager[None]:
        return self.inject(Fault("rest-down", status))

    def slow_rest(self, seconds: float) -> AbstractContextManager[None]:
        return self.inject(Fault("slow-rest", seconds))

    def behind(self, seconds: float) -> AbstractContextManager[None]:
        """The stream shows what was ``seconds`` ago, with the stamps of then; at the end all that waits comes at once.

        A connection made meanwhile starts as late as the others. REST is up to date.
        """
        return self.inject(Fault("behind", seconds))

    def falling_behind(self, seconds: float, growth: float = GROWTH) -> AbstractContextManager[None]:
        """The stream falls behind by ``growth`` (below 1) each second, until it is ``seconds`` late."""
        if not 0 < growth < 1:
            raise SimulatorError(f"growth must be above 0 and below 1 second each second, found {growth:g}")
        return self.inject(Fault("falling-behind", seconds, growth))

    def split(self, seconds: float) -> AbstractContextManager[None]:
        """Connections of even number are ``seconds`` behind, those of odd number are up to date."""
        return self.inject(Fault("split", seconds))

    def rest_behind(self, seconds: float, to: float | None = None) -> AbstractContextManager[None]:
        """What REST shows is ``seconds`` old; with ``to`` each request draws from ``seconds`` to that.

        That is trades, tickers and candles, as with a cache or a replica; the server's clock is right.
        """
        return self.inject(Fault("rest-behind", seconds, to))

    def rest_frozen(self) -> AbstractContextManager[None]:
        """REST goes on showing trades, tickers and candles as they are now."""
        return self.inject(Fault("rest-frozen"))

    def halted(self, coin: str = ALL) -> AbstractContextManager[None]:
        """That coin, or all, is listed as in maintenance and does not trade: BREAK on Binance, Closed on Bybit."""
        return self.inject(Fault("halted", coin.upper()))

    def unlisted(self, coin: str) -> AbstractContextManager[None]:
        """That coin is not listed; it is again, or for the first time, when this ends."""
        return self.inject(Fault("unlisted", coin.upper()))

    def quoted(self, currency: str) -> AbstractContextManager[None]:
        """Every coin is listed in that quote currency only, at its price in it (KRW: 1,380 times the one in USDT)."""
        return self.inject(Fault("quoted", currency.upper()))

    def other_coin(self, ticker: str) -> AbstractContextManager[None]:
        """Another coin has that ticker: the same market symbol, a hundredth of the price."""
        return self.inject(Fault("other-coin", ticker.upper()))

    def thousands(self, coin: str) -> AbstractContextManager[None]:
        """That coin is listed as a market of 1000 units: DOGE as 1000DOGE, at a thousand times the price."""
        return self.inject(Fault("thousands", coin.upper()))

    def malformed(self, share: float) -> AbstractContextManager[None]:
        """Between the good trade frames comes this share of bad ones."""
        return self.inject(Fault("malformed", share))

    def silent(self, coin: str) -> AbstractContextManager[None]:
        """No data of that coin; the others' comes."""
        return self.inject(Fault("silent", coin.upper()))

    def tradeless(self, coin: str = ALL) -> AbstractContextManager[None]:
        """The trades of that coin, or of all, come on no connection that is there now or subscribes meanwhile.

        A connection does not get them back when the fault ends: it has to subscribe again.
        """
        return self.inject(Fault("tradeless", coin.upper()))

    def late(self, share: float, seconds: float = 1.0) -> AbstractContextManager[None]:
        """That share of the trades is delivered ``seconds`` later, out of order."""
        return self.inject(Fault("late", share, seconds))

    def doubled(self, share: float) -> AbstractContextManager[None]:
        return self.inject(Fault("doubled", share))

    def missing(self, share: float) -> AbstractContextManager[None]:
        """That share of the trades does not come on the stream; REST has them."""
        return self.inject(Fault("missing", share))

    # -- what they do -------------------------------------------------------------------------------------------

    @property
    def dumb(self) -> bool:
        """No data goes out at all."""
        return any(self._active.get(kind) for kind in ("stall", "mute", "partition"))

    def is_silent(self, coin: str) -> bool:
        return any(fault.argument == coin for fault in self.each("silent"))

    def is_tradeless(self, coin: str) -> bool:
        return any(fault.argument in (coin, ALL) for fault in self.each("tradeless"))

    @property
    def may_lag(self) -> bool:
        """Whether a fault is in force that puts the stream behind."""
        return any(self._active.get(kind) for kind in ("behind", "falling-behind", "split"))

    def stream_lag(self, connection_id: int) -> float:
        """Seconds by which the stream is behind on connections whose number is as even or odd as this one."""
        lags = [float(fault.argument or 0.0) for fault in self.each("behind")]
        if connection_id % 2 == 0:
            lags += [float(fault.argument or 0.0) for fault in self.each("split")]
        for running in self._active.get("falling-behind", ()):
            growth = GROWTH if running.fault.seconds is None else running.fault.seconds
            lags.append(min(float(running.fault.argument or 0.0), growth * (monotonic() - running.since)))
        return max(lags, default=0.0)

    def rest_time(self) -> int | None:
        """The moment (Unix ms) that REST shows to this request; None when that is now."""
        moments = [running.since_ms for running in self._active.get("rest-frozen", ())]
        for fault in self.each("rest-behind"):
            least = float(fault.argument or 0.0)
            seconds = least if fault.seconds is None else self._dice.uniform(least, fault.seconds)
            moments.append(self.now() - round(seconds * 1000))
        return min(moments, default=None)

    def publish(self, market: Market, trades: list[Trade]) -> None:
        """Send trades to their subscribers as far as the faults in force let them pass."""
        if not self.dumb and not self.withheld(market):
            self.send_trades(market, self._disturbed(market, trades))

    def _disturbed(self, market: Market, trades: list[Trade]) -> list[Trade]:
        missing, late, doubled = (self._share(kind) for kind in ("missing", "late", "doubled"))
        if not (missing or late or doubled):
            return trades
        passed = []
        for trade in trades:
            if self._dice.random() < missing:
                continue
            if self._dice.random() < late:
                self._delay(market, trade)
                continue
            passed.append(trade)
            if self._dice.random() < doubled:
                passed.append(trade)
        return passed

    def _share(self, kind: str) -> float:
        fault = self.active(kind)
        return 0.0 if fault is None else float(fault.argument or 0.0)

    def _delay(self, market: Market, trade: Trade) -> None:
        fault = self.active("late")
        seconds = 1.0 if fault is None or fault.seconds is None else fault.seconds

        def deliver() -> None:
            self._late.discard(handle)
            if not self.dumb and not self.withheld(market):
                self.send_trades(market, [trade])
                self.flush()

        handle = asyncio.get_running_loop().call_later(seconds, deliver)
        self._late.add(handle)

    def forget_late(self) -> None:
        for handle in self._late:
            handle.cancel()
        self._late.clear()

    def mix(self, good: list[str], spoil: Callable[[str, int], str]) -> list[str]:
        """The good frames and between them the share of bad ones, made by ``spoil`` of a good one and a number."""
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
