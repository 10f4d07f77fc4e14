"""Books built from captured depth frames agree with the captured book tickers that have the same update ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exchanges.simulator import Simulator
from tests.book_captures import Report, lines_of, replayed
from tests.simulator.client import dial, get, until
from tests.test_captures import FILES

# the number of states compared at the same update id, and the number of proven states
CAPTURED = {"BTC": (559, 3_427), "ETH": (577, 3_433)}


@pytest.mark.parametrize("coin", CAPTURED)
def test_the_captured_book_agrees_with_the_captured_book_tickers_at_every_update_id(coin: str) -> None:
    path = FILES[coin][0]
    if not path.exists():
        pytest.skip(f"not in ../shared/captures: {path.name}")
    report = replayed(lines_of(path))
    assert (len(report.compared), len(report.states)) == CAPTURED[coin]
    assert_right(report)


def assert_right(report: Report) -> None:
    assert not report.different
    assert not report.behind
    assert not report.faults
    # books are lost only because the price leaves the range of the only snapshot in the capture
    assert all("range" in reason for reason in report.lost)


@pytest.fixture
async def own() -> list[str]:
    """Frames of the simulator in the form of a capture: a combined stream with a REST snapshot among the first
    frames."""
    async with Simulator(venues=("binance",), rate=100) as simulator, dial(simulator, "/stream") as client:
        await client.subscribe("btcusdt@depth@100ms", "btcusdt@bookTicker")
        await until(lambda: depth_in(client.frames) >= 3)
        at = len(client.frames)
        snapshot = await get(simulator, "/api/v3/depth", symbol="BTCUSDT", limit=1000)
        begun = depth_in(client.frames)

        def capture() -> list[str]:
            return [*client.frames[:at], json.dumps(snapshot), *client.frames[at:]]

        def is_enough() -> bool:
            """A book ticker rarely has the id of a depth update, because the book may not change between the two
            messages."""
            return depth_in(client.frames) >= begun + 25 and len(replayed(capture()).compared) > 0

        await until(is_enough)
        return capture()


def depth_in(frames: list[str]) -> int:
    return sum("depthUpdate" in frame for frame in frames)


async def test_no_fault_is_found_in_a_capture_of_the_simulator(own: list[str]) -> None:
    report = replayed(own)
    assert len(report.states) > 10
    assert len(report.compared) > 0
    assert not report.lost
    assert_right(report)


async def test_an_update_that_is_missing_in_a_capture_is_found_as_one_lost_book(own: list[str]) -> None:
    depth = [number for number, text in enumerate(own) if "depthUpdate" in text]
    report = replayed([text for number, text in enumerate(own) if number != depth[-5]])
    assert len(report.lost) == 1
    assert not report.behind


async def test_a_different_size_in_a_book_ticker_is_found(own: list[str]) -> None:
    right = replayed(own)
    number = right.compared[-1]
    changed = []
    for text in own:
        frame = json.loads(text)
        data = frame.get("data", {})
        if data.get("u") == number and "e" not in data:
            data["B"] = str(float(data["B"]) + 1)
        changed.append(json.dumps(frame))
    assert replayed(changed).different == [number]


def test_plain_and_compressed_captures_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "capture.raw"
    file.write_text('1 {"a":1}\n\n2 {"b":2}\n')
    assert list(lines_of(file)) == ['{"a":1}', '{"b":2}']
