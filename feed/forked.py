"""What becomes of feeds in a forked child: they are the parent's, whose loop, threads and sockets the child has not."""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet


class Feed(Protocol):
    """A feed, as a fork leaves it behind."""

    def leave_behind(self) -> object:
        """Be a feed that is not connected; returns what belonged to the connection."""


_feeds: WeakSet[Any] = WeakSet()
_parents: list[object] = []  # kept: what is deleted would close its sockets and warn


def register(feed: Feed) -> None:
    """Have ``feed`` be told when this process is a fork."""
    _feeds.add(feed)


def _in_child() -> None:
    for feed in list(_feeds):
        _parents.append(feed.leave_behind())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
