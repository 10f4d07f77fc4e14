"""Wrong data that a venue may send, read by the real ccxt.pro classes over real sockets."""
