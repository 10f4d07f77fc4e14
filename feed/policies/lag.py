"""Measures how late a venue's data is, even if its clock or ours is wrong; decides when a lag begins and ends.

A delay is arrival minus stamp. It includes the difference of the two clocks, which is unknown. So the lag is the
difference between a delay and the smallest delay of the venue within the last minutes, on any connection: a new
connection to a late stream does not count its delay as normal. Arrivals are read from a clock that never steps, so a
step of the local clock does not look like a lag. If a venue's frames have no stamps, its lag is not known.

Pure: time is an argument, in seconds on ``Clock.running``'s scale.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

WINDOW = 600.0  # seconds for which a delay is remembered; clocks drift apart by less than 0.1 s in this time
BUCKET = 10.0  # seconds; of all delays in this period only the least is remembered
AGREEING = 3  # number of delays that confirm one another: a single delay may come from a wrong stamp
WITHIN = 1.0  # seconds by which confirming delays may differ, and an unconfirmed stamp may be ahead of our clock
RECENT = 2.0  # seconds; the connection's lag is the smallest delay of this period
FLOWING = 3  # trades count as flowing after this many checks that found trades within RECENT
CAUGHT_UP = 0.5  # share of the limit; a lag that falls below this share has ended
TRUSTED_FOR = 60.0  # seconds until the venue's time may be requested again

_NONE: Mapping[str, float] = MappingProxyType({})


class LeastDelay:
    """The least delay of one venue within WINDOW, over all its connections and its answers to requests for its time.

    ``seconds`` is None before the first delay that counts. It is replaced in one step, so any thread may read it.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._answers: deque[tuple[float, float]] = deque()  # when the venue gave its time, and the answer's delay
        self._buckets: deque[tuple[float, float]] = deque()  # begin and least delay of each bucket
        self._traded = False
        self._expected: float | None = None  # the expected delay at the last data

    def plausible(self, expected: float) -> float:
        """The smallest delay that needs no confirmation. If a stamp is further ahead than that, it may be wrong.

        ``expected``: the delay if our clock and the venue's were right and the network took no time. The
        venue's answer about its time is better than our clock.
        """
        known = min(self._believed(), default=expected)
        return min(known, self.seconds if self.seconds is not None else known) - WITHIN

    def note(self, delay: float, now: float, expected: float, *, by_ticker: bool = False) -> None:
        """Note a delay of data that is plausible or confirmed. ``expected``: see :meth:`plausible`.

        Tickers count while no trade has come: some venues stamp them with the end of a period.
        """
        if by_ticker and self._traded:
            return
        if not by_ticker and not self._traded:
            self._traded = True
            self._buckets.clear()
        if not self._buckets or now - self._buckets[-1][0] >= BUCKET:
            self._buckets.append((now, delay))
        else:
            began, lowest = self._buckets[-1]
            self._buckets[-1] = began, min(lowest, delay)
        self._expected = expected
        self._settle(now)

    def trust(self, delay: float, now: float) -> None:
        """Note the delay of the venue's answer to a request for its time.

        If the stream is late according to this answer, but not according to our clock, the answer is not believed.
        """
        self._answers.append((now, delay))
        self._settle(now)

    def wants_trust(self, now: float) -> bool:
        """Whether the venue should be asked for its time."""
        return not self._answers or now - self._answers[-1][0] >= TRUSTED_FOR

    def _settle(self, now: float) -> None:
        for kept in (self._answers, self._buckets):
            while kept and now - kept[0][0] > WINDOW:
                kept.popleft()
        self.seconds = min([*(delay for _, delay in self._buckets), *self._believed()], default=None)

    def _believed(self) -> list[float]:
        """The delays of the venue's answers that are believed."""
        told, expected = [delay for _, delay in self._answers], self._expected
        least = min((delay for _, delay in self._buckets), default=None)
        if expected is None or least is None or abs(least - expected) > WITHIN:
            return told
        return [delay for delay in told if delay >= expected - 2 * WITHIN]


class StampsAhead:
    """Decides, for one connection, whether the venue's clock is ahead or only single trades are stamped ahead.

    A wrong stamp is contradicted by the same coin's next stamp or by other coins' stamps; even one wrong stamp of every
    coin changes nothing. A clock that is ahead is shown by AGREEING delays of one coin in succession.
    """

    def __init__(self) -> None:
        self._in_succession: dict[str, list[float]] = {}  # coin -> its last delays that are not plausible

    def usual(self, delays: Mapping[str, float], plausible: float) -> float | None:
        """The least of the coins' newest delays that are at least ``plausible``, or confirmed; None if there is none.

        If most coins have plausible delays, and at least three coins do, it is the second least.
        """
        lowest = sorted(delays.values())
        ahead = {coin: delay for coin, delay in delays.items() if delay < plausible}
        if 2 * len(ahead) < len(lowest) or not ahead:
            self._in_succession.clear()
            right = lowest[len(ahead) :]
            return right[1] if len(right) > 2 else right[0]  # the stamps of one of many coins may be wrong
        confirmed = []
        for coin, delay in delays.items():
            if coin not in ahead:
                self._in_succession.pop(coin, None)
                continue
            before = self._in_succession.get(coin, [])
            agree = all(abs(each - delay) <= WITHIN for each in before)
            kept = self._in_succession[coin] = [*before[1 - AGREEING :], delay] if agree else [delay]
            if len(kept) == AGREEING:
                confirmed.append(min(kept))
        return min(confirmed, default=lowest[len(ahead)] if len(ahead) < len(lowest) else None)


class ConnectionLag:
    """The lag of one connection: ``seconds`` above the venue's smallest delay, None while that is not known.

    It is computed from the least of the recent delays: one late row, of a quiet coin or repeated by the venue, is no
    lag. A coin's first row on the connection counts only if it is not late: a late row may be an old one. While trades
    flow, only they count: a venue's tickers may be up to date while its trades, which give the prices, are late.
    """

    def __init__(self, least: LeastDelay) -> None:
        self.seconds: float | None = None
        self.is_doubtful = False  # all data was late, and each row was its coin's first row
        self._least = least
        self._coins: set[str] = set()
        self._recent: deque[tuple[float, float]] = deque()
        self._trades: deque[tuple[float, float]] = deque()  # the delays of trades only
        self._ahead = {by_ticker: StampsAhead() for by_ticker in (False, True)}

    def look(
        self, now: float, expected: float, traded: Mapping[str, float], ticked: Mapping[str, float] = _NONE
    ) -> None:
        """Note the newest delays since the last check, of the coins' trades and of their tickers.

        ``expected``: see :meth:`LeastDelay.plausible`.
        """
        for by_ticker, delays in ((False, traded), (True, ticked)):
            if not delays:
                continue
            usual = self._ahead[by_ticker].usual(delays, self._least.plausible(expected))
            if usual is not None:
                self._least.note(usual, now, expected, by_ticker=by_ticker)
        least = self._least.seconds
        if least is None:
            return
        lags = {coin: delay - least for coin, delay in ticked.items() if delay >= least}
        # a row that is stamped ahead does not show the lag
        lags |= {coin: max(0.0, delay - least) for coin, delay in traded.items() if delay >= least - WITHIN}
        known = {coin: lag + least for coin, lag in lags.items() if coin in self._coins or lag <= RECENT}
        self._coins |= lags.keys()
        recent, trades = self._recent, self._trades
        if known:
            recent.append((now, min(known.values())))
        if known.keys() & traded.keys():
            trades.append((now, min(known[coin] for coin in known.keys() & traded.keys())))
        self.is_doubtful = not recent and bool(lags)
        while len(recent) > 2 and now - recent[0][0] > RECENT:
            recent.popleft()
        while trades and now - trades[0][0] > RECENT:
            trades.popleft()
        if recent:
            decides = trades if len(trades) >= FLOWING else recent
            self.seconds = max(0.0, min(delay for _, delay in decides) - least)


class LagKind(StrEnum):
    """The kinds of findings, with the names of the status events."""

    LAGGING = "feed_lagging"
    CAUGHT_UP = "feed_caught_up"


@dataclass(frozen=True, slots=True)
class LagFinding:
    """``seconds``: with LAGGING, how large the lag is; with CAUGHT_UP, how long the lag lasted."""

    kind: LagKind
    seconds: float


class LagWatch:
    """Decides when the feed counts as lagging: from ``max_lag`` seconds on, until the lag is well below that."""

    def __init__(self, max_lag: float) -> None:
        self._max_lag = max_lag
        self._venue = ""
        self.since: float | None = None  # set while lagging
        self._told_since: float | None = None  # when the reported lag began; a replaced connection does not change it

    def restart(self) -> None:
        """Call this when the connection was replaced, or is silent: a lag will be reported again."""
        self.since = None

    def check(self, lag: float | None, now: float, venue: str = "") -> LagFinding | None:
        """Return what has changed with the ``lag`` of the active ``venue`` (seconds, None while not known)."""
        if venue != self._venue:
            self._venue, self.since = venue, None
        if lag is None:
            return None
        if self.since is None and lag > self._max_lag:
            self.since = now
            self._told_since = now if self._told_since is None else self._told_since
            return LagFinding(LagKind.LAGGING, lag)
        if self._told_since is not None and lag <= CAUGHT_UP * self._max_lag:
            began, self.since, self._told_since = self._told_since, None, None
            return LagFinding(LagKind.CAUGHT_UP, now - began)
        return None
