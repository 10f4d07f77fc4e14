"""Plays recordings through a feed: the same events in the same order, on the recording's clock."""
