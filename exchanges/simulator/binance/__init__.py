"""Binance's protocol on the simulator, spot and USD-M perpetuals: paths, requests, messages and limits."""
