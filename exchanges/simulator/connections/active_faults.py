"""A simulated venue's active faults, and the context managers that start them (``stalled()``, ``blocked()``, ...)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import ClassVar

from exchanges.simulator.connections.client_connection import ClientConnection
from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.faults import ALL, KINDS, LISTING, Fault
from exchanges.simulator.markets.market import Market

REPEATED_AFTER = 1100  # a repeated trade comes again after this many trades of the coin
GROWTH = 0.5  # each second, a stream that falls behind is late by this many seconds more


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A fault in force, and when it began, in monotonic seconds and in the venue's Unix ms."""

    fault: Fault
    since: float
    since_ms: int


class ActiveFaults(ABC):
    """The faults of one venue. Each method is a plain context manager that undoes the fault on exit."""

    FAMILY: ClassVar[str]  # whose protocol the venue speaks

    def __init__(self, seed: str) -> None:
        self._active: dict[str, list[Running]] = {}
        self.dice = Random(seed)

    @property
    @abstractmethod
    def connections(self) -> list[ClientConnection]: ...

    @abstractmethod
    def now(self) -> int:
        """The venue's time, Unix ms."""

    @abstractmethod
    def drop_trades(self) -> None:
        """Drop the subscriptions to the trades of a coin for which the fault ``tradeless`` is in force now."""

    @abstractmethod
    def relist(self) -> None:
        """Change the venue's list of markets as the faults in force demand."""

    @abstractmethod
    def withheld(self, market: Market) -> bool:
        """Whether no data of this market is sent."""

    # -- starting and ending ------------------------------------------------------------------------------------

    @contextmanager
    def inject(self, fault: Fault) -> Iterator[None]:
        """Keep this fault in force within the context; a fault without duration (a cut, a close) happens at once."""
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
        """Carry out a fault that happens at once."""
        if fault.kind == "cut":
            self.cut()
        elif fault.kind == "shutdown-notice":
            self.shutdown_notice()
        elif fault.kind == "leap":
            self.leap(int(fault.argument or 0))
        elif fault.kind == "stamp-ahead":
            self.stamp_ahead(float(fault.argument or 0.0))
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
        raise SimulatorError("this venue sends no notice before it shuts down: only Binance has this fault")

    @abstractmethod
    def leap(self, ahead: int, coin: str = ALL) -> None:
        """On the stream, the next trade of that coin, or of every coin, has an id that is too high by ``ahead``.

        REST has the true id, and the following trades are normal.
        """

    @abstractmethod
    def stamp_ahead(self, seconds: float, coin: str = ALL) -> None:
        """On the stream, the next trade of that coin, or of each coin, has a stamp ``seconds`` in the future."""

    def can_have(self, fault: Fault) -> bool:
        """Whether the venue can have this fault."""
        return KINDS[fault.kind].only in ("", self.FAMILY)

    # -- while faults last --------------------------------------------------------------------------------------

    def stalled(self) -> AbstractContextManager[None]:
        """The connection stays open, pings and requests are answered, but no data comes."""
        return self.inject(Fault("stall"))

    def muted(self) -> AbstractContextManager[None]:
        """The venue reads but answers nothing: no data, no pongs, no acknowledgements."""
        return self.inject(Fault("mute"))

    def partition(self) -> AbstractContextManager[None]:
        """Every connection is cut, and every further TCP connection to this venue is reset."""
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
        """The stream is ``seconds`` behind, with the stamps of that time; at the end all waiting messages come at once.

        A new connection starts as late as the others. REST is up to date.
        """
        return self.inject(Fault("behind", seconds))

    def falling_behind(self, seconds: float, growth: float = GROWTH) -> AbstractContextManager[None]:
        """The stream falls behind by ``growth`` (below 1) each second, until it is ``seconds`` late."""
        if not 0 < growth < 1:
            raise SimulatorError(f"growth must be above 0 and below 1 second each second, found {growth:g}")
        return self.inject(Fault("falling-behind", seconds, growth))

    def split(self, seconds: float) -> AbstractContextManager[None]:
        """Connections with even numbers are ``seconds`` behind, those with odd numbers are up to date."""
        return self.inject(Fault("split", seconds))

    def rest_behind(self, seconds: float, to: float | None = None) -> AbstractContextManager[None]:
        """What REST shows is ``seconds`` old; with ``to``, the age of each answer is drawn between ``seconds`` and
        ``to``.

        This concerns trades, tickers and candles, as with a cache or a replica. The server's clock is right.
        """
        return self.inject(Fault("rest-behind", seconds, to))

    def rest_frozen(self) -> AbstractContextManager[None]:
        """REST keeps showing trades, tickers and candles as they are now."""
        return self.inject(Fault("rest-frozen"))

    def halted(self, coin: str = ALL) -> AbstractContextManager[None]:
        """That coin, or every coin, is listed as in maintenance and does not trade: BREAK on Binance, Closed on
        Bybit.
        """
        return self.inject(Fault("halted", coin.upper()))

    def unlisted(self, coin: str) -> AbstractContextManager[None]:
        """That coin is not listed; when this ends, it is listed again, or for the first time."""
        return self.inject(Fault("unlisted", coin.upper()))

    def quoted(self, currency: str) -> AbstractContextManager[None]:
        """Every coin is listed only in that quote currency, at its price there (KRW: 1,380 times the USDT price)."""
        return self.inject(Fault("quoted", currency.upper()))

    def other_coin(self, ticker: str) -> AbstractContextManager[None]:
        """Another coin has that ticker: the market symbol is the same, the price a hundredth."""
        return self.inject(Fault("other-coin", ticker.upper()))

    def thousands(self, coin: str) -> AbstractContextManager[None]:
        """That coin is listed as a market of 1000 units: DOGE as 1000DOGE, at a thousand times the price."""
        return self.inject(Fault("thousands", coin.upper()))

    def malformed(self, share: float) -> AbstractContextManager[None]:
        """Bad trade frames are sent in addition to the good ones, as many as this share of them."""
        return self.inject(Fault("malformed", share))

    def silent(self, coin: str) -> AbstractContextManager[None]:
        """No data of that coin is sent; the other coins' data continues."""
        return self.inject(Fault("silent", coin.upper()))

    def tradeless(self, coin: str = ALL) -> AbstractContextManager[None]:
        """No trades of that coin, or of any coin, come on the connections that exist now or subscribe while this lasts.

        When the fault ends, such a connection still gets no trades: it must subscribe again.
        """
        return self.inject(Fault("tradeless", coin.upper()))

    def late(self, share: float, seconds: float = 1.0) -> AbstractContextManager[None]:
        """This share of the trades is delivered ``seconds`` later, out of order."""
        return self.inject(Fault("late", share, seconds))

    def doubled(self, share: float) -> AbstractContextManager[None]:
        return self.inject(Fault("doubled", share))

    def missing(self, share: float) -> AbstractContextManager[None]:
        """This share of the trades does not come on the stream; REST has them."""
        return self.inject(Fault("missing", share))

    def repeated(self, share: float, after: int = REPEATED_AFTER) -> AbstractContextManager[None]:
        """This share of the trades comes again, ``after`` trades of the coin later."""
        return self.inject(Fault("repeated", share, after))

    def skipping(self, every: int) -> AbstractContextManager[None]:
        """One of ``every`` ids belongs to no trade: neither the stream nor REST ever has it."""
        return self.inject(Fault("skipping", every))

    def block_trades(self, share: float) -> AbstractContextManager[None]:
        """A block trade (Bybit's ``BT``) follows this share of the trades, 20 % above or below the price."""
        if not self.can_have(fault := Fault("block-trades", share)):
            raise SimulatorError(f"{fault.kind}: only {KINDS[fault.kind].only} marks such trades")
        return self.inject(fault)

    def late_close(self, seconds: float) -> AbstractContextManager[None]:
        """The final state of a candle comes ``seconds`` after its end, after the first states of the next one."""
        return self.inject(Fault("late-close", seconds))

    def lost_close(self) -> AbstractContextManager[None]:
        """The final state of a candle does not come on the stream; REST has it."""
        return self.inject(Fault("lost-close"))

    # -- what faults do -----------------------------------------------------------------------------------------

    @property
    def dumb(self) -> bool:
        """Whether a fault keeps the venue from sending any data."""
        return any(self._active.get(kind) for kind in ("stall", "mute", "partition"))

    def is_silent(self, coin: str) -> bool:
        return any(fault.argument == coin for fault in self.each("silent"))

    def is_tradeless(self, coin: str) -> bool:
        return any(fault.argument in (coin, ALL) for fault in self.each("tradeless"))

    @property
    def may_lag(self) -> bool:
        """Whether a fault that makes the stream late is in force."""
        return any(self._active.get(kind) for kind in ("behind", "falling-behind", "split"))

    def stream_lag(self, connection_id: int) -> float:
        """Seconds by which the stream is late on the half of the connections (even or odd numbers) to which
        ``connection_id`` belongs.
        """
        lags = [float(fault.argument or 0.0) for fault in self.each("behind")]
        if connection_id % 2 == 0:
            lags += [float(fault.argument or 0.0) for fault in self.each("split")]
        for running in self._active.get("falling-behind", ()):
            growth = GROWTH if running.fault.seconds is None else running.fault.seconds
            lags.append(min(float(running.fault.argument or 0.0), growth * (monotonic() - running.since)))
        return max(lags, default=0.0)

    def rest_time(self) -> int | None:
        """The time (Unix ms) whose state REST shows to this request; None for now."""
        moments = [running.since_ms for running in self._active.get("rest-frozen", ())]
        for fault in self.each("rest-behind"):
            least = float(fault.argument or 0.0)
            seconds = least if fault.seconds is None else self.dice.uniform(least, fault.seconds)
            moments.append(self.now() - round(seconds * 1000))
        return min(moments, default=None)
