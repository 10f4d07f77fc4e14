"""Binance's public archives become recordings: with and without a header, in ms and in µs, zip and CSV."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from exchanges.events import Candle, TradeEvent
from exchanges.recording.archives import DAY, read_archive
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
async def test_trades(unit: int, header: str, zipped: bool, tmp_path: Path) -> None:
    text = trades(unit, header=header, true="true" if header else "True", false="false" if header else "False")
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", text, zipped=zipped)
    told = read_archive(tmp_path / "r", path, "binance")
    assert told == {"channel": "trades", "coin": "BTC", "days": 2, "rows": 10}
    delivered = await played(tmp_path / "r")
    assert delivered.of(TradeEvent) == expected()
    assert delivered.status == ["connecting", "connected", "closed"]


async def test_futures_are_swaps_and_have_no_last_column(tmp_path: Path) -> None:
    rows = "\n".join(f"{n},{100 + n}.5,0.25,25.0,{MS + n * 100},{str(bool(n % 2)).lower()}" for n in range(10))
    path = archive(tmp_path, "BTCUSDT-trades-2025-11", "id,price,qty,quote_qty,time,is_buyer_maker\n" + rows)
    read_archive(tmp_path / "r", path, "binance", swap=True)
    assert (await played(tmp_path / "r")).of(TradeEvent) == expected(market="BTC/USDT:USDT")


async def test_aggregated_trades_have_ids_of_their_own(tmp_path: Path) -> None:
    text = f"7,1.5,2.0,100,109,{MS},True,True\n8,1.6,2.0,110,110,{MS + 1},False,True\n"
    read_archive(tmp_path / "r", archive(tmp_path, "DOGEUSDC-aggTrades-2025-11-27", text), "binance")
    found = (await played(tmp_path / "r")).of(TradeEvent)
    assert [(each.trade_id, each.market) for each in found] == [("a7", "DOGE/USDC"), ("a8", "DOGE/USDC")]


@pytest.mark.parametrize("unit", [1, 1000])
async def test_candles(unit: int, tmp_path: Path) -> None:
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


async def test_days_of_several_coins_merge_by_time_and_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        for name in ("BTCUSDT", "ETHUSDT"):
            read_archive(tmp_path / "r", archive(tmp_path, f"{name}-trades-2025-11-27", trades(1)), "binance")
    found = (await played(tmp_path / "r")).of(TradeEvent)
    assert [each.coin for each in found] == ["BTC", "ETH"] * 10
    assert [each.timestamp for each in found] == sorted(each.timestamp for each in found)


async def test_what_a_mac_adds_to_a_zip_is_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path, "BTCUSDT-trades-2025-11-27", trades(1))
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("__MACOSX/._BTCUSDT-trades-2025-11-27.csv", "nothing of it")
    read_archive(tmp_path / "r", path, "binance")
    assert (await played(tmp_path / "r")).of(TradeEvent) == expected()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("BTCUSDT-bookDepth-2025-11-27", "1,2", "allowed is a name such as BTCUSDT-trades"),
        ("BTCXXX-trades-2025-11-27", "1,2", "found the market BTCXXX, allowed are those against USDT"),
        ("BTCUSDT-trades-2025-11-27", "1,2,3\n", "found 3 columns"),
        ("BTCUSDT-trades-2025-11-27", trades(1) + "x,1,2,3,y,True,True\n", "not an archive of trades"),
        ("BTCUSDT-trades-2025-11-27", "", "has no rows"),
        (
            "BTCUSDT-trades-2025-11-27",
            "".join(f"{n},1.0,0.1,0.1,{DAY * n},True,True\n" for n in (20001, 20000, 20001)),
            "times go back",
        ),
    ],
)
def test_what_is_no_archive_is_named(name: str, text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        read_archive(tmp_path / "r", archive(tmp_path, name, text), "binance")
