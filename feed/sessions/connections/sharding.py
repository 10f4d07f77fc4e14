"""Decides which coins share a connection, when each connection may carry a limited number of subscriptions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence


def allot(weights: Mapping[str, int], parts: Sequence[Collection[str]], limit: int | None) -> list[list[str]]:
    """Spread the coins of ``weights`` over parts with at most ``limit`` in weight; a coin stays where it still fits.

    Returns the ``parts`` in their order, some of which may be empty now, and new ones after them. A coin that is
    heavier than the limit gets a part of its own. ``limit`` None: one part carries all coins.
    """
    spread: list[list[str]] = [[] for _ in parts]
    filled = [0] * len(parts)

    def put(coin: str, places: Iterable[int]) -> bool:
        """Put the coin into the first of these parts that has room for it."""
        for place in places:
            if limit is None or not spread[place] or filled[place] + weights[coin] <= limit:
                spread[place].append(coin)
                filled[place] += weights[coin]
                return True
        return False

    left = dict.fromkeys(weights)
    for place, part in enumerate(parts):
        for coin in part:
            if coin in left and put(coin, [place]):
                del left[coin]
    for coin in left:
        if not put(coin, range(len(spread))):
            spread.append([coin])
            filled.append(weights[coin])
    return spread
