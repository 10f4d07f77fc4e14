"""Decides which coins share a connection, when each connection may carry a limited number of subscriptions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def allot(weights: Mapping[str, int], parts: Sequence[Collection[str]], limit: int | None) -> list[list[str]]:
    """Spread the coins of ``weights`` over parts of ``limit`` each; a coin keeps its place as long as it fits there.

    Returns the ``parts`` in their order, some of which may be empty now, and new ones after them. A coin that is
    heavier than the limit gets a part of its own. ``limit`` None: one part carries whatever is added.
    """
    spread: list[list[str]] = []
    filled: list[int] = []
    placed: set[str] = set()

    def put(coin: str, place: int) -> bool:
        fits = limit is None or not spread[place] or filled[place] + weights[coin] <= limit
        if fits:
            spread[place].append(coin)
            filled[place] += weights[coin]
            placed.add(coin)
        return fits

    def begin() -> None:
        spread.append([])
        filled.append(0)

    for place, part in enumerate(parts):
        begin()
        for coin in part:
            if coin in weights and coin not in placed:
                put(coin, place)
    for coin in weights:
        if coin not in placed and not any(put(coin, place) for place in range(len(spread))):
            begin()
            put(coin, len(spread) - 1)
    return spread
