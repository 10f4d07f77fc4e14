"""Puts a coin's trades into the venue's order, each once; decides what is missing, and how long a gap is open.

The trades after a gap wait behind it (feed.trades.open_gaps). Gaps are released in order, the oldest first: each when
it is full, when the fetch gives it up, or when its time is over. Without an open gap no trade is held. This is the
usual path, and costs one comparison per trade.

When the trades after a gap have been delivered, a trade that belongs in the gap can't be delivered in order any more:
it is LATE. Late trades are counted and not delivered. The gap was reported as incomplete when they were delivered.

A wrong id or time stamp of the venue never holds back a coin's good trades. A trade with a wrong id is delivered once,
as it came, and the sequence continues as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchanges.events import TradeEvent
from feed.trades.duplicates import RecentIds
from feed.trades.gaps import DELIVER, DUPLICATE, HELD, LATE, Filled, Gap, Outcome, TradeVerdict, number_of
from feed.trades.leaps import REORDER_LIMIT, Leap, content
from feed.trades.open_gaps import MAX_OPEN, GivenUpGaps, OpenGap, OpenGaps, Outage
from feed.trades.wrong_ids import DoubtfulIds, correction
from feed.trades.wrong_stamps import StampDoubt, is_disproved

HOLD_FOR = 2.0  # the most seconds for which trades wait for a fetch
HOLD_LIMIT = 10_000  # the most trades that wait, per coin
REORDER_FOR = 0.25  # seconds that trades wait if nothing is fetched: trades may only be out of order
LEAP = 1_000_000  # an id this far ahead of the expected id is believed only if the next trade continues from it
MAX_MISSING = 50_000  # the most missing trades to wait for, per coin: more would come too late and need too much memory
RESTART_MS = 1000  # a trade with a lower id near the newest id is a duplicate unless its stamp is this much later
PROOFS = 3  # after this many gaps that were shown to be no gaps, the coin's ids don't count as consecutive
PROOFS_WITHIN = 3600.0  # seconds within which these gaps are counted: a venue may skip some ids during maintenance


class TradeSequence:
    """One coin's trades on one venue; ``now`` is monotonic seconds.

    ``consecutive_ids``: the venue's trade ids of this market count up by one, so ids show what is missing. If they do
    not, duplicates are found among the last ids, and a gap is the time between the trades before and after an outage.
    ``max_gap``: gaps of longer outages (seconds) are reported and not fetched. ``fetch``: False reports all gaps and
    fetches none. ``since_ts``: the time (Unix ms) of the last trade on the venue that was left, or a later time up to
    which nothing was missed; the time since then is a gap on this venue.
    """

    def __init__(
        self, consecutive_ids: bool, max_gap: float, *, fetch: bool = True, since_ts: int | None = None
    ) -> None:
        self.numbered = consecutive_ids
        """Whether the coin's ids are taken as consecutive; False after PROOFS gaps turned out to be no gaps."""
        self._max_gap = max_gap
        self._fetch = fetch
        self.open_gaps = OpenGaps()
        self.stamp = since_ts  # time (Unix ms) of the newest trade; ``since_ts`` of the next venue
        self.next_id: int | None = None  # the id after the highest id that was seen
        self._floor = 0  # next_id when the feed left the venue: lower ids had been delivered
        self._doubtful_ids: DoubtfulIds | None = None  # None while all ids were right
        self._given_up = GivenUpGaps()
        # None until ids must be remembered
        self._recent: RecentIds | None = None if consecutive_ids else RecentIds(whole=since_ts is None)
        self._stamp_doubt = StampDoubt()
        self._outage = Outage()  # the last outage
        self._resumed_at_id: int | None = None  # equal to next_id until the first trade after an outage
        self._resumed = since_ts is not None  # True until the first trade after an outage, if ids are not consecutive

    def __repr__(self) -> str:
        return f"<TradeSequence next {self.next_id}, {len(self.open_gaps)} gaps, {self.open_gaps.held} held>"

    @property
    def interrupted(self) -> bool:
        """Whether the connection is lost and no other connection has replaced it."""
        return self._outage.lasts

    @property
    def newest(self) -> object:
        """A value that changes with every trade accepted from a connection."""
        return self.next_id, "" if self._recent is None else self._recent.newest, self.stamp

    def accept(self, trade: TradeEvent, now: float | None = None, number: int | None = None) -> Outcome:
        """Take a trade from a connection; ``number`` is its id as a number if the caller knows it.

        Without ``now`` a gap's time begins with the next expire().
        """
        if not self.numbered:
            return self._accept_named(trade, now)
        if number is None and (number := number_of(trade)) is None:
            return self._append(trade, None, now)  # an id that is not a number can't be compared
        if number == self.next_id and not self.open_gaps:
            self.next_id = number + 1
            self.stamp = trade.timestamp
            return DELIVER
        return self._accept_numbered(trade, number, now)

    def lost(self, now: float) -> None:
        """Note that the connection is lost: an outage begins, or the last outage continues if no trade has come since.

        Held trades stay held.
        """
        self._outage.begin(now, goes_on=self._untouched)

    def resumed(self, now: float) -> None:
        """Call this when a connection delivers again: its first trade shows what is missing."""
        self._outage.end(now)
        self._resumed_at_id = self.next_id
        self._resumed = self.stamp is not None

    @property
    def _untouched(self) -> bool:
        """Whether no trade has come since the last outage or doubt."""
        return self._resumed_at_id == self.next_id if self.numbered else self._resumed

    @property
    def delivered_until(self) -> int | None:
        """The time (Unix ms) of the newest trade that does not wait behind a gap."""
        return self.open_gaps[0].gap.from_ts if self.open_gaps else self.stamp

    def follow(self, since_ts: int) -> None:
        """Note that another venue delivered the coin until ``since_ts`` (Unix ms), and this venue delivers it now."""
        if self.next_id is not None or self.stamp is None:
            self.returned(since_ts)
        else:
            self.stamp = max(self.stamp, since_ts)

    def returned(self, since_ts: int) -> None:
        """Note that the venue is active again; the previous venue had its last trade at ``since_ts`` (Unix ms).

        Trades that this venue delivered before the feed left it are not delivered again.
        """
        if self.next_id is not None:
            leaps = self._leaps
            expected = leaps[0].expected if leaps else None  # None for the very first trade: only its own id is known
            self._floor, self.next_id = self.next_id if expected is None else expected, None
        self.stamp = since_ts if self.stamp is None else max(self.stamp, since_ts)
        self._given_up.clear()
        self._doubtful_ids = None
        self._outage, self._resumed_at_id = Outage(), None
        self._resumed = True

    def doubt(self) -> None:
        """Note a long silence of the connection: if ids are not consecutive, the next trade opens a gap by time.

        This counts also during an outage: another connection may deliver the coin.
        """
        if not self._outage.lasts:
            self._outage.doubt(goes_on=self._untouched)
        self._resumed = self.stamp is not None

    def missed(self, past: Sequence[TradeEvent]) -> list[TradeEvent]:
        """Return the trades of ``past`` that were not delivered yet; the caller accepts them next.

        ``past``: trades that the venue repeats at a subscription, oldest first. If they reach back to a delivered
        trade, nothing is missing before them. Before the coin's first trade, it returns no trades.
        """
        stamp = self.stamp
        if stamp is None:
            return []
        if self.numbered:
            told = [t for t in past if t.trade_id.isdecimal()]
            fresh = told if self.next_id is not None else [t for t in told if t.timestamp > stamp]
            if len(fresh) < len(told):  # a trade between the old and the new trades may be missing
                before = int(next(t.trade_id for t in reversed(told) if t.timestamp <= stamp)) + 1
                self.next_id = max(self._floor, min(before, int(fresh[0].trade_id)) if fresh else before)
            return fresh
        known = self._recent or RecentIds()
        since = [t for t in known.after_first(past) if t.timestamp >= stamp + (not t.trade_id)]
        fresh = [t for t in since if t.trade_id not in known]
        if len(fresh) < len(past):
            self._resumed = False
        return fresh

    def unbroken(self) -> None:
        """Call this when nothing is missing: the connection began before the last trade of the venue that was left."""
        self._resumed = False

    def behind(self, gap: Gap) -> int:
        """How many of the newest trades reach back to ``gap``: 0 if it is closed, MAX_MISSING if that is not known."""
        if not any(open_gap.open and open_gap.gap is gap for open_gap in self.open_gaps):
            return 0
        return MAX_MISSING if gap.from_id is None or self.next_id is None else self.next_id - gap.from_id

    def add(self, trades: Sequence[TradeEvent]) -> None:
        """Take one page of trades from REST, oldest first, before the other pages: they may come too late."""
        if (doubts := self._doubtful_ids) is not None:
            doubts.judge(trades, self.open_gaps)
        for trade in self._recent.after_first(trades) if self._recent is not None else trades:
            number = number_of(trade)
            floor = self._floor if self.numbered else 0
            if self.open_gaps.place_numbered(trade, number, floor, doubts.knows if doubts is not None else _is_unknown):
                continue
            if self._floor and number is not None and number < self._floor:
                continue  # the trade's id is not remembered: the remembered ids begin later
            self.open_gaps.place_named(trade, lambda trade_id: self._remember(trade_id, None))

    def answered(self, pages: Sequence[Sequence[TradeEvent]], now: float) -> Outcome:
        """Take a whole answer from REST: put its trades into the gaps, and release the gaps that are full.

        Each page is a list of trades without a break, oldest first.
        """
        for page in pages:
            self.add(page)
        if (doubts := self._doubtful_ids) is not None:
            doubts.confirm(pages)
        for open_gap in self.open_gaps:
            open_gap.in_conflict &= doubts is not None and doubts.has_leap_after(open_gap.gap)
            if open_gap.open and open_gap.gap.fetch and open_gap.look_into(pages):
                self._note_proof(now)
        return self._settle_conflict(pages) or self._release()

    def give_up(self, *, fetched_only: bool = False) -> Outcome:
        """Give up all gaps; with ``fetched_only``, only the gaps that are fetched: the venue can't answer."""
        self.open_gaps.give_up(fetched_only=fetched_only)
        return self._release()

    def expire(self, now: float) -> Outcome:
        """Give up the gaps whose time is over."""
        for open_gap in self.open_gaps:
            if open_gap.found_at is None:
                open_gap.found_at = now
            elif now >= open_gap.found_at + open_gap.wait:
                if open_gap.in_conflict and len(open_gap.held) == 1 and open_gap is self.open_gaps[-1] and self._leaps:
                    self._drop_leap(open_gap)  # the venue had enough time to show the trade with its own id
                open_gap.open = False
        return self._release()

    def _accept_numbered(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        expected = self.next_id
        if number < (self._floor if expected is None else expected):
            return self._accept_lower(trade, number, now)
        if expected is not None and number - expected >= LEAP:
            return self._accept_outlier(trade, number, now)
        gap, before = None, self.stamp
        if expected is None:
            gap = self._gap_by_time(trade) if self._resumed else None
        elif number > expected:
            gap = self._gap_by_id(expected, trade, number - 1)
        if expected is None or gap is not None:
            self._doubted.suspect(self._doubted.standing(expected))
            leap = Leap(expected, number, gap, content(trade), trade.received_at, before)
            self._doubted.note(leap, expected)
        self.next_id = number + 1
        self.stamp = trade.timestamp
        return self._append(trade, gap, now)

    def _accept_lower(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        doubts = self._doubtful_ids
        if doubts is not None and self.numbered and (place := doubts.contradicted(trade, number, self.next_id)) >= 0:
            return self._correct(place, trade, number, now)
        for open_gap in self.open_gaps:
            if open_gap.has_place_for(number, trade.timestamp):
                if self.stamp is not None and open_gap.is_older_than(trade, self.stamp, 2 * HOLD_FOR):
                    return self._accept_outlier(trade, number, now)
                if number in open_gap.fill:
                    return DUPLICATE
                open_gap.absent.discard(number)
                open_gap.fill[number] = trade
                return self._release()
        if self._is_newer(trade, number):
            return self._accept_outlier(trade, number, now)
        return LATE if self._given_up.has_id(number) else DUPLICATE

    def _accept_outlier(self, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        """Deliver a trade whose id continues no other id, and continue the sequence as if the trade had not come.

        If the next trade continues from this id, the venue has restarted its ids; otherwise the id was wrong.
        """
        doubts = self._doubted
        if doubts.after_outlier is not None and 0 <= number - doubts.after_outlier < REORDER_LIMIT:
            return self._restart(trade, number)
        doubts.after_outlier = number + 1
        doubts.misnumber([content(trade)])
        return self._append(trade, None, now)

    def _restart(self, trade: TradeEvent, number: int) -> Outcome:
        """Continue with ``trade``, the first one after the venue has restarted its ids.

        The number of missing trades is not known.
        """
        before = trade.timestamp if self.stamp is None else self.stamp
        gap = Gap(None, None, before, trade.timestamp, None, fetch=False)
        released = self.give_up()
        if self.numbered:
            self.next_id = number + 1
        self.stamp = trade.timestamp
        self._floor = 0
        self._given_up.clear()
        self._doubtful_ids = None
        return Outcome(TradeVerdict.RELEASE, (*released.deliver, trade), gap, released.filled)

    def _correct(self, place: int, trade: TradeEvent, number: int, now: float | None) -> Outcome:
        """Continue the sequence as it was before the leaps from ``place`` on: ``trade`` shows that their ids are wrong.

        The trades of these leaps are delivered once, before ``trade``, unless they were found under their right ids.
        """
        doubts = self._doubted
        leaps, doubts.leaps = doubts.leaps[place:], doubts.leaps[:place]
        gaps = [each for each in self.open_gaps if any(each.gap is leap.gap for leap in leaps)]
        self.open_gaps[:] = [each for each in self.open_gaps if each not in gaps]
        found = correction(leaps, gaps, number)
        doubts.misnumber(found.misnumbered)
        self.next_id, self.stamp = found.next_id, found.stamp
        if leaps[0].expected is not None:
            self._given_up.forget_ids(leaps[0].expected, leaps[-1].number)
        before = found.deliver
        if self.open_gaps:
            self.open_gaps[-1].held += before
            before = []
        outcome = self.accept(trade, now, number)
        after = (trade,) if outcome is DELIVER else outcome.deliver
        return Outcome(TradeVerdict.RELEASE, (*before, *after), outcome.gap, (*found.filled, *outcome.filled))

    def _settle_conflict(self, pages: Sequence[Sequence[TradeEvent]]) -> Outcome | None:
        """If the newest trade also came from REST with another id, find out which of the two ids is right."""
        leaps, open_gap = self._leaps, self.open_gaps[-1] if self.open_gaps else None
        if not leaps or open_gap is None or open_gap.gap is not leaps[-1].gap or open_gap.gap.from_id is None:
            return None
        equal = [number for number, found in open_gap.fill.items() if content(found) == leaps[-1].content]
        if not equal:
            return None
        shown = leaps[-1].is_shown_by(pages)
        if shown is None and leaps[-1].number - max(equal) > REORDER_LIMIT:
            shown = False
        open_gap.in_conflict = shown is None
        if shown is not False:
            return None
        self._drop_leap(open_gap)
        return self._release()

    def _drop_leap(self, open_gap: OpenGap) -> None:
        """Drop the newest trade, which has a wrong id: the gap before it has the same trade with the right id."""
        leap = self._doubted.leaps.pop()
        last = max(open_gap.fill)
        open_gap.held.clear()
        open_gap.open = open_gap.in_conflict = False
        open_gap.elsewhere.update(set(range(last + 1, leap.number)) - open_gap.absent)
        self.next_id, self.stamp = last + 1, open_gap.fill[last].timestamp

    def _is_newer(self, trade: TradeEvent, number: int) -> bool:
        """Whether a trade with a low id is new, by its time: the venue has restarted its ids, or this id is wrong."""
        stamp = self.stamp
        if stamp is None:
            return False
        near = number >= (self._floor if self.next_id is None else self.next_id) - REORDER_LIMIT
        if trade.timestamp >= stamp + (RESTART_MS if near else 1):
            return True
        return not near and is_disproved(stamp, trade)

    @property
    def _doubted(self) -> DoubtfulIds:
        if self._doubtful_ids is None:
            self._doubtful_ids = DoubtfulIds()
        return self._doubtful_ids

    @property
    def _leaps(self) -> list[Leap]:
        """The leaps from which no trade has continued."""
        doubts = self._doubtful_ids
        return doubts.standing(self.next_id) if doubts is not None and self.numbered else []

    def _note_proof(self, now: float) -> None:
        """Note a gap whose ids the venue has skipped. After PROOFS of these gaps the ids don't count as consecutive."""
        proofs = self._doubted.proofs
        proofs[:] = [at for at in proofs if at > now - PROOFS_WITHIN] + [now]
        if len(proofs) >= PROOFS and self.numbered and self.next_id is not None:
            self._resumed = self._untouched  # the next trade opens a gap by time only if no trade came since an outage
            self.numbered = False
            self._floor, self.next_id = self.next_id, None

    def _accept_named(self, trade: TradeEvent, now: float | None) -> Outcome:
        if self._floor and (number := number_of(trade)) is not None and number < self._floor:
            return self._accept_lower(trade, number, now)
        gap, before = None, ""
        if self._resumed and self._recent is not None:
            before = self._recent.newest
        if not self._remember(trade.trade_id, now):
            return DUPLICATE
        if self._given_up.has_times and self._belongs_before(trade, now):
            return LATE
        if self._resumed:
            gap = self._gap_by_time(trade)
            self._resumed = False
        stamp, timestamp = self.stamp, trade.timestamp
        if timestamp != stamp and (stamp is None or timestamp > stamp or self._stamp_doubt.is_wrong(stamp, trade, now)):
            self.stamp = timestamp
            self._stamp_doubt.clear()
        if gap is None and not self.open_gaps:
            return DELIVER  # the most frequent case of _append(), without the call
        return self._append(trade, gap, now, before)

    def _belongs_before(self, trade: TradeEvent, now: float | None) -> bool:
        """Whether the trade was missing in a gap by time that was given up; later trades are delivered already.

        A lagging connection delivers such trades after a reconnect. A wrong stamp of the newest trade, or at the end of
        a gap, does not make other trades late.
        """
        at, stamp = trade.timestamp, self.stamp
        if stamp is None or at >= stamp:
            return False
        if 0 < trade.received_at < (at + RESTART_MS) * 1_000_000 or self._stamp_doubt.is_wrong(stamp, trade, now):
            return False  # the trade has just been made: it was not missing in an earlier gap
        return self._given_up.has_time(trade)

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
            numbered = self.numbered
            self.open_gaps.append(OpenGap(gap, now, [trade], wait, before, numbered, open=wait > 0))
        if len(self.open_gaps) > MAX_OPEN or self.open_gaps.held > HOLD_LIMIT:
            self.open_gaps[0].open = False
        return self._release(gap)

    def _release(self, gap: Gap | None = None) -> Outcome:
        """Release the oldest open gaps that are full or given up."""
        deliver: list[TradeEvent] = []
        filled: list[Filled] = []
        while (open_gap := self.open_gaps.take_ended()) is not None:
            if open_gap.wait:
                fetched = sum(trade.backfilled for trade in open_gap.fill.values())
                filled.append(Filled(open_gap.gap, fetched, open_gap.full))
            self._given_up.note(open_gap)
            if self._floor and not open_gap.numbered:  # the ids still grow: lower ids belong to older trades
                numbers = [number for trade in open_gap.held if (number := number_of(trade)) is not None]
                self._floor = max(self._floor, min(numbers, default=0))
            if self._doubtful_ids is not None:
                self._doubtful_ids.ended(open_gap.gap, open_gap.fill)
            deliver += open_gap.in_order()
        if gap is None and not deliver:
            return HELD
        return Outcome(TradeVerdict.RELEASE if deliver else TradeVerdict.HELD, deliver, gap, filled)

    def _gap_by_id(self, first: int, after: TradeEvent, last: int) -> Gap:
        before = after.timestamp if self.stamp is None else self.stamp
        missing = last - first + 1
        in_time = self._resumed_at_id != self.next_id or self._was_short(after.timestamp - before)
        awaited = missing + self.open_gaps.missing
        fetch = self._fetch and in_time and awaited <= MAX_MISSING
        return Gap(first, last, before, after.timestamp, missing, fetch)

    def _gap_by_time(self, after: TradeEvent) -> Gap | None:
        before = self.stamp
        if before is not None and is_disproved(before, after):
            before = after.timestamp - int((self._outage.seconds or 0.0) * 1000)
        if before is None or after.timestamp < before:
            return None  # no trade to start from, or the stream overlaps with the old one: nothing is missing
        fetch = self._fetch and self._was_short(after.timestamp - before)
        return Gap(None, None, before, after.timestamp, None, fetch)

    def _was_short(self, span_ms: int) -> bool:
        """Whether the outage, if its length is known, or else the time between the trades, is at most ``max_gap``."""
        seconds = self._outage.seconds
        return (span_ms / 1000 if seconds is None else seconds) <= self._max_gap

    def _remember(self, trade_id: str, now: float | None) -> bool:
        """Remember the id; True if it is new. No id is forgotten while trades are held: a fetch may repeat it."""
        if not trade_id:
            return True
        if self._recent is None:
            self._recent = RecentIds()
        return self._recent.add(trade_id, now, keep=bool(self.open_gaps))


def _is_unknown(trade: TradeEvent) -> bool:
    return False
