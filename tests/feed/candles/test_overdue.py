"""A candle is closed once, some seconds after its end, with values of the venue's record (REST) or of the trades."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from exchanges.errors import Disconnected
from exchanges.events import Candle, TradeEvent
from feed.candles.builder import CandleBuilder
from feed.candles.missing import CandleRecord
from feed.candles.overdue import AT_A_LOOK, GRACE, RECORD_TIMEOUT
from feed.candles.venue_candles import VenueCandles
from tests.feed.candles.support import answer, tell_row

MINUTE = 60_000
T0 = 1_723_075_200_000  # 2024-08-08 00:00 UTC


def at(minute: int) -> int:
    return T0 + minute * MINUTE


def row(minute: int, volume: float = 5.0) -> list[float]:
    return [at(minute), 2.0, 3.0, 1.0, 2.0, volume]


class FrameContext:
    """The candles of some coins, a venue's record of them, and a clock that the test sets."""

    def __init__(self, coins: int = 1, timeframes: Sequence[str] = ("1m",), *, native: bool = True) -> None:
        self.delivered: list[Candle] = []
        self.record: dict[str, list[list[float]]] = {}
        self.asked: list[tuple[str, str, int]] = []
        self.failure: Disconnected | None = None
        self.room = self.flowing = self.delivering = True
        self.now = float(T0)
        self.heard: float | None = None
        self.candles = VenueCandles(
            "one", self.fetch, self.delivered.append, self, lambda coin, timeframe, opened: None, CandleRecord()
        )
        self.number = self.candles.begin({f"C{n}/USDT": f"C{n}" for n in range(coins)}, timeframes, {}, native=native)

    def venue_time(self) -> float | None:
        return self.now

    def stream_time(self) -> float | None:
        return self.now if self.flowing else None

    def heard_at(self, symbol: str) -> float:
        return self.now if self.heard is None else self.heard

    def has_room(self) -> bool:
        return self.room

    async def fetch(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        self.asked.append((symbol, timeframe, since))
        if self.failure is not None:
            raise self.failure
        rows = [each for each in self.record.get(symbol, []) if each[0] >= since]
        return answer(*rows, coin=coin, symbol=symbol, exchange="one")

    def row(self, row: list[float], closed: bool | None = False, coin: int = 0) -> None:
        self.delivered += tell_row(self.candles, f"C{coin}/USDT", "1m", row, 0, closed) or []

    def trade(self, trade: TradeEvent) -> None:
        """Pass a trade to the candles, and set the venue's clock to the time at which the trade was received."""
        self.now = trade.received_at / 1e6
        self.delivered += self.candles.on_trade(self.number, replace(trade, market="C0/USDT"), ["1m"])

    async def look(self, now: float) -> None:
        """Set the venue's clock to ``now`` (ms), check the candles, and let all requests be answered."""
        self.now = now
        self.candles._overdue.look(now / 1000)
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def closed(self) -> list[tuple[int, float]]:
        """Minute and volume of the closed candles."""
        return [((c.timestamp - T0) // MINUTE, c.volume) for c in self.delivered if c.closed]


OVER = GRACE * 1000


async def test_a_candle_that_no_later_candle_follows_is_closed_once_from_the_record() -> None:
    scene = FrameContext()
    scene.row(row(0, 4.0))
    scene.record["C0/USDT"] = [row(0), row(1, 0.0)]
    await scene.look(at(1) + OVER - 1)
    assert scene.asked == []
    await scene.look(at(1) + OVER)
    assert scene.closed == [(0, 5.0)]
    assert scene.asked == [("C0/USDT", "1m", at(0))]
    scene.row(row(0, 5.0), closed=True)  # the venue sends this candle as closed only with its next trade
    scene.row(row(1, 1.0))
    await scene.look(at(1) + 2 * OVER)
    assert scene.closed == [(0, 5.0)]
    await scene.candles.end()


async def test_candles_of_minutes_without_trades_are_taken_from_the_record() -> None:
    """The record may have flat candles for these minutes. A candle that the record lacks is not requested again."""
    for has_flat in (True, False):
        scene = FrameContext()
        scene.row(row(0))
        for minute in range(1, 6):
            scene.record["C0/USDT"] = [row(0), *(row(n, 0.0) for n in range(1, minute + 1) if has_flat)]
            for late in (OVER, OVER + 1000, OVER + 30_000):
                await scene.look(at(minute) + late)
        assert scene.closed == [(0, 5.0), *((n, 0.0) for n in range(1, 5) if has_flat)]
        assert len(scene.asked) == 5
        scene.row(row(6))
        await scene.look(at(6) + 1)
        await scene.candles.end()


async def test_a_record_that_is_behind_is_requested_again() -> None:
    """The record has less volume than the stream has shown, so the record's row is not the final candle."""
    scene = FrameContext()
    scene.row(row(0, 5.0))
    scene.record["C0/USDT"] = [row(0, 3.0)]
    await scene.look(at(1) + OVER)
    assert scene.closed == []
    scene.record["C0/USDT"] = [row(0, 7.0)]
    await scene.look(at(1) + OVER + 1000)
    assert len(scene.asked) == 1
    await scene.look(at(1) + OVER + 2000)
    assert scene.closed == [(0, 7.0)]
    await scene.candles.end()


async def test_without_a_record_a_candle_is_closed_with_its_last_values_if_data_flows() -> None:
    for failing in (True, False):
        scene = FrameContext()
        scene.row(row(0, 5.0))
        scene.room = failing
        scene.failure = Disconnected("one", "down") if failing else None
        scene.flowing = False
        for second in range(30):
            await scene.look(at(1) + second * 1000)
        assert scene.closed == []
        scene.flowing = True
        await scene.look(at(1) + RECORD_TIMEOUT * 1000 + 30_000)
        assert scene.closed == [(0, 5.0)]
        await scene.candles.end()


@pytest.mark.parametrize("failing", [True, False])
async def test_if_the_stream_has_lost_the_market_only_the_record_closes_its_candle(failing: bool) -> None:
    """Data of other markets comes, but this market may have had more trades."""
    scene = FrameContext()
    scene.row(row(0, 5.0))
    scene.heard = at(1) - 2_000.0
    scene.room = failing
    scene.failure = Disconnected("one", "down") if failing else None
    for second in range(60):
        await scene.look(at(1) + second * 1000)
    assert scene.closed == []
    scene.room, scene.failure = True, None
    scene.record["C0/USDT"] = [row(0, 7.0)]
    await scene.look(at(1) + 200_000)
    assert scene.closed == [(0, 7.0)]
    await scene.candles.end()


async def test_data_that_comes_again_after_the_end_of_a_candle_does_not_close_the_candle() -> None:
    """The record has only the volume that the stream has shown, so it may lack the last trades as well."""
    scene = FrameContext()
    scene.row(row(0, 5.0))
    scene.heard = at(1) - 2_000.0
    scene.record["C0/USDT"] = [row(0, 5.0)]
    for second in range(14):
        await scene.look(at(1) + second * 1000)
        if second == 9:
            scene.heard = None  # data of the market, for example a ticker, comes again
    assert scene.closed == []
    scene.record["C0/USDT"] = [row(0, 7.0), row(1, 0.0)]
    await scene.look(at(1) + 60_000)
    assert scene.closed == [(0, 7.0)]
    await scene.candles.end()


async def test_after_an_interruption_only_the_record_closes_a_candle() -> None:
    scene = FrameContext()
    scene.row(row(0, 5.0))
    scene.candles.begin({"C0/USDT": "C0"}, ["1m"], {}, native=True)
    scene.room = False
    await scene.look(at(1) + 20_000)
    assert scene.closed == []
    scene.room = True
    scene.record["C0/USDT"] = [row(0, 9.0), row(1, 0.0)]
    await scene.look(at(1) + 21_000)
    assert scene.closed == [(0, 9.0)]
    await scene.candles.end()


async def test_the_candles_of_a_thousand_coins_are_requested_a_few_at_a_time() -> None:
    """At most five candles are requested at each check."""
    scene = FrameContext(1000)
    for coin in range(1000):
        scene.row(row(0), coin=coin)
        scene.record[f"C{coin}/USDT"] = [row(0)]
    await scene.look(at(1) + OVER)
    assert len(scene.asked) == AT_A_LOOK
    await scene.look(at(1) + OVER + 1000)
    assert len(scene.asked) == 2 * AT_A_LOOK
    scene.room = False
    await scene.look(at(1) + RECORD_TIMEOUT * 1000)
    assert len(scene.asked) == 2 * AT_A_LOOK
    assert len(scene.closed) == 1000
    await scene.candles.end()


# --- candles built from trades ----------------------------------------------------------------------------------------


def trade(minute: float, price: float, read_at: float | None = None) -> TradeEvent:
    stamp = T0 + int(minute * MINUTE)
    arrival = stamp if read_at is None else T0 + int(read_at * MINUTE)
    return TradeEvent("C0", price, 1.0, False, stamp, received_at=arrival * 1_000_000)


async def test_built_candles_are_closed_by_time_and_candles_without_trades_are_flat() -> None:
    scene = FrameContext(native=False)
    scene.trade(trade(0.5, 10.0))
    scene.trade(trade(1.2, 11.0))
    scene.flowing = False
    await scene.look(at(4) + OVER)
    assert scene.closed == []
    scene.flowing = True
    await scene.look(at(4) + OVER)
    assert scene.closed == [(1, 1.0), (2, 0.0), (3, 0.0)]
    scene.trade(trade(4.5, 20.0))
    await scene.look(at(5) + OVER)
    (last,) = [c for c in scene.delivered if c.closed and c.timestamp == at(4)]
    assert (last.open, last.high, last.low, last.close, last.volume) == (20.0, 20.0, 20.0, 20.0, 1.0)
    await scene.candles.end()


async def test_a_built_candle_that_may_lack_trades_is_fetched() -> None:
    scene = FrameContext(native=False)
    for minute in (0.5, 1.2):
        scene.trade(trade(minute, 10.0))
    scene.record["C0/USDT"] = [row(0), row(1, 8.0), row(2, 9.0)]
    scene.candles.begin({"C0/USDT": "C0"}, ["1m"], {}, native=False)
    await scene.look(at(2) + OVER)
    assert (1, 8.0) in scene.closed
    await scene.candles.end()


def test_a_trade_stamped_ahead_neither_ends_a_candle_nor_excludes_later_trades() -> None:
    builder = CandleBuilder("C0", "1m")
    told = [c for each in (trade(0.5, 1.0), trade(1.1, 2.0), trade(1.2, 3.0)) for c in builder.add(each)]
    told += builder.add(trade(1.3 + 23 * 60, 9.0, read_at=1.3))
    told += [c for each in (trade(1.4, 4.0), trade(2.1, 5.0), trade(3.1, 6.0)) for c in builder.add(each)]
    whole = {(c.timestamp - T0) // MINUTE: c for c in told if c.closed}
    assert set(whole) == {1, 2}
    assert (whole[1].high, whole[1].close, whole[1].volume) == (9.0, 4.0, 4.0)


def test_no_trade_of_a_candle_is_lost_when_the_local_clock_steps_back() -> None:
    builder = CandleBuilder("C0", "1m")
    told = [c for each in (trade(0.5, 1.0), trade(1.1, 2.0)) for c in builder.add(each)]
    for minute in (70.1, 70.2, 71.1):
        told += builder.add(trade(minute, 3.0, read_at=minute - 60))
    assert [c.volume for c in told if c.closed and c.timestamp == at(70)] == [2.0]
