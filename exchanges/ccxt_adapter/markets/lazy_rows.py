"""A dict whose values are made when they are read: of thousands of markets a feed reads some twenty.

A venue's list takes 6 kB a market as ccxt's rows, and 0.7 kB as the bytes that they are kept as on disk.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")

encoded = msgspec.msgpack.Encoder().encode
decoded = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Lazy(dict[K, V]):
    """A read-only dict with the keys of ``source``; each value is made once, with ``make`` from the source's value."""

    def __init__(self, source: Mapping[K, Any], make: Callable[[Any], V]) -> None:
        super().__init__()
        self.source = source
        self._make = make

    def __missing__(self, key: K) -> V:
        value = self._make(self.source[key])
        super().__setitem__(key, value)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self.source

    def __iter__(self) -> Iterator[K]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Lazy) and self._make is other._make:
            return bool(self.source == other.source)
        return isinstance(other, dict) and dict(self.items()) == dict(other.items())

    def __ne__(self, other: object) -> bool:  # a dict has its own
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{len(self)} lazy rows>"

    def __reversed__(self) -> Iterator[K]:
        return reversed(list(self.source))

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (self.copy(),)  # a copy or a pickle is a plain dict

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self.source else default

    def keys(self) -> KeysView[K]:  # type: ignore[override] # as a Mapping's
        return KeysView(self)

    def values(self) -> ValuesView[V]:  # type: ignore[override] # as a Mapping's
        return ValuesView(self)

    def items(self) -> ItemsView[K, V]:  # type: ignore[override] # as a Mapping's
        return ItemsView(self)

    def copy(self) -> dict[K, V]:
        return dict(self.items())

    def _written(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("these rows are read only")

    __setitem__ = __delitem__ = __ior__ = _written
    update = setdefault = pop = popitem = clear = _written


def packed(rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The rows as a Lazy that keeps their bytes, or unchanged if a row would not be read back the same."""
    kept = {}
    for key, row in rows.items():
        try:
            content = encoded(row)
            if decoded(content) != row:
                return dict(rows)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            return dict(rows)
        kept[key] = msgspec.Raw(content)
    return Lazy(kept, decoded)


def raw(rows: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rows for an encoder: their bytes, if they are kept as bytes."""
    return rows.source if isinstance(rows, Lazy) else rows


def read(rows: Mapping[str, Any], kind: type[V]) -> Iterator[tuple[str, V]]:
    """Each key with its row as a msgspec ``kind`` of few fields, which takes a tenth of the time of the whole row.

    Raises msgspec.ValidationError for a row that does not fit.
    """
    if isinstance(rows, Lazy):
        decode = msgspec.msgpack.Decoder(kind).decode
        yield from ((key, decode(content)) for key, content in rows.source.items())
    else:
        yield from ((key, msgspec.convert(row, kind)) for key, row in rows.items())
