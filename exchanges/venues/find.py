"""Finds a venue's profile by its name: in the file of that name, in a related venue's file, or the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from exchanges.books.proof import BookRules, ProofKind
from exchanges.names import ALIASES, canonical, exchange_names, nearest
from exchanges.venues.profile import Profile

KIN: Mapping[str, str] = {
    "binancecoinm": "binance",
    "binanceusdm": "binance",
    "bybiteu": "bybit",
    "bybitid": "bybit",
    "kucoinfutures": "kucoin",
    "myokx": "okx",
    "okxus": "okx",
}
"""Venues whose ccxt class is another venue's with other addresses: they have the profile of that other venue."""
WHOLE_BOOKS = frozenset(
    (
        "aster", "bingx", "bitopro", "bitrue", "bullish", "bydfi", "derive", "hashkey", "hollaex", "lbank", "modetrade",
        "pacifica", "woofipro",
    )
)  # fmt: skip
"""Venues without a file that send an order book only as a whole (found by reading ccxt's pro modules)."""
_FILES: Mapping[str, str] = {**ALIASES, "binance_us": "binance", "gateeu": "gate"}  # names whose file has another name


def profile_of(name: str) -> Profile:
    """The profile of ``name``, one of our names or any ccxt.pro id. Raises ValueError with the nearest known names."""
    key = canonical(name)
    if key in (special := _special(_FILES.get(key, key))):
        return special[key]
    if key in KIN:
        return replace(_special(KIN[key])[KIN[key]], name=key)
    known = exchange_names()
    if name not in known:
        hint = " or ".join(nearest(name, known)) or "one of `market-feed exchanges`"
        raise ValueError(f"unknown exchange {name!r}; did you mean {hint}?")
    return Profile(name, books=BookRules(ProofKind.SNAPSHOTS) if name in WHOLE_BOOKS else BookRules())


@cache
def _special(file: str) -> Mapping[str, Profile]:
    """The profiles of a file in this package, by name; empty if there is no such file."""
    where = f"{__package__}.{file}"
    if not file.isidentifier() or find_spec(where) is None:
        return {}
    return {profile.name: profile for profile in getattr(import_module(where), "PROFILES", ())}
