"""A venue's faults while they last: context managers for tests, and what they do to trades on their way out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random

from .connection import Connection
from .errors import SimulatorError
from .faults import ALL, KINDS, Fault
from .market import Market, Trade


class Disturbances(ABC):
    """The faults of one venue. Each method is a plain context manager that undoes the fault on exit."""

    def __init__(self, seed: str) -> None:
        self._active: dict[str, list[Fault]] = {}
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
    def drop_trades(self) -> None:
        """Forget who has subscribed to the trades of a coin that is tradeless now."""

    # -- starting and ending ------------------------------------------------------------------------------------

    @contextmanager
    def inject(self, fault: Fault) -> Iterator[None]:
        """Have this fault while inside; one that doesn't last (a cut, a close) strikes at once."""
        if not KINDS[fault.kind].lasts:
            self.strike(fault)
            yield
            return
        self._active.setdefault(fault.kind, []).append(fault)
        if fault.kind == "partition":
            self.cut()
        elif fault.kind == "tradeless":
            self.drop_trades()
        try:
            yield
        finally:
            self._active[fault.kind].remove(fault)

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
        faults = self._active.get(kind)
        return faults[-1] if faults else None

    @property
    def faults(self) -> list[str]:
        """The lasting faults in force, as they are written."""
        return [str(fault) for faults in self._active.values() for fault in faults]

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
        return any(fault.argument == coin for fault in self._active.get("silent", ()))

    def is_tradeless(self, coin: str) -> bool:
        return any(fault.argument in (coin, ALL) for fault in self._active.get("tradeless", ()))

    def publish(self, market: Market, trades: list[Trade]) -> None:
        """Send trades to their subscribers as far as the faults in force let them pass."""
        if not self.dumb and not self.is_silent(market.coin):
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
            if not self.dumb and not self.is_silent(market.coin):
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
