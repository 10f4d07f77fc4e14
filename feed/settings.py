"""settings.yaml: what it may hold, read with every problem reported at once.

The dataclasses below are the schema: each field's annotation says which values are allowed, in code (msgspec checks
type and bounds, a ``read`` function the rest) and in words (``description``, the end of the line about a wrong value).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from reprlib import Repr
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import yaml
from msgspec import Meta, ValidationError, convert
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exchanges.names import canonical, exchange_names, nearest
from feed.errors import SettingsError
from feed.events import CoinConfig

ENVIRONMENT = "MARKET_FEED_SETTINGS"
"""The environment variable that names the settings file."""

_FILE_LIMIT = 256 * 1024  # bytes; a settings file has a few thousand
_VALUE_LIMIT = 10_000  # values once YAML's anchors are written out: a few lines of anchors can stand for billions


# --- Values: what is allowed. A `read` returns what the settings shall hold, or raises ValueError (what is allowed)


def _exchange(name: str) -> str:
    if name in exchange_names():
        return canonical(name)
    near = nearest(name, exchange_names())
    raise ValueError(
        f"a ccxt.pro exchange, nearest: {', '.join(near)}" if near else "a name from `market-feed exchanges`"
    )


def _url(*schemes: str, login: bool = False) -> Callable[[str], str]:
    """Return a reader of addresses that name only a scheme, a host and perhaps a port (and with ``login`` a user)."""

    def read(text: str) -> str:
        try:
            url = urlsplit(text)
            known = url.scheme in schemes and url.hostname and url.port != 0
        except ValueError:  # a host or a port that can't be one
            known = False
        more = not known or url.path.strip("/") or url.query or url.fragment or ("@" in url.netloc and not login)
        if more or re.search(r"[^\x21-\x7e]", text):
            raise ValueError
        return text.rstrip("/")

    return read


_WORD = r"\A[^\s/:,\x00-\x1f\x7f]{1,30}\Z"
_MARKET = r"\A[^\s/:]{1,30}/[^\s/:]{1,30}(:[^\s/:]{1,30})?\Z"
_UPPER: dict[str, Any] = {"read": str.upper}

Seconds = Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds above 0, at most 86400")]
SecondsOrZero = Annotated[float, Meta(ge=0, le=86_400, description="a number of seconds from 0 to 86400")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Count = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
Tier = Annotated[int, Meta(ge=1, le=3, description="1, 2 or 3")]
Switch = Annotated[bool, Meta(description="true or false")]
Title = Annotated[str, Meta(max_length=100, description="text of at most 100 characters")]
Symbol = Annotated[str, Meta(pattern=_WORD, description="a coin such as BTC, without the quote currency", extra=_UPPER)]
Currency = Annotated[str, Meta(pattern=_WORD, description="a currency such as USDT", extra=_UPPER)]
Market = Annotated[str, Meta(pattern=_MARKET, description="a market symbol of ccxt, BASE/QUOTE or BASE/QUOTE:SETTLE")]
Exchange = Annotated[str, Meta(description="the name of an exchange, text", extra={"read": _exchange})]
RestUrl = Annotated[
    str, Meta(description="http://host:port or https://host:port", extra={"read": _url("http", "https")})
]
WsUrl = Annotated[str, Meta(description="ws://host:port or wss://host:port", extra={"read": _url("ws", "wss")})]
ProxyUrl = Annotated[
    str,
    Meta(
        description="http://host:port, https://host:port or socks5://host:port",
        extra={"read": _url("http", "https", "socks4", "socks5", "socks5h", login=True)},
    ),
]
MarketType = Literal["spot", "swap"]
Channel = Literal["trades", "ticker", "candles", "quotes"]
Timeframe = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]


# --- The settings


@dataclass(slots=True)
class ExchangeConfig:
    """One venue. The URLs replace scheme and host of its addresses; ``options`` are handed to ccxt as they are.

    ``market_type``: a coin's perpetual swap and its spot are two markets, whose prices differ. Quantities and volumes
    are in base currency on both. Where venues of both types stand in one order, a failover leads from the one market to
    the other, and a coin that the active venue does not list comes from the other one all the while: no event ever
    mixes the two, and its ``exchange`` says of which it is.
    """

    name: Exchange
    market_type: MarketType = "spot"
    rest_url: RestUrl | None = None
    ws_url: WsUrl | None = None
    proxy: ProxyUrl | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Connection:
    """When to try again, and when elsewhere; in seconds, except the share ``backoff_jitter`` and the attempts."""

    connect_timeout: Seconds = 10.0
    backoff_initial: Seconds = 1.0
    backoff_max: Seconds = 30.0
    backoff_jitter: Share = 0.2
    stable_after: SecondsOrZero = 30.0
    attempts_before_failover: Count = 3
    failback_after: Seconds = 300.0


@dataclass(slots=True)
class Staleness:
    """After how many silent seconds the feed or a coin counts as stale, and the connection as dead."""

    feed_stale_after: Seconds = 5.0
    coin_stale_after: Seconds = 60.0
    reconnect_after: Seconds = 10.0


@dataclass(slots=True)
class CircuitBreaker:
    """``failures`` within ``window`` seconds open the breaker for ``cooldown`` seconds."""

    failures: Count = 5
    window: Seconds = 60.0
    cooldown: Seconds = 60.0


@dataclass(slots=True)
class Backfill:
    """Whether trades missed during an outage are fetched, and up to how many seconds back."""

    enabled: Switch = True
    max_gap: Seconds = 300.0


def packaged_settings() -> Path:
    """Return the file of the defaults: inside the wheel, or in a checkout the repository's own settings.yaml."""
    here = Path(__file__).with_name("settings.yaml")
    return here if here.is_file() else Path(__file__).parent.parent / "settings.yaml"


@cache
def _packaged() -> dict[str, list[dict[str, Any]]]:
    loaded: dict[str, list[dict[str, Any]]] = yaml.safe_load(packaged_settings().read_text("utf-8"))
    return loaded


@dataclass(slots=True)
class Settings:
    """Everything a feed can be told; ``Settings()`` holds the packaged defaults."""

    coins: Annotated[list[CoinConfig], Meta(min_length=1, description="a list of coins, at least one")] = field(
        default_factory=lambda: [CoinConfig(**coin) for coin in _packaged()["coins"]]
    )
    quote: Annotated[
        list[Currency], Meta(min_length=1, description="a currency, or a list of them", extra={"one": 1})
    ] = field(default_factory=lambda: ["USDT", "USDC", "USD"])
    channels: Annotated[list[Channel], Meta(min_length=1, description="a list of trades, ticker, candles, quotes")] = (
        field(default_factory=lambda: ["trades", "ticker", "candles"])
    )
    candle_timeframe: Timeframe = "1m"
    exchanges: Annotated[list[ExchangeConfig], Meta(min_length=1, description="a list of exchanges, at least one")] = (
        field(default_factory=lambda: [ExchangeConfig(**exchange) for exchange in _packaged()["exchanges"]])
    )
    connection: Connection = field(default_factory=Connection)
    staleness: Staleness = field(default_factory=Staleness)
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    backfill: Backfill = field(default_factory=Backfill)


def load_settings(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read ``path``, else the file that MARKET_FEED_SETTINGS names, else ./settings.yaml, else the packaged defaults.

    Keys that the file leaves out keep their defaults. Raises SettingsError with one line per problem.
    """
    named = path if path is not None else os.environ.get(ENVIRONMENT) or None
    if named is None:
        local = Path("settings.yaml")
        named = local if local.exists() else packaged_settings()
    reader = _Reader(os.fspath(named))
    with reader.fenced():
        text = _read_text(named)
        data = reader.yaml(text)
        settings: Settings = reader.section(Settings, "", data)
    return settings


def check(settings: Settings) -> None:
    """Hold a Settings object built in Python against the same rules; raises SettingsError with one line per problem.

    What the file may say in short is written out in place: symbols in upper case, ``quote="USDT"`` as a list of one.
    """
    reader = _Reader("settings")
    with reader.fenced():
        read = reader.section(Settings, "", settings)
    for name in (each.name for each in fields(Settings)):
        if getattr(settings, name) != getattr(read, name):
            setattr(settings, name, getattr(read, name))


# --- Reading


_SHORT = {CoinConfig: "symbol", ExchangeConfig: "name"}  # what a bare string in place of the mapping means
_ASCENDING = {Connection: ("backoff_initial", "backoff_max"), Staleness: ("feed_stale_after", "reconnect_after")}
_BAD: Any = object()  # a value that was reported: nothing more is said about it
_repr = Repr()
_repr.maxlevel, _repr.maxdict, _repr.maxlist, _repr.maxstring, _repr.maxother = 2, 3, 3, 60, 60


@cache
def _schema(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    if kind is CoinConfig:  # it belongs to feed.events, which knows no settings
        hints |= {"symbol": Symbol, "tier": Tier, "name": Title, "markets": dict[Exchange, Market]}
    return hints


class _Stop(Exception):
    """The file can't be read any further; what is wrong is already noted."""


class _Reader:
    """Turns plain data into settings and notes every problem with its path."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []

    def note(self, path: str, what: str) -> Any:
        self.problems.append(": ".join(filter(None, (_printable(self.source), path, what))))
        return _BAD

    def wrong(self, path: str, value: object, allowed: str) -> Any:
        return self.note(path, f"found {_show(value)}, allowed is {allowed}")

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Raise whatever was noted, at the end."""
        try:
            yield
        except _Stop as stop:
            self.note("", str(stop))
        except RecursionError:
            self.note("", "found values nested too deeply, allowed are the levels of the packaged settings.yaml")
        if self.problems:
            raise SettingsError(self.problems)

    def value(self, kind: Any, path: str, value: Any) -> Any:
        """Return ``value`` as ``kind``, an annotation of the schema, or note why it can't be."""
        if NoneType in get_args(kind):
            return None if value is None else self.value(get_args(kind)[0], path, value)
        core, meta = get_args(kind) if get_origin(kind) is Annotated else (kind, None)
        if is_dataclass(core):
            return self.section(core, path, value)
        if get_origin(core) is list:
            return self.items(get_args(core)[0], meta, path, value)
        if get_origin(core) is dict:
            keys, values = get_args(core)
            return self.mapping(keys, values, path, value)
        allowed = meta.description if meta else "one of " + ", ".join(get_args(core))
        try:
            read = convert(value, kind)
            return meta.extra["read"](read) if meta and meta.extra else read
        except ValidationError:
            quoted = isinstance(value, bool | int | float) and (core is str or not meta)
            return self.wrong(path, value, allowed + (", in quotes" if quoted else ""))
        except ValueError as error:
            return self.wrong(path, value, str(error) or allowed)

    def section(self, kind: Any, path: str, value: Any) -> Any:
        """Return the dataclass ``kind`` filled from a mapping; the keys left out keep their defaults."""
        schema, short = _schema(kind), _SHORT.get(kind)
        if isinstance(value, kind):
            value = {name: getattr(value, name) for name in schema}
        elif short and isinstance(value, str):
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
                self.note(_join(path, key), f"found an unknown key, {hint}allowed are {', '.join(schema)}")
        read = {name: self.value(schema[name], _join(path, name), value[name]) for name in schema if name in value}
        good = {name: each for name, each in read.items() if each is not _BAD}
        required = [each.name for each in fields(kind) if each.default is each.default_factory is MISSING]
        for name in required:
            if name not in value:
                _, meta = get_args(schema[name])
                self.note(_join(path, name), f"found nothing, allowed is {meta.description}")
        if any(name not in good for name in required):
            return _BAD
        made = kind(**good)
        low, high = _ASCENDING.get(kind, (None, None))
        if low and high and len(good) == len(read) and getattr(made, low) > getattr(made, high):
            whose = "" if high in good else "the default "
            found = f"found {whose}{getattr(made, high):g}, allowed is at least {low}, which is {getattr(made, low):g}"
            self.note(_join(path, high), found)
        return made

    def items(self, kind: Any, meta: Meta, path: str, value: Any) -> Any:
        """Return a list whose items are ``kind``, each once."""
        if meta.extra and isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple) or not value:
            return self.wrong(path, value, str(meta.description))
        read: dict[Any, tuple[int, Any]] = {}
        for index, item in enumerate(value):
            made = self.value(kind, f"{path}[{index}]", item)
            if made is _BAD:
                continue
            name = getattr(made, _SHORT.get(kind, ""), made)
            first, _ = read.setdefault(name, (index, made))
            if first != index:
                self.note(
                    f"{path}[{index}]", f"found {_show(name)} again, allowed is once ({path}[{first}] is the first)"
                )
        return [made for _, made in read.values()]

    def mapping(self, keys: Any, values: Any, path: str, value: Any) -> Any:
        """Return a mapping; ``values`` Any leaves it as it is."""
        if not isinstance(value, dict):
            return self.wrong(path, value, "a mapping")
        if values is Any:
            return value
        read = [(self.value(keys, _join(path, k), k), self.value(values, _join(path, k), v)) for k, v in value.items()]
        return {k: v for k, v in read if k is not _BAD and v is not _BAD}

    def yaml(self, text: str) -> Any:
        """Return the data of a YAML document, having noted duplicate keys; what is not YAML ends the reading."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if root is None:
                raise _Stop("found an empty file, allowed is a mapping with any of " + ", ".join(_schema(Settings)))
            size = self.survey(root, "", (), {})
            if size > _VALUE_LIMIT:
                raise _Stop(f"found anchors that stand for {size:.0f} values, allowed are {_VALUE_LIMIT}")
            return yaml.safe_load(text)
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
            raise _Stop(
                f"{place}: found the character {_show(chr(error.character))}, allowed is printable text"
            ) from None
        except yaml.error.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise _Stop(f"{place}not YAML: {' '.join(str(error.problem or error.context).split())}") from None

    def survey(self, node: Node, path: str, above: tuple[Node, ...], sizes: dict[int, int]) -> int:
        """Return how many values ``node`` stands for; note duplicate keys and values that YAML itself can't make."""
        if any(node is each for each in above):
            raise _Stop(f"line {node.start_mark.line + 1}: found an anchor that contains itself, allowed is what ends")
        if id(node) in sizes:
            return sizes[id(node)]
        total = 1
        above = (*above, node)
        if isinstance(node, MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                if isinstance(key, ScalarNode) and name in lines:
                    self.note(_join(path, name), f"found in lines {lines[name]} and {line}, allowed is once")
                lines.setdefault(name, line)
                total += self.survey(key, path, above, sizes) + self.survey(value, _join(path, name), above, sizes)
        elif isinstance(node, SequenceNode):
            total += sum(self.survey(item, f"{path}[{i}]", above, sizes) for i, item in enumerate(node.value))
        else:
            try:
                with suppress(yaml.YAMLError):  # an unknown tag, which safe_load reports, or <<, which it merges
                    yaml.constructor.SafeConstructor().construct_object(node)
            except (
                ValueError,
                LookupError,
                AttributeError,
                ArithmeticError,
                TypeError,
            ):  # PyYAML's own, e.g. 2024-13-45
                place = f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}: "
                raise _Stop(f"{place}found {_show(node.value)}, allowed is what its form promises, or quotes") from None
        return sizes.setdefault(id(node), total)


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(_FILE_LIMIT + 1)
        if len(raw) > _FILE_LIMIT:
            raise _Stop(f"found more than {_FILE_LIMIT // 1024} kB, allowed is a settings file")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Stop(f"found the byte 0x{raw[error.start]:02x} at offset {error.start}, allowed is UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _Stop(f"can't be read ({reason}), allowed is a readable YAML file") from None


def _join(path: str, key: object) -> str:
    plain = isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_-]+", key)
    return f"{path}.{key}".lstrip(".") if plain else f"{path}[{_show(key)}]"


def _show(value: object) -> str:
    """Return ``value`` as the user wrote it, in one short line and without a password."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return re.sub(r"//[^/@\s]*@", "//***@", _printable(_repr.repr(value)))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
