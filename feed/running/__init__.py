"""Connects and ends a feed, with asyncio or without it, and in a forked child."""
