"""The order books of one connection: built by us, or by ccxt and verified by us."""
