"""Looks host names up in daemon threads, so that a name server without an answer blocks neither the loop nor the exit.

asyncio looks names up in its pool of threads. A thread there may hang (getaddrinfo takes up to 30 s and cannot be
cancelled), and the end of the loop and of the process waits for it. Here an abandoned lookup continues in a daemon
thread, and later requests for the same name wait for the same thread. A request waits for PATIENCE seconds at most:
less than the default connect_timeout, so that the error names the name server.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

PATIENCE = 8.0  # seconds for which a request waits; a resolver asks its second name server after 5
HUNG = 60.0  # seconds after which a lookup that has not ended is abandoned, and another one begins

_Found = list[tuple[Any, ...]]  # getaddrinfo's rows
_Asked = tuple[str, int, int]

_lock = threading.Lock()
_running: dict[_Asked, tuple[float, Future[_Found]]] = {}


async def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> _Found:
    """getaddrinfo's rows for a TCP connection to ``host``; a cancelled call returns at once. Raises OSError."""
    with suppress(ValueError):  # ip_address raises this for a name
        ip_address(host)
        return list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
    found = asyncio.wrap_future(_lookup((host, port, family)))
    found.add_done_callback(lambda found: found.cancelled() or found.exception())  # otherwise asyncio warns
    failed: OSError
    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(found)  # other requests may wait for the same lookup
    except TimeoutError:
        silence = f"the name server has not answered for {host} within {PATIENCE:g} s"
        failed = socket.gaierror(socket.EAI_AGAIN, silence)
    except OSError as error:
        failed = type(error)(*error.args)  # a new error for each waiter: the traceback of a shared one would grow
    raise failed


def unanswered(after: float = 1.0) -> list[str]:
    """The names whose lookup began more than ``after`` seconds ago, and which no name server has answered yet."""
    now = time.monotonic()
    with _lock:
        return sorted({host for (host, _, _), (begun, _) in _running.items() if now - begun > after})


def _lookup(asked: _Asked) -> Future[_Found]:
    """The running lookup, or a new one."""
    with _lock:
        begun, running = _running.get(asked, (0.0, None))
        if running is not None and time.monotonic() - begun < HUNG:
            return running
        found: Future[_Found] = Future()
        _running[asked] = time.monotonic(), found
    try:
        threading.Thread(target=_run, args=(asked, found), name=f"looking up {asked[0]}", daemon=True).start()
    except RuntimeError:  # no thread can be started: nobody must wait for this lookup
        with _lock:
            _running.pop(asked, None)
        raise
    return found


def _run(asked: _Asked, found: Future[_Found]) -> None:
    host, port, family = asked
    rows: _Found | OSError
    try:
        rows = list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
    except OSError as error:
        rows = error
    except UnicodeError as error:  # a part of the name is empty or too long
        rows = socket.gaierror(socket.EAI_NONAME, f"no name of a host ({error})")
    with _lock:
        if _running.get(asked, (0.0, None))[1] is found:
            del _running[asked]
    if isinstance(rows, OSError):
        found.set_exception(rows)
    else:
        found.set_result(rows)
