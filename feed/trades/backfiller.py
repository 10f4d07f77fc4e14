"""A venue's trades in order: the gaps that the policy finds are fetched over REST while the trades behind them wait."""

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

MARGIN = 0.01  # seconds after its deadline at which a gap is given up, so that it is never too early
ASK_AGAIN = 0.3  # seconds between two fetches of a coin: the second one answers for all gaps that came in between
SPACING = 1.0  # the same when the venue has been asked for half of what it allows
RETRY_AFTER = 0.4  # seconds until a fetch that failed is tried again, as long as the gap may wait
AROUND = 100  # trades asked for beyond those missing: what comes while the answer is on its way


@dataclass(slots=True)
class KnownSequences:
    """What is known of one venue's coins, whichever of its tapes carries them: a coin may change from one to another.

    ``left`` are those that another venue carries now, ``holders`` says which tape carried each coin last.
    """

    coins: dict[str, TradeSequence] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    holders: dict[str, TradeBackfiller] = field(default_factory=dict)

    def forget(self, coin: str) -> None:
        """Nobody wants the coin any more."""
        self.coins.pop(coin, None)
        self.holders.pop(coin, None)
        self.left.discard(coin)


class TradeBackfiller:
    """The continuity of its coins on one venue, over all the connections that carry them with the same session.

    ``deliver`` receives each trade that had to wait, once and in order; ``since`` is the time (Unix ms) of each coin's
    last trade on the venue that was left, from which on this one's trades are fetched. ``requests`` is what the venue
    allows, to all, and ``shelf`` what is known of it to all.
    """

    def __init__(
        self,
        venue: Venue,
        settings: Backfill,
        deliver: Callable[[TradeEvent], None],
        report: Report,
        clock: Clock,
        requests: RateLimit,
        shelf: KnownSequences,
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._deliver = deliver
        self._report = report
        self._clock = clock
        self._coins: dict[str, TradeSequence] = {}
        self._shelf = shelf
        self._symbols: dict[str, str] = {}
        self._fetches: dict[str, asyncio.Task[None]] = {}  # coin -> what fetches for all of its gaps
        self._fetched: defaultdict[str, float] = defaultdict(lambda: -inf)  # coin -> its last one, monotonic seconds
        self._requests = requests
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.late = 0  # trades that came when their place in the order was past

    def continuity(self, coin: str) -> TradeSequence:
        """What judges the coin's trades from the wire; the same for good. KeyError before ``resumed`` names the coin.

        Those for which it says DELIVER are the caller's to deliver, the others are for ``settle``.
        """
        return self._coins[coin]

    def settle(self, trade: TradeEvent, outcome: Outcome) -> bool:
        """Carry out what became of a trade from the wire; True when it is the newest of its coin: its price is news."""
        self._carry_out(trade.coin, outcome)
        if outcome.verdict is TradeVerdict.LATE:
            self.late += 1
        if outcome.verdict in (TradeVerdict.DUPLICATE, TradeVerdict.LATE):
            return False
        return trade.timestamp == self._coins[trade.coin].stamp

    @property
    def carried(self) -> tuple[str, ...]:
        """The coins whose trades it judges."""
        return tuple(coin for coin in self._coins if self._holds(coin))

    def went_on(self, coin: str, past: Sequence[TradeEvent], watched_since: float) -> list[TradeEvent]:
        """A trial takes over a coin: those of ``past``, the trial's trades, oldest first, that are to be accepted next.

        They are newer than the last trade of the venue that was left. When that one came after ``watched_since`` (Unix
        ms), from which on the trial has missed nothing, nothing is missing before them either.
        """
        continuity = self._coins[coin]
        if continuity.stamp is None:
            return []
        fresh = continuity.missed(past) if past else []
        if continuity.stamp >= watched_since:
            continuity.unbroken()
        return fresh

    def catch_up(self, trades: Sequence[TradeEvent], now: float) -> None:
        """Deliver these, as accepted from the wire, of which a newer one is to come: their prices are no news."""
        for trade in trades:
            outcome = self._coins[trade.coin].accept(trade, now)
            if outcome is DELIVER:
                self._deliver(trade)
            else:
                self._carry_out(trade.coin, outcome)

    def recall(self, past: Sequence[TradeEvent], now: float) -> None:
        """Take a coin's past trades, oldest first, as they come at a subscription: for what an outage missed."""
        if not self._settings.enabled:
            return
        continuity = self._coins[past[0].coin]
        for trade in continuity.missed(past):
            trade.backfilled = True
            outcome = continuity.accept(trade, now)
            if outcome is DELIVER:
                self._deliver(trade)
            else:
                self._carry_out(trade.coin, outcome)

    def resumed(self, symbols: Mapping[str, str], since: Mapping[str, int]) -> None:
        """A connection carries data (again); ``symbols`` maps each of its coins to its market."""
        self._symbols |= symbols
        now = self._clock.monotonic()
        shelf = self._shelf
        for coin in symbols:
            holder, shelf.holders[coin] = shelf.holders.get(coin, self), self
            if (known := shelf.coins.get(coin)) is not None:
                self._coins[coin] = known
                if coin in shelf.left:
                    known.returned(since.get(coin))
                elif holder is self or known.interrupted:
                    known.resumed(now)  # else the other one carries it still, and is in doubt when it ends
                self._expect(coin)
            else:
                self._coins[coin] = shelf.coins[coin] = TradeSequence(
                    self._venue.limits.consecutive_ids,
                    self._settings.max_gap,
                    fetch=self._settings.enabled and self._venue.can_fetch_trades,
                    since_ts=since.get(coin),
                )
        shelf.left.difference_update(symbols)

    def lost(self, coins: Iterable[str] | None = None) -> None:
        """The connection of these coins is gone, or those of all."""
        now = self._clock.monotonic()
        for coin in list(self._coins) if coins is None else coins:
            if self._holds(coin):
                self._coins[coin].lost(now)
            elif coin in self._coins:
                self._coins[coin].doubt()  # between the two connections something may be missing

    def forget(self, coins: Iterable[str]) -> None:
        """Drop what is known of these coins, and what waits; nothing of them is delivered any more.

        A gap that is still waited for ends here, and with nothing.
        """
        for coin in coins:
            if self._holds(coin):
                for _ in self._coins[coin].flush().filled:
                    self._report("gap_filled", self._venue.name, coin=coin, trades=0, complete=False)
                self._shelf.forget(coin)
            for known in (self._coins, self._symbols, self._fetched):
                known.pop(coin, None)
            if coin in self._fetches:
                self._fetches.pop(coin).cancel()
            if coin in self._timers:
                self._timers.pop(coin).cancel()

    def doubt(self, coin: str) -> None:
        """The connection stands, but was silent on this coin ("": on all) for long: it may have missed something."""
        for continuity in (self._coins[coin],) if coin in self._coins else () if coin else self._coins.values():
            continuity.doubt()

    def last_timestamps(self) -> dict[str, int]:
        """The time (Unix ms) of each coin's newest trade."""
        stamps = {coin: continuity.stamp for coin, continuity in self._coins.items() if self._holds(coin)}
        return {coin: stamp for coin, stamp in stamps.items() if stamp is not None}

    def flush(self) -> None:
        """This venue is left: what waits goes out, and its sequence ends; what it delivered is remembered."""
        self.leave(self._coins)
        self.close()

    def leave(self, coins: Iterable[str]) -> None:
        """The same for these coins alone."""
        held = [coin for coin in coins if coin in self._coins and self._holds(coin)]
        for coin in held:
            self._carry_out(coin, self._coins[coin].flush())
        self._shelf.left.update(held)

    def close(self) -> None:
        """Stop fetching."""
        for task in self._fetches.values():
            task.cancel()
        self._fetches.clear()
        for coin, timer in self._timers.items():
            timer.cancel()
            if (holder := self._shelf.holders.get(coin, self)) is not self:
                holder._expect(coin)
        self._timers.clear()

    def _holds(self, coin: str) -> bool:
        """Whether no other tape of the venue carries the coin now."""
        return self._shelf.holders.get(coin) is self

    def _carry_out(self, coin: str, outcome: Outcome) -> None:
        """What a policy's outcome asks for, in its order."""
        name = self._venue.name
        if outcome.gap is not None:
            self._report("gap", name, coin=coin, **outcome.gap.details)
            fetching = self._fetches.get(coin)
            if outcome.gap.fetch and (fetching is None or fetching.done()):
                task = asyncio.create_task(self._fetch(coin), name=f"backfill {coin} on {name}")
                self._fetches[coin] = task
                task.add_done_callback(partial(self._fetched_all, coin))
            self._expect(coin)
        for trade in outcome.deliver:
            self._deliver(trade)
        for filled in outcome.filled:
            self._report("gap_filled", name, coin=coin, trades=filled.trades, complete=filled.complete)

    def _fetched_all(self, coin: str, task: asyncio.Task[None]) -> None:
        """Nothing of the coin is fetched any more."""
        if self._fetches.get(coin) is task:
            del self._fetches[coin]

    def _expect(self, coin: str) -> None:
        """Look again when what waits for a fetch has waited long enough."""
        deadline = self._coins[coin].deadline
        if deadline is not None and coin not in self._timers:
            delay = deadline - self._clock.monotonic() + MARGIN
            self._timers[coin] = asyncio.get_running_loop().call_later(delay, self._expire, coin)

    def _expire(self, coin: str) -> None:
        del self._timers[coin]
        self._carry_out(coin, self._coins[coin].expire(self._clock.monotonic()))
        self._expect(coin)

    async def _fetch(self, coin: str) -> None:
        """Ask the venue for what a coin's gaps miss, again and again for as long as one of them waits.

        What the venue has over REST may lie behind its stream, for a second or two: a copy, a cache.
        """
        continuity = self._coins[coin]
        try:
            while (gap := continuity.sought) is not None:
                try:
                    await self._space(coin)
                    async with asyncio.timeout(HOLD_FOR):
                        pages = await self._pages(coin, gap, continuity)
                    counted = continuity.counts
                    self._carry_out(coin, continuity.answered(pages, self._clock.monotonic()))
                    if counted and not continuity.counts:
                        logger.warning(
                            "{}: the trade ids of {} are not consecutive, as the venue itself shows: they don't count",
                            self._venue.name,
                            coin,
                        )
                except Disconnected as error:
                    logger.info("{}: the gap in {} is not filled yet: {}", self._venue.name, coin, error.reason)
                    await self._clock.sleep(min(max(RETRY_AFTER, error.retry_after or 0.0), HOLD_FOR))
                except TimeoutError:
                    logger.info("{}: the gap in {} is not filled yet: no answer in time", self._venue.name, coin)
        except VenueError as error:
            logger.warning("{}: the gap in {} is not filled: {}", self._venue.name, coin, error)
            self._carry_out(coin, continuity.give_up())

    async def _pages(self, coin: str, gap: Gap, continuity: TradeSequence) -> list[list[TradeEvent]]:
        """What the venue has for a gap: each list is in one piece, oldest first."""
        newest = await self._ask(coin, limit=continuity.behind(gap) + AROUND)
        continuity.add(newest)  # what is here counts, even if the rest does not come in time
        if not self._venue.limits.older_trades:
            return [newest]
        if gap.from_id is not None and gap.to_id is not None:
            return [newest, *await self._fetch_older(coin, gap.from_id, gap.to_id, newest, continuity)]
        return [await self._fetch_back(coin, gap, newest, continuity)]

    async def _space(self, coin: str) -> None:
        """Wait until this coin may be asked for: at once for its first gap, those that follow soon share a fetch."""
        spacing = ASK_AGAIN if self._requests.plenty(self._clock.monotonic()) else SPACING
        await self._clock.sleep(max(0.0, self._fetched[coin] + spacing - self._clock.monotonic()))
        self._fetched[coin] = self._clock.monotonic()

    async def _ask(self, coin: str, from_id: int | None = None, limit: int | None = None) -> list[TradeEvent]:
        """One request, if the venue's limit has room for it before the gap's time is over."""
        if (wait := self._requests.wait(self._clock.monotonic())) > HOLD_FOR:
            raise Disconnected(self._venue.name, "too many requests for trades within a minute", wait)
        await self._requests.take(self._clock)
        return await self._venue.fetch_trades(coin, self._symbols[coin], from_id, limit)

    async def _fetch_older(
        self, coin: str, first: int, last: int, newest: list[TradeEvent], continuity: TradeSequence
    ) -> list[list[TradeEvent]]:
        """Page from before the first missing id on, up to what the newest trades brought.

        Each page begins with the trade that ended the one before, so that what is missing between two is seen.
        """
        pages: list[list[TradeEvent]] = []
        reached = min(map(_id, newest), default=last + 1)
        known = first - 1
        while known < min(last, reached - 1):
            page = await self._ask(coin, max(0, known))
            highest = max(map(_id, page), default=-1)
            if highest <= known:
                break  # the venue has nothing more
            continuity.add(page)
            pages.append(page)
            known = highest
        return pages

    async def _fetch_back(
        self, coin: str, gap: Gap, newest: list[TradeEvent], continuity: TradeSequence
    ) -> list[TradeEvent]:
        """Page back from the newest trades to the gap's begin; returns all of them, in one piece."""
        trades = newest
        while trades and trades[0].timestamp >= gap.from_ts and (reached := _id(trades[0])) > 0:
            page = await self._ask(coin, max(0, reached - self._venue.limits.recent_trades))
            older = [trade for trade in page if _id(trade) < reached]
            if not older:
                break  # the venue has nothing more
            continuity.add(older)
            trades = [*older, *trades]
        return trades


def _id(trade: TradeEvent) -> int:
    """A numbered venue's trade id; one that is no number is before all others."""
    return int(trade.trade_id) if trade.trade_id.isdecimal() else -1
