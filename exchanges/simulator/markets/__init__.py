"""A simulated venue's markets, their trades and history."""
