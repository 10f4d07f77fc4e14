"""How a feed runs: connected and ended, with asyncio or without, and in a forked child."""
