"""Passes a feed's events on to other programs, using only the public API of MarketFeed."""
