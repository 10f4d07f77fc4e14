"""Decides which settings file is read, and reads it within limits; the schema decides what its scalars mean."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exchanges.foreign_text import HIDDEN, is_secret_name
from feed.settings.schema import BUS_ENVIRONMENT, Bus, Settings, packaged_settings
from feed.settings.validation import Reader, Unreadable, join, show
from feed.settings.yaml_scalars import Loader

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

ENVIRONMENT = "MARKET_FEED_SETTINGS"
"""The environment variable that names the settings file."""

_HINTS = (
    (re.compile(r"'\\t' that cannot start any token"), "; a tab: indent with blanks"),
    (  # text such as *BTC, @BTC or !BTC
        re.compile(r"undefined alias|cannot start any token|could not determine a constructor"),
        "; if it is meant as text, write it in quotes",
    ),
)
_QUOTED = re.compile(r"'[^']*'")
_KEY = re.compile(r"([\w-]+)['\"]?\s*:")
_FILE_LIMIT = 256 * 1024  # bytes; a usual settings file has a few thousand
_PIPE_WITHIN = 5.0  # the most seconds to wait for the next bytes if the file is a pipe
_PIPE_WHOLE = 60.0  # seconds within which the writer of a pipe must end
_QUOTE_LIMIT = 300  # the most characters of PyYAML's message: it quotes a tag of any length
_VALUE_LIMIT = 10_000  # the most values after YAML's anchors are expanded: a few anchors can stand for billions


def settings_source(path: str | os.PathLike[str] | None = None) -> str | os.PathLike[str] | Traversable:
    """Return the file that ``load_settings(path)`` reads."""
    named = path if path is not None else os.environ.get(ENVIRONMENT) or None
    if named is not None:
        return named
    local = Path("settings.yaml")
    return local if os.path.lexists(local) else packaged_settings()  # a broken link is an error


def load_settings(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read ``path``, else the file that MARKET_FEED_SETTINGS names, else ./settings.yaml, else the packaged defaults.

    Keys that the file leaves out keep their defaults. MARKET_FEED_BUS takes precedence over the file's bus.
    Raises SettingsError with one line per problem.
    """
    named = settings_source(path)
    reader = Reader(str(named))
    with reader.fenced():
        text = _read_text(named)
        data = _data(reader, text)
        settings: Settings = reader.section(Settings, "", data)
    if url := os.environ.get(BUS_ENVIRONMENT):
        settings.bus = bus_of(url, BUS_ENVIRONMENT, settings.bus)
    return settings


def bus_of(url: str, source: str, given: Bus | None = None) -> Bus:
    """The bus at ``url``, which ``source`` names, with the login of the bus ``given``. Raises SettingsError."""
    reader = Reader("")
    with reader.fenced():
        bus: Bus = reader.section(Bus, source, url)
    return bus if given is None else replace(given, url=bus.url)


def _read_text(path: str | os.PathLike[str] | Traversable) -> str:
    try:
        raw = beginning(path, _FILE_LIMIT + 1) if isinstance(path, str | os.PathLike) else path.read_bytes()
        if len(raw) > _FILE_LIMIT:
            raise Unreadable(f"found more than {_FILE_LIMIT // 1024} kB, allowed is a settings file")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"found the byte 0x{raw[error.start]:02x} at offset {error.start}, allowed is UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(f"can't be read ({reason}), allowed is a readable YAML file") from None


def beginning(path: str | os.PathLike[str], size: int) -> bytes:
    """The first ``size`` bytes of a file, or of a pipe such as a shell's <(...), without waiting for ever for a writer.

    Raises OSError, and ValueError for what can't be a path.
    """
    with open(path, "rb", opener=_opened) as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            return b"".join(_written(file.fileno(), size))
        return file.read(size)


def _opened(path: str, flags: int) -> int:
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else opening a pipe would wait for its writer
    if hasattr(os, "O_NONBLOCK") and not stat.S_ISFIFO(os.fstat(number).st_mode):
        os.set_blocking(number, True)
    return number


def _written(pipe: int, size: int) -> Iterator[bytes]:
    """What is written to a pipe, piece by piece, until its writer ends or ``size`` bytes have come."""
    end = time.monotonic() + _PIPE_WHOLE
    while size > 0:
        if not select.select([pipe], [], [], _PIPE_WITHIN)[0]:
            raise OSError(errno.ETIMEDOUT, f"it is a pipe into which nobody wrote within {_PIPE_WITHIN:g} s")
        if time.monotonic() > end:
            raise OSError(errno.ETIMEDOUT, f"it is a pipe whose writer did not end within {_PIPE_WHOLE:g} s")
        piece = os.read(pipe, size)
        if not piece:
            return
        size -= len(piece)
        yield piece


def _data(reader: Reader, text: str) -> Any:
    """Return the data of a YAML document and note duplicate keys; text that is not YAML ends the reading."""
    try:
        root = yaml.compose(text, Loader=Loader)
        if root is None:
            known = ", ".join(each.name for each in fields(Settings))
            raise Unreadable(f"found an empty file, allowed is a mapping with any of {known}")
        size = _survey(reader, root, "", (), {})
        if size > _VALUE_LIMIT:
            raise Unreadable(f"found anchors that stand for {size:.0f} values, allowed are {_VALUE_LIMIT}")
        return yaml.load(text, Loader)  # a safe loader
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
        raise Unreadable(
            f"{place}: found the character {show(chr(error.character))}, allowed is printable text"
        ) from None
    except yaml.error.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = " ".join(str(error.problem or error.context).split())
        if mark and _hides(text.splitlines()[mark.line : mark.line + 1], mark.column):
            what = _QUOTED.sub(f"'{HIDDEN}'", what)
        hint = next((hint for marks, hint in _HINTS if marks.search(what)), "")
        raise Unreadable(f"{place}not YAML: {what[:_QUOTE_LIMIT]}{hint}") from None


def _hides(line: list[str], column: int) -> bool:
    """Whether a key before ``column`` of the line shows that a secret or an address follows."""
    keys = _KEY.findall("".join(line)[:column])
    return any(key == "proxy" or key.endswith("_url") or is_secret_name(key) for key in keys)


def _survey(reader: Reader, node: Node, path: str, above: tuple[Node, ...], sizes: dict[int, int]) -> int:
    """Return how many values ``node`` stands for; note duplicate keys and values that YAML itself can't make."""
    if any(node is each for each in above):
        raise Unreadable(f"line {node.start_mark.line + 1}: found an anchor that contains itself, which is not allowed")
    if id(node) in sizes:
        return sizes[id(node)]
    total = 1
    above = (*above, node)
    if isinstance(node, MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if isinstance(key, ScalarNode) and name in lines:
                reader.note(join(path, name), f"found in lines {lines[name]} and {line}, allowed is once")
            lines.setdefault(name, line)
            total += _survey(reader, key, path, above, sizes) + _survey(reader, value, join(path, name), above, sizes)
    elif isinstance(node, SequenceNode):
        total += sum(_survey(reader, item, f"{path}[{i}]", above, sizes) for i, item in enumerate(node.value))
    else:
        try:
            with suppress(yaml.YAMLError):  # an unknown tag, which safe_load reports, or a merge key <<
                yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, LookupError, AttributeError, ArithmeticError, TypeError):
            # PyYAML raises these errors for some texts, such as 2024-13-45
            place = f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}: "
            found = HIDDEN if any(map(is_secret_name, re.split(r"\W", path))) else show(node.value)
            raise Unreadable(f"{place}found {found}, allowed is a valid value of its form, or text in quotes") from None
    return sizes.setdefault(id(node), total)
