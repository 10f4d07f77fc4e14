"""Every ccxt.pro module keeps its rows as this project expects, or is in the table of exceptions.

The tests read ccxt's source: if a new version stores rows in another way, a test fails with the module's name.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Container, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import ccxt.pro
import pytest

from exchanges.ccxt_adapter.stream.channels import STAND_INS, StandIn, has_calls, source_of_quotes, streamed
from exchanges.venues.find import WHOLE_BOOKS

STORES = {"trades": "trades", "ticker": "tickers", "candles": "ohlcvs", "quotes": "bidsasks"}  # except books
FINDS = ("safe_value", "safe_list")  # ccxt's functions that find a list in a dict
Function = ast.FunctionDef


@cache
def exchanges() -> Mapping[str, Any]:
    return {name: getattr(ccxt.pro, name)() for name in ccxt.pro.exchanges}


@cache
def functions_of(module: str) -> Mapping[str, Function]:
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text())
    return {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}


@cache
def handlers(name: str, store: str) -> tuple[Function, ...]:
    """The functions of a module, including inherited ones, that handle data for ``exchange.<store>``."""
    found: dict[str, Function] = {}
    for base in type(exchanges()[name]).__mro__:
        if base.__module__.startswith("ccxt.pro."):
            found = {**functions_of(base.__module__), **found}
    return tuple(
        function
        for function in found.values()
        if function.name.startswith("handle_") and "unsub" not in function.name and "un_sub" not in function.name
        if any(is_store(node, store) for node in ast.walk(function))
    )


def is_store(node: ast.AST, store: str) -> bool:
    """Whether the node is ``self.<store>``."""
    return isinstance(node, ast.Attribute) and node.attr == store and ast.unparse(node.value) == "self"


def reaches(node: ast.expr, store: str, names: Container[str] = ()) -> bool:
    """Whether an expression gives a value from the store or from one of ``names``.

    The expression may use subscripts or one of ccxt's functions. It may use safe_dict only for candles: safe_dict finds
    a dict and no list, and the store of candles has one dict per market.
    """
    if is_store(node, store) or (isinstance(node, ast.Name) and node.id in names):
        return True
    if isinstance(node, ast.Subscript):
        return reaches(node.value, store, names)
    if isinstance(node, ast.IfExp):
        return reaches(node.body, store, names) or reaches(node.orelse, store, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        dicts = store == "ohlcvs" and node.func.attr == "safe_dict" and is_store(node.args[0], store)
        return (dicts or node.func.attr in FINDS) and reaches(node.args[0], store, names)
    return False


def names_in(function: Function, store: str) -> set[str]:
    """The names by which a function refers to the store's content."""
    names: set[str] = set()
    for _ in range(3):  # a name may be assigned from another name
        names |= {
            target.id
            for target, value in assigned(function)
            if isinstance(target, ast.Name) and reaches(value, store, names)
        }
    return names


def assigned(function: Function) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)


def appends(function: Function, store: str, names: set[str]) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    attributes = (call for call in calls if isinstance(call, ast.Attribute))
    return any(call.attr == "append" and reaches(call.value, store, names) for call in attributes)


def faults(name: str, channel: str) -> set[str]:
    """The assumptions that do not hold for a channel of a module."""
    store = STORES[channel]
    found = set()
    delivers = False
    for function in handlers(name, store):
        names = names_in(function, store)
        for target, _ in assigned(function):
            if is_store(target, store):
                found.add("replaces the whole store")
            if isinstance(target, ast.Subscript) and is_store(target.value, store):
                delivers = delivers or channel in ("ticker", "quotes")
                if channel == "ticker" and "bid" in function.name and "ticker" not in function.name:
                    found.add("keeps bid and ask as tickers")
            elif isinstance(target, ast.Subscript) and channel == "ticker" and reaches(target.value, store):
                found.add("changes a ticker that is kept")
            elif channel == "candles" and isinstance(target, ast.Subscript) and ast.unparse(target.value) in names:
                # an index such as -1 means the last row; other subscripts mean the list of a timeframe
                last_one = isinstance(target.slice, ast.BinOp | ast.UnaryOp)
                found |= {"changes a candle in place"} if last_one else set()
        if appends(function, store, names):
            delivers = delivers or channel in ("trades", "candles")
        if channel == "candles" and any(
            isinstance(n, ast.Constant) and n.value == "unknown" for n in ast.walk(function)
        ):
            found.add("keeps all timeframes together")
        if channel == "trades" and "self.options['watchTrades']" in ast.unparse(function):
            found.add("takes the market from its options")
    if not delivers:
        found.add("keeps nothing")
    return found


# what replaces a channel with this fault; None: the fault does no harm
REMEDIES: Mapping[tuple[str, str], StandIn | None] = {
    ("trades", "takes the market from its options"): StandIn.NOTHING,
    ("candles", "keeps nothing"): StandIn.TRADES,
    ("candles", "keeps all timeframes together"): StandIn.TRADES,
    ("candles", "changes a candle in place"): StandIn.TRADES,
    ("ticker", "changes a ticker that is kept"): StandIn.UNSTAMPED,
    ("ticker", "keeps bid and ask as tickers"): None,  # the feed takes no price from these rows
    ("quotes", "keeps nothing"): StandIn.TICKERS,
}


def test_the_table_has_exactly_the_modules_that_keep_rows_differently() -> None:
    found = {
        (name, channel): REMEDIES[channel, fault]
        for name, exchange in exchanges().items()
        for channel in STORES
        if has_calls(exchange, channel)
        for fault in faults(name, channel)
    }
    needed = {key: remedy for key, remedy in found.items() if remedy is not None}
    only_quotes = {key: remedy for key, remedy in STAND_INS.items() if key == ("nado", "ticker")}
    assert needed | only_quotes == STAND_INS


def test_a_module_whose_ticker_channel_is_marked_as_missing_has_only_bid_and_ask() -> None:
    for (name, channel), remedy in STAND_INS.items():
        if channel == "ticker" and remedy is StandIn.NOTHING:
            assert {function.name for function in handlers(name, "tickers")} <= {
                "handle_bid_ask",
                "handle_all_bids_asks",
            }


def test_every_module_streams_prices() -> None:
    """Prices come from trades or, if there are none, from tickers."""
    without = {name for name, exchange in exchanges().items() if not {"trades", "ticker"} & set(streamed(exchange))}
    assert without == set()


def test_every_module_has_a_source_of_quotes() -> None:
    assert {source_of_quotes(exchange) for exchange in exchanges().values()} == {"quotes", "ticker", "books"}


def test_every_module_keeps_its_stores_as_attributes() -> None:
    """The stores must be attributes of the instance, so that this project can replace them by its own."""
    for name, exchange in exchanges().items():
        for store in STORES.values():
            assert type(vars(exchange)[store]) is dict, (name, store)


@pytest.mark.parametrize(
    ("source", "channel", "fault"),
    [
        ("stored = self.safe_dict(self.trades, symbol)\nstored.append(1)", "trades", "keeps nothing"),
        ("self.trades = {}", "trades", "replaces the whole store"),
        ("self.tickers[s] = t\nself.tickers[s]['timestamp'] = 1", "ticker", "changes a ticker that is kept"),
        ("stored = self.safe_value(self.ohlcvs[s], tf)\nstored[-1] = row", "candles", "changes a candle in place"),
    ],
)
def test_the_check_finds_each_fault_that_would_break_delivery(
    source: str, channel: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "".join(f"    {line}\n" for line in source.splitlines())
    (function,) = ast.parse(f"def handle_it(self):\n{body}").body
    monkeypatch.setattr("tests.exchanges.test_modules.handlers", lambda name, store: (function,))
    assert fault in faults("any", channel)


@pytest.mark.parametrize("name", [*sorted(WHOLE_BOOKS), "hyperliquid", "paradex", "upbit"])
def test_venues_that_send_whole_books_replace_the_book_at_every_frame(name: str) -> None:
    """The test reads ccxt's source: if a handler kept levels of an earlier frame, the book would need a proof."""
    for base in type(exchanges()[name]).__mro__:
        if base.__module__.startswith("ccxt.pro.") and "handle_order_book" in (own := functions_of(base.__module__)):
            called = {node.func.attr for node in ast.walk(own["handle_order_book"]) if is_method(node)}
            break
    assert "reset" in called
    assert not called & {"store", "storeArray", "handle_delta", "handle_deltas", "handle_book_delta", "handle_bid_asks"}


def is_method(node: ast.AST) -> TypeGuard[Any]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
