"""Keeps market lists on disk; decides how long they are valid, and after what time a running feed renews them.

Each venue, market type, address, set of options and version of ccxt has a file. The files are in the folder
``market-feed`` in the platform's cache folder: ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux, ``~/Library/Caches`` on
macOS, ``%LOCALAPPDATA%`` on Windows. The environment variable MARKET_FEED_CACHE names another folder, or turns the
cache ``off``; ``options: {market_cache: false}`` turns it off for one venue. The markets of a loopback ``rest_url`` (a
simulator on some free port) are kept only if ``market_cache: true`` asks for it.

A file that is broken, too old, too large, another user's or from another version is ignored, and so is a folder that
can't be written: nothing here raises an error for them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from loguru import logger

from exchanges.ccxt_adapter.markets import table_bytes
from exchanges.ccxt_adapter.markets.table import MarketTable, sound

VARIABLE = "MARKET_FEED_CACHE"
FORMAT = 2  # version of the file's format; part of the file's name
TTL = 6 * 3600.0  # seconds for which a list is valid
AGED = 3600.0  # seconds after which a valid list is requested again, once data flows
MOST_BYTES = 32 << 20  # the largest size of a file
MOST_FILES = 64  # the most files in the folder
SUFFIX, UNFINISHED = ".markets", ".part"
DIGEST = 16  # bytes of each of the two digests in front of the content: one of the content, one of the key


class MarketCache:
    """The file of one venue's markets in ``folder``. ``key`` is everything that the list depends on."""

    def __init__(self, folder: Path, name: str, *key: Any) -> None:
        self.folder = folder
        self._key = _digest(msgspec.msgpack.encode((FORMAT, name, *key), order="sorted"))
        self.path = folder / f"{name}-{self._key.hex()[:16]}{SUFFIX}"

    def read(self) -> MarketTable | None:
        """Read the list, if it is valid."""
        try:
            table = self._checked(self._content())
        except (OSError, ValueError, msgspec.MsgspecError, zlib.error, RecursionError) as error:
            if not isinstance(error, FileNotFoundError):
                logger.debug("the list of markets in {} is not used: {}", self.path, error)
            return None
        table_bytes.give_back_memory()
        return table

    def write(self, table: MarketTable) -> None:
        """Write a list if possible: the whole list or nothing, and only if reading the file gives the same list."""
        try:
            content = table_bytes.written(table)
            if table_bytes.read(content) != table:
                raise ValueError("it would not be read back the same")
            if len(content) + DIGEST > MOST_BYTES:
                raise ValueError(f"it has {len(content)} bytes, allowed are {MOST_BYTES}")
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._put(_digest(self._key, content), self._key, content)
            self._tidy()
        except (OSError, ValueError, TypeError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
            logger.debug("the list of markets is not written to {}: {}", self.path, error)
        table_bytes.give_back_memory()

    def _content(self) -> bytes:
        with open(self.path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is no plain file")
            if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
                raise ValueError("other users can write to it")
            digest, key, content = file.read(DIGEST), file.read(DIGEST), file.read(MOST_BYTES - DIGEST + 1)
        if len(key) + len(content) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        if digest != _digest(key, content):
            raise ValueError("it is broken")
        if key != self._key:
            raise ValueError("it is the list of another exchange or address")
        return content

    def _checked(self, content: bytes) -> MarketTable:
        table = table_bytes.read(content)
        age = time.time() - table.loaded_at
        if not 0 <= age < TTL:
            raise ValueError(f"it is {age:.0f} s old, allowed are {TTL:.0f} s")
        if not sound(table):
            raise ValueError("it has no markets, or has them under wrong names")
        if not all(symbol in table.markets for symbols in table.ids.values() for symbol in symbols):
            raise ValueError("it has an id that belongs to no market")
        return table

    def _put(self, *content: bytes) -> None:
        handle, part = tempfile.mkstemp(UNFINISHED, self.path.stem, self.folder)  # readable only by its owner
        try:
            with open(handle, "wb") as file:
                file.writelines(content)
            os.replace(part, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise

    def _tidy(self) -> None:
        """Remove old files (ours, by their suffix), and the oldest beyond MOST_FILES."""
        mine = [path for path in self.folder.iterdir() if path.suffix in (SUFFIX, UNFINISHED)]
        newest = sorted(mine, key=_written, reverse=True)
        for place, path in enumerate(newest):
            if place >= MOST_FILES or time.time() - _written(path) > TTL:
                with suppress(OSError):
                    path.unlink()


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, in case the file is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _digest(*content: bytes) -> bytes:
    counted = hashlib.blake2b(digest_size=DIGEST)
    for each in content:
        counted.update(each)
    return counted.digest()


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def cache_folder() -> Path | None:
    """The folder for lists; None if the cache is off.

    Raises ValueError for a MARKET_FEED_CACHE that is neither a folder nor off.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked == "off":
        return None
    if asked:
        if not Path(asked).is_absolute():
            raise ValueError(f"the environment's {VARIABLE} is {asked!r}: allowed are off and an absolute path")
        return Path(asked)
    base = _platform_folder()
    return base / "market-feed" if base.is_absolute() else None


def why_unwritable(folder: Path) -> str:
    """Why no list can be written to a folder; "" if lists can be written. Makes the folder, as the first list would."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except (OSError, ValueError) as error:  # ValueError: a character that no path may have
        return f"{folder} cannot be written ({getattr(error, 'strerror', None) or error})"
    return ""


def _platform_folder() -> Path:
    with suppress(RuntimeError):  # no home folder is known
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA", ""))
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches"
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return given if given.is_absolute() else Path.home() / ".cache"
    return Path()


def market_cache(asked: object, rest_url: str | None, name: str, *key: Any) -> MarketCache | None:
    """The cache of a venue, or None if the venue must not have one.

    ``asked`` is the option ``market_cache``: True, False or, by default, None. Raises ValueError for anything else.
    """
    if asked not in (True, False, None):
        raise ValueError(f"options.market_cache is {asked!r}: allowed are true and false")
    folder = cache_folder()
    if folder is None or asked is False or (asked is None and _loopback(rest_url)):
        return None
    try:
        return MarketCache(folder, name, rest_url, *key)
    except (TypeError, ValueError, OverflowError) as error:  # options that cannot be encoded
        logger.debug("{}: its list of markets is not kept on disk: {}", name, error)
        return None


def _loopback(rest_url: str | None) -> bool:
    host = urlsplit(rest_url or "").hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
