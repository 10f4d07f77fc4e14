"""disconnect() in every state takes at most 5 s, may be called twice, and leaves nothing open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic

import pytest

from exchanges.simulator import SimulatedVenue
from feed import FeedError, FeedState, MarketFeed, Settings
from tests.scenarios.support import (
    CLOSED_WITHIN,
    VENUES,
    Gate,
    Witness,
    elsewhere,
    nothing_left,
    only,
    quick,
    redirected,
    simulated,
)
from tests.support import until


@dataclass
class Scene:
    """Two venues, a feed over them, and faults that end with the test."""

    venue: SimulatedVenue
    other: SimulatedVenue
    gate: Gate
    settings: Settings
    stack: ExitStack
    feed: MarketFeed
    got: Witness
    connecting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.connecting = asyncio.create_task(self.feed.connect(20))

    async def live(self) -> None:
        self.begin()
        await self.got.more_trades(3)


State = Callable[[Scene], Awaitable[None]]


async def rest_phase(scene: Scene) -> None:
    scene.stack.enter_context(scene.venue.slow_rest(1))
    scene.begin()
    await until(lambda: bool(scene.venue.rest_calls))


async def upgrade_hangs(scene: Scene) -> None:
    scene.gate.hangs = True
    redirected(scene.settings, ws_url=f"ws://{scene.gate.address}")
    scene.begin()
    await until(lambda: scene.gate.connections > 0)


async def before_the_acknowledgement(scene: Scene) -> None:
    scene.stack.enter_context(scene.venue.muted())
    scene.begin()
    await until(lambda: bool(scene.venue.connections))


async def while_subscribing(scene: Scene) -> None:
    subscribed = asyncio.Event()
    scene.venue.on_subscription = subscribed.set
    scene.begin()
    await subscribed.wait()


async def live(scene: Scene) -> None:
    await scene.live()


async def half_open(scene: Scene) -> None:
    """Make the peer read but answer nothing, not even the closing handshake."""
    await scene.live()
    scene.stack.enter_context(scene.venue.muted())
    await scene.got.until_event("feed_stale")


async def stalled(scene: Scene) -> None:
    await scene.live()
    scene.stack.enter_context(scene.venue.stalled())
    await scene.got.until_event("feed_stale")


async def backing_off(scene: Scene) -> None:
    del scene.settings.exchanges[1:]
    scene.feed = MarketFeed(settings=scene.settings)
    scene.got = Witness(scene.feed)
    await scene.live()
    scene.stack.enter_context(scene.venue.refusing(429, retry_after=30))
    scene.venue.cut()
    await scene.got.until(lambda: any(each["delay"] == 30 for each in scene.got.details("reconnecting")))


async def filling_a_gap(scene: Scene) -> None:
    await scene.live()
    scene.stack.enter_context(scene.venue.slow_rest(1.5))
    scene.venue.cut()
    await scene.got.until_event("gap")


async def failing_over(scene: Scene) -> None:
    await scene.live()
    scene.stack.enter_context(scene.venue.partition())
    await scene.got.until_event("failover")


async def on_trial(scene: Scene) -> None:
    await scene.live()
    with scene.venue.partition():
        await scene.got.until(lambda: scene.other.name in scene.got.first_price)
    await until(lambda: bool(scene.venue.connections))


async def shut_out_everywhere(scene: Scene) -> None:
    await scene.live()
    for venue in (scene.venue, scene.other):
        scene.stack.enter_context(venue.blocked(451))
        venue.cut()
    await scene.got.until(lambda: len(scene.got.details("exchange_blocked")) == 2)


async def all_down(scene: Scene) -> None:
    await scene.live()
    for venue in (scene.venue, scene.other):
        scene.stack.enter_context(venue.partition())
    await scene.got.until(lambda: any(each["exchange"] == scene.other.name for each in scene.got.details("error")))


async def name_does_not_resolve(scene: Scene) -> None:
    scene.settings.exchanges[:] = [elsewhere(scene.venue.name, "venue.invalid")]
    scene.feed = MarketFeed(settings=scene.settings)
    scene.got = Witness(scene.feed)
    scene.begin()
    await scene.got.until_event("error")


STATES = (
    rest_phase, upgrade_hangs, before_the_acknowledgement, while_subscribing, live, half_open, stalled, backing_off,
    filling_a_gap, failing_over, on_trial, shut_out_everywhere, all_down, name_does_not_resolve,
)  # fmt: skip


# states alternate between the venues; the two states in which the venue's protocol matters run on both venues
CASES = [(state, VENUES[number % 2]) for number, state in enumerate(STATES)] + [(live, "bybit"), (half_open, "binance")]


@pytest.mark.parametrize(("state", "name"), CASES, ids=[f"{state.__name__}-{name}" for state, name in CASES])
async def test_disconnecting_leaves_nothing_behind(state: State, name: str, seed: str) -> None:
    other = "bybit" if name == "binance" else "binance"
    async with simulated(name, seed) as first, simulated(other, seed) as second, Gate(first.port) as gate:
        with ExitStack() as faults:
            async with nothing_left():
                settings = quick(first, second)
                feed = MarketFeed(settings=settings)
                scene = Scene(only(first), only(second), gate, settings, faults, feed, Witness(feed))
                await state(scene)
                began = monotonic()
                await scene.feed.disconnect()
                assert monotonic() - began < CLOSED_WITHIN
                assert scene.feed.status.state is FeedState.CLOSED
                assert scene.got.events.count("closed") == 1
                await scene.feed.disconnect()
                assert scene.got.events.count("closed") == 1
                assert scene.connecting is not None
                with suppress(FeedError):  # connect() raises this error, because the feed was disconnected
                    async with asyncio.timeout(1):
                        await scene.connecting
