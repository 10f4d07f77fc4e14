"""Order books: their levels, what proves them, and REST snapshots for them; pure, without ccxt."""
