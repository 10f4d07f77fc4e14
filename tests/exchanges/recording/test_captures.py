"""Raw capture files are played like recordings; real captures are tested if there are any beside the repository."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from exchanges.events import Quote, TradeEvent
from feed import MarketFeed, PriceTick, SettingsError
from tests.recordings import Delivered, played

STAMP = 1_723_161_254_024_619_568
LINES = [
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161254100,"s":"BTCUSDT","t":7,"p":"61000.10","q":"0.5",'
    '"T":1723161254099,"m":true,"M":true}}',
    '{"stream":"btcusdt@bookTicker","data":{"u":9,"s":"BTCUSDT","b":"61000.0","B":"3.0","a":"61000.1","A":"31.4"}}',
    '{"lastUpdateId":35346513512,"bids":[],"asks":[]}',
]
CAPTURES = sorted(Path(__file__).parents[4].glob("shared/captures/*.raw.gz"))


@pytest.mark.parametrize("packed", [True, False])
async def test_a_capture_is_played_like_a_recording(packed: bool, tmp_path: Path) -> None:
    text = "".join(f"{STAMP + n} {line}\n" for n, line in enumerate(LINES)).encode()
    path = tmp_path / "some.raw"
    path.write_bytes(gzip.compress(text) if packed else text)
    delivered = await played(path)
    assert [each for each in delivered.events if not isinstance(each, tuple | PriceTick)] == [
        TradeEvent("BTC", 61000.1, 0.5, True, 1723161254099, "binance", "7", STAMP, market="BTC/USDT"),
        Quote("BTC", 61000.0, 3.0, 61000.1, 31.4, 0, "binance", STAMP + 1, "BTC/USDT"),
    ]


def test_an_invalid_capture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.raw"
    path.write_text(f"{STAMP} {LINES[0]}\nrubbish\n")
    with pytest.raises(SettingsError, match=r"some.raw:2: found 'rubbish', allowed is"):
        MarketFeed.from_recording(path)


@pytest.mark.skipif(not CAPTURES, reason="no ../shared/captures beside the repository")
async def test_every_trade_of_the_real_captures_is_played_once_in_order() -> None:
    frames = []
    for path in CAPTURES:
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            stamp, _, text = line.partition(" ")
            if "@trade" in text[:40]:
                data = json.loads(text)["data"]
                frames.append(
                    (int(stamp), data["s"][:3], str(data["t"]), float(data["p"]), float(data["q"]), data["m"])
                )
    feed = MarketFeed.from_recording(CAPTURES, speed=None)
    delivered = Delivered(feed)
    async with feed:
        await feed.wait_closed()
    found = [
        (t.received_at, t.coin, t.trade_id, t.price, t.quantity, t.is_buyer_maker) for t in delivered.of(TradeEvent)
    ]
    assert found == sorted(frames, key=lambda frame: frame[0])
