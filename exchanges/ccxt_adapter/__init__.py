"""Venues over ccxt.pro: the only code that touches ccxt's objects."""
