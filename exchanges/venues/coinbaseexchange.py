"""Coinbase Exchange."""

from __future__ import annotations

from exchanges.venues.profile import Profile

PROFILES = (
    Profile(
        "coinbaseexchange",
        "coinbaseexchange",
        trade_market="product_id",
        trade_texts=("maker_order_id", "taker_order_id"),  # without them ccxt takes the side for the taker's
    ),
)
