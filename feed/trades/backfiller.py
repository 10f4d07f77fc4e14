"""Fetches missing trades over REST, repeatedly while ``sequence.py`` keeps the gap open; decides how often."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from loguru import logger

from exchanges.errors import Disconnected, VenueError
from exchanges.events import TradeEvent
from feed.clock import Clock
from feed.policies.rate_limit import RateLimit
from feed.settings.schema import Backfill
from feed.subscriptions.status import Report
from feed.trades.gaps import DELIVER, Gap, Outcome, TradeVerdict
from feed.trades.sequence import HOLD_FOR, TradeSequence

if TYPE_CHECKING:
    from exchanges.venue import Venue

MARGIN = 0.01  # a gap is given up this many seconds after its deadline, so never too early
ASK_AGAIN = 0.3  # seconds between two fetches of a coin: the second fetch is for all gaps that began in between
SPACING = 1.0  # seconds between fetches when half of the venue's limit of requests is used
RETRY_AFTER = 0.4  # seconds until a fetch that failed is tried again, as long as the gap may wait
AROUND = 100  # trades requested in addition to the missing trades: more may come while the answer is on its way


@dataclass(slots=True)
class KnownSequences:
    """The trade sequences of one venue's coins, shared by its backfillers: a coin may move from one to another.

    ``holders`` maps each coin to the backfillers that carry the coin; the newest one is the last. ``delivered`` maps
    each coin to the sequence of its last delivered trade, of any venue; all venues share it. ``before`` has the last
    trade of each coin that an earlier program received.
    """

    delivered: dict[str, TradeSequence] = field(default_factory=dict)
    coins: dict[str, TradeSequence] = field(default_factory=dict)
    before: dict[str, TradeEvent] = field(default_factory=dict)
    holders: defaultdict[str, list[TradeBackfiller]] = field(default_factory=lambda: defaultdict(list))

    def forget(self, coins: Iterable[str]) -> None:
        """Drop coins that were removed from the feed."""
        for coin in coins:
            for known in (self.coins, self.holders, self.delivered):
                known.pop(coin, None)

    def since(self, coin: str, sequence: TradeSequence | None) -> int | None:
        """The time (Unix ms) of the coin's last trade; None if there is none, or if ``sequence`` delivered it."""
        last = self.delivered.get(coin, sequence)
        return None if last is None or last is sequence else last.delivered_until


@dataclass(eq=False, repr=False)
class TradeBackfiller:
    """Backfills the coins of one session, over all its connections to the venue.

    ``deliver`` receives each trade that had to wait, once and in order. ``requests`` is the venue's limit of REST
    requests, ``sequences`` has the venue's trade sequences; the venue's sessions share both.
    """

    venue: Venue
    settings: Backfill
    deliver: Callable[[TradeEvent], None]
    report: Report
    clock: Clock
    requests: RateLimit
    sequences: KnownSequences

    def __post_init__(self) -> None:
        self._coins: dict[str, TradeSequence] = {}
        self._symbols: dict[str, str] = {}
        self._fetches: dict[str, asyncio.Task[None]] = {}  # coin -> the task that fetches for all of its gaps
        self._fetched: defaultdict[str, float] = defaultdict(lambda: -inf)  # coin -> its last fetch, monotonic seconds
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.late = 0  # trades that came after later trades had been delivered

    def sequence(self, coin: str) -> TradeSequence:
        """Return the coin's trade sequence, always the same one.

        Raises KeyError before ``resumed`` has named the coin.
        """
        return self._coins[coin]

    def begin(self, coin: str) -> TradeSequence:
        """Return the coin's trade sequence; its trades are delivered from now on, not those of another venue.

        The caller delivers the trades for which the sequence says DELIVER, and passes the others to ``settle``.
        """
        sequence = self._coins[coin]
        if (since := self.sequences.since(coin, sequence)) is not None:
            sequence.follow(since)
        self.sequences.delivered[coin] = sequence
        return sequence

    def settle(self, trade: TradeEvent, outcome: Outcome) -> bool:
        """Carry out the outcome of a trade; True if the trade is the newest of its coin, so that its price is new."""
        self._carry_out(trade.coin, outcome)
        if outcome.verdict is TradeVerdict.LATE:
            self.late += 1
        if outcome.verdict in (TradeVerdict.DUPLICATE, TradeVerdict.LATE):
            return False
        return trade.timestamp == self._coins[trade.coin].stamp

    @property
    def carried(self) -> tuple[str, ...]:
        """The coins whose trades come through this backfiller now."""
        return tuple(coin for coin in self._coins if self._holds(coin))

    def went_on(self, coin: str, past: Sequence[TradeEvent], watched_since: float) -> list[TradeEvent]:
        """Note that a trial takes over a coin; returns the trades of ``past`` (the trial's, oldest first) that must be
        accepted next.

        They are newer than the last trade of the venue that was left. The trial has missed nothing since
        ``watched_since`` (Unix ms). If that venue's last trade is from after this time, no trade is missing before
        them.
        """
        sequence = self._coins[coin]
        if sequence.stamp is None:
            return []
        fresh = sequence.missed(past) if past else []
        if sequence.stamp >= watched_since:
            sequence.unbroken()
        return fresh

    def catch_up(self, coin: str, trades: Sequence[TradeEvent], now: float) -> None:
        """Deliver these trades as if a connection had sent them, but publish no price ticks: a newer trade follows."""
        sequence = self.sequences.delivered[coin] = self._coins[coin]
        for trade in trades:
            outcome = sequence.accept(trade, now)
            if outcome is DELIVER:
                self.deliver(trade)
            else:
                self._carry_out(trade.coin, outcome)

    def recall(self, past: Sequence[TradeEvent], now: float) -> None:
        """Deliver the trades of ``past`` (sent at a subscription, oldest first) that were missed in an outage."""
        if not self.settings.enabled:
            return
        coin = past[0].coin
        missed = self.begin(coin).missed(past)
        for trade in missed:
            trade.backfilled = True
        self.catch_up(coin, missed, now)

    def resumed(self, symbols: Mapping[str, str]) -> None:
        """Call this when a connection delivers, now or again; ``symbols`` maps each of its coins to its market.

        If a coin's last trade came from another venue, this venue's trades are fetched from that trade's time on.
        """
        self._symbols |= symbols
        now = self.clock.monotonic()
        sequences = self.sequences
        for coin in symbols:
            others = [holder for holder in sequences.holders[coin] if holder is not self]
            sequences.holders[coin] = [*others, self]
            if (known := sequences.coins.get(coin)) is not None:
                self._coins[coin] = known
                if (since := sequences.since(coin, known)) is not None:
                    known.returned(since)
                elif not others or known.interrupted:
                    known.resumed(now)
                else:
                    known.doubt()  # trades between the connections of both backfillers may be missing
                self._expect(coin)
            else:
                before = sequences.before.pop(coin, None)
                if before is not None and before.market != symbols[coin]:
                    before = None
                made = self._coins[coin] = sequences.coins[coin] = TradeSequence(
                    self.venue.limits.consecutive_ids,
                    self.settings.max_gap,
                    fetch=self.settings.enabled and self.venue.can_fetch_trades,
                    since_ts=sequences.since(coin, None) if before is None else None,
                )
                if before is not None:
                    made.accept(before, now)
                    made.resumed(now)

    def lost(self, coins: Iterable[str] | None = None) -> None:
        """Call this when the connection of these coins, or of all coins if None, is lost."""
        now = self.clock.monotonic()
        for coin in list(self._coins) if coins is None else coins:
            if self._holds(coin):
                self._coins[coin].lost(now)
            elif coin in self._coins:
                self._coins[coin].doubt()  # trades between the two connections may be missing

    def forget(self, coins: Iterable[str]) -> None:
        """Drop the trades of these coins that wait; these coins are not delivered any more.

        A gap that is still open ends with ``gap_filled`` and no trades.
        """
        for coin in coins:
            if self._holds(coin):
                for _ in self._coins[coin].give_up().filled:
                    self.report("gap_filled", self.venue.name, coin=coin, trades=0, complete=False)
            if self in self.sequences.holders[coin]:
                self.sequences.holders[coin].remove(self)
            for known in (self._coins, self._symbols, self._fetched):
                known.pop(coin, None)
            if coin in self._fetches:
                self._fetches.pop(coin).cancel()
            if coin in self._timers:
                self._timers.pop(coin).cancel()

    def doubt(self, coin: str) -> None:
        """Call this when this coin ("": all coins) was silent for long: the connection may have missed trades."""
        for sequence in (self._coins[coin],) if coin in self._coins else () if coin else self._coins.values():
            sequence.doubt()

    def flush(self) -> None:
        """Deliver the waiting trades and end the sequences: the feed leaves this venue. Delivered ids are kept."""
        self.leave(self._coins)
        self.close()

    def leave(self, coins: Iterable[str]) -> None:
        """Deliver the waiting trades of these coins and end their sequences. Delivered ids are kept.

        A coin that another backfiller carries too stays open.
        """
        for coin in [coin for coin in coins if self in self.sequences.holders[coin]]:
            self.sequences.holders[coin].remove(self)
            if self.sequences.holders[coin]:
                self._coins[coin].doubt()  # trades between the connections of both backfillers may be missing
            else:
                self._carry_out(coin, self._coins[coin].give_up())

    def close(self) -> None:
        """Stop fetching. If a coin belongs to another backfiller now, that backfiller fetches for its open gaps."""
        for task in self._fetches.values():
            task.cancel()
        for timer in self._timers.values():
            timer.cancel()
        unfinished = self._fetches.keys() | self._timers.keys()
        self._fetches.clear()
        self._timers.clear()
        for coin in unfinished:
            for holder in self.sequences.holders[coin][-1:]:
                if holder is not self:
                    holder._attend_to(coin)

    def _holds(self, coin: str) -> bool:
        """Whether the coin belongs to this backfiller now, not to another backfiller of the venue."""
        return self.sequences.holders[coin][-1:] == [self]

    def _carry_out(self, coin: str, outcome: Outcome) -> None:
        """Carry out an outcome: report the gap, deliver the trades, report the filled gaps."""
        name = self.venue.name
        if outcome.gap is not None:
            self.report("gap", name, coin=coin, **outcome.gap.details)
            self._attend_to(coin)
        for trade in outcome.deliver:
            self.deliver(trade)
        for filled in outcome.filled:
            self.report("gap_filled", name, coin=coin, trades=filled.trades, complete=filled.complete)

    def _attend_to(self, coin: str) -> None:
        """Fetch for the coin's open gaps, and set the timer that gives up the oldest."""
        fetching = self._fetches.get(coin)
        if self._coins[coin].open_gaps.sought is not None and (fetching is None or fetching.done()):
            task = asyncio.create_task(self._fetch(coin), name=f"backfill {coin} on {self.venue.name}")
            self._fetches[coin] = task
            task.add_done_callback(partial(self._fetched_all, coin))
        self._expect(coin)

    def _fetched_all(self, coin: str, task: asyncio.Task[None]) -> None:
        """Remove the fetch of this coin, which has ended."""
        if self._fetches.get(coin) is task:
            del self._fetches[coin]

    def _expect(self, coin: str) -> None:
        """Set a timer for the moment when the coin's oldest gap is given up."""
        deadline = self._coins[coin].open_gaps.deadline
        if deadline is not None and coin not in self._timers:
            delay = deadline - self.clock.monotonic() + MARGIN
            self._timers[coin] = asyncio.get_running_loop().call_later(delay, self._expire, coin)

    def _expire(self, coin: str) -> None:
        del self._timers[coin]
        self._carry_out(coin, self._coins[coin].expire(self.clock.monotonic()))
        self._expect(coin)

    async def _fetch(self, coin: str) -> None:
        """Request a coin's missing trades from the venue repeatedly, as long as one of the coin's gaps is open.

        The venue's REST answers may be a second or two behind its stream because of a replica or a cache.
        """
        sequence = self._coins[coin]
        try:
            while (gap := sequence.open_gaps.sought) is not None:
                try:
                    await self._space(coin)
                    async with asyncio.timeout(HOLD_FOR):
                        pages = await self._pages(coin, gap, sequence)
                    counted = sequence.numbered
                    self._carry_out(coin, sequence.answered(pages, self.clock.monotonic()))
                    if counted and not sequence.numbered:
                        text = (
                            "{}: its answers show that the trade ids of {} are not consecutive: gaps are found by time"
                        )
                        logger.warning(text, self.venue.name, coin)
                except Disconnected as error:
                    logger.info("{}: the gap in {} is not filled yet: {}", self.venue.name, coin, error.reason)
                    await self.clock.sleep(min(max(RETRY_AFTER, error.retry_after or 0.0), HOLD_FOR))
                except TimeoutError:
                    logger.info("{}: the gap in {} is not filled yet: no answer in time", self.venue.name, coin)
        except VenueError as error:
            logger.warning("{}: the gap in {} is not filled: {}", self.venue.name, coin, error)
            self._carry_out(coin, sequence.give_up(fetched_only=True))

    async def _pages(self, coin: str, gap: Gap, sequence: TradeSequence) -> list[list[TradeEvent]]:
        """Fetch the venue's trades for a gap: lists without a break, each oldest first."""
        newest = await self._ask(coin, limit=sequence.behind(gap) + AROUND)
        sequence.add(newest)  # use this page even if the other pages do not come in time
        if not self.venue.limits.older_trades:
            return [newest]
        if gap.from_id is not None and gap.to_id is not None:
            return [newest, *await self._fetch_older(coin, gap.from_id, gap.to_id, newest, sequence)]
        return [await self._fetch_back(coin, gap, newest, sequence)]

    async def _space(self, coin: str) -> None:
        """Wait until a fetch for this coin is allowed: a first gap does not wait; gaps soon after it share a fetch."""
        spacing = ASK_AGAIN if self.requests.plenty(self.clock.monotonic()) else SPACING
        await self.clock.sleep(max(0.0, self._fetched[coin] + spacing - self.clock.monotonic()))
        self._fetched[coin] = self.clock.monotonic()

    async def _ask(self, coin: str, from_id: int | None = None, limit: int | None = None) -> list[TradeEvent]:
        """Make one request, if the venue's limit allows it before the gap's time is over; else raise Disconnected."""
        if (wait := self.requests.wait(self.clock.monotonic())) > HOLD_FOR:
            raise Disconnected(self.venue.name, "too many requests for trades within a minute", wait)
        await self.requests.take(self.clock)
        return await self.venue.fetch_trades(coin, self._symbols[coin], from_id, limit)

    async def _fetch_older(
        self, coin: str, first: int, last: int, newest: list[TradeEvent], sequence: TradeSequence
    ) -> list[list[TradeEvent]]:
        """Fetch pages from the id before the first missing id on, up to the oldest of ``newest``.

        Each page begins with the last trade of the page before, so that a break between two pages is seen.
        """
        pages: list[list[TradeEvent]] = []
        reached = min(map(_id, newest), default=last + 1)
        known = first - 1
        while known < min(last, reached - 1):
            page = await self._ask(coin, max(0, known))
            highest = max(map(_id, page), default=-1)
            if highest <= known:
                break  # the venue has nothing more
            sequence.add(page)
            pages.append(page)
            known = highest
        return pages

    async def _fetch_back(
        self, coin: str, gap: Gap, newest: list[TradeEvent], sequence: TradeSequence
    ) -> list[TradeEvent]:
        """Fetch pages back from the newest trades to the beginning of the gap; returns all of them without a break."""
        trades = newest
        while trades and trades[0].timestamp >= gap.from_ts and (reached := _id(trades[0])) > 0:
            page = await self._ask(coin, max(0, reached - self.venue.limits.recent_trades))
            older = [trade for trade in page if _id(trade) < reached]
            if not older:
                break  # the venue has nothing more
            sequence.add(older)
            trades = [*older, *trades]
        return trades


def _id(trade: TradeEvent) -> int:
    """The trade id as a number; -1 if it is not a number."""
    return int(trade.trade_id) if trade.trade_id.isdecimal() else -1
