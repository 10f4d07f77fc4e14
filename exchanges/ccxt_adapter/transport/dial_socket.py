"""The sockets of dials: if the event loop has closed a descriptor, its socket never touches the number's next user.

uvloop 0.22.1, which ccxt requires, closes the descriptor if a dial is cancelled while it takes the socket over, and
does not tell the socket (MagicStack/uvloop 738). The socket would close the same number later, which may be another
connection's by then.
"""

from __future__ import annotations

import os
import socket
from typing import Any


class DialSocket(socket.socket):
    """A socket that knows whether its descriptor is still its own."""

    def __init__(self, *kind: Any, **options: Any) -> None:
        super().__init__(*kind, **options)
        self._inode = _inode(self.fileno())

    @property
    def is_open(self) -> bool:
        """Whether its descriptor is open, and no other socket or file has the number."""
        return self.fileno() >= 0 and _inode(self.fileno()) == self._inode

    def hang_up(self) -> None:
        """End the TCP connection; its transport sees that and closes the socket."""
        if self.is_open:
            self.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        if self.is_open:
            self.close()
        else:
            self.detach()


def dial_socket(address: tuple[Any, ...]) -> DialSocket:
    """Make the socket for one address of getaddrinfo, as the ``socket_factory`` of aiohttp and aiohappyeyeballs."""
    family, kind, protocol, *_ = address
    return DialSocket(family, kind, protocol)


def _inode(descriptor: int) -> int | None:
    """A number that differs between sockets with the same descriptor; None where there is none (Windows)."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
