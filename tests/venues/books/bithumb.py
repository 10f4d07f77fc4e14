"""Bithumb (generation 2): "Orderbook" of its WebSocket documentation: each message is a whole book, as on Upbit."""

from tests.venues.books.upbit import NOTICES, WHOLE, change, opening, wanted

__all__ = ["NOTICES", "WHOLE", "change", "opening", "wanted"]
