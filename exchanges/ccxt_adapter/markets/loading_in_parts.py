"""Loads a long list of markets part by part, so that a process never holds thousands of parsed rows at once.

ccxt's modules parse the whole of a venue's answer and copy each market twice: 30 MB for 3,000 markets, and a process
never frees all of it. Here ccxt's module gets some rows of the answer at a time, and these rows are packed before it
gets the next rows.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable
from typing import Any

from exchanges.ccxt_adapter.markets.table import MarketTable, joined
from exchanges.ccxt_adapter.markets.unreadable_rows import Answers, load_markets
from exchanges.ccxt_adapter.markets.worker import Rows

TICK_SIZE = 4  # ccxt's number for precisions that are steps, not digits
ROWS = 200  # rows of an answer that are parsed at a time
HELD = ("markets", "markets_by_id", "symbols", "ids", "codes",
        "currencies", "currencies_by_id", "baseCurrencies", "quoteCurrencies")  # fmt: skip # an instance's own tables


async def load_in_parts(exchange: Any, taken: Callable[[], MarketTable]) -> MarketTable:
    """Load a ccxt instance's markets; ``taken`` returns the table of the markets that it has. Raises what ccxt raises.

    If a part cannot be parsed, all answers are parsed again without the faulty rows.
    """
    tables: list[MarketTable] = []
    fetch, paced = exchange.fetch, exchange.enableRateLimit
    answers = Answers(fetch)
    unloaded = {name: getattr(exchange, name) for name in HELD}

    async def part(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        if tables and (method, url, body) not in answers.kept:
            raise ValueError(f"{url} was not requested for the first part")
        return _part(await answers.get(url, method, headers, body), ROWS * len(tables))

    exchange.fetch = part
    try:
        while not tables or ROWS * len(tables) < _longest(answers.kept.values()):
            vars(exchange).update(unloaded)
            exchange.set_markets(await exchange.fetch_markets())
            tables.append(taken())
            exchange.enableRateLimit = False  # nothing is requested from here on
            await asyncio.sleep(0)  # at this point the load can be cancelled
        return joined(tables, operator.lt if exchange.precisionMode == TICK_SIZE else operator.gt)
    except Exception:  # ccxt's parsers may raise anything on an unexpected answer
        if answers.failed:
            raise
        tables.clear()
        vars(exchange).update(unloaded)
        exchange.fetch = answers.get
        await load_markets(exchange)
        return taken()
    finally:
        exchange.fetch, exchange.enableRateLimit = fetch, paced


def _part(answer: Any, begin: int) -> Any:
    """The answer with only some of the rows of its long lists."""
    if isinstance(answer, Rows):
        return answer[begin : begin + ROWS]
    return {key: _part(value, begin) for key, value in answer.items()} if isinstance(answer, dict) else answer


def _longest(answers: Iterable[Any]) -> int:
    """How many rows the longest list has."""
    lengths = (
        len(answer) if isinstance(answer, Rows) else _longest(answer.values())
        for answer in answers
        if isinstance(answer, Rows | dict)
    )
    return max(lengths, default=0)
