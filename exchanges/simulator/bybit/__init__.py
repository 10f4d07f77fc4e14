"""Bybit v5 spot's protocol on the simulator."""
