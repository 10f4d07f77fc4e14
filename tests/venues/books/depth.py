"""An order book and its changes, independent of a venue; each module of this package writes them as its venue's
frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from tests.venues.market import PRICES

Level = tuple[float, float]  # (price, size)
Levels = tuple[Level, ...]
LEVELS = 30  # number of levels of each side


@dataclass(frozen=True, slots=True)
class Depth:
    """The state of a market's book with this ``number``; levels are best first, ``timestamp`` in ms."""

    coin: str
    number: int
    bids: Levels
    asks: Levels
    timestamp: int


@dataclass(frozen=True, slots=True)
class Change:
    """The change that led to the state ``after``: levels with their new size, 0 for removed ones."""

    bids: Levels
    asks: Levels
    after: Depth

    @property
    def coin(self) -> str:
        return self.after.coin

    @property
    def number(self) -> int:
        return self.after.number


class BookScript(Protocol):
    """The functions that each module for a venue must have."""

    NOTICES: frozenset[str]
    """Faults that the venue's frames show: "lost", "late" (an update comes after the next one), "level" (wrong size).
    """

    def opening(self, depth: Depth) -> list[Any]:
        """The frames that answer a subscription, with the book if the venue sends it then."""

    def change(self, change: Change) -> list[Any]: ...


def names() -> list[str]:
    """The names of the venues with a module in this package."""
    return sorted({module.name for module in iter_modules([str(Path(__file__).parent)])} - {"depth"})


def script(name: str) -> BookScript:
    return cast(BookScript, import_module(f"tests.venues.books.{name}"))


def first(coin: str, timestamp: int = 1_767_000_000_000) -> Depth:
    """A book with LEVELS levels a side around the coin's price; its number is 1."""
    price = PRICES[coin]
    bids = tuple((price - 0.5 * place, 1.25 + place) for place in range(1, LEVELS + 1))
    asks = tuple((price + 0.5 * place, 1.5 + place) for place in range(1, LEVELS + 1))
    return Depth(coin, 1, bids, asks, timestamp)


def changes(depth: Depth, count: int) -> Iterator[Change]:
    """``count`` successive changes: of sizes, and of levels that are added and removed at the top and further down.

    No side is longer than LEVELS: a level that is pushed out at the end is sent as removed, as by venues with a fixed
    depth.
    """
    for _ in range(count):
        step = depth.number
        bids, asks = dict(depth.bids), dict(depth.asks)
        best_bid, best_ask = depth.bids[0][0], depth.asks[0][0]
        if step % 3 == 1:
            new_bids: Levels = ((best_bid, 7.125 + step), (depth.bids[4][0], 2.0 + step))
            new_asks: Levels = ((depth.asks[2][0], 3.5 + step),)
        elif step % 3 == 2:
            new_bids, new_asks = (), ((best_ask, 0.0), (depth.asks[1][0], 4.75 + step))
        else:
            new_bids, new_asks = ((best_bid - 0.25, 0.375 + step),), ((best_ask - 0.25, 0.625 + step),)
        bids |= dict(new_bids)
        asks |= dict(new_asks)
        kept_bids = sorted((level for level in bids.items() if level[1]), reverse=True)
        kept_asks = sorted(level for level in asks.items() if level[1])
        gone_bids = tuple((price, 0.0) for price, _ in kept_bids[LEVELS:])
        gone_asks = tuple((price, 0.0) for price, _ in kept_asks[LEVELS:])
        after = Depth(
            depth.coin, depth.number + 1, tuple(kept_bids[:LEVELS]), tuple(kept_asks[:LEVELS]), depth.timestamp + 100
        )
        yield Change(new_bids + gone_bids, new_asks + gone_asks, after)
        depth = after


def texts(levels: Levels) -> list[list[str]]:
    """Levels as texts, in the form that most venues use."""
    return [[f"{price:.2f}", "0" if not size else f"{size:.4f}"] for price, size in levels]
