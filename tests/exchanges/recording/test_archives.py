"""Binance's public archives are imported as recordings: with and without a header, in ms and in µs, zip and CSV."""

from __future__ import annotations

import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from exchanges.events import Candle, TradeEvent
from exchanges.recording import writing
from exchanges.recording.archives import DAY, read_archive
from exchanges.recording.overview import verify
from feed import MarketFeed
from tests.recordings import Delivered, played

MS = 1_764_287_999_500  # half a second before 2025-11-28
HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"


def archive(folder: Path, name: str, text: str, *, zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not zipped:
        (folder / f"{name}.csv").write_text(text)
        return folder / f"{name}.csv"
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{name}.csv", text)
    return folder / f"{name}.zip"


def trades(unit: int, *, header: str = "", true: str = "True", false: str = "False") -> str:
    rows = [f"{n},{100 + n}.5,0.25,25.0,{(MS + n * 100) * unit},{true if n % 2 else false},True" for n in range(10)]
    return header + "\n".join(rows) + "\n"


def expected(exchange: str = "binance", market: str = "BTC/USDT") -> list[TradeEvent]:
    return [
        TradeEvent(
            "BTC", 100.5 + n, 0.25, bool(n % 2), MS + n * 100, exchange, str(n), (MS + n * 100) * 10**6, market=market
        )
        for n in range(10)
    ]


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("header", ["", HEADER])
@pytest.mark.parametrize("zipped", [True, False])
async def test_an_archive_of_trades_is_imported(unit: int, header: str, zipped: bool, tmp_path: Path) -> None:
    text = trades(unit, header=header, true="true" if header else "True", false="false" if header else "False")
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", text, zipped=zipped)
    told = read_archive(tmp_path / "r", path, "binance")
    assert told == {"channel": "trades", "coin": "BTC", "days": 2, "rows": 10}
    delivered = await played(tmp_path / "r")
    assert delivered.of(TradeEvent) == expected()
    assert delivered.status == ["connecting", "connected", "closed"]


async def test_archives_of_futures_lack_the_last_column_and_are_imported_as_swaps(tmp_path: Path) -> None:
    rows = "\n".join(f"{n},{100 + n}.5,0.25,25.0,{MS + n * 100},{str(bool(n % 2)).lower()}" for n in range(10))
    path = archive(tmp_path, "BTCUSDT-trades-2025-11", "id,price,qty,quote_qty,time,is_buyer_maker\n" + rows)
    read_archive(tmp_path / "r", path, "binance", swap=True)
    assert (await played(tmp_path / "r")).of(TradeEvent) == expected(market="BTC/USDT:USDT")


async def test_aggregated_trades_keep_their_aggregate_ids(tmp_path: Path) -> None:
    text = f"7,1.5,2.0,100,109,{MS},True,True\n8,1.6,2.0,110,110,{MS + 1},False,True\n"
    read_archive(tmp_path / "r", archive(tmp_path, "DOGEUSDC-aggTrades-2025-11-27", text), "binance")
    found = (await played(tmp_path / "r")).of(TradeEvent)
    assert [(each.trade_id, each.market) for each in found] == [("a7", "DOGE/USDC"), ("a8", "DOGE/USDC")]


@pytest.mark.parametrize("unit", [1, 1000])
async def test_an_archive_of_candles_is_imported(unit: int, tmp_path: Path) -> None:
    opened = 1_764_288_000_000
    rows = [
        f"{(opened + n * 60_000) * unit},1.0,3.0,0.5,{n}.25,10.0,{(opened + n * 60_000 + 60_000) * unit - 1},9,1,1,1,0"
        for n in range(100)
    ]
    path = archive(tmp_path, "BTCUSDT-1m-2025-11-28", "\n".join(rows))
    read_archive(tmp_path / "r", path, "binance")
    feed = MarketFeed.from_recording(tmp_path / "r", speed=None)
    delivered = Delivered(feed)
    async with feed:
        await feed.wait_closed()
        assert feed.volatility("BTC") is not None
    found = delivered.of(Candle)
    end = (opened + 60_000) * 10**6
    assert found[0] == Candle("BTC", "1m", opened, 1.0, 3.0, 0.5, 0.25, 10.0, True, "binance", end, "BTC/USDT")
    assert len(found) == 100


async def test_days_of_several_coins_merge_by_time_and_a_repeated_import_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        for name in ("BTCUSDT", "ETHUSDT"):
            read_archive(tmp_path / "r", archive(tmp_path, f"{name}-trades-2025-11-27", trades(1)), "binance")
    found = (await played(tmp_path / "r")).of(TradeEvent)
    assert [each.coin for each in found] == ["BTC", "ETH"] * 10
    assert [each.timestamp for each in found] == sorted(each.timestamp for each in found)


async def test_files_that_macos_adds_to_a_zip_are_ignored(tmp_path: Path) -> None:
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1))
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("__MACOSX/._BTCUSDT-trades-2025-11-27.csv", "nothing of it")
    read_archive(tmp_path / "r", path, "binance")
    assert (await played(tmp_path / "r")).of(TradeEvent) == expected()


def candles(minutes: int, count: int, opened: int = 1_764_288_000_000) -> str:
    length = minutes * 60_000
    return "\n".join(
        f"{opened + n * length},1.0,3.0,0.5,{n}.25,10.0,{opened + (n + 1) * length - 1},9,1,1,1,0" for n in range(count)
    )


async def test_candles_of_several_timeframes_are_played_in_the_order_of_their_ends(tmp_path: Path) -> None:
    for name, minutes, count in (("1m", 1, 2880), ("1h", 60, 48), ("12h", 720, 4), ("1d", 1440, 2)):
        read_archive(tmp_path / "r", archive(tmp_path, f"BTCUSDT-{name}-2025-11", candles(minutes, count)), "binance")
    found = (await played(tmp_path / "r")).of(Candle)
    assert [each.received_at for each in found] == sorted(each.received_at for each in found)
    assert len(found) == 2880  # only candles of the feed's own timeframe
    feed = MarketFeed.from_recording(tmp_path / "r", speed=None)
    came: list[Candle] = []
    for timeframe in ("1m", "1h", "12h", "1d"):
        feed.subscribe_candles(came.append, timeframe=timeframe)
    async with feed:
        await feed.wait_closed()
    ends = [each.received_at for each in came]
    assert ends == sorted(ends)
    assert Counter(each.timeframe for each in came) == {"1m": 2880, "1h": 48, "12h": 4, "1d": 2}


@pytest.mark.parametrize("header", ["", HEADER])
async def test_lines_may_end_with_windows_line_ends(header: str, tmp_path: Path) -> None:
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1, header=header).replace("\n", "\r\n"))
    read_archive(tmp_path / "r", path, "binance")
    assert (await played(tmp_path / "r")).of(TradeEvent) == expected()


@pytest.mark.parametrize("damage", ["cut", "flipped", "a folder", "two files", "no file", "no zip", "locked"])
def test_a_damaged_zip_is_named_and_leaves_no_files(damage: str, tmp_path: Path) -> None:
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1) * 50)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 3] ^= 255
        path.write_bytes(data)
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    elif damage == "two files":
        with zipfile.ZipFile(path, "a") as zipped:
            zipped.writestr("ETHUSDT-trades-2025-11-27.csv", trades(1))
    elif damage == "no file":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("readme.txt", "nothing")
    elif damage == "no zip":
        path.write_text(trades(1))
    else:  # as if the zip had a password
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
    with pytest.raises((ValueError, OSError), match="BTCUSDT-trades-2025-11-27"):
        read_archive(tmp_path / "r", path, "binance")
    assert not list((tmp_path / "r").rglob("*"))


async def test_an_archive_is_imported_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """A fault in the last row undoes the import of the days before it; earlier imports are not changed."""
    read_archive(tmp_path / "r", archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1)), "binance")
    before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    days = "".join(f"{n},1.0,0.1,0.1,{MS + n * DAY},True,True\n" for n in range(3))
    for fault in (
        "3,1.0,0.1,0.1,yesterday,True,True\n",
        f"3,,0.1,0.1,{MS + 3 * DAY},True,True\n",
        f"3,1,1,1,{MS},True,True",
    ):
        with pytest.raises(ValueError, match="BTCUSDT-trades-2025-11"):
            read_archive(tmp_path / "r", archive(tmp_path, "BTCUSDT-trades-2025-11", days + fault), "binance")
        assert {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()} == before
    assert (await played(tmp_path / "r")).of(TradeEvent) == expected()


@pytest.mark.parametrize("published", [0, 1, 2])
async def test_a_killed_import_is_finished_or_undone_later(
    published: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the import is killed, ``published`` files have their final names; the other files are only in the
    manifest."""
    folder, left = tmp_path / "r", published

    class Killed(BaseException):
        pass

    def publish(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        writing_publish(*arguments)

    writing_publish = writing.publish
    old = archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1).replace("0.25", "9.75"))
    read_archive(folder, old, "binance")
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1))
    with monkeypatch.context() as patched:
        patched.setattr(writing, "publish", publish)
        with suppress(Killed):
            read_archive(folder, path, "binance")
    writing.recover(folder)
    assert list(verify(folder)) == []
    assert (await played(folder)).of(TradeEvent) == expected()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("BTCUSDT-bookDepth-2025-11-27", "1,2", "allowed is a name such as BTCUSDT-trades"),
        ("BTCXXX-trades-2025-11-27", "1,2", "found the market BTCXXX, allowed are markets against USDT"),
        ("BTCUSDT-trades-2025-11-27", "1,2,3\n", "found 3 columns"),
        ("BTCUSDT-trades-2025-11-27", trades(1) + "x,1,2,3,y,True,True\n", "not an archive of trades"),
        ("BTCUSDT-trades-2025-11-27", "", "has no rows"),
        ("BTCUSDT-trades-2025-11-27", "\n\n", "has no rows"),
        ("BTCUSDT-trades-2025-11-27", HEADER, "has no rows"),
        ("BTCUSDT-trades-2025-11-27", "<html>not found</html>", "found 1 columns"),
        ("BTCUSDT-trades-2025-11-27", candles(1, 3), "not an archive of trades"),
        ("BTCUSDT-trades-2025-11-27", "1,nan,0.1,0.1,1764288000000,True,True", "price"),
        ("BTCUSDT-trades-2025-11-27", "1,-1.0,0.1,0.1,1764288000000,True,True", "price"),
        ("BTCUSDT-trades-2025-11-27", "1,1.0,0.1,0.1,17,True,True", "time"),
        ("BTCUSDT-1m-2025-11-27", trades(1), "found 7 columns"),
        ("BTCUSDT-7m-2025-11-27", candles(7, 3), "allowed is"),
        ("trades", trades(1), "allowed is a name such as BTCUSDT-trades"),
        (
            "BTCUSDT-trades-2025-11-27",
            "".join(f"{n},1.0,0.1,0.1,{DAY * n},True,True\n" for n in (20001, 20000, 20001)),
            "times go back",
        ),
    ],
)
def test_an_invalid_archive_is_named(name: str, text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        read_archive(tmp_path / "r", archive(tmp_path, name, text), "binance")
