"""Frames of Bithumb's order books (generation 2), documented under "Orderbook": each is a whole book, as on Upbit."""

from tests.venues.books.upbit import NOTICES, WHOLE, change, opening, wanted

__all__ = ["NOTICES", "WHOLE", "change", "opening", "wanted"]
