"""Skips unreadable rows of a venue's list of markets, so that the others are used; decides how many are too many.

ccxt's modules parse a list in one go: if one of thousands of markets is null or lacks a field, ccxt raises an error and
no market of the answer can be used. Here the answers are kept while the markets are loaded. If parsing them fails, the
faulty rows are searched by halving the list, and the others are used.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

MOST = 50  # rows that may be left out; with more faulty rows the venue's format has changed
DEEP = 4  # the most containers around the rows of an answer
PARTS = 20  # parts of a list of lists that are searched
SAMPLES, SHOWN = 3, 80  # rows that are logged, and characters of each

_Rows = list[Any]  # the items of a list, or the pairs of a mapping
_Request = tuple[Any, ...]
_Way = tuple[Any, ...]  # the keys and numbers that lead to a list in an answer
_Place = tuple[_Request, _Way]


@dataclass(eq=False, repr=False)
class Answers:
    """A ccxt instance's answers by request; each request is sent once, with the instance's own ``fetch``."""

    fetch: Any
    kept: dict[_Request, Any] = field(default_factory=dict)
    failed: bool = False  # whether a request has failed

    async def get(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Return the answer to a request, as ccxt's ``fetch`` does."""
        if (key := (method, url, body)) not in self.kept:
            try:
                self.kept[key] = await self.fetch(url, method, headers, body)
            except BaseException:
                self.failed = True
                raise
        return self.kept[key]


async def load_markets(exchange: Any, *, rows_by_place: bool = False) -> None:
    """Load a ccxt instance's markets, without those that cannot be read. Raises what ccxt raises.

    ``rows_by_place``: the meaning of a row depends on its place, so no row may be left out.
    """
    fetch = exchange.fetch
    answers = Answers(fetch)
    exchange.fetch = answers.get
    try:
        await exchange.load_markets()
        return
    except Exception as error:  # ccxt's parsers may raise anything on an unexpected answer
        if rows_by_place or not answers.kept or answers.failed:
            raise
        if not await _Repair(exchange, answers).repair():
            raise
        logger.debug("{}: its markets could not be parsed at first: {}", exchange.id, exchange.clean()(repr(error)))
    finally:
        exchange.fetch = fetch


class _Repair:
    """Parses kept answers again with rows left out."""

    def __init__(self, exchange: Any, asked: Answers) -> None:
        self._exchange = exchange
        self._asked = asked
        self._answers = asked.kept
        self._places = [(key, way) for key, answer in asked.kept.items() for way in _ways(answer) if _rows(answer, way)]
        self._left_out: list[Any] = []

    async def repair(self) -> bool:
        """Parse without the faulty rows; False if no faulty row can be found."""
        exchange, paced, fetch = self._exchange, self._exchange.enableRateLimit, self._exchange.fetch
        exchange.enableRateLimit = False
        exchange.fetch = self._answer
        try:
            for place in self._places:  # first leave out values that are no rows at all
                rows = self._rows(place)
                good = [row for row in rows if isinstance(_value(row), dict | list)]
                if len(good) < len(rows):
                    self._left_out += _without(rows, good)
                    self._put(place, good)
            repaired = await self._parses() or await self._search()
        finally:
            exchange.enableRateLimit, exchange.fetch = paced, fetch
        if repaired and 0 < len(self._left_out) <= MOST:
            clean = exchange.clean()
            shown = ", ".join(clean(str(_value(row)), SHOWN) for row in self._left_out[:SAMPLES])
            logger.warning("{}: {} rows of its markets cannot be read: {}", exchange.id, len(self._left_out), shown)
        return repaired and len(self._left_out) <= MOST

    async def _search(self) -> bool:
        """Find the list whose rows cause the failure, and leave out its faulty rows."""
        for place in self._places:
            rows = self._rows(place)
            if await self._parses_with(place, [], rows[:1], rows[-1:]):
                bad = await self._bad(place, rows)
                self._left_out += bad
                self._put(place, _without(rows, bad))
                return await self._parses()
            self._put(place, rows)
        return False

    async def _bad(self, place: _Place, rows: _Rows) -> _Rows:
        if len(self._left_out) > MOST:
            return []
        self._put(place, rows)
        if await self._parses():
            return []
        if len(rows) == 1:
            return rows
        half = len(rows) // 2
        bad = await self._bad(place, rows[:half])
        return bad if len(bad) > MOST else bad + await self._bad(place, rows[half:])

    async def _parses_with(self, place: _Place, *some: _Rows) -> bool:
        """Whether parsing succeeds with one of these lists of rows in place of all rows."""
        for rows in some:
            self._put(place, rows)
            if await self._parses():
                return True
        return False

    def _rows(self, place: _Place) -> _Rows:
        key, way = place
        return _rows(self._answers[key], way)

    def _put(self, place: _Place, rows: _Rows) -> None:
        key, way = place
        self._answers[key] = _with_rows(self._answers[key], way, rows)

    async def _parses(self) -> bool:
        try:
            self._exchange.set_markets(await self._exchange.fetch_markets())
        except Exception:  # noqa: BLE001 - the question is whether it raises anything
            return False
        return True

    async def _answer(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        await asyncio.sleep(0)  # at this point parsing can be cancelled
        return await self._asked.get(url, method, headers, body)  # a request that has no answer yet is sent


def _ways(answer: Any) -> list[_Way]:
    """The paths to all lists in an answer that may be lists of markets, the longest list first."""
    return sorted(_lists(answer, DEEP, ()), key=lambda way: -len(_rows(answer, way)))


def _lists(answer: Any, deep: int, way: _Way) -> Iterator[_Way]:
    """Find lists and mappings that have rows, without looking inside a row; a list of lists may have rows or may itself
    be a row.
    """
    if not isinstance(answer, dict | list) or not deep:
        return
    values = list(answer.values()) if isinstance(answer, dict) else answer
    mappings = [value for value in values if isinstance(value, dict)]
    if isinstance(answer, dict):  # parts of an envelope have different fields, rows have common fields
        fields = Counter(field for value in mappings for field in value)
        rows = len(mappings) > 1 and max(fields.values(), default=0) * 2 > len(values)
    else:
        rows = bool(mappings)
    if rows:
        yield way
        return
    if isinstance(answer, list) and sum(isinstance(value, list) for value in values) * 2 > len(values) > 1:
        yield way
    for place, value in answer.items() if isinstance(answer, dict) else enumerate(answer[:PARTS]):
        yield from _lists(value, deep - 1, (*way, place))


def _rows(answer: Any, way: _Way) -> _Rows:
    for place in way:
        answer = answer[place]
    return [_Pair(*item) for item in answer.items()] if isinstance(answer, dict) else list(answer)


def _with_rows(answer: Any, way: _Way, rows: _Rows) -> Any:
    """A copy of the answer with other rows."""
    if not way:
        return dict(rows) if isinstance(answer, dict) else rows
    place, *rest = way
    inner = _with_rows(answer[place], tuple(rest), rows)
    if isinstance(answer, dict):
        return {**answer, place: inner}
    return [*answer[:place], inner, *answer[place + 1 :]]


class _Pair(tuple[Any, Any]):
    """A key and its row; ``dict()`` makes a mapping from a list of such pairs."""

    __slots__ = ()

    def __new__(cls, key: Any, value: Any) -> _Pair:
        return super().__new__(cls, (key, value))


def _value(row: Any) -> Any:
    return row[1] if isinstance(row, _Pair) else row


def _without(rows: Iterable[Any], others: Iterable[Any]) -> _Rows:
    gone = {id(row) for row in others}
    return [row for row in rows if id(row) not in gone]
