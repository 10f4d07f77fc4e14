"""Venues as streams of normalized events. ``exchanges`` never imports ``feed``; only its adapter imports ccxt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchanges.names import exchange_names
from exchanges.profiles import profile_of

if TYPE_CHECKING:
    from exchanges.adapter import Access, Venue

__all__ = ["exchange_names", "open_exchange", "profile_of"]


def open_exchange(name: str, access: Access | None = None) -> Venue:
    """Return the venue ``name`` over its ccxt.pro class, nothing fetched yet.

    Imports ccxt, which takes about a second the first time. Raises ValueError for an unknown name and Refused for a
    testnet that does not exist.
    """
    from exchanges.adapter import Access, Venue

    return Venue(profile_of(name), access or Access())
