"""``--metrics-port``: serves a feed's metrics while a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feed.cli.process import CommandError
from feed.errors import FeedError

if TYPE_CHECKING:
    from feed import MarketFeed, Recorder


@contextmanager
def metrics(feed: MarketFeed, port: int | None, recorder: Recorder | None = None) -> Iterator[None]:
    """Serve the metrics of ``feed`` and ``recorder`` on ``port`` of 127.0.0.1; None: do not. Raises CommandError."""
    if port is None:
        yield
        return
    try:
        from feed import start_metrics

        handle = start_metrics(feed, port, recorder=recorder)
    except (ImportError, FeedError) as error:
        raise CommandError(str(error)) from None
    with handle:
        yield
