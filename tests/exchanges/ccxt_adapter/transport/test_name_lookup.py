"""Lookups of host names when no thread can be started."""

from __future__ import annotations

import threading

import pytest

from exchanges.ccxt_adapter.transport.name_lookup import look_up


async def test_a_lookup_without_a_free_thread_does_not_block_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next lookup of the same name starts a thread again, and does not wait for the lookup that never started."""
    with monkeypatch.context() as full:

        def start(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        full.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"):
                await look_up("localhost", 1)
    assert await look_up("localhost", 1)
