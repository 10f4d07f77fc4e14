"""Puts a coin's trades into the venue's order, each once: drops duplicates, finds gaps, and holds trades until filled.

The trades after a gap wait behind it (feed.trades.open_gaps). Gaps are released from the oldest on, each when it is
full, when the fetch gives it up, or when its time is over. Without an open gap no trade is held. That is the ordinary
path; it runs for each trade, so it is one comparison.

When the trades after a gap have been delivered, a trade that belongs into the gap can't be delivered in order any more:
it is LATE, which is counted and not delivered. The gap has been reported as incomplete by then.

A wrong id or time stamp of the venue never holds back a coin's good trades. A trade with a wrong id is delivered once,
as it came, and the sequence goes on as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exchanges.events import TradeEvent
from feed.trades.duplicates import RecentIds
from feed.trades.gaps import DELIVER, DUPLICATE, HELD, LATE, Filled, Gap, OpenGap, Outcome, TradeVerdict, number_of
from feed.trades.leaps import REORDER_LIMIT, Doubts, Leap, content
from feed.trades.open_gaps import OpenGaps

HOLD_FOR = 2.0  # seconds for which trades wait for a fetch at most
HOLD_LIMIT = 10_000  # trades that wait at most, per coin
REORDER_FOR = 0.25  # seconds that they wait where nothing is fetched: for trades that only come out of order
LEAP = 1_000_000  # an id this far ahead of the others is only believed if the next trade continues from it
MAX_OPEN = 64  # open gaps per coin; with one more the oldest is given up
MAX_MISSING = 50_000  # missing trades to wait for, per coin: more would neither come in time nor fit in memory
IMPLAUSIBLE = 60_000  # ms by which the next trade is older than one that was stamped with a time yet to come
RESTART_MS = 1000  # a lower id near the newest one is a duplicate unless its stamp is this much later
PROOFS = 3  # gaps that the venue has shown to be none, after which its ids of the coin are not consecutive
PROOFS_WITHIN = 3600.0  # seconds in which they are counted: a venue may skip some ids in a maintenance


class TradeSequence:
    """One coin's trades on one venue; ``now`` is monotonic seconds.

    ``consecutive_ids``: the venue's trade ids of this market count up by one, so ids show what is missing. Elsewhere
    duplicates are found among the last ids, and a gap is the time between the trades before and after an outage.
    ``max_gap``: gaps of longer outages (seconds) are reported and not fetched. ``fetch``: False reports all gaps and
    fetches none. ``since_ts``: the last trade's time on the venue that was left (or later, while nothing can have
    been missed), Unix ms; what happened since then is a gap by time on this one.
    """

    __slots__ = (
        "_behind",
        "_doubts",
        "_fetch",
        "_floor",
        "_given_up",
        "_lost_at",
        "_lost_times",
        "_max_gap",
        "_numbered",
        "_out_since",
        "_outage",
        "_recent",
        "_resumed",
        "_resumed_at_id",
        "next_id",
        "open_gaps",
        "stamp",
    )

    def __init__(
        self, consecutive_ids: bool, max_gap: float, *, fetch: bool = True, since_ts: int | None = None
    ) -> None:
        self._numbered = consecutive_ids
        self._max_gap = max_gap
        self._fetch = fetch
        self.open_gaps = OpenGaps()
        self.stamp = since_ts  # of the newest trade, Unix ms: ``since_ts`` for the venue that comes next
        self.next_id: int | None = None  # the id after the highest one seen
        self._floor = 0  # the same when the feed left the venue: lower ids were delivered then
        self._doubts: Doubts | None = None
        self._given_up: list[tuple[int, int]] = []  # the ids of the MAX_OPEN newest gaps for which no trade was found
        self._lost_times: list[tuple[int, int]] = []  # the same where ids don't count: from and to, Unix ms
        self._recent: RecentIds | None = None  # made when ids are first to be remembered
        self._behind: tuple[float, int] | None = None  # when one came that is stamped before ``stamp``, and its stamp
        self._lost_at: float | None = None  # while it lasts
        self._out_since: float | None = None  # when the last outage began, over connections that brought no trade
        self._outage: float | None = None  # seconds, of the last one
        self._resumed_at_id: int | None = None  # equal to next_id until the first trade after an outage
        self._resumed = since_ts is not None  # the same, where ids don't count

    def __repr__(self) -> str:
        return f"<TradeSequence next {self.next_id}, {len(self.open_gaps)} gaps, {self.open_gaps.held} held>"

    @property
    def deadline(self) -> float | None:
        """When expire() must be called at the latest; None while no trade waits."""
        return self.open_gaps.deadline

    @property
    def interrupted(self) -> bool:
        """Whether the connection is lost, and no other one has replaced it."""
        return self._lost_at is not None

    @property
    def newest(self) -> object:
        """A value that changes with every trade accepted from a connection."""
        return self.next_id, "" if self._recent is None else self._recent.newest, self.stamp

    @property
    def counts(self) -> bool:
        """Whether the coin's ids are taken as consecutive: not after PROOFS gaps that were none."""
        return self._numbered

    @property
    def sought(self) -> Gap | None:
        """The oldest open gap that is to be fetched."""
        return self.open_gaps.sought

    def accept(self, trade: TradeEvent, now: float | None = None, number: int | None = None) -> Outcome:
        """Take a trade from a connection; ``number`` is its id as a number if the caller knows it.

        Without ``now`` a gap's time begins with the next expire().
        """
        if not self._numbered:
            return self._accept_named(trade, now)
        if number is None and (number := number_of(trade)) is None:
            return self._append(trade, None, now)  # an id that is not a number can't be compared
        if number == self.next_id and not self.open_gaps:
            self.next_id = number + 1
            self.stamp = trade.timestamp
            return DELIVER
        return self._accept_numbered(trade, number, now)

    def lost(self, now: float) -> None:
        """The connection is lost: an outage begins, or goes on if no trade has come since. Held trades stay held."""
        if self._out_since is None or not self._untouched:
            self._out_since = now
        self._lost_at = now

    def resumed(self, now: float) -> None:
        """A connection delivers again: its first trade shows what is missing."""
        self._outage = None if self._lost_at is None or self._out_since is None else now - self._out_since
        self._lost_at = None
        self._resumed_at_id = self.next_id
        self._resumed = self.stamp is not None

    @property
    def _untouched(self) -> bool:
        """Whether no trade has come since the last outage or doubt."""
        return self._resumed_at_id == self.next_id if self._numbered else self._resumed

    def returned(self, since_ts: int | None) -> None:
        """The venue is active again, after another one that had its last trade at ``since_ts`` (Unix ms), if any.

        Trades that this venue delivered before the feed left it are not delivered again.
        """
        if self.next_id is not None:
            leaps = self._doubts.standing(self.next_id) if self._doubts is not None else []
            expected = (
                leaps[0].expected if leaps else None
            )  # None for the very first trade: no number is known but its own
            self._floor, self.next_id = self.next_id if expected is None else expected, None
        self.stamp = max((stamp for stamp in (self.stamp, since_ts) if stamp is not None), default=None)
        self._given_up.clear()
        self._lost_times.clear()
        self._doubts = None
        self._lost_at = self._out_since = self._outage = self._resumed_at_id = None
        self._resumed = self.stamp is not None

    def doubt(self) -> None:
        """The connection was silent for too long: where ids are not consecutive, the next trade opens a gap by time."""
        if self._lost_at is None:
            if not self._untouched:
                self._out_since = None  # the outage before is over
            self._outage = 0.0
            self._resumed = self.stamp is not None

    def missed(self, past: Sequence[TradeEvent]) -> list[TradeEvent]:
        """Return the trades of ``past`` that were not delivered yet; the caller accepts them next.

        ``past``: trades that the venue repeats at a subscription, oldest first. If they reach back to a delivered
        trade, nothing is missing before them. Returns none before the coin's first trade.
        """
        stamp = self.stamp
        if stamp is None:
            return []
        if self._numbered:
            told = [t for t in past if t.trade_id.isdecimal()]
            fresh = told if self.next_id is not None else [t for t in told if t.timestamp > stamp]
            if len(fresh) < len(told):  # from the last one before on: a trade may be missing between the two
                before = int(next(t.trade_id for t in reversed(told) if t.timestamp <= stamp)) + 1
                self.next_id = max(self._floor, min(before, int(fresh[0].trade_id)) if fresh else before)
            return fresh
        known = self._recent or ()
        fresh = [t for t in past if t.timestamp >= stamp + (not t.trade_id) and t.trade_id not in known]
        if len(fresh) < len(past):
            self._resumed = False
        return fresh

    def unbroken(self) -> None:
        """The connection existed before the last trade of the venue that the feed has left: nothing is missing."""
        self._resumed = False
        if self._numbered and self.next_id is None:
            self.stamp = None

    def behind(self, gap: Gap) -> int:
        """How many of the newest trades reach back to ``gap``; MAX_MISSING if ids don't show it, 0 if it is closed."""
        if not any(open_gap.open and open_gap.gap is gap for open_gap in self.open_gaps):
            return 0
        return MAX_MISSING if gap.from_id is None or self.next_id is None else self.next_id - gap.from_id

    def add(self, trades: Iterable[TradeEvent]) -> None:
        """Take a page of trades from REST, oldest first, before the whole answer is there: it may come too late."""
        for trade in trades:
            number, doubts = number_of(trade), self._doubts
            floor = self._floor if self._numbered else 0
            if self.open_gaps.place_numbered(trade, number, floor, doubts.knows if doubts is not None else _is_unknown):
                continue
            if self._floor and number is not None and number < self._floor:
                continue  # it was delivered or given up while ids were consecutive: it is not among the remembered ones
            self.open_gaps.place_named(trade, lambda trade_id: self._remember(trade_id, None))

    def answered(self, pages: Sequence[Sequence[TradeEvent]], now: float) -> Outcome:
        """Take a whole answer from REST: put its trades into the gaps, and release those that are full.

        Each page is a list of trades without a break, oldest first.
        """
        for page in pages:
            self.add(page)
        if self._doubts is not None:
            self._doubts.confirm(pages)
        for open_gap in self.open_gaps:
            if open_gap.open and open_gap.gap.fetch and open_gap.look_into(pages):
                self._note_proof(now)
        return self._settle_clash(pages) or self._release()

    def give_up(self) -> Outcome:
        """The venue can't be asked: give up the gaps that are fetched."""
        self.open_gaps.give_up(fetched_only=True)
        return self._release()

    def expire(self, now: float) -> Outcome:
        """Give up the gaps whose time is over."""
        for open_gap in self.open_gaps:
            if open_gap.found_at is None:
                open_gap.found_at = now
            elif now >= open_gap.found_at + open_gap.wait:
                if open_gap.clash and len(open_gap.held) == 1:
                    self._drop_leap(open_gap)  # the venue had time enough to show it under its own
                open_gap.open = False
        return self._release()

    def flush(self) -> Outcome:
        """Give up all gaps: the feed leaves this venue."""
        self.open_gaps.give_up()
        return self._release()

    def _accept_numbered(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        expected = self.next_id
        if number < (self._floor if expected is None else expected):
            return self._accept_lower(trade, number, now)
        if expected is not None and number - expected >= LEAP:
            return self._accept_stray(trade, number, now)
        gap, before = None, self.stamp
        if expected is None:
            gap = self._gap_by_time(trade)
        elif number > expected:
            gap = self._gap_by_id(expected, trade, number - 1)
        if expected is None or gap is not None:
            # what comes over REST may be one of those on which no other has gone on, under its right number
            self._doubted.misnumber(each.content for each in self._doubted.standing(expected))
            leap = Leap(expected, number, gap, content(trade), trade.received_at, before)
            self._doubted.note(leap, expected)
        self.next_id = number + 1
        self.stamp = trade.timestamp
        return self._append(trade, gap, now)

    def _accept_lower(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        doubts = self._doubts
        if doubts is not None and self._numbered and (place := doubts.contradicted(trade, number, self.next_id)) >= 0:
            return self._convict(place, trade, number, now)
        for open_gap in self.open_gaps:
            if open_gap.has_place_for(number, trade.timestamp):
                if self._is_of_now(trade, open_gap):
                    return self._accept_stray(trade, number, now)
                if number in open_gap.fill:
                    return DUPLICATE
                open_gap.absent.discard(number)
                open_gap.fill[number] = trade
                return self._release()
        if self._is_newer(trade, number):
            return self._accept_stray(trade, number, now)
        return LATE if any(first <= number <= last for first, last in self._given_up) else DUPLICATE

    def _accept_stray(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        """An id that fits nowhere: deliver the trade as it came, and continue the sequence without it.

        Only if the next trade continues from this id, the venue has restarted its ids.
        """
        doubts = self._doubted
        followed = doubts.stray is not None and 0 <= number - doubts.stray < REORDER_LIMIT
        if followed:
            return self._restart(trade, number)
        doubts.stray = number + 1
        doubts.misnumber([content(trade)])
        return self._append(trade, None, now)

    def _restart(self, trade: TradeEvent, number: int) -> Outcome:
        """The venue has restarted its ids with this trade; how many trades are missing can't be known."""
        before = trade.timestamp if self.stamp is None else self.stamp
        gap = Gap(None, None, before, trade.timestamp, None, fetch=False)
        released = self.flush()
        if self._numbered:
            self.next_id = number + 1
        self.stamp = trade.timestamp
        self._floor = 0
        self._given_up.clear()
        self._lost_times.clear()
        self._doubts = None
        return Outcome(TradeVerdict.RELEASE, (*released.deliver, trade), gap, released.filled)

    def _convict(self, place: int, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        """``trade`` shows that the leaps from ``place`` on have wrong ids: continue the sequence as it was before them.

        The trades of these leaps are delivered once, before ``trade``, unless they were found under their right ids. If
        as many trades are missing as there are leaps, the leaps are those trades. Otherwise a trade from REST that
        differs only in its id is not delivered again.
        """
        doubts = self._doubted
        convicted, doubts.leaps = doubts.leaps[place:], doubts.leaps[:place]
        first, last = convicted[0], convicted[-1].number
        taken = [s for s in self.open_gaps if any(s.gap is leap.gap for leap in convicted)]
        self.open_gaps[:] = [s for s in self.open_gaps if s not in taken]
        found = [fill[n] for fill in (s.fill for s in taken) for n in sorted(fill)]
        numbers = [n for s in taken for n in s.fill]
        repeated = {content(each) for each in found}
        released = found + [t for s in taken for t in s.held if content(t) not in repeated]
        released.sort(key=lambda each: each.timestamp)
        unnamed = [leap.content for leap in convicted if leap.content not in repeated]
        if first.expected is None:
            doubts.misnumber(unnamed)
            self.next_id = max(numbers) + 1 if numbers else None
        else:
            theirs = len(unnamed) if min([number, *numbers]) == first.expected + len(unnamed) else 0
            if not theirs:
                doubts.misnumber(unnamed)
            self.next_id = max([first.expected + theirs - 1, *numbers]) + 1
            self._given_up = [each for each in self._given_up if not first.expected <= each[0] <= last]
        self.stamp = max([each.timestamp for each in found], default=first.before)
        whole = self.next_id is not None and number <= self.next_id
        filled = [Filled(s.gap, sum(t.backfilled for t in s.fill.values()), whole) for s in taken if s.wait]
        if self.open_gaps:
            self.open_gaps[-1].held += released
            released = []
        outcome = self.accept(trade, now, number)
        after = (trade,) if outcome is DELIVER else outcome.deliver
        return Outcome(TradeVerdict.RELEASE, (*released, *after), outcome.gap, (*filled, *outcome.filled))

    def _settle_clash(self, pages: Sequence[Sequence[TradeEvent]]) -> Outcome | None:
        """If the newest trade came from REST too, under another id: find out which of the two ids the venue has."""
        leaps = self._doubts.standing(self.next_id) if self._doubts is not None and self._numbered else []
        open_gap = self.open_gaps[-1] if self.open_gaps else None
        if not leaps or open_gap is None or open_gap.gap is not leaps[-1].gap or open_gap.gap.from_id is None:
            return None
        if all(content(found) != leaps[-1].content for found in open_gap.fill.values()):
            return None
        shown = leaps[-1].is_shown_by(pages)
        open_gap.clash = shown is None
        if shown is not False:
            return None
        self._drop_leap(open_gap)
        return self._release()

    def _drop_leap(self, open_gap: OpenGap) -> None:
        """The newest trade was found in the gap before it under its right id: drop the one with the wrong id."""
        leap = self._doubted.leaps.pop()
        last = max(open_gap.fill)
        open_gap.held.clear()
        open_gap.open = open_gap.clash = False
        open_gap.elsewhere.update(set(range(last + 1, leap.number)) - open_gap.absent)
        self.next_id, self.stamp = last + 1, open_gap.fill[last].timestamp

    def _is_of_now(self, trade: TradeEvent, open_gap: OpenGap) -> bool:
        """Whether the trade is newer than the gap in which its id lies: then its id is wrong."""
        gap, stamp = open_gap.gap, self.stamp
        if stamp is None or not gap.from_ts <= gap.to_ts < trade.timestamp:
            return False
        return stamp <= trade.timestamp <= gap.to_ts + 2 * HOLD_FOR * 1000

    def _is_newer(self, trade: TradeEvent, number: int) -> bool:
        """Whether a trade with a low id is new, by its time: the venue has restarted its ids, or this id is wrong."""
        stamp = self.stamp
        if stamp is None:
            return False
        near = number >= (self._floor if self.next_id is None else self.next_id) - REORDER_LIMIT
        if trade.timestamp >= stamp + (RESTART_MS if near else 1):
            return True
        return not near and _belied(stamp, trade)

    @property
    def _doubted(self) -> Doubts:
        if self._doubts is None:
            self._doubts = Doubts()
        return self._doubts

    def _note_proof(self, now: float) -> None:
        """The venue has skipped the ids of a gap. After PROOFS of them the coin's ids are not taken as consecutive."""
        proofs = self._doubted.proofs
        proofs[:] = [at for at in proofs if at > now - PROOFS_WITHIN] + [now]
        if len(proofs) >= PROOFS and self._numbered and self.next_id is not None:
            self._resumed = self._untouched  # the next trade opens a gap by time only if none came since an outage
            self._numbered = False
            self._floor, self.next_id = self.next_id, None

    def _accept_named(self, trade: TradeEvent, now: float | None) -> Outcome:
        if self._floor and (number := number_of(trade)) is not None and number < self._floor:
            return self._accept_lower(trade, number, now)
        gap, before = None, ""
        if self._resumed and self._recent is not None:
            before = self._recent.newest
        if not self._remember(trade.trade_id, now):
            return DUPLICATE
        if self._lost_times and self._belongs_before(trade, now):
            return LATE
        if self._resumed:
            gap = self._gap_by_time(trade)
            self._resumed = False
        stamp, timestamp = self.stamp, trade.timestamp
        if timestamp != stamp and (stamp is None or timestamp > stamp or self._is_disproved(stamp, trade, now)):
            self.stamp = timestamp
            self._behind = None
        if gap is None and not self.open_gaps:
            return DELIVER  # as _append() does it, without a call: the ordinary one
        return self._append(trade, gap, now, before)

    def _belongs_before(self, trade: TradeEvent, now: float | None) -> bool:
        """Whether the trade was missing in a gap by time that was given up: later ones are delivered already.

        A connection that lags brings such ones after a reconnect. A wrong stamp of the newest trade, or at the end of
        a gap, keeps no trade out.
        """
        at, stamp = trade.timestamp, self.stamp
        if stamp is None or at >= stamp:
            return False
        if 0 < trade.received_at < (at + RESTART_MS) * 1_000_000 or self._is_disproved(stamp, trade, now):
            return False  # it is of now
        self._lost_times = [(first, last) for first, last in self._lost_times if not _belied(last, trade)]
        return any(first <= at < last for first, last in self._lost_times)

    def _is_disproved(self, stamp: int, trade: TradeEvent, now: float | None) -> bool:
        """Whether the stamp of the newest trade is wrong, as the earlier stamps of the trades after it show."""
        if now is not None:
            came, began = self._behind = self._behind or (now, trade.timestamp)
            if now - came > HOLD_FOR and trade.timestamp - began >= (now - came) * 1000 - RESTART_MS:
                return True  # their stamps grow as fast as time passes
        return _belied(stamp, trade)

    def _append(self, trade: TradeEvent, gap: Gap | None, now: float | None, before: str = "") -> Outcome:
        """Deliver the newest trade, or hold it behind ``gap`` or the gaps that are open."""
        if gap is None:
            if not self.open_gaps:
                return DELIVER
            self.open_gaps[-1].held.append(trade)
        else:
            wait = HOLD_FOR if gap.fetch else 0.0 if self._fetch else REORDER_FOR
            if wait == REORDER_FOR and (gap.missing is None or gap.missing > REORDER_LIMIT):
                wait = 0.0
            numbered = self._numbered
            self.open_gaps.append(OpenGap(gap, now, [trade], wait, before, numbered, open=wait > 0))
        if len(self.open_gaps) > MAX_OPEN or self.open_gaps.held > HOLD_LIMIT:
            self.open_gaps[0].open = False
        return self._release(gap)

    def _release(self, gap: Gap | None = None) -> Outcome:
        """Release the oldest open gaps that are full or given up."""
        deliver: list[TradeEvent] = []
        filled: list[Filled] = []
        while (open_gap := self.open_gaps.take_ended()) is not None:
            hole = open_gap.gap
            if open_gap.wait:
                fetched = sum(trade.backfilled for trade in open_gap.fill.values())
                filled.append(Filled(hole, fetched, open_gap.full))
            self._given_up = [*self._given_up, *open_gap.not_found()][-MAX_OPEN:]
            if self._floor and not open_gap.numbered:  # ids that counted once still grow: lower ones are of the past
                numbers = [number for trade in open_gap.held if (number := number_of(trade)) is not None]
                self._floor = max(self._floor, min(numbers, default=0))
            if not open_gap.numbered and not open_gap.full:
                until = min(hole.to_ts, open_gap.held[0].received_at // 1_000_000 or hole.to_ts)  # a stamp may be ahead
                self._lost_times = [*self._lost_times, (hole.from_ts, until)][-MAX_OPEN:]
            if self._doubts is not None:
                self._doubts.ended(hole, open_gap.fill)
            deliver += open_gap.in_order()
        if gap is None and not deliver:
            return HELD
        return Outcome(TradeVerdict.RELEASE if deliver else TradeVerdict.HELD, deliver, gap, filled)

    def _gap_by_id(self, first: int, after: TradeEvent, last: int) -> Gap:
        before = after.timestamp if self.stamp is None else self.stamp
        missing = last - first + 1
        in_time = self._resumed_at_id != self.next_id or self._short_outage(after.timestamp - before)
        awaited = missing + self.open_gaps.missing
        fetch = self._fetch and in_time and awaited <= MAX_MISSING
        return Gap(first, last, before, after.timestamp, missing, fetch)

    def _gap_by_time(self, after: TradeEvent) -> Gap | None:
        before = self.stamp
        if before is not None and _belied(before, after):
            before = after.timestamp - int((self._outage or 0.0) * 1000)
        if before is None or after.timestamp < before:
            return None  # nothing to start from, or the stream goes on before it ended: nothing is missing
        fetch = self._fetch and self._short_outage(after.timestamp - before)
        return Gap(None, None, before, after.timestamp, None, fetch)

    def _short_outage(self, span_ms: int) -> bool:
        """Whether the outage, if its length is known, or else the time between the trades, is at most ``max_gap``."""
        return (span_ms / 1000 if self._outage is None else self._outage) <= self._max_gap

    def _remember(self, trade_id: str, now: float | None) -> bool:
        """Remember the id; True if it is new. No id is forgotten while trades are held: a fetch may bring it again."""
        if not trade_id:
            return True
        if self._recent is None:
            self._recent = RecentIds()
        return self._recent.add(trade_id, now, keep=bool(self.open_gaps))


def _is_unknown(trade: TradeEvent) -> bool:
    return False


def _belied(stamp: int, trade: TradeEvent) -> bool:
    """Whether a later trade shows that ``stamp`` was wrong: one wrong stamp must not affect all trades after it.

    Of two times that can't both be right, the one closer to the trade's arrival is believed.
    """
    arrival = trade.received_at // 1_000_000
    return stamp - trade.timestamp > IMPLAUSIBLE and abs(trade.timestamp - arrival) < stamp - arrival
