"""Where simulated trades come from: a seeded walk per market, and a seeded choice of who trades when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from random import Random


class PriceModel:
    """A random walk with volatility clusters and runs of one side, one step per trade.

    Step n of a seed is always the same, whenever it is drawn.
    """

    SPREAD = 6e-5  # standard deviation of a step, relative to the price, in calm times

    def __init__(self, seed: str, ticks: int, lots: int) -> None:
        """``ticks``: starting price. ``lots``: typical quantity."""
        self._random = Random(seed)
        self._home = self._price = float(ticks)
        self._lots = lots
        self._heat = 0.0
        self._run = 0  # trades left in which one side keeps taking
        self._run_sells = False

    def step(self) -> tuple[int, int, bool]:
        """The next trade: price in ticks, quantity in lots, whether the taker sold."""
        random = self._random
        draw = random.random
        self._heat = 0.998 * self._heat + 0.045 * random.gauss(0.0, 1.0)
        move = random.gauss(0.0, 1.0) * self.SPREAD * math.exp(self._heat)
        if self._run:
            self._run -= 1
            move = -abs(move) if self._run_sells else abs(move)
        elif draw() < 0.01:
            self._run = int(draw() * 30)
            self._run_sells = draw() < 0.5
        move += (self._home / self._price - 1.0) * 1e-5
        self._price = min(max(self._price * (1.0 + move), 10.0, self._home / 20), self._home * 20)
        lots = 1 + int(-self._lots * math.log(1.0 - draw()))
        return round(self._price), lots, move < 0

    def move_to(self, ticks: int) -> None:
        """Go on from this price."""
        self._price = float(max(10, ticks))
        if not self._home / 10 < self._price < self._home * 10:
            self._home = self._price


class Flow:
    """Who trades next: a market drawn by its weight; now and then a sweep of several trades at once."""

    SWEEPS = 0.03  # share of orders that sweep the book
    LONGEST = 30

    def __init__(self, seed: str, weights: Sequence[float]) -> None:
        self._random = Random(seed)
        self._bounds = list(accumulate(weights))
        self._population = range(len(weights))
        self._due = 0.0

    def orders(self, trades: float) -> list[tuple[int, int]]:
        """About ``trades`` trades on average over many calls, as (index of the market, number of trades at once)."""
        self._due += trades
        random = self._random
        orders = []
        while self._due >= 1.0:
            market = random.choices(self._population, cum_weights=self._bounds)[0]
            count = random.randint(5, self.LONGEST) if random.random() < self.SWEEPS else 1
            self._due -= count
            orders.append((market, count))
        return orders
