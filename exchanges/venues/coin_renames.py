"""Coins that were renamed: the codes under which a venue may list such a coin."""

from __future__ import annotations

RENAMES: tuple[tuple[str, str], ...] = (("POL", "MATIC"), ("S", "FTM"), ("RENDER", "RNDR"))
"""The new and the old code of each renamed coin (one new coin for one old coin): some venues still list the old code.

Codes that only one venue spells differently (BCHSV, or Bitfinex's IOT and DOG) are not here: ccxt converts them to BSV,
IOTA and MDOGE.
"""


def codes_of(coin: str) -> tuple[str, ...]:
    """The codes under which a coin may be listed: its own first, then its code before or after a renaming."""
    return coin, *(other for pair in RENAMES if coin in pair for other in pair if other != coin)
