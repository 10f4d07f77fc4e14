"""A row of a venue's list of markets that cannot be read costs that row, and not the venue.

ccxt's modules parse a list in one go: a null among thousands of markets, or a row that lacks a field, ends in an error,
and nothing is left of the answer. Here the answers are kept while the markets are loaded. Where parsing them fails, the
rows that are at fault are searched by halving the list, and the rest is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from loguru import logger

from exchanges.foreign_text import printable

MOST = 50  # rows that are left out; where more are at fault, the venue has changed and nothing is to be guessed
DEEP = 4  # containers around the rows of an answer
SHOWN = 80  # characters of a row that are logged

_Rows = list[Any]  # of a list its items, of a mapping its pairs
_Request = tuple[Any, ...]


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
        self._found = {key: found for key, answer in answers.items() if (found := _rows(answer, DEEP)) is not None}
        self._left_out: list[Any] = []

    async def mend(self) -> bool:
        """Whether what can be read was; False where no row can be told to be at fault."""
        exchange, paced, fetch = self._exchange, self._exchange.enableRateLimit, self._exchange.fetch
        exchange.enableRateLimit = False
        exchange.fetch = self._answer
        try:
            for key, (rows, put) in self._found.items():  # what is no row at all
                good = [row for row in rows if isinstance(_value(row), dict | list)]
                self._left_out += _without(rows, good)
                self._answers[key] = put(good)
                self._found[key] = good, put
            mended = await self._parses() or await self._search()
        finally:
            exchange.enableRateLimit, exchange.fetch = paced, fetch
        if mended and 0 < len(self._left_out) <= MOST:
            shown = printable(", ".join(str(_value(row))[:SHOWN] for row in self._left_out))
            logger.warning("{}: {} rows of its markets cannot be read: {}", exchange.id, len(self._left_out), shown)
        return mended and len(self._left_out) <= MOST

    async def _search(self) -> bool:
        """Find the one answer without whose rows the others can be read, and leave out those that are at fault."""
        for key, (rows, put) in self._found.items():
            if await self._parses_with(key, put, [], rows[:1], rows[-1:]):
                bad = await self._bad(key, rows, put)
                self._left_out += bad
                self._answers[key] = put(_without(rows, bad))
                return await self._parses()
            self._answers[key] = put(rows)
        return False

    async def _bad(self, key: _Request, rows: _Rows, put: Callable[[_Rows], Any]) -> _Rows:
        if len(self._left_out) > MOST:
            return []
        self._answers[key] = put(rows)
        if await self._parses():
            return []
        if len(rows) == 1:
            return rows
        half = len(rows) // 2
        bad = await self._bad(key, rows[:half], put)
        return bad if len(bad) > MOST else bad + await self._bad(key, rows[half:], put)

    async def _parses_with(self, key: _Request, put: Callable[[_Rows], Any], *some: _Rows) -> bool:
        """Whether it does with any of some rows in the place of all."""
        for rows in some:
            self._answers[key] = put(rows)
            if await self._parses():
                return True
        return False

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


def _rows(answer: Any, deep: int) -> tuple[_Rows, Callable[[_Rows], Any]] | None:
    """The rows of an answer: its longest list or mapping most of whose values are such themselves.

    With it comes what makes the answer anew of other rows.
    """
    if not isinstance(answer, dict | list) or not deep:
        return None
    items: _Rows = list(answer.items()) if isinstance(answer, dict) else answer
    containers = [(place, item) for place, item in enumerate(items) if isinstance(_value_of(answer, item), dict | list)]
    best: tuple[_Rows, Callable[[_Rows], Any]] | None = None
    if len(items) > 1 and len(containers) * 2 > len(items):
        best = ([_Pair(*item) for item in items], dict) if isinstance(answer, dict) else (list(answer), list)
    for place, item in containers:
        inner = _rows(_value_of(answer, item), deep - 1)
        if inner is not None and (best is None or len(inner[0]) > len(best[0])):
            best = inner[0], _putting(answer, place, inner[1])
    return best


class _Pair(tuple[Any, Any]):
    """A key and its row: what ``dict`` makes a mapping of again."""

    __slots__ = ()

    def __new__(cls, key: Any, value: Any) -> _Pair:
        return super().__new__(cls, (key, value))


def _value(row: Any) -> Any:
    return row[1] if isinstance(row, _Pair) else row


def _value_of(answer: Any, item: Any) -> Any:
    return item[1] if isinstance(answer, dict) else item


def _putting(answer: Any, place: int, put: Callable[[_Rows], Any]) -> Callable[[_Rows], Any]:
    def made(rows: _Rows) -> Any:
        if isinstance(answer, dict):
            key = list(answer)[place]
            return {**answer, key: put(rows)}
        return [*answer[:place], put(rows), *answer[place + 1 :]]

    return made


def _without(rows: Iterable[Any], others: Iterable[Any]) -> _Rows:
    gone = {id(row) for row in others}
    return [row for row in rows if id(row) not in gone]
