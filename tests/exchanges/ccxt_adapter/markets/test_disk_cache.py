"""Market lists are kept in files; broken files and implausible lists are ignored without an error."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchanges import Access
from exchanges.ccxt_adapter.markets.disk_cache import MOST_FILES, TTL, VARIABLE, MarketCache, cache_folder, market_cache
from exchanges.ccxt_adapter.markets.table import MarketTable
from exchanges.ccxt_adapter.venue import open_venue
from exchanges.errors import Rejected

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file modes")


def table(**changes: Any) -> MarketTable:
    row = {"symbol": "BTC/USDT", "id": "BTCUSDT", "active": True, "precision": {"price": 0.01}, "info": {}}
    made = MarketTable(time.time(), {"BTC/USDT": row}, {"BTCUSDT": ["BTC/USDT"]}, {"BTC": {"id": "BTC"}}, {"a": [1]})
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def cache(tmp_path: Path) -> MarketCache:
    return MarketCache(tmp_path / "kept", "binance", None, "spot", "4.5.90")


def test_a_written_list_can_be_read(cache: MarketCache) -> None:
    written = table()
    cache.write(written)
    assert cache.read() == written


def test_a_missing_file_is_ignored(cache: MarketCache) -> None:
    assert cache.read() is None


@POSIX
def test_only_the_owner_can_read_the_file_and_its_folder(cache: MarketCache) -> None:
    cache.write(table())
    assert cache.path.stat().st_mode & 0o777 == 0o600
    assert cache.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("key", [(None, "swap", "4.5.90"), (None, "spot", "4.6.0"), ("http://x", "spot", "4.5.90")])
def test_each_combination_of_settings_has_its_own_file(cache: MarketCache, key: tuple[Any, ...]) -> None:
    cache.write(table())
    other = MarketCache(cache.folder, "binance", *key)
    assert other.read() is None
    cache.path.rename(other.path)  # a renamed file is not read: it names the settings for which it was written
    assert other.read() is None


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\0",
    "first bit": lambda content: flip(content, 0),
    "last bit": lambda content: flip(content, len(content) - 1),
    "text": lambda content: b"{}",
    "pickle": lambda content: b"\x80\x04N.",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_ignored_and_replaced_by_the_next_list(cache: MarketCache, how: str) -> None:
    cache.write(table())
    cache.path.write_bytes(BROKEN[how](cache.path.read_bytes()))
    assert cache.read() is None
    cache.write(table())
    assert cache.read() is not None


NONSENSE: dict[str, Callable[[], MarketTable]] = {
    "old": lambda: table(loaded_at=time.time() - TTL - 1),
    "of the future": lambda: table(loaded_at=time.time() + 3600),
    "no markets": lambda: table(markets={}, ids={}),
    "wrong name": lambda: table(markets={"BTC/USDT": {"symbol": "ETH/USDT"}}),
    "ids of nothing": lambda: table(ids={"BTCUSDT": ["ETH/USDT"]}),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_an_implausible_list_is_ignored(cache: MarketCache, what: str) -> None:
    cache.write(NONSENSE[what]())
    assert cache.path.exists()
    assert cache.read() is None


@POSIX
@pytest.mark.parametrize("what", ["a pipe", "a folder", "a device", "a link to nothing", "a socket"])
def test_anything_other_than_a_file_at_the_path_is_ignored_without_waiting(
    cache: MarketCache, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.folder.mkdir(parents=True)
    match what:
        case "a pipe":
            os.mkfifo(cache.path)
        case "a folder":
            cache.path.mkdir()
        case "a device":
            cache.path.symlink_to("/dev/zero")
        case "a link to nothing":
            cache.path.symlink_to(cache.folder / "nothing")
        case _:
            monkeypatch.chdir(cache.folder)  # a socket's path is limited to about 100 characters
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(cache.path.name)
    assert cache.read() is None
    written = table()
    cache.write(written)
    assert cache.read() == (None if what == "a folder" else written)


@POSIX
def test_a_file_that_others_can_write_is_ignored(cache: MarketCache) -> None:
    """If the file were used, other users could change the ids of markets, which would lead to wrong prices."""
    cache.write(table())
    cache.path.chmod(0o666)
    assert cache.read() is None


def test_a_list_that_is_too_large_is_neither_written_nor_read(
    cache: MarketCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write(table())
    monkeypatch.setattr("exchanges.ccxt_adapter.markets.disk_cache.MOST_BYTES", 50)
    assert cache.read() is None
    cache.path.unlink()
    cache.write(table())
    assert not cache.path.exists()


@pytest.mark.parametrize("odd", [(1, 2), {1, 2}, object(), float("nan"), 2**70])
def test_a_list_that_would_be_read_back_differently_is_not_written(cache: MarketCache, odd: object) -> None:
    cache.write(table(options={"odd": odd}))
    assert not cache.path.exists()


def test_a_folder_that_cannot_be_made_causes_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = MarketCache(tmp_path / "file" / "kept", "binance")
    cache.write(table())
    assert cache.read() is None
    (tmp_path / "folder").mkdir()
    blocked = MarketCache(tmp_path / "folder", "binance")
    blocked.path.mkdir()  # a folder, which cannot be replaced
    blocked.write(table())
    assert blocked.read() is None
    assert list(blocked.folder.iterdir()) == [blocked.path]  # no unfinished file is left


def test_old_files_are_removed_and_other_programs_files_stay(cache: MarketCache) -> None:
    cache.folder.mkdir()
    for name in ("old.markets", "old.part", "notes.txt"):
        path = cache.folder / name
        path.write_text("x")
        os.utime(path, (time.time() - TTL - 1,) * 2)
    cache.write(table())
    assert sorted(path.name for path in cache.folder.iterdir()) == [cache.path.name, "notes.txt"]


def test_the_number_of_files_in_the_folder_is_limited(cache: MarketCache) -> None:
    cache.folder.mkdir()
    for number in range(MOST_FILES + 5):
        path = cache.folder / f"{number}.markets"
        path.write_text("x")
        os.utime(path, (time.time() - 100 - number,) * 2)
    cache.write(table())
    names = {path.name for path in cache.folder.iterdir()}
    assert len(names) == MOST_FILES
    assert {cache.path.name, "0.markets"} <= names


# --- the folder, if any ----------------------------------------------------------------------------------------------


def test_the_environment_names_the_folder_or_turns_the_cache_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv(VARIABLE, "off")
    assert cache_folder() is None
    for wrong in ("of", "cache", "./cache"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"MARKET_FEED_CACHE is '{wrong}': allowed are off and an absolute path"):
            cache_folder()
        with pytest.raises(Rejected, match="allowed are off and an absolute path"):
            open_venue("binance")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="tests the XDG folders, which are not used here")
def test_by_default_the_platforms_cache_folder_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "market-feed"
    for useless in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", useless)
        assert cache_folder() == tmp_path / ".cache" / "market-feed"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="tests the XDG folders, which are not used here")
def test_without_a_home_folder_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nobody))
    assert cache_folder() is None


@pytest.mark.parametrize(
    ("asked", "rest_url", "kept"),
    [
        (None, None, True),
        (None, "https://proxy.example:8443", True),
        (None, "http://127.0.0.1:8765", False),
        (None, "http://localhost:8765", False),
        (None, "http://[::1]:8765", False),
        (True, "http://127.0.0.1:8765", True),
        (False, None, False),
    ],
)
def test_a_loopback_address_is_cached_only_on_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: bool | None, rest_url: str | None, kept: bool
) -> None:
    """Simulators listen on any free port, and each would leave a file."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert (market_cache(asked, rest_url, "binance") is not None) is kept


def test_with_options_that_cannot_be_encoded_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert market_cache(True, None, "binance", {"odd": object()}) is None


@pytest.mark.parametrize("asked", ["yes", 7, [True]])
def test_a_setting_that_is_neither_true_nor_false_is_refused(asked: object) -> None:
    with pytest.raises(Rejected, match=r"options\.market_cache is .*: allowed are true and false"):
        open_venue("binance", Access(options={"market_cache": asked}))
