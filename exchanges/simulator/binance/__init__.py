"""Binance spot's protocol on the simulator."""
