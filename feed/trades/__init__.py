"""Delivers every trade of a coin once and in the venue's order."""
