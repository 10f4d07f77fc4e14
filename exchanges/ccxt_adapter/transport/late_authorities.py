"""Defers loading the system's certificate authorities: importing aiohttp loads them twice, and a feed uses neither.

aiohttp makes two TLS contexts at its import, 25 ms and 1 MB each. A feed has a context of its own (``certificates``).
Here both load the authorities when something uses them, for example a program's own aiohttp session. This also keeps
the import from hanging if SSL_CERT_FILE names a pipe that nobody writes to.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from threading import get_ident
from typing import Any

from exchanges.ccxt_adapter.transport.certificates import FILE, is_endless, trust_the_systems

_SETTER = "set_default_verify_paths"  # the method that loads the authorities


class _LateContext(ssl.SSLContext):
    """A context that loads its authorities when it is first used; then it is a plain context."""

    __slots__ = ()

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return _loaded(self).wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return _loaded(self).wrap_socket(*args, **kwargs)

    def get_ca_certs(self, *args: Any, **kwargs: Any) -> Any:
        return _loaded(self).get_ca_certs(*args, **kwargs)

    def cert_store_stats(self) -> dict[str, int]:
        return _loaded(self).cert_store_stats()


def _loaded(context: ssl.SSLContext) -> ssl.SSLContext:
    trust_the_systems(context)
    context.__class__ = ssl.SSLContext  # last, because another thread may use the context at the same time
    return context


@contextlib.contextmanager
def authorities_when_used() -> Iterator[None]:
    """Context in which the TLS contexts that this thread makes load the system's authorities when they are used.

    This has no effect if a program has replaced ``ssl.SSLContext`` or its method that loads them, as truststore does.
    """
    if ssl.SSLContext is not _LateContext.__base__ or _SETTER in vars(ssl.SSLContext):
        yield
        return
    thread, load = get_ident(), ssl.SSLContext.set_default_verify_paths

    def late(context: ssl.SSLContext) -> None:
        if get_ident() == thread and type(context) is ssl.SSLContext:
            context.__class__ = _LateContext
        else:
            load(context)

    setattr(ssl.SSLContext, _SETTER, late)
    try:
        yield
    finally:
        delattr(ssl.SSLContext, _SETTER)


def import_aiohttp_if_it_would_hang() -> None:
    """Import aiohttp with deferred authorities if SSL_CERT_FILE names a pipe or a device: otherwise it would hang."""
    if is_endless(os.environ.get(FILE, "")):
        with authorities_when_used():
            import aiohttp  # noqa: F401 - later imports find the module
