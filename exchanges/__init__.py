"""Venues as streams of normalized events. ``exchanges`` never imports ``feed``; only two of its modules import ccxt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loguru import logger

from exchanges.ccxt_adapter.stream.connection import Subscription
from exchanges.errors import Rejected
from exchanges.local_faults import local_fault
from exchanges.names import exchange_names
from exchanges.venues.profile import Access
from exchanges.venues.table import profile_of

if TYPE_CHECKING:
    from exchanges.ccxt_adapter.support import Support
    from exchanges.ccxt_adapter.venue import CcxtVenue

__all__ = ["Access", "Subscription", "exchange_names", "open_exchange", "profile_of", "supported"]

logger.disable("exchanges")  # a library is silent until its user enables it


def open_exchange(name: str, access: Access | None = None) -> CcxtVenue:
    """Return the venue ``name`` over its ccxt.pro class, nothing fetched yet.

    Imports ccxt, which takes about a second the first time. Raises ValueError for an unknown name and Rejected for a
    testnet that does not exist, and for what this machine or Python lacks.
    """
    access, profile = access or Access(), profile_of(name)
    try:
        from exchanges.ccxt_adapter.venue import CcxtVenue

        return CcxtVenue(replace(profile, **profile.swap) if access.market_type == "swap" else profile, access)
    except (OSError, ImportError, MemoryError) as error:
        raise Rejected(name, local_fault([error]) or f"this machine: {error}") from error


def supported() -> list[Support]:
    """Every venue that can be asked for, and what each streams. Imports ccxt."""
    from exchanges.ccxt_adapter import support

    return support.supported()
