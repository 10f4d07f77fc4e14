"""Every trade of a coin once and in the venue's order: duplicates out, gaps found, held open for the fetch, and filled.

A gap opens a segment: the hole, what has been found for it, and the trades that came after it and wait. Segments are
released from the oldest on, each when its hole is full, given up by the fetch, or over its time. No segment, nothing
held: that is the ordinary path, and it runs for each trade, so it is one comparison.

Once the trades behind a hole are out, what belonged into it can't be delivered in order any more: it is LATE, to be
counted, not delivered. The gap has been reported incomplete by then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from exchanges.events import TradeEvent
from feed.gaps import DELIVER, DUPLICATE, HELD, LATE, Filled, Gap, Outcome, Segment, Verdict

HOLD_FOR = 2.0  # seconds that trades wait for a fetch at most
HOLD_LIMIT = 10_000  # trades that wait at most, per coin
REORDER_FOR = 0.25  # seconds that they wait where nothing is fetched: for trades that only come out of order
REORDER_LIMIT = 100  # missing trades at most that may be only out of order
LEAP = 1_000_000  # an id so far ahead of the others is believed when the next trade goes on from it
MAX_OPEN = 64  # holes in line, per coin; one more, and the oldest is given up
MAX_MISSING = 50_000  # trades to wait for at a time, per coin: more would neither come in time nor fit in memory
RECENT = 1024  # ids remembered where they are not consecutive, per coin
IMPLAUSIBLE = 60_000  # ms by which the next trade is older than one that was stamped with a time yet to come
RESTART_MS = 1000  # a lower id stamped this much after the newest trade is the venue counting anew, not a duplicate

_NO_IDS: deque[str] = deque(maxlen=0)  # where they need not be remembered: an empty deque has 760 bytes


class Continuity:
    """One coin's trades on one venue; ``now`` is monotonic seconds.

    ``consecutive_ids``: the venue counts this market's trades one by one, so ids alone show what is missing. Elsewhere
    duplicates are found among the last ids, and a gap is the time between the trades on both sides of an outage.
    ``max_gap``: outages of more seconds than this are reported and not fetched. ``fetch``: False reports all gaps and
    waits for none. ``since_ts``: the last trade's time on the venue that was left (or later, while nothing can have
    been missed), Unix ms; what happened since then is a gap by time on this one.
    """

    __slots__ = (
        "_fetch",
        "_floor",
        "_given_up",
        "_known",
        "_leap",
        "_lost_at",
        "_max_gap",
        "_numbered",
        "_out_since",
        "_outage",
        "_recent",
        "_resumed",
        "_resumed_at_id",
        "next_id",
        "segments",
        "stamp",
    )

    def __init__(
        self, consecutive_ids: bool, max_gap: float, *, fetch: bool = True, since_ts: int | None = None
    ) -> None:
        self._numbered = consecutive_ids
        self._max_gap = max_gap
        self._fetch = fetch
        self.segments: list[Segment] = []  # the gaps that are waited for
        self.stamp = since_ts  # of the newest trade, Unix ms: ``since_ts`` for the venue that comes next
        self.next_id: int | None = None  # the id after the highest one seen
        self._floor = 0  # the same when the venue was left: lower ids were delivered then
        self._leap: int | None = None  # the id after one that was too far ahead to be believed
        self._given_up: list[tuple[int, int]] = []  # the MAX_OPEN newest holes whose time is past
        self._recent: deque[str] = _NO_IDS if consecutive_ids else deque()
        self._known: set[str] = set()  # the same ids
        self._lost_at: float | None = None  # while it lasts
        self._out_since: float | None = None  # when the last outage began, over connections that brought no trade
        self._outage: float | None = None  # seconds, of the last one
        self._resumed_at_id: int | None = None  # equal to next_id until the first trade after an outage
        self._resumed = since_ts is not None  # the same, where ids don't count

    def __repr__(self) -> str:
        return f"<Continuity next {self.next_id}, {len(self.segments)} gaps, {self._holding()} held>"

    @property
    def deadline(self) -> float | None:
        """When expire() has something to do at the latest; None when nothing waits."""
        return min((at + s.wait for s in self.segments if s.open and (at := s.found_at) is not None), default=None)

    @property
    def interrupted(self) -> bool:
        """Whether the connection is gone, and none has taken its place."""
        return self._lost_at is not None

    @property
    def newest(self) -> object:
        """Another value after every trade that is accepted from the wire."""
        return self.next_id, self._recent[-1] if self._recent else "", self.stamp

    def accept(self, trade: TradeEvent, now: float | None = None, number: int | None = None) -> Outcome:
        """A trade came over the wire; ``number`` is its id, where it is known as one.

        Without ``now`` a gap's time runs from the first expire() on.
        """
        if not self._numbered:
            return self._accept_named(trade, now)
        if number is None:
            try:
                number = int(trade.trade_id)
            except ValueError:  # the venue's slip: there is nothing to compare, so it goes through as it came
                return self._append(trade, None, now)
        if number == self.next_id and not self.segments:
            self.next_id = number + 1
            self.stamp = trade.timestamp
            return DELIVER
        return self._accept_numbered(trade, number, now)

    def lost(self, now: float) -> None:
        """The connection is gone: an outage begins, or goes on if no trade has come since. What is held stays held."""
        untouched = self._resumed if not self._numbered else self._resumed_at_id == self.next_id
        if self._out_since is None or not untouched:
            self._out_since = now
        self._lost_at = now

    def resumed(self, now: float) -> None:
        """The stream is back: the first trade decides what is missing."""
        self._outage = None if self._lost_at is None or self._out_since is None else now - self._out_since
        self._lost_at = None
        self._resumed_at_id = self.next_id
        self._resumed = self.stamp is not None

    def returned(self, since_ts: int | None) -> None:
        """The venue carries the feed again, after another that had its last trade at ``since_ts`` (Unix ms), if any.

        What this one delivered before it was left (and flushed) is not delivered again.
        """
        if self.next_id is not None:
            self._floor, self.next_id = self.next_id, None
        self.stamp = max((stamp for stamp in (self.stamp, since_ts) if stamp is not None), default=None)
        self._given_up.clear()
        self._lost_at = self._out_since = self._outage = self._resumed_at_id = None
        self._resumed = self.stamp is not None

    def doubt(self) -> None:
        """The connection was silent for longer than it should be: where ids don't count, the next trade decides."""
        if self._lost_at is None:
            self._outage = 0.0
            self._resumed = self.stamp is not None

    def missed(self, past: Sequence[TradeEvent]) -> list[TradeEvent]:
        """Those of ``past``, trades that the venue repeats at a subscription, oldest first, that are news here.

        They are to be accepted next. When ``past`` reaches back to what was delivered, nothing is missing before them.
        Before the first trade there is nothing to miss.
        """
        stamp = self.stamp
        if stamp is None:
            return []
        if self._numbered:
            told = [t for t in past if t.trade_id.isdecimal()]
            fresh = told if self.next_id is not None else [t for t in told if t.timestamp > stamp]
            if len(fresh) < len(told):
                self.next_id = int(fresh[0].trade_id) if fresh else int(told[-1].trade_id) + 1
            return fresh
        fresh = [t for t in past if t.timestamp >= stamp + (not t.trade_id) and t.trade_id not in self._known]
        if len(fresh) < len(past):
            self._resumed = False
        return fresh

    def behind(self, gap: Gap) -> int:
        """How many of the newest trades reach back to ``gap``; MAX_MISSING where ids don't tell, 0 if it is over."""
        if self._find(gap) is None:
            return 0
        return MAX_MISSING if gap.from_id is None or self.next_id is None else self.next_id - gap.from_id

    def add(self, trades: Iterable[TradeEvent], gap: Gap | None = None) -> None:
        """A page of the fetch for ``gap`` (the oldest one waited for if None), oldest first; more is to come."""
        if (asked := self._find(gap)) is None:
            return
        for trade in trades:
            if self._numbered:
                self._place_numbered(trade)
            else:
                self._place_named(trade, asked)

    def filled(self, trades: Iterable[TradeEvent], complete: bool, now: float, gap: Gap | None = None) -> Outcome:
        """The fetch for ``gap`` ends with these ``trades``; ``complete`` is believed where ids can't tell."""
        if (asked := self._find(gap)) is None:
            return HELD  # too late: it was given up, or the wire filled it
        self.add(trades, gap)
        asked.open = False
        asked.complete = complete
        return self._release()

    def expire(self, now: float) -> Outcome:
        """Give up what has been waited for long enough."""
        for segment in self.segments:
            if segment.found_at is None:
                segment.found_at = now
            elif now >= segment.found_at + segment.wait:
                segment.open = False
        return self._release()

    def flush(self) -> Outcome:
        """Give up everything that is waited for: this venue is being left."""
        for segment in self.segments:
            segment.open = False
        return self._release()

    def _accept_numbered(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        expected = self.next_id
        if expected is None and number < self._floor and not self._restarted(trade):
            return DUPLICATE
        if expected is not None and number < expected:
            return self._accept_lower(trade, number)
        if expected is not None and number - expected >= LEAP:
            followed, self._leap = number == self._leap, number + 1
            return self._restart(trade, number) if followed else self._append(trade, None, now)
        gap = None
        if expected is None:
            gap = self._gap_by_time(trade)
        elif number > expected:
            gap = self._gap_by_id(expected, trade, number - 1)
        self.next_id = number + 1
        self.stamp = trade.timestamp
        return self._append(trade, gap, now)

    def _accept_lower(self, trade: TradeEvent, number: int) -> Outcome:
        for segment in self.segments:
            if segment.has_place_for(number, trade.timestamp):
                if number in segment.fill:
                    return DUPLICATE
                segment.fill[number] = trade
                return self._release()
        if any(first <= number <= last for first, last in self._given_up):
            return LATE
        return self._restart(trade, number) if self._restarted(trade) else DUPLICATE

    def _restart(self, trade: TradeEvent, number: int) -> Outcome:
        """The venue counts anew from this trade on; what it missed nobody can tell."""
        before = trade.timestamp if self.stamp is None else self.stamp
        gap = Gap(None, None, before, trade.timestamp, None, fetch=False)
        released = self.flush()
        self.next_id = number + 1
        self.stamp = trade.timestamp
        self._floor = 0
        self._given_up.clear()
        return Outcome(Verdict.RELEASE, (*released.deliver, trade), gap, released.filled)

    def _restarted(self, trade: TradeEvent) -> bool:
        """Whether a lower id than expected means that the venue counts anew."""
        return self.stamp is not None and trade.timestamp >= self.stamp + RESTART_MS

    def _accept_named(self, trade: TradeEvent, now: float | None) -> Outcome:
        if not self._remember(trade.trade_id):
            return DUPLICATE
        gap = self._gap_by_time(trade) if self._resumed else None
        self._resumed = False
        stamp, timestamp = self.stamp, trade.timestamp
        if timestamp != stamp and (stamp is None or timestamp > stamp or _belied(stamp, trade)):
            self.stamp = timestamp
        return self._append(trade, gap, now)

    def _append(self, trade: TradeEvent, gap: Gap | None, now: float | None) -> Outcome:
        """Put the newest trade in line, behind ``gap`` if there is one."""
        if gap is None:
            if not self.segments:
                return DELIVER
            self.segments[-1].held.append(trade)
        else:
            wait = HOLD_FOR if gap.fetch else 0.0 if self._fetch else REORDER_FOR
            if wait == REORDER_FOR and (gap.missing is None or gap.missing > REORDER_LIMIT):
                wait = 0.0
            self.segments.append(Segment(gap, now, [trade], wait, open=wait > 0))
        if len(self.segments) > MAX_OPEN or self._holding() > HOLD_LIMIT:
            self.segments[0].open = False
        return self._release(gap)

    def _release(self, gap: Gap | None = None) -> Outcome:
        """Let go of the oldest segments as far as nothing is waited for."""
        deliver: list[TradeEvent] = []
        filled: list[Filled] = []
        while self.segments and (self.segments[0].full or not self.segments[0].open):
            segment = self.segments.pop(0)
            hole = segment.gap
            if segment.wait:
                fetched = sum(trade.backfilled for trade in segment.fill.values())
                complete = segment.complete if hole.missing is None else segment.full
                filled.append(Filled(hole, fetched, complete))
            self._given_up = [*self._given_up, *segment.still_missing()][-MAX_OPEN:]
            if self._numbered:
                deliver += [segment.fill[number] for number in sorted(segment.fill)]
            else:
                deliver += sorted(segment.fill.values(), key=lambda trade: trade.timestamp)
            deliver += segment.held
        if gap is None and not deliver:
            return HELD
        return Outcome(Verdict.RELEASE if deliver else Verdict.HELD, deliver, gap, filled)

    def _gap_by_id(self, first: int, after: TradeEvent, last: int) -> Gap:
        before = after.timestamp if self.stamp is None else self.stamp
        missing = last - first + 1
        in_time = self._resumed_at_id != self.next_id or self._short_outage(after.timestamp - before)
        awaited = missing + sum(segment.gap.missing or 0 for segment in self.segments)
        fetch = self._fetch and in_time and awaited <= MAX_MISSING
        return Gap(first, last, before, after.timestamp, missing, fetch)

    def _gap_by_time(self, after: TradeEvent) -> Gap | None:
        before = self.stamp
        if before is None or after.timestamp < before:
            return None  # nothing to start from, or the stream goes on before it ended: nothing is missing
        fetch = self._fetch and self._short_outage(after.timestamp - before)
        return Gap(None, None, before, after.timestamp, None, fetch)

    def _short_outage(self, span_ms: int) -> bool:
        """The outage as it was told, for a quiet coin's trades may lie far apart; else the span between its trades."""
        return (span_ms / 1000 if self._outage is None else self._outage) <= self._max_gap

    def _find(self, gap: Gap | None) -> Segment | None:
        return next((s for s in self.segments if s.open and (gap is None or s.gap is gap)), None)

    def _holding(self) -> int:
        return sum(len(segment.held) for segment in self.segments)

    def _place_numbered(self, trade: TradeEvent) -> None:
        """A page may reach into any hole that is still in line."""
        try:
            number = int(trade.trade_id)
        except ValueError:
            return  # without its number it can't be told from those that are here
        if number < self._floor:
            return
        for segment in self.segments:
            if number not in segment.fill and segment.has_place_for(number, trade.timestamp):
                trade.backfilled = True
                segment.fill[number] = trade
                return

    def _place_named(self, trade: TradeEvent, segment: Segment) -> None:
        """Ids tell what is known; without ids only what lies strictly between is certain not to be."""
        edge = 0 if trade.trade_id else 1
        if not segment.gap.from_ts + edge <= trade.timestamp <= segment.gap.to_ts - edge:
            return
        if self._remember(trade.trade_id):
            trade.backfilled = True
            segment.fill[len(segment.fill)] = trade

    def _remember(self, trade_id: str) -> bool:
        """Whether the id is new. Nothing is forgotten while trades are held: a fetch may bring it again."""
        if not trade_id:
            return True
        if trade_id in self._known:
            return False
        self._known.add(trade_id)
        self._recent.append(trade_id)
        while len(self._recent) > RECENT and not self.segments:
            self._known.remove(self._recent.popleft())
        return True


def _belied(stamp: int, trade: TradeEvent) -> bool:
    """Whether a trade that comes after ``stamp`` shows that no clock ran so: one slip must not date all that follows.

    Of two times that can't both be right, the one closer to the arrival is believed.
    """
    arrival = trade.received_at // 1_000_000
    return stamp - trade.timestamp > IMPLAUSIBLE and abs(trade.timestamp - arrival) < stamp - arrival
