"""Candles of one venue: each closed exactly once, what was missed fetched."""
