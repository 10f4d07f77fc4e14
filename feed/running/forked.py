"""Marks feeds as not connected in a forked child: their event loop, threads and sockets stay with the parent."""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet


class Feed(Protocol):
    """What this module needs to know about a feed."""

    def leave_behind(self) -> object:
        """Become a feed that is not connected; returns the objects that belong to the parent's connection."""


_feeds: WeakSet[Any] = WeakSet()
_parents: list[object] = []  # kept, because deleting these objects would close the parent's sockets and warn


def register(feed: Feed) -> None:
    """Make sure that a forked child calls ``leave_behind`` on ``feed``."""
    _feeds.add(feed)


def _in_child() -> None:
    for feed in list(_feeds):
        _parents.append(feed.leave_behind())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
