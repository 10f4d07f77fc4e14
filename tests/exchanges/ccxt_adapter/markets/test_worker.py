"""Work runs in a thread beside the event loop and can be cancelled; long JSON is parsed piece by piece."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.ccxt_adapter.markets.worker import PIECE, Rows, parse_in_turns, run_aside
from tests.properties import drawing
from tests.support import until


async def test_the_result_comes_from_another_thread() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    assert await run_aside(work) != threading.get_ident()


async def test_an_error_in_the_thread_is_raised_unchanged() -> None:
    async def work() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await run_aside(work)


async def test_cancelling_the_wait_ends_the_work_too() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(run_aside(work))
    await until(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_two_cancellations_leave_no_unretrieved_error() -> None:
    """asyncio.run() cancels every task at its end, and a task that is cancelled cancels what it waits for."""
    begun, told = threading.Event(), list[str]()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(context["message"]))
    task = asyncio.create_task(run_aside(work))
    await until(begun.is_set)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await loop.shutdown_default_executor()  # waits until the work has ended
    await asyncio.sleep(0)
    gc.collect()
    assert told == []


async def test_work_that_is_cancelled_at_once_does_not_begin_or_is_ended() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(run_aside(work))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@drawing(40)
@given(values)
def test_json_parsed_piece_by_piece_equals_what_was_written(value: object) -> None:
    """The values may be at any depth and longer than one piece."""
    rows = [{"row": value, "n": n} for n in range(3)]
    long = {"head": value, "rows": rows, "padding": ["x" * 1000] * (PIECE // 1000 + 1), "text": "[" * PIECE}
    assert parse_in_turns(msgspec.json.encode(value).decode()) == value
    assert parse_in_turns(" " + msgspec.json.encode(long).decode()) == long


@pytest.mark.parametrize("text", ["", "{", '{"a":', "[" + "1," * PIECE, '{"a":[' + "1," * PIECE + "}"])
def test_invalid_json_raises(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        parse_in_turns(text)


def _rows() -> tuple[list[Any], list[Any]]:
    plain = [{"symbol": f"A{number}", "filters": [number]} for number in range(5000)]
    found = parse_in_turns(json.dumps({"symbols": plain}), rows_when_read=True)["symbols"]
    assert isinstance(found, Rows)
    return found, plain


def test_a_list_whose_rows_are_parsed_when_read_behaves_like_any_list() -> None:
    rows, plain = _rows()
    assert rows == plain
    assert (len(rows), rows[0], rows[-1], rows[2:4]) == (5000, plain[0], plain[-1], plain[2:4])
    assert [*rows] == list(rows) == plain
    assert list(reversed(rows)) == plain[::-1]
    assert plain[7] in rows
    assert copy.deepcopy(rows) == pickle.loads(pickle.dumps(rows)) == plain


def test_rows_stay_unread_when_ccxt_joins_pages() -> None:
    rows, plain = _rows()
    for joined in ([] + rows, rows + [], rows + rows[:1], [{"symbol": "B"}] + rows):  # noqa: RUF005 - ccxt adds lists so
        assert isinstance(joined, Rows)
    assert rows + rows == plain + plain
    assert [{"symbol": "B"}] + rows == [{"symbol": "B"}, *plain]  # noqa: RUF005 - ccxt adds lists so
