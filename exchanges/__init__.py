"""Venues as streams of normalized events. ``exchanges`` never imports ``feed``; only ``ccxt_adapter`` imports ccxt."""

from __future__ import annotations

from loguru import logger

from exchanges.ccxt_adapter.transport.late_authorities import import_aiohttp_if_it_would_hang
from exchanges.names import exchange_names
from exchanges.registry import open_exchange, register, supported
from exchanges.venue import Access, Subscription
from exchanges.venues.find import profile_of

__all__ = ["Access", "Subscription", "exchange_names", "open_exchange", "profile_of", "register", "supported"]

logger.disable("exchanges")  # a library is silent until its user enables it

import_aiohttp_if_it_would_hang()
