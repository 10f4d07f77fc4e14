"""At midnight and when the clock is set, the recorder keeps the order and puts each row into the file of its day."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from exchanges.events import TradeEvent
from exchanges.recording.files import recorded_files
from feed import MarketFeed
from feed.sinks.recorder.writer import Writer
from tests.recordings import plan_for, played, rows, trade_at

HOUR = 3600.0


async def test_at_midnight_a_new_file_begins_and_no_row_is_lost(tmp_path: Path) -> None:
    midnight = 1_764_288_000.0  # 2025-11-28
    clock = {"offset": midnight - 1 - time.time()}
    writer = Writer(plan_for(tmp_path), now=lambda: time.time() + clock["offset"])
    for number in range(10):
        writer.put(trade_at(number, midnight - 0.5 + number / 10))
    writer.flush().result(10)
    writer.close()
    days = {each.date: pq.ParquetFile(each.path).metadata.num_rows for each in recorded_files(tmp_path, ["trades"])}
    assert days == {"2025-11-27": 5, "2025-11-28": 5}
    assert [each.price for each in (await played(tmp_path)).of(TradeEvent)] == [float(n) for n in range(10)]


@pytest.mark.parametrize("written_before", [True, False])
async def test_if_the_clock_is_set_back_the_order_is_kept_and_a_hole_is_listed(
    written_before: bool, tmp_path: Path
) -> None:
    """This holds even if events from before and after the step wait in the queue together."""
    offset = 0.0
    start = time.time()
    writer = Writer(plan_for(tmp_path), now=lambda: time.time() + offset)
    writer.flush().result(10)
    for number in range(5):
        writer.put(trade_at(number, start + number))
    if written_before:
        writer.flush().result(10)
    offset = -HOUR
    for number in range(5, 10):
        writer.put(trade_at(number, start - HOUR + number))
    writer.flush().result(10)
    writer.close()
    told: list[tuple[float, float]] = []
    feed = MarketFeed.from_recording(tmp_path, speed=None)
    feed.subscribe_trades(lambda trade: told.append((trade.price, feed.now())))
    async with feed:
        await feed.wait_closed()
    assert [price for price, _ in told] == [float(number) for number in range(10)]
    times = [at for _, at in told]
    wanted = [*(start + number for number in range(5)), *(start - HOUR + number for number in range(5, 10))]
    assert times == pytest.approx(wanted, abs=1.5)  # the replay shows the time that the machine's clock had
    reasons = {row["reason"] for row in rows(tmp_path, "gaps")}
    assert [reason for reason in reasons if reason.startswith("the clock was set by -3600")]
