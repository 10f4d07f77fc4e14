"""Marks feeds as not connected in a forked child: their event loop, threads and sockets stay with the parent."""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

_leave: set[WeakMethod[Callable[[], object]]] = set()
_parents: list[object] = []  # kept, because deleting these objects would close the parent's sockets and warn


def register(leave_behind: Callable[[], object]) -> None:
    """Make sure that a forked child calls this method, as long as its object exists.

    The method marks the child's copy of a feed as not connected. It returns the objects that belong to the parent's
    connection.
    """
    _leave.add(WeakMethod(leave_behind, _leave.discard))


def _in_child() -> None:
    for method in list(_leave):
        if (leave_behind := method()) is not None:
            _parents.append(leave_behind())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
