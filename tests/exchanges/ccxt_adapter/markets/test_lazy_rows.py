"""Lazy rows: each row is decoded from its bytes when it is read, and the rows behave like the dict that was stored."""

from __future__ import annotations

import copy
import json
import operator
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from exchanges.ccxt_adapter.markets.lazy_rows import TOGETHER, Lazy, LazyRows, blocks_of, packed, read

ROWS: dict[str, dict[str, Any]] = {"B": {"n": 1, "limits": {"low": None}}, "A": {"n": 2.5, "info": {}}}


class Row(msgspec.Struct):
    n: Any = None


@pytest.fixture
def lazy() -> Lazy[str, dict[str, Any]]:
    made = packed(ROWS)
    assert isinstance(made, Lazy)
    return made


def made(lazy: Lazy[str, Any]) -> list[str]:
    return list(dict.keys(lazy))


def test_a_row_is_decoded_once_when_it_is_read(lazy: Lazy[str, dict[str, Any]]) -> None:
    assert "A" in lazy
    assert "C" not in lazy
    assert (len(lazy), bool(lazy), list(lazy), sorted(lazy.keys())) == (2, True, ["B", "A"], ["A", "B"])
    assert made(lazy) == []
    assert lazy["A"] is lazy["A"] is lazy.get("A")
    assert made(lazy) == ["A"]
    assert lazy.get("C") is None
    assert lazy.get("C", 1) == 1
    with pytest.raises(KeyError):
        lazy["C"]


def test_lazy_rows_are_read_like_a_dict(lazy: Lazy[str, dict[str, Any]]) -> None:
    assert lazy == ROWS
    assert {**lazy} == dict(lazy) == {} | lazy == lazy | {} == lazy.copy() == ROWS
    assert copy.copy(lazy) == copy.deepcopy(lazy) == pickle.loads(pickle.dumps(lazy)) == ROWS
    assert json.loads(json.dumps(lazy)) == ROWS
    assert list(reversed(lazy)) == ["A", "B"]
    assert list(lazy.items()) == list(ROWS.items())
    assert list(lazy.values()) == list(ROWS.values())
    assert lazy != {**ROWS, "C": {}}


def test_lazy_rows_are_compared_without_decoding_them(lazy: Lazy[str, dict[str, Any]]) -> None:
    same, other = packed(ROWS), packed({**ROWS, "A": {}})
    assert lazy == same
    assert lazy != other
    assert made(lazy) == []


def test_equal_rows_are_equal_even_if_they_are_stored_in_different_blocks() -> None:
    rows = {str(number): {"n": number} for number in range(3 * TOGETHER)}
    turned = dict(reversed(rows.items()))
    assert packed(rows) == packed(turned) == rows
    assert packed(rows) != packed({**turned, "1": {"n": 0}})


def test_if_several_blocks_have_the_same_key_the_last_block_counts() -> None:
    lazy = LazyRows([*blocks_of({"A": {"n": 1}, "B": {"n": 2}}), *blocks_of({"A": {"n": 3}})])
    assert lazy == {"A": {"n": 3}, "B": {"n": 2}}
    assert {key: row.n for key, row in read(lazy, Row)} == {"A": 3, "B": 2}
    assert len(lazy) == 2


def test_the_source_is_called_once_when_the_dict_is_first_read() -> None:
    asked = []

    def source() -> dict[str, int]:
        asked.append(1)
        return {"A": 1}

    lazy: Lazy[str, str] = Lazy(source, str)
    assert not asked
    assert [lazy["A"], lazy.get("A"), lazy.get("B")] == ["1", "1", None]
    assert asked == [1]


def test_lazy_rows_are_read_only(lazy: Lazy[str, dict[str, Any]]) -> None:
    writes: list[Callable[[], Any]] = [
        lambda: operator.setitem(lazy, "C", {}),
        lambda: operator.delitem(lazy, "A"),
        lambda: lazy.__ior__({"C": {}}),
        lambda: lazy.update({"C": {}}),
        lambda: lazy.setdefault("C", {}),
        lambda: lazy.pop("A"),
        lazy.popitem,
        lazy.clear,
    ]
    for write in writes:
        with pytest.raises(TypeError, match="read only"):
            write()
    assert lazy == ROWS


@pytest.mark.parametrize("odd", [(1,), {1}, object(), float("nan"), 2**70])
def test_rows_that_would_be_decoded_differently_are_not_packed(odd: object) -> None:
    rows = {**ROWS, "C": {"odd": odd}}
    kept = packed(rows)
    assert not isinstance(kept, Lazy)
    assert kept["C"]["odd"] is odd


def test_some_fields_can_be_read_without_decoding_the_rows(lazy: Lazy[str, dict[str, Any]]) -> None:
    assert {key: row.n for key, row in read(lazy, Row)} == {"B": 1, "A": 2.5}
    assert made(lazy) == []
    assert {key: row.n for key, row in read(ROWS, Row)} == {"B": 1, "A": 2.5}


@pytest.mark.parametrize("row", [1, None, "text", [1]])
def test_an_invalid_row_is_an_error(row: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        list(read({"A": row}, Row))
    with pytest.raises(msgspec.ValidationError):
        list(read(LazyRows(blocks_of({"A": row})), Row))
