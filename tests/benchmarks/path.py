"""Measures what a trade costs from its frame's text to the callbacks, part by part, without a socket.

    python -m tests.benchmarks.path [--venue binance] [--runs 300]

A feed is connected to the simulator; then its own functions from text to callback are called with frames of consecutive
ids. Every stage includes the earlier stages, and the cost of a part is the difference to the stage before. The fastest
of all runs of 200 frames counts, because other programs on the machine can only make a run slower. "cold" measures the
whole path again, over 40,000 frames that are not in the CPU's caches any more.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from exchanges.ccxt_adapter.stream.client_guard import FrameReading
from exchanges.ccxt_adapter.stream.row_handler import RowHandler
from exchanges.events import TradeEvent
from exchanges.simulator import Simulator
from exchanges.simulator.markets.catalog import DEFAULT_COINS
from exchanges.venues.fast_decoder import Blame, Destination, Take, taker
from exchanges.venues.profile import Profile
from feed import MarketFeed, Settings
from feed.events import CoinConfig
from feed.settings import ExchangeConfig
from tests.benchmarks.frames import WIRES, Trade

FRAMES, COLD, COLD_RUNS = 200, 40_000, 15
WARM_UP = 30_000  # trades, about 1,500 per coin: its second confirms the jump of ids, and 1,024 ids are kept
FIRST = 10**12  # the ids of this benchmark, far from the ids of the simulator


class Texts:
    """Frames as the venue sends them, for coins drawn at random; the ids of a coin count up by one."""

    def __init__(self, venue: str) -> None:
        self._wire, self._draw = WIRES[venue], random.Random(1)
        self._next = {coin: FIRST * (number + 1) for number, coin in enumerate(DEFAULT_COINS)}

    def make(self, count: int) -> list[str]:
        now = time.time_ns() // 1_000_000
        return [self._text(coin, now) for coin in self._draw.choices(list(DEFAULT_COINS), k=count)]

    def _text(self, coin: str, now: int) -> str:
        self._next[coin] = number = self._next[coin] + 1
        price, quantity = f"{self._draw.randint(10**6, 10**7) / 100:.8f}", f"{self._draw.randint(1, 10**6) / 1e5:.8f}"
        trade = Trade(f"{coin}USDT", number, price, quantity, self._draw.random() < 0.5, now)
        return self._wire.text(trade, self._wire.streams(trade.market)[0], False)


def fastest(call: Callable[[str], Any], runs: Iterator[Sequence[str]]) -> float:
    """Return the µs per text in the fastest run."""
    best = float("inf")
    for texts in runs:
        began = time.perf_counter_ns()
        for text in texts:
            call(text)
        best = min(best, (time.perf_counter_ns() - began) / len(texts) / 1000)
    return best


def nowhere(profile: Profile) -> Take:
    """Return the feed's path from text to event, with events that nobody receives."""
    assert profile.fast_frames is not None
    markets = {f"{coin}USDT": (coin, f"{coin}/USDT") for coin in DEFAULT_COINS}
    reading = FrameReading()
    reading.received_at = time.time_ns()
    goals = {
        kind.makes: Destination(lambda *event: None, set())
        for kinds in profile.fast_frames.kinds.values()
        for kind in kinds
    }
    return taker(
        profile.fast_frames, markets, {}, profile.name, reading, goals, lambda *ticker: None, lambda *error: None
    )


async def measure(venue: str, runs: int) -> None:
    own: list[tuple[Profile, Take]] = []
    make = RowHandler.taker

    def taken(delivery: RowHandler, blame: Blame) -> Take | None:
        if (take := make(delivery, blame)) is not None:
            own.append((delivery._profile, take))
        return take

    RowHandler.taker = taken  # type: ignore[assignment,method-assign] # the feed's own function is measured
    texts, aside = Texts(venue), Texts(venue)
    stages: dict[str, float] = {}

    def stage(name: str, call: Callable[[str], Any], texts: Texts = texts) -> None:
        stages[name] = fastest(call, (texts.make(FRAMES) for _ in range(runs)))

    async with Simulator(venues=(venue,), rate=1, laws=False) as simulator:
        where = ExchangeConfig(venue, rest_url=simulator.rest_url, ws_url=simulator.ws_url)
        settings = Settings(coins=[CoinConfig(coin) for coin in DEFAULT_COINS], exchanges=[where])
        seen = 0

        def count(trade: TradeEvent) -> None:
            nonlocal seen
            seen += 1

        async with MarketFeed(settings=settings) as feed:
            (profile, take), table = own[0], own[0][0].fast_frames
            assert table is not None
            for text in texts.make(WARM_UP):
                take(text)
            stage("nothing", str.isascii, aside)  # the cost of a call itself
            stage("the frame is decoded", table.kinds[aside.make(1)[0][table.at]][0].decode, aside)
            stage("checked, and made an event", nowhere(profile), aside)
            stage("ordered, cached, watched over", take)
            feed.subscribe_trades(count)
            stage("a callback for trades", take)
            feed.subscribe_price(lambda tick: None)
            stage("a tick made, a callback for prices", take)
            whole = stages["a tick made, a callback for prices"]
            cold = fastest(take, (texts.make(COLD) for _ in range(COLD_RUNS)))
            assert seen == 2 * runs * FRAMES + COLD * COLD_RUNS, "a trade was lost"
    print(f"{venue}, µs per trade")
    for (_, before), (name, after) in pairwise(stages.items()):
        print(f"  {name:38} {after - before:5.2f}")
    print(f"  {'in one piece':38} {whole:5.2f}\n  {'cold':38} {cold:5.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=WIRES, default="binance")
    parser.add_argument("--runs", type=int, default=300)
    args = parser.parse_args()
    asyncio.run(measure(args.venue, args.runs))
