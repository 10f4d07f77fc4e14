"""A capture is played exactly: each recorded frame once, unchanged and in order; other data is made from its trades."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator import Simulator, SimulatorError
from feed import CoinConfig, MarketFeed, OrderBook, Settings
from feed.settings import ExchangeConfig
from tests.simulator.client import Client, dial, get, until

CAPTURES = Path(__file__).parents[3].parent / "shared" / "captures"
T0 = 1_723_161_295_000  # 5 s before a minute's end


def trade(symbol: str, number: int, ms: int, price: str = "61837.63000000") -> str:
    event = (
        f'{{"e":"trade","E":{ms + 1},"s":"{symbol}","t":{number},"p":"{price}","q":"0.02000000","T":{ms},'
        f'"m":true,"M":true}}'
    )
    return f'{{"stream":"{symbol.lower()}@trade","data":{event}}}'


def quote(symbol: str, number: int) -> str:
    event = f'{{"u":{number},"s":"{symbol}","b":"1.0","B":"2.0","a":"1.1","A":"2.0"}}'
    return f'{{"stream":"{symbol.lower()}@bookTicker","data":{event}}}'


@pytest.fixture
def captures(tmp_path: Path) -> list[Path]:
    """Two capture files whose times interleave; one file is compressed, the other has a snapshot. A minute ends between
    the trades."""
    btc = [(2 * i, trade("BTCUSDT", 100 + i, T0 + 2000 * i, f"{61837 + i}.63000000")) for i in range(10)]
    btc.append((0, '{"lastUpdateId":5,"bids":[],"asks":[]}'))
    eth = [(2 * i + 1, trade("ETHUSDT", 500 + i, T0 + 2000 * i, "2683.80000000")) for i in range(10)]
    eth += [(2 * i + 1, quote("ETHUSDT", i)) for i in range(10)]
    plain, packed = tmp_path / "btc.raw", tmp_path / "eth.raw.gz"
    plain.write_text("".join(f"{1_723_161_254_000_000_000 + at * 1_000_000} {frame}\n" for at, frame in btc))
    packed.write_bytes(
        gzip.compress("".join(f"{1_723_161_254_000_000_000 + at * 1_000_000} {frame}\n" for at, frame in eth).encode())
    )
    return [plain, packed]


def recorded(paths: list[Path]) -> list[str]:
    """The frames of the files in the order of their times."""
    lines = []
    for path in paths:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        lines += [line.partition(" ") for line in text.splitlines()]
    return [frame for _, _, frame in sorted(lines, key=lambda line: int(line[0])) if frame.startswith('{"stream"')]


async def play(sim: Simulator, client: Client, count: int) -> None:
    await until(lambda: sim.replay_done.is_set() and len(client.frames) >= count, timeout=30)


COMBINED = "/stream?streams=btcusdt@trade/ethusdt@trade/ethusdt@bookTicker"


async def test_the_combined_stream_sends_the_frames_unchanged_and_in_order(captures: list[Path]) -> None:
    async with Simulator(replay=captures, speed=0) as sim, dial(sim, COMBINED) as client:
        await play(sim, client, 30)
        assert client.frames == recorded(captures)
        assert list(sim["binance"].markets) == ["BTCUSDT", "ETHUSDT"]


async def test_the_raw_stream_sends_the_data_unchanged(captures: list[Path]) -> None:
    async with Simulator(replay=captures, speed=0) as sim, dial(sim, "/ws/btcusdt@trade") as client:
        await play(sim, client, 10)
        assert client.frames == [
            frame.partition('"data":')[2][:-1] for frame in recorded(captures) if "btcusdt@trade" in frame
        ]


async def test_a_replay_waits_while_a_client_subscribes_coin_by_coin(captures: list[Path]) -> None:
    async with Simulator(replay=captures, speed=0) as sim, dial(sim, "/stream") as client:
        for stream in ("ethusdt@bookTicker", "btcusdt@trade", "ethusdt@trade"):
            await client.subscribe(stream)
        await play(sim, client, 33)
        assert [frame for frame in client.frames if "stream" in frame] == recorded(captures)


async def test_rest_tickers_and_candles_follow_the_replayed_trades(captures: list[Path]) -> None:
    path = COMBINED + "/btcusdt@kline_1s/btcusdt@ticker"
    async with Simulator(replay=captures, speed=0) as sim, dial(sim, path) as client:
        await play(sim, client, 31)
        rows = await get(sim, "/api/v3/historicalTrades", symbol="BTCUSDT", fromId=105)
        candles = await get(sim, "/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=2)
        day = await get(sim, "/api/v3/ticker/24hr", symbol="BTCUSDT")
        clock = await get(sim, "/api/v3/time")
        await client.first(lambda e: e["stream"] == "btcusdt@ticker" and e["data"]["c"] == "61846.63000000")
    assert [row["id"] for row in rows] == [105, 106, 107, 108, 109]
    assert rows[0]["price"] == "61842.63000000"
    assert [candle[8] for candle in candles] == [3, 7]  # the minute ends 5 s after the first trade
    assert (candles[1][1], candles[1][4]) == ("61840.63000000", "61846.63000000")
    assert day["lastPrice"] == "61846.63000000"
    assert clock["serverTime"] == T0 + 18_001
    finals = [json.loads(frame)["data"]["k"] for frame in client.frames if '"x":true' in frame]
    assert [final["t"] for final in finals] == [T0 + 1000 * i for i in range(18)]
    assert [final["n"] for final in finals] == [1, 0] * 9


async def test_frames_are_played_at_the_recordings_speed_or_at_the_given_rate(captures: list[Path]) -> None:
    for arguments, least in (({"speed": 0.05}, 0.35), ({"rate": 50.0}, 0.3)):
        async with Simulator(replay=captures, **arguments) as sim, dial(sim, COMBINED) as client:  # type: ignore[arg-type]  # the values are floats
            await until(lambda: client.frames)  # the lambda is used within this turn
            started = time.monotonic()
            await play(sim, client, 30)
            assert time.monotonic() - started >= least
            assert client.frames == recorded(captures)


BAD: list[tuple[str, str]] = [
    ('1723161253937085768 {"stream":"btcusdt@trade","data":{"e":"tra', "broken.raw:2: not a line"),
    ("no stamp", "broken.raw:2: not a line"),
    ('x {"stream":"btcusdt@trade","data":{}}', "broken.raw:2: not a line"),
    ('1 {"stream":"btcusdt@trade","data":{"s":"BTCUSDT"}}', "'p' is missing"),
    ('1 {"stream":"btcusdt@trade","data":[]}', "broken.raw:2: not a line"),
    ('1 {"stream":"btcusdt@trade"}', "'data' is missing"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_the_error_names_an_unreadable_line_before_the_server_starts(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "broken.raw"
    path.write_text(f"1 {trade('BTCUSDT', 1, T0)}\n{line}\n")
    with pytest.raises(SimulatorError) as found:
        Simulator(replay=[path])
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_the_error_names_a_missing_broken_or_empty_file(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"nothing\.raw does not exist"):
        Simulator(replay=[tmp_path / "nothing.raw"])
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"1 {}")[:-6])
    with pytest.raises(SimulatorError, match="cannot be read"):
        Simulator(replay=[broken])
    empty = tmp_path / "empty.raw"
    empty.write_text("\n")
    with pytest.raises(SimulatorError, match="no trades"):
        Simulator(replay=[empty])


def test_only_binance_can_play_captures(captures: list[Path]) -> None:
    with pytest.raises(SimulatorError, match="only binance can play them, found bybit"):
        Simulator(replay=captures, venues=("bybit",))


async def test_the_real_captures_are_played_exactly() -> None:
    """All frames of both captures are compared, with 9,757 BTC and 6,106 ETH trades."""
    paths = sorted(CAPTURES.glob("*.raw.gz"))
    if not paths:
        pytest.skip("the captures are not part of the repository: ../shared/captures is not there")
    streams = [f"{coin}usdt@{kind}" for coin in ("btc", "eth") for kind in ("trade", "bookTicker", "depth@100ms")]
    expected = recorded(paths)
    async with Simulator(replay=paths, speed=0) as sim, dial(sim, "/stream?streams=" + "/".join(streams)) as client:
        await play(sim, client, len(expected))
        assert client.frames == expected
        trades: Any = sim["binance"].trades
        assert [t.id for t in trades["BTC"]] == list(range(3735683259, 3735693016))
        assert len(trades["ETH"]) == 6106
        assert sim["binance"].violations == sim["binance"].dropped == []


def difference(first: int, last: int, bids: str = "", asks: str = "") -> str:
    event = f'{{"e":"depthUpdate","E":{T0},"s":"BTCUSDT","U":{first},"u":{last},"b":[{bids}],"a":[{asks}]}}'
    return f'{{"stream":"btcusdt@depth@100ms","data":{event}}}'


async def test_rest_has_the_captured_book_at_the_current_moment_of_the_replay(tmp_path: Path) -> None:
    """The book is the file's snapshot, joined with the differences before and after the snapshot."""
    snapshot = '{"lastUpdateId":12,"bids":[["99.00","1.0"],["98.00","2.0"]],"asks":[["101.00","1.0"]]}'
    frames = [
        trade("BTCUSDT", 1, T0, "100.00000000"),
        difference(9, 11, '["97.00","9.0"]'),
        difference(12, 14, '["99.00","0.0"],["97.00","3.0"]'),
        snapshot,
        difference(15, 15, "", '["100.50","4.0"]'),
    ]
    path = tmp_path / "btc.raw"
    path.write_text("".join(f"{1_723_161_254_000_000_000 + at} {frame}\n" for at, frame in enumerate(frames)))
    streams = "/stream?streams=btcusdt@trade/btcusdt@depth@100ms"
    async with Simulator(replay=[path], speed=0) as sim, dial(sim, streams) as client:
        await play(sim, client, 4)
        book = await get(sim, "/api/v3/depth", symbol="BTCUSDT", limit=5)
    assert book == {
        "lastUpdateId": 15,
        "bids": [["98.00", "2.0"], ["97.00", "3.0"]],
        "asks": [["100.50", "4.0"], ["101.00", "1.0"]],
    }


async def test_a_feed_gets_proven_books_from_a_replay() -> None:
    """The best prices of the delivered books equal those of the captured book tickers."""
    paths = sorted(CAPTURES.glob("*btcusdt*.raw.gz"))
    if not paths:
        pytest.skip("the captures are not part of the repository: ../shared/captures is not there")
    tickers = {}
    for text in recorded(paths):
        if "@bookTicker" in text[:40]:
            event = json.loads(text)["data"]
            tickers[event["u"]] = tuple(float(event[key]) for key in ("b", "B", "a", "A"))
    books: list[OrderBook] = []
    async with Simulator(replay=paths, speed=20) as sim:
        venue = ExchangeConfig("binance", rest_url=sim.rest_url, ws_url=sim.ws_url)
        settings = Settings(coins=[CoinConfig("BTC")], channels=["trades", "books"], exchanges=[venue])
        async with MarketFeed(settings=settings) as feed:
            feed.subscribe_books(books.append)
            await until(lambda: sum(book.sequence in tickers for book in books) > 50, timeout=30)
    compared = [book for book in books if book.sequence in tickers]
    assert [(*book.bids[0], *book.asks[0]) for book in compared] == [tickers[book.sequence or 0] for book in compared]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_path_that_is_no_plain_file_is_named_in_the_error_and_not_read(tmp_path: Path, kind: str) -> None:
    path = {"pipe": tmp_path / "pipe.raw", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(SimulatorError, match="is no plain file"):
        Simulator(replay=[path])
