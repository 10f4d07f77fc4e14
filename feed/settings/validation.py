"""Validates plain data by the settings' schema; reports every problem at once, with the key nearest to a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from reprlib import Repr
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from msgspec import Meta, ValidationError, convert

from exchanges.foreign_text import HIDDEN, escaped, values_shown, without_logins
from exchanges.names import nearest
from feed.errors import SettingsError
from feed.events import CoinConfig
from feed.settings.schema import UPPER as _UPPER
from feed.settings.schema import (
    Bus,
    Connection,
    Exchange,
    ExchangeConfig,
    Market,
    RecordingConfig,
    Settings,
    Staleness,
    Symbol,
    Tier,
    Title,
)
from feed.settings.yaml_scalars import Plain, is_nothing, natural, number, switch

# a plain string means the value of this key
_SHORT = {CoinConfig: "symbol", ExchangeConfig: "name", Bus: "url", RecordingConfig: "folder"}
_ASCENDING = {Connection: ("backoff_initial", "backoff_max"), Staleness: ("feed_stale_after", "reconnect_after")}
_BAD: Any = object()  # used in place of a value that was reported already
_repr = Repr()
_repr.maxlevel, _repr.maxdict, _repr.maxlist, _repr.maxstring, _repr.maxother = 2, 3, 3, 60, 60


@cache
def _schema(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    if kind is CoinConfig:  # CoinConfig belongs to feed.events, which does not import the settings
        hints |= {"symbol": Symbol, "tier": Tier, "name": Title, "markets": dict[Exchange, Market]}
    return hints


def check(settings: Settings, source: str = "settings") -> None:
    """Check a Settings object built in Python by the same rules; raises SettingsError with one line per problem.

    Short forms are replaced in the object: symbols become upper case, ``quote="USDT"`` becomes a list of one. Each line
    begins with ``source``, if it is given.
    """
    reader = Reader(source)
    with reader.fenced():
        read = reader.section(Settings, "", settings)
    for name in (each.name for each in fields(Settings)):
        if getattr(settings, name) != getattr(read, name):
            setattr(settings, name, getattr(read, name))


class Unreadable(Exception):
    """The file can't be read any further; its text says why."""


class Reader:
    """Turns plain data into settings and notes every problem with its path."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []

    def note(self, path: str, what: str) -> Any:
        self.problems.append(": ".join(filter(None, (escaped(self.source), path, what))))
        return _BAD

    def wrong(self, path: str, value: object, allowed: str) -> Any:
        return self.note(path, f"found {show(value)}, allowed is {allowed}")

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Raise all noted problems at the end."""
        try:
            yield
        except Unreadable as stop:
            self.note("", str(stop))
        except RecursionError:
            self.note("", "found values nested too deeply, allowed are the levels of the packaged settings.yaml")
        if self.problems:
            raise SettingsError(self.problems)

    def value(self, kind: Any, path: str, value: Any) -> Any:
        """Return ``value`` as ``kind``, an annotation of the schema, or note why that is not possible."""
        if NoneType in get_args(kind):
            return None if is_nothing(value) else self.value(get_args(kind)[0], path, value)
        core, meta = get_args(kind) if get_origin(kind) is Annotated else (kind, None)
        if is_dataclass(core):
            return self.section(core, path, value)
        if get_origin(core) is list:
            return self.items(get_args(core)[0], meta, path, value)
        if get_origin(core) is dict:
            keys, values = get_args(core)
            return self.mapping(keys, values, path, value)
        allowed = meta.description if meta else "one of " + ", ".join(get_args(core))
        extra: dict[str, Any] = (meta.extra or {}) if meta else {}
        try:
            meant = extra.get("written", _same)(_meant(value, core, meta))
            return extra.get("read", _same)(convert(meant, kind))
        except ValidationError:
            return self.wrong(path, _shown(value, extra), allowed + _quotes(value, core))
        except ValueError as error:
            return self.wrong(path, _shown(value, extra), str(error) or allowed)

    def section(self, kind: Any, path: str, value: Any) -> Any:
        """Return the dataclass ``kind`` filled from a mapping; the keys left out keep their defaults."""
        schema, short = _schema(kind), _SHORT.get(kind)
        if isinstance(value, kind):
            value = {name: getattr(value, name) for name in schema}
        elif short and isinstance(value, str) and (value or not isinstance(value, Plain)):
            value = {short: value}
        if not isinstance(value, dict):
            known = ", ".join(schema)
            return self.wrong(
                path, value, f"a mapping with any of {known}" + (f", or the {short} alone" if short else "")
            )
        for key in value:
            if key not in schema:
                near = nearest(key, schema, 1) if isinstance(key, str) else []
                hint = f"nearest is {near[0]}; " if near else ""
                self.note(join(path, key), f"found an unknown key, {hint}allowed are {', '.join(schema)}")
        read = {name: self.value(schema[name], join(path, name), value[name]) for name in schema if name in value}
        good = {name: each for name, each in read.items() if each is not _BAD}
        required = [each.name for each in fields(kind) if each.default is each.default_factory is MISSING]
        for name in required:
            if name not in value:
                _, meta = get_args(schema[name])
                self.note(join(path, name), f"found nothing, allowed is {meta.description}")
        if any(name not in good for name in required):
            return _BAD
        made = kind(**good)
        low, high = _ASCENDING.get(kind, (None, None))
        if low and high and len(good) == len(read) and getattr(made, low) > getattr(made, high):
            whose = "" if high in good else "the default "
            found = f"found {whose}{getattr(made, high):g}, allowed is at least {low}, which is {getattr(made, low):g}"
            self.note(join(path, high), found)
        return made

    def items(self, kind: Any, meta: Meta, path: str, value: Any) -> Any:
        """Return a list whose items are ``kind``, each once."""
        if meta.extra and isinstance(value, str) and not is_nothing(value):
            value = [value]
        if not isinstance(value, list | tuple) or not value:
            return self.wrong(path, value, f"{meta.description}{_quotes(value, str) if meta.extra else ''}")
        read: dict[Any, tuple[int, Any]] = {}
        for index, item in enumerate(value):
            made = self.value(kind, f"{path}[{index}]", item)
            if made is _BAD:
                continue
            name = getattr(made, _SHORT.get(kind, ""), made)
            first, _ = read.setdefault(name, (index, made))
            if first != index:
                self.note(
                    f"{path}[{index}]", f"found {show(name)} again, allowed is once ({path}[{first}] is the first)"
                )
        return [made for _, made in read.values()]

    def mapping(self, keys: Any, values: Any, path: str, value: Any) -> Any:
        """Return a mapping; if ``values`` is Any, its values stay as they are."""
        if not isinstance(value, dict):
            found = _hidden(value) if values is Any else value
            return self.wrong(path, found, "a mapping")
        if values is Any:
            return natural(value)
        read = [(self.value(keys, join(path, k), k), self.value(values, join(path, k), v)) for k, v in value.items()]
        return {k: v for k, v in read if k is not _BAD and v is not _BAD}


def join(path: str, key: object) -> str:
    plain = isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_-]+", key)
    return f"{path}.{key}".lstrip(".") if plain else f"{path}[{show(key)}]"


def _meant(value: Any, core: Any, meta: Meta | None) -> Any:
    """Return what text without quotes means as a ``core`` type; a coin or a currency is taken as it was written."""
    if not isinstance(value, Plain):
        return value
    if core is bool:
        return switch(value)
    if core in (int, float):
        return number(value)
    coin = bool(value) and meta is not None and meta.extra is _UPPER
    return str(value) if coin or not is_nothing(value) else None


def _quotes(value: object, core: Any) -> str:
    """Return the end of a line about a ``value`` that needs quotes in order to be text."""
    if core in (bool, int, float) or value == "":
        return ""
    if isinstance(value, Plain) and is_nothing(value):
        return f", or write it in quotes: '{value}'"
    return ", in quotes" if isinstance(value, bool | int | float) else ""


def show(value: object) -> str:
    """Return ``value`` as the user wrote it, in one short line and without a password."""
    if isinstance(value, Plain) and not isinstance(natural(value), str):
        return escaped(_repr.repr(str(value))[1:-1]) if value else "nothing"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return without_logins(escaped(_repr.repr(values_shown(value))))


def _shown(value: Any, extra: dict[str, Any]) -> Any:
    """Return ``value`` in a form that may be shown: unchanged, unless it contains a secret."""
    shown = extra["show"](value) if "show" in extra else value
    return value if shown == value else shown


def _hidden(value: Any) -> Any:
    """Return ``value``, found in place of ccxt's options, without its texts: one of them may be an API key."""
    if isinstance(value, list | tuple):
        return [_hidden(each) for each in value]
    return HIDDEN if isinstance(natural(value), str) and value else value


def _same(value: Any) -> Any:
    return value
