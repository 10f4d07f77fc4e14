"""Outages of every kind over real sockets and the real ccxt.pro classes; a test's name seeds its random numbers."""
