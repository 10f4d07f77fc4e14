"""Bybit v5's protocol on the simulator, spot: paths, requests, messages and limits."""
