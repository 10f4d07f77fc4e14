"""REST snapshots are requested within the venue's limit of weight, and for unproven books first."""

from __future__ import annotations

import asyncio

from exchanges.books.snapshot_queue import WINDOW, SnapshotTurns, WeightLimit


def test_requests_wait_until_the_limit_allows_their_weight() -> None:
    limit = WeightLimit(100)
    limit.spend(60, 0.0)
    limit.spend(40, 10.0)
    assert limit.wait(5, 20.0) == WINDOW - 20.0
    assert limit.wait(70, 20.0) == WINDOW + 10.0 - 20.0
    assert limit.wait(60, WINDOW) == 0.0


def test_the_waiting_time_of_many_requests_is_computed() -> None:
    limit = WeightLimit(100)
    assert limit.seconds_for([5] * 20, 0.0) == 0.0
    assert limit.seconds_for([5] * 41, 0.0) == 2 * WINDOW
    limit.spend(100, 0.0)
    assert limit.seconds_for([5], 10.0) == WINDOW - 10.0


class Time:
    """A clock that advances only when its ``sleep`` is called."""

    now = 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


async def test_snapshots_of_unproven_books_come_before_renewals_and_all_keep_to_the_limit() -> None:
    time, order = Time(), []
    turns = SnapshotTurns(WeightLimit(10), lambda: time.now, time.sleep)
    turns.limit.spend(10, 0.0)

    async def ask(name: str, *, renewal: bool) -> None:
        await turns.take(5, renewal=renewal)
        order.append((name, time.now >= WINDOW))

    async with asyncio.TaskGroup() as group:
        for name in ("renewal 1", "join 1", "renewal 2", "join 2"):
            group.create_task(ask(name, renewal=name.startswith("renewal")))
    assert [name for name, _ in order] == ["join 1", "join 2", "renewal 1", "renewal 2"]
    assert all(late for _, late in order)


async def test_a_cancelled_wait_does_not_delay_other_waits() -> None:
    time = Time()
    turns = SnapshotTurns(WeightLimit(5), lambda: time.now, time.sleep)
    turns.limit.spend(5, 0.0)
    first = asyncio.create_task(turns.take(5, renewal=False))
    second = asyncio.create_task(turns.take(5, renewal=False))
    await asyncio.sleep(0)
    assert turns.seconds_for([5]) == 3 * WINDOW
    first.cancel()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled()
