"""The source of simulated trades: a seeded random walk per market, and a seeded choice of which market trades."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from random import Random


class PriceModel:
    """A random walk with volatility clusters and successive trades of one side, one step per trade.

    Step n of a seed is always the same, whenever it is drawn.
    """

    SPREAD = 6e-5  # standard deviation of a step, relative to the price, in calm times
    SPELL = 16  # steps between two changes of volatility and direction

    def __init__(self, seed: str, ticks: int, lots: int) -> None:
        """``ticks``: starting price. ``lots``: typical quantity."""
        self._random = Random(seed)
        self._draw = self._random.random
        self._home = self._price = float(ticks)
        self._lots = lots
        self._left = 0  # steps until volatility and direction change next
        self._heat = self._drift = self._width = 0.0

    def step(self) -> tuple[int, int, bool]:
        """The next trade: price in ticks, quantity in lots, whether the taker sold."""
        if not self._left:
            self._turn()
        self._left -= 1
        draw = self._draw
        move = (draw() + draw() + draw() - 1.5 + self._drift) * self._width  # a sum of three draws: nearly normal
        price = self._price = self._price * (1.0 + move)
        return int(price + 0.5), 1 + int(-self._lots * log(1.0 - draw())), move < 0.0

    def _turn(self) -> None:
        """Change the volatility a little, away from extremes, and sometimes begin a trend of the price in one
        direction.
        """
        self._left = self.SPELL
        self._heat = 0.97 * self._heat + 0.17 * self._random.gauss(0.0, 1.0)
        self._width = 2.0 * self.SPREAD * exp(self._heat)
        run = self._draw() < 0.08
        self._drift = (self._draw() - 0.5) * 2.0 if run else (self._home / self._price - 1.0) * 0.5
        self._price = min(max(self._price, 10.0, self._home / 20), self._home * 20)

    def move_to(self, ticks: int) -> None:
        """Continue from this price."""
        self._price = float(max(10, ticks))
        if not self._home / 10 < self._price < self._home * 10:
            self._home = self._price


class Flow:
    """Draws which market trades next, by its weight; sometimes one order makes several trades at once."""

    SWEEPS = 0.03  # share of orders that make several trades
    LONGEST = 30

    def __init__(self, seed: str, weights: Sequence[float]) -> None:
        self._random = Random(seed)
        self._bounds = list(accumulate(weights))
        self._population = range(len(weights))
        self._due = 0.0

    def orders(self, trades: float) -> list[tuple[int, int]]:
        """Draw orders as (market's index, number of trades); on average, a call's orders have ``trades`` trades."""
        self._due += trades
        random = self._random
        orders = []
        while self._due >= 1.0:
            market = random.choices(self._population, cum_weights=self._bounds)[0]
            count = random.randint(5, self.LONGEST) if random.random() < self.SWEEPS else 1
            self._due -= count
            orders.append((market, count))
        return orders
