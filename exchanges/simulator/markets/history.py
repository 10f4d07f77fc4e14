"""Makes the 24 hours before a simulated venue started, as minutes relative to the starting price.

A few shapes are drawn per venue. Its markets share them, each scaled to its own price and volume. A shape also has the
sums of its last n minutes, for each n. So 3,000 markets have their 24 h statistics at once, and candles are only
computed when somebody asks for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from exchanges.simulator.markets.candles import MINUTE, SimulatedCandle

MINUTES = 1440
UNIT = 1_000_000  # the starting price, as a number of these units


@dataclass(slots=True)
class Shape:
    """A day in ``minutes``: (open, high, low, close, lots, count). ``tail[i]`` sums up the minutes from ``i`` to the
    end: (open, high, low, lots, turnover, count)."""

    minutes: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    tail: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)


@lru_cache(maxsize=32)  # about 0.7 MB each
def draw_shape(seed: str) -> Shape:
    """A random walk with volatility clusters, drawn backwards so that it ends at the starting price."""
    draw = Random(seed)
    close, heat = 1.0, 0.0
    minutes = []
    for _ in range(MINUTES):
        heat = 0.98 * heat + 0.15 * draw.gauss(0, 1)
        width = 0.0006 * math.exp(heat)
        opened = min(2.0, max(0.5, close * (1 + width * draw.gauss(0, 1))))
        high = max(opened, close) * (1 + width * abs(draw.gauss(0, 0.5)))
        low = min(opened, close) * (1 - min(0.1, width * abs(draw.gauss(0, 0.5))))
        lots = 1 + int(1000 * math.exp(heat + draw.gauss(0, 0.4)))
        prices = (int(opened * UNIT), math.ceil(high * UNIT), int(low * UNIT), int(close * UNIT))
        minutes.append((*prices, lots, 1 + lots // 40))
        close = opened
    shape = Shape(minutes[::-1])
    shape.tail = _tails(shape.minutes)
    return shape


def _tails(minutes: list[tuple[int, int, int, int, int, int]]) -> list[tuple[int, int, int, int, int, int]]:
    highest, lowest, lots, turnover, count = 0, 1 << 60, 0, 0, 0
    tails = []
    for opened, high, low, close, volume, trades in reversed(minutes):
        highest, lowest = max(highest, high), min(lowest, low)
        lots, turnover, count = lots + volume, turnover + volume * ((opened + close) // 2), count + trades
        tails.append((opened, highest, lowest, lots, turnover, count))
    return tails[::-1]


@dataclass(slots=True)
class PriceHistory:
    """One market's day before the start: a shape at ``price`` ticks, with about ``lots`` as its volume."""

    seed: str  # the seed of the shape, which is drawn when first needed
    end: int  # Unix ms, a whole minute: the end of the past day, where the venue's own trades begin
    price: int
    lots: float
    _candles: dict[int, SimulatedCandle] = field(default_factory=dict)  # candles that were computed, by their number

    @property
    def start(self) -> int:
        return self.end - MINUTES * MINUTE

    @property
    def shape(self) -> Shape:
        return draw_shape(self.seed)

    @property
    def scale(self) -> int:
        """The factor by which the shape's lots are multiplied to get this market's lots."""
        return max(1, round(self.lots / self.shape.tail[0][3]))

    def candles(self, first: int, until: int) -> list[SimulatedCandle]:
        """The minutes from number ``first`` to before ``until``, each computed when it is first needed."""
        drawn, scale, minutes = self._candles, self.scale, self.shape.minutes
        wanted = range(max(0, first), min(MINUTES, until))
        for index in wanted:
            if index not in drawn:
                drawn[index] = self._candle(index, scale, *minutes[index])
        return [drawn[index] for index in wanted]

    def _candle(
        self, index: int, scale: int, opened: int, high: int, low: int, close: int, lots: int, count: int
    ) -> SimulatedCandle:
        lots *= scale
        turnover = lots * ((opened + close) // 2) * self.price // UNIT
        ticks = self._ticks
        start = self.start + index * MINUTE
        candle = SimulatedCandle(start, ticks(opened), ticks(high), ticks(low), ticks(close), lots, turnover, count)
        candle.buy_lots, candle.buy_turnover = lots // 2, turnover // 2
        return candle

    def since(self, ms: int) -> SimulatedCandle | None:
        """One candle from the minute of ``ms`` to the end of the day; None if the minute is after the end."""
        index = max(0, (ms - self.start) // MINUTE)
        if index >= MINUTES:
            return None
        opened, high, low, lots, turnover, count = self.shape.tail[index]
        scale = self.scale
        candle = SimulatedCandle(
            self.start + index * MINUTE, self._ticks(opened), self._ticks(high), self._ticks(low), self.price
        )
        candle.lots, candle.turnover, candle.count = lots * scale, turnover * scale * self.price // UNIT, count
        return candle

    def _ticks(self, relative: int) -> int:
        return max(1, relative * self.price // UNIT)
