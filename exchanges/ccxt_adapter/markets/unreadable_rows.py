"""Skips the rows of a venue's list of markets that cannot be read, so that the other markets can be used.

ccxt's modules parse a list in one go: a null among thousands of markets, or a row that lacks a field, ends in an error,
and nothing is left of the answer. Here the answers are kept while the markets are loaded. Where parsing them fails, the
rows that are at fault are searched by halving the list, and the rest is taken.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from loguru import logger

from exchanges.foreign_text import printable

MOST = 50  # rows that are left out; where more are at fault, the venue has changed and nothing is to be guessed
DEEP = 4  # containers around the rows of an answer
PARTS = 20  # of a list of lists that are looked into
SHOWN = 80  # characters of a row that are logged

_Rows = list[Any]  # of a list its items, of a mapping its pairs
_Request = tuple[Any, ...]
_Way = tuple[Any, ...]  # the keys and numbers that lead to a list in an answer
_Place = tuple[_Request, _Way]


async def load_markets(exchange: Any, *, rows_by_place: bool = False) -> None:
    """Load a ccxt instance's markets, without those that cannot be read. Raises what ccxt raises.

    ``rows_by_place``: what a row means depends on its place, so none may be left out.
    """
    answers: dict[_Request, Any] = {}
    fetch, failed = exchange.fetch, False

    async def kept(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        nonlocal failed
        try:
            answers[method, url, body] = answer = await fetch(url, method, headers, body)
        except BaseException:
            failed = True
            raise
        return answer

    exchange.fetch = kept
    try:
        await exchange.load_markets()
        return
    except Exception as error:  # ccxt's parsers on whatever a venue answers: anything may come out
        if rows_by_place or not answers or failed:
            raise
        exchange.fetch = fetch
        if not await _Mending(exchange, answers).mend():
            raise
        logger.debug("{}: its markets could not be parsed at first: {!r}", exchange.id, error)
    finally:
        exchange.fetch = fetch


class _Mending:
    """Parses answers that were kept, with rows left out."""

    def __init__(self, exchange: Any, answers: dict[_Request, Any]) -> None:
        self._exchange = exchange
        self._fetch = exchange.fetch
        self._answers = answers
        self._places = [(key, way) for key, answer in answers.items() for way in _ways(answer) if _rows(answer, way)]
        self._left_out: list[Any] = []

    async def mend(self) -> bool:
        """Whether what can be read was; False where no row can be told to be at fault."""
        exchange, paced, fetch = self._exchange, self._exchange.enableRateLimit, self._exchange.fetch
        exchange.enableRateLimit = False
        exchange.fetch = self._answer
        try:
            for place in self._places:  # what is no row at all
                rows = self._rows(place)
                good = [row for row in rows if isinstance(_value(row), dict | list)]
                if len(good) < len(rows):
                    self._left_out += _without(rows, good)
                    self._put(place, good)
            mended = await self._parses() or await self._search()
        finally:
            exchange.enableRateLimit, exchange.fetch = paced, fetch
        if mended and 0 < len(self._left_out) <= MOST:
            shown = printable(", ".join(str(_value(row))[:SHOWN] for row in self._left_out))
            logger.warning("{}: {} rows of its markets cannot be read: {}", exchange.id, len(self._left_out), shown)
        return mended and len(self._left_out) <= MOST

    async def _search(self) -> bool:
        """Find the one list without whose rows the others can be read, and leave out those that are at fault."""
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
        """Whether it does with any of some rows in the place of all."""
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
        except Exception:  # noqa: BLE001 - that is the question
            return False
        return True

    async def _answer(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        await asyncio.sleep(0)  # so that this can be cancelled
        key = (method, url, body)
        if key not in self._answers:  # it was still under way when another answer could not be parsed
            self._answers[key] = await self._fetch(url, method, headers, body)
        return self._answers[key]


def _ways(answer: Any) -> list[_Way]:
    """The ways to what may be a list of markets in an answer, the longest list first."""
    return sorted(_lists(answer, DEEP, ()), key=lambda way: -len(_rows(answer, way)))


def _lists(answer: Any, deep: int, way: _Way) -> Iterator[_Way]:
    """Lists and mappings that have rows, and not what is inside of a row; lists of lists may be rows, or have them."""
    if not isinstance(answer, dict | list) or not deep:
        return
    values = list(answer.values()) if isinstance(answer, dict) else answer
    mappings = [value for value in values if isinstance(value, dict)]
    if isinstance(answer, dict):  # an envelope has parts of several kinds, rows have fields in common
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
    """The answer anew, with other rows."""
    if not way:
        return dict(rows) if isinstance(answer, dict) else rows
    place, *rest = way
    inner = _with_rows(answer[place], tuple(rest), rows)
    if isinstance(answer, dict):
        return {**answer, place: inner}
    return [*answer[:place], inner, *answer[place + 1 :]]


class _Pair(tuple[Any, Any]):
    """A key and its row: what ``dict`` makes a mapping of again."""

    __slots__ = ()

    def __new__(cls, key: Any, value: Any) -> _Pair:
        return super().__new__(cls, (key, value))


def _value(row: Any) -> Any:
    return row[1] if isinstance(row, _Pair) else row


def _without(rows: Iterable[Any], others: Iterable[Any]) -> _Rows:
    gone = {id(row) for row in others}
    return [row for row in rows if id(row) not in gone]
