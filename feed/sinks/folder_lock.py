"""Locks a folder for one recorder or bus at a time: the lock ends with the process that holds it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from feed.errors import FeedError


class FolderLock:
    """Holds the lock of a folder until ``release``.

    ``holder`` names the kind of program that needs a folder of its own, and the file of the lock.
    Raises FeedError if another program of this kind holds the lock, and OSError.
    """

    def __init__(self, folder: Path, holder: str = "recorder") -> None:
        self._path = folder / f"{holder}.lock"
        self._number = -1
        while not self.stands:  # the file was removed just before it was locked
            self.release()
            folder.mkdir(parents=True, exist_ok=True)
            self._number = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(self._number)
            except OSError:
                self.release()
                raise FeedError(f"another {holder} writes to {folder}: each needs a folder of its own") from None

    @property
    def number(self) -> int:
        """The number of the open file; a process that inherits it holds the lock until it ends."""
        return self._number

    @property
    def stands(self) -> bool:
        """Whether the locked folder still exists: it may have been removed, and another folder made."""
        try:
            return os.path.samestat(os.fstat(self._number), os.stat(self._path))
        except OSError:
            return False

    def release(self, *, remove: bool = False) -> None:
        """Release the lock, and with ``remove`` delete its file if the system allows that. Idempotent."""
        if remove and self._number >= 0 and self.stands:
            with suppress(OSError):
                self._path.unlink()
        if self._number >= 0:
            with suppress(OSError):
                os.close(self._number)
            self._number = -1


def _lock(number: int) -> None:
    """Lock an open file without waiting; raises OSError if it is locked already."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # exists on Windows only
    else:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
