"""Outages of every kind over real sockets and the real ccxt.pro classes; a test's own name seeds its dice."""
