"""The sockets of aiohttp's dials: if the event loop has closed a descriptor, its socket does not close it again.

uvloop 0.22.1, which ccxt requires, closes the descriptor if a dial is cancelled while it takes the socket over, and
does not tell the socket (MagicStack/uvloop 738). The socket would close the same number later, when it may belong to
another connection. Picows's dials do not need this: its transports (aiofastnet) take sockets over themselves.
"""

from __future__ import annotations

import os
import socket
from typing import Any


class DialSocket(socket.socket):
    """A socket that closes its descriptor when it is deleted, but only if the descriptor still belongs to it."""

    def __init__(self, *kind: Any, **options: Any) -> None:
        super().__init__(*kind, **options)
        self._inode = _inode(self.fileno())

    def __del__(self) -> None:
        if self.fileno() >= 0 and _inode(self.fileno()) == self._inode:
            self.close()
        else:
            self.detach()


def dial_socket(address: tuple[Any, ...]) -> DialSocket:
    """Make the socket for one address of getaddrinfo, as aiohttp's ``socket_factory``."""
    family, kind, protocol, *_ = address
    return DialSocket(family, kind, protocol)


def _inode(descriptor: int) -> int | None:
    """A number that differs between sockets with the same descriptor; None if the system has none (Windows)."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
