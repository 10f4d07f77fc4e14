"""Passes a feed's events on to other programs, over the public API of MarketFeed alone."""
