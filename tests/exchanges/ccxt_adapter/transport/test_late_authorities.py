"""TLS contexts that load the system's authorities at their first use verify servers like any other contexts."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from exchanges.ccxt_adapter.transport.late_authorities import authorities_when_used

USES: dict[str, Callable[[ssl.SSLContext], Any]] = {
    "stats": lambda context: context.cert_store_stats(),
    "list": lambda context: context.get_ca_certs(),
    "memory": lambda context: context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost"),
}


@pytest.mark.parametrize("use", USES)
def test_the_first_use_loads_the_authorities(use: str) -> None:
    with authorities_when_used():
        context = ssl.create_default_context()
    plain = ssl.create_default_context()
    assert type(context) is not ssl.SSLContext
    USES[use](context)
    assert type(context) is ssl.SSLContext
    assert context.cert_store_stats() == plain.cert_store_stats()
    assert context.verify_mode == plain.verify_mode


def test_contexts_of_other_threads_and_later_contexts_load_the_authorities_at_once() -> None:
    made: list[ssl.SSLContext] = []
    with authorities_when_used():
        thread = threading.Thread(target=lambda: made.append(ssl.create_default_context()))
        thread.start()
        thread.join()
    made.append(ssl.create_default_context())
    assert [type(context) for context in made] == [ssl.SSLContext, ssl.SSLContext]
    assert made[0].cert_store_stats() == made[1].cert_store_stats()


def test_a_method_that_the_program_has_replaced_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[ssl.SSLContext] = []
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda context: called.append(context))
    with authorities_when_used():
        context = ssl.create_default_context()
    assert called == [context]
    assert type(context) is ssl.SSLContext
