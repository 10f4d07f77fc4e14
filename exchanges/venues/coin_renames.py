"""Coins that were renamed: the codes with which a venue may list one."""

from __future__ import annotations

RENAMES: tuple[tuple[str, str], ...] = (("POL", "MATIC"), ("S", "FTM"), ("RENDER", "RNDR"))
"""Coins that were renamed, one for one, with their older codes, under which some venues still list them.

What a venue merely spells in its own way (BCHSV, or Bitfinex's IOT and DOG) ccxt reads as BSV, IOTA and MDOGE.
"""


def codes_of(coin: str) -> tuple[str, ...]:
    """The codes with which a coin may be listed: its own first, then the code before or after a renaming."""
    return coin, *(other for pair in RENAMES if coin in pair for other in pair if other != coin)
