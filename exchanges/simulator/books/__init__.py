"""Order books on the way from a market to its readers."""
