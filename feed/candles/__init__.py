"""Candles: tracked or built from trades, repaired after outages, each closed exactly once, and remembered."""
