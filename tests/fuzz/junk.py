"""Meaningless values, and good messages with some values wrong or missing."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

# None of these values can be a price, a quantity, a time or an id: an event that contains one is wrong.
SCALARS: Sequence[Any] = (
    None, True, False, "", " ", "NaN", "nan", "Infinity", "-1", "0", "many", "1e400", "\x00", "é" * 9, -1, 0,
    -0.0, -1e308, 10**30, -(10**30), 2**64, [], {}, [None], [[]], {"": None}, "[]", "null",
)  # fmt: skip
WORDS: Sequence[str] = (
    "e", "E", "s", "t", "p", "q", "T", "m", "k", "c", "o", "a", "b", "i", "v", "S", "x", "u", "id", "data", "topic",
    "stream", "event", "result", "error", "code", "msg", "status", "success", "ret_msg", "retCode", "op", "type", "ts",
    "conn_id", "req_id", "reqId", "pong", "ping", "method", "params", "start", "confirm",
)  # fmt: skip
NAMES: Sequence[str] = (
    "trade", "aggTrade", "kline", "24hrTicker", "24hrMiniTicker", "bookTicker", "depthUpdate", "balanceUpdate",
    "serverShutdown!", "BTCUSDT", "NOPEUSDT", "btcusdt@trade", "publicTrade.BTCUSDT", "publicTrade.NOPE", "publicTrade",
    "tickers.BTCUSDT", "kline.1.BTCUSDT", "orderbook.1.BTCUSDT", "pong", "ping", "subscribe", "auth", "order", "wallet",
    "snapshot", "delta", "execution", "order.create", "unsubscribe", "unknown.topic",
)  # fmt: skip

scalars = st.one_of(st.sampled_from(SCALARS), st.sampled_from(NAMES))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
)
objects = st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), values, max_size=8)
anything = st.one_of(objects, st.lists(values, max_size=3)).map(json.dumps)
texts = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60),
    st.sampled_from(['{"a":NaN}', "[" * 3000, '{"e":"trade"', "{}", "[]", "null", "ping", "pong", '{"a":1}{"a":1}',
                     "{" * 200 + "}" * 200, "[1e999]", '{"data":' * 99 + "1" + "}" * 99, "\ufeff{}"]),
)  # fmt: skip
octets = st.binary(max_size=80)


@st.composite
def spoiled(draw: st.DrawFn, good: dict[str, Any], needed: Sequence[str], dropped: Sequence[str]) -> dict[str, Any]:
    """A copy of ``good`` with one error: nonsense as the value of a ``needed`` key, or one of the ``dropped`` keys
    missing."""
    bad = copy.deepcopy(good)
    key = draw(st.sampled_from(sorted({*needed, *dropped})))
    if key in dropped and (key not in needed or draw(st.booleans())):
        del bad[key]
    else:
        bad[key] = draw(st.sampled_from(SCALARS))
    return bad


@st.composite
def spoiled_anywhere(draw: st.DrawFn, good: Any) -> Any:
    """A copy of ``good`` in which one to three values, at any depth, are missing or replaced by nonsense."""
    bad = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = bad
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else range(min(len(place), 4))
            key = draw(st.sampled_from(list(keys)))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 4)) == 0:
                if draw(st.booleans()):
                    # copied, because the same value may be drawn again, and later turns may change the copy
                    place[key] = copy.deepcopy(draw(values))
                else:
                    del place[key]
                break
            place = inner
    return bad
