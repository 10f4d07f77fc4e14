"""Whatever a venue may send by mistake, through the real ccxt.pro classes over real sockets."""
