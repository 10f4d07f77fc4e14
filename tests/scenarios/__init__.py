"""Outages of every kind over real sockets and the real ccxt.pro classes; random numbers are seeded by test names."""
