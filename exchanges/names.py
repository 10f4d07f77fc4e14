"""Lists the names of all venues without importing ccxt, which takes a second; finds those nearest to a wrong name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from os.path import join
from pkgutil import iter_modules

ALIASES = {
    "bybit": "bybit",
    "binance": "binance",
    "binance_us": "binanceus",
    "binance_testnet": "binance",
    "bybit_testnet": "bybit",
}
"""Our names for a venue, and the ccxt id behind each."""


_added: dict[str, None] = {}  # names that a program has registered, in its order


def exchange_names() -> list[str]:
    """Return every name that settings may use: ours, ccxt.pro's ids in alphabetical order, and registered names."""
    known = _built_in()
    return [*known, *(name for name in _added if name not in known)]


def add(name: str) -> None:
    """Add ``name`` to the names that settings may use."""
    _added[name] = None


@cache
def _built_in() -> list[str]:
    return [*ALIASES, *sorted(_pro_ids() - set(ALIASES))]


def canonical(name: str) -> str:
    """Return the name that we use for a venue with two names: ``binance_us`` for ``binanceus``; else ``name``."""
    return "binance_us" if name == "binanceus" else name


def nearest(name: str, allowed: Iterable[str], n: int = 3) -> list[str]:
    """Return up to ``n`` of ``allowed`` that ``name`` may stand for, likeliest first, ignoring case and hyphens."""
    by_plain = {_plain(candidate): candidate for candidate in allowed}
    return [by_plain[match] for match in get_close_matches(_plain(name), by_plain, n, cutoff=0.5)]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _pro_ids() -> set[str]:
    """The modules in ccxt's ``pro`` folder: each is an exchange with WebSocket support.

    They are found as Python finds them: as source, compiled, in a zip file or in a frozen program. If nothing can list
    them, ccxt.pro is imported for its list.
    """
    spec = find_spec("ccxt")
    if spec is None:
        return set()
    folders = [join(folder, "pro") for folder in spec.submodule_search_locations or ()]
    found = {module.name for module in iter_modules(folders) if not module.ispkg and not module.name.startswith("_")}
    return found or set(import_module("ccxt.pro").exchanges)
