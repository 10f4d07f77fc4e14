"""Recognizes faults of this machine or this program, so that they are not reported as the venue's answer."""

from __future__ import annotations

import errno
import re
import socket
import ssl
import sys
from collections.abc import Iterable

# the system's error -> what is wrong, and what can be done about it
_BY_NUMBER = {
    errno.EMFILE: "too many open files: raise this process's limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOMEM: "out of memory",
    errno.ENOBUFS: "out of memory for sockets",
    errno.EACCES: "not permitted: a firewall or the permissions of this process forbid the connection",
    errno.EPERM: "not permitted: a firewall or the permissions of this process forbid the connection",
    errno.ENETUNREACH: "the network is unreachable: this machine is offline, or has no route",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "no address or port is left to connect from",
    errno.EAFNOSUPPORT: "this machine has no such network (IPv4 or IPv6)",
    errno.ENOSPC: "no space left on the disk",
    errno.EROFS: "the file system is read-only",
}
_NUMBER = re.compile(r"\[Errno (\d+)\]")  # an error for several addresses has their errors in its text

# errors raised in these packages are no answer of a venue: their code only handles loops and sockets
_NETWORK = frozenset(
    {
        *("asyncio", "selectors", "select", "socket", "ssl", "threading", "concurrent"),
        *("aiohttp", "aiohappyeyeballs", "picows", "uvloop", "gevent", "greenlet", "eventlet"),
    }
)


def local_fault(errors: Iterable[BaseException]) -> str:
    """Return what is wrong on this machine, if one of ``errors`` shows it: an error and its chain of causes."""
    for error in errors:
        if isinstance(error, MemoryError):
            return "this machine: out of memory"
        if isinstance(error, ssl.SSLError | socket.gaierror):  # their numbers are not error numbers of the system
            return ""
        if isinstance(error, OSError) and (told := _told(error)):
            return f"this machine: {told}"
        if _is_programs(error):
            return f"this program: {type(error).__name__}: {error}{_patched()}"
    return ""


def _told(error: OSError) -> str:
    numbers = [error.errno] if error.errno else [int(each) for each in _NUMBER.findall(str(error))]
    here = [_BY_NUMBER[number] for number in numbers if number in _BY_NUMBER]
    return here[0] if here and len(here) == len(numbers) else ""  # if one address was reached, this machine works


def _is_programs(error: BaseException) -> bool:
    """Whether the program causes an error: its event loop lacks a feature, or a part of Python is missing."""
    if isinstance(error, NotImplementedError | ImportError):
        return True
    if isinstance(error, RecursionError) or not isinstance(error, RuntimeError | AttributeError | TypeError):
        return False
    return _raised_in(error) in _NETWORK


def _raised_in(error: BaseException) -> str:
    """The package whose code raised an error."""
    traceback, name = error.__traceback__, ""
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next
    return name.partition(".")[0]


def _patched() -> str:
    """A hint if another library has replaced parts of Python."""
    for library, hint in (("gevent", "monkey.patch_all()"), ("eventlet", "monkey_patch()")):
        if library in sys.modules and _has_patched(library):
            return f" ({library} has patched this process: run the feed in a process of its own, without {hint})"
    return ""


def _has_patched(library: str) -> bool:
    module = sys.modules.get("gevent.monkey" if library == "gevent" else "eventlet.patcher")
    patched = getattr(module, "saved", None) or getattr(module, "already_patched", None)
    return bool(patched)
