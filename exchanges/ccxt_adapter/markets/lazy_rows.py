"""A dict whose values are made when they are read: of thousands of markets a feed reads some twenty.

One market takes 6 kB as ccxt's row, 0.7 kB as the bytes of that row, and 0.1 kB as it is kept here and on disk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import cached_property
from typing import Any, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")
TOGETHER = 16  # rows that are compressed together; reading one of them takes 15 us
FAST = 1  # zlib's level; higher levels make the rows 5 % smaller and take 50 % longer

encoded = msgspec.msgpack.Encoder().encode
decoded = msgspec.msgpack.Decoder(dict[str, Any]).decode
_raw_rows = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Block(msgspec.Struct, array_like=True):
    """Some rows with their keys. ``content`` is a list of the rows in msgpack, compressed."""

    keys: list[str]
    content: bytes

    def rows(self) -> dict[str, msgspec.Raw]:
        return dict(zip(self.keys, _raw_rows(zlib.decompress(self.content)), strict=True))


class PackedRows(Mapping[str, msgspec.Raw]):
    """The bytes of rows by key, kept in blocks. If several blocks have a key, the row in the last of them counts."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = list(blocks)
        self._block_of = {key: block for block in self.blocks for key in block.keys}

    def __getitem__(self, key: str) -> msgspec.Raw:
        return self._block_of[key].rows()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._block_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._block_of)

    def __len__(self) -> int:
        return len(self._block_of)

    def each(self) -> Iterator[tuple[str, msgspec.Raw]]:
        """Yield each key with its row; only one block at a time is unpacked in memory."""
        for block in self.blocks:
            yield from ((key, row) for key, row in block.rows().items() if self._block_of[key] is block)


def blocks_of(rows: Mapping[str, Any]) -> list[Block]:
    """Pack rows, or the bytes of rows. Raises msgspec's errors for a row that cannot be encoded."""
    keys = list(rows)
    parts = [keys[place : place + TOGETHER] for place in range(0, len(keys), TOGETHER)]
    return [Block(part, zlib.compress(encoded([rows[key] for key in part]), FAST)) for part in parts]


class Lazy(dict[K, V]):
    """A read-only dict with the keys of ``source()``; ``make`` makes each value once, from the source's value.

    The source is called when the dict is read for the first time.
    """

    def __init__(self, source: Callable[[], Mapping[K, Any]], make: Callable[[Any], V]) -> None:
        super().__init__()
        self._source = source
        self._make = make

    @cached_property
    def source(self) -> Mapping[K, Any]:
        return self._source()

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
        return isinstance(other, dict) and dict(self.items()) == dict(other.items())

    def __ne__(self, other: object) -> bool:  # needed, because a dict has a __ne__ of its own
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


class LazyRows(Lazy[str, dict[str, Any]]):
    """Rows that are kept packed."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.packed = PackedRows(blocks)
        super().__init__(lambda: self.packed, decoded)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyRows):
            mine, others = self.packed, other.packed
            return mine.blocks == others.blocks or dict(mine.each()) == dict(others.each())
        return super().__eq__(other)

    __hash__ = None


def packed(rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The rows as LazyRows, or unchanged if a row would not be read back the same."""
    try:
        kept = LazyRows(blocks_of(rows))
        same = all(decoded(content) == rows[key] for key, content in kept.packed.each())
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        same = False
    return kept if same else dict(rows)


def read(rows: Mapping[str, Any], kind: type[V]) -> Iterator[tuple[str, V]]:
    """Yield each key with its row as a msgspec struct ``kind`` of few fields: ten times as fast as reading whole rows.

    Raises msgspec.ValidationError for a row that does not fit.
    """
    if isinstance(rows, LazyRows):
        decode = msgspec.msgpack.Decoder(kind).decode
        yield from ((key, decode(content)) for key, content in rows.packed.each())
    else:
        yield from ((key, msgspec.convert(row, kind)) for key, row in rows.items())
