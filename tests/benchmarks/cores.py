"""Runs a process of a benchmark on a core of its own, where the system can do that."""

from __future__ import annotations

import os
from contextlib import suppress


def on_core(number: int) -> None:
    """Run this process on one core; if the machine or the system does not allow this, it runs on any core."""
    with suppress(AttributeError, OSError, IndexError):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number]})
