"""Makes text from venues and proxies safe to show: printable, bounded, and without secrets of the settings.

A venue's answer, a proxy's refusal or a frame that cannot be read may contain anything: escape sequences that move a
terminal's cursor, marks that turn the direction of writing, or the password that was sent. A foreign text is cleaned
once, when it becomes one of our texts; after that, no other code needs to clean it.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html.entities import codepoint2name
from itertools import accumulate
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

LENGTH = 200  # the most characters of a shown text, unless the caller gives another length
READ = 16_384  # the most characters of a foreign text that are read
CUT = 2_048  # a longer text is read only up to READ - CUT: a secret that is cut in two would not be found
TRACE = 20_000  # the most characters of a traceback
HIDDEN = "***"
ANYWHERE = 6  # characters; longer secrets are hidden everywhere, shorter ones only as whole words
SHORTEST = 3  # characters; shorter secrets are not searched for: the letter a would be found everywhere

_SECRET_KEY = re.compile(
    r"key$|secret|passw|passphrase|^pass$|^pwd$|token|auth|cookie|credential|private|mnemonic|signature|bearer|login"
    r"|headers?$|jwt|session_?id|twofa|^otp$|^pin$",
    re.I,
)
_LOGIN = re.compile(r"(?<=//)[^/\s'\"<>?#]*@")
_SCHEME = re.compile(r"[a-z][\w+.-]*://", re.I)
_NO_PORT = re.compile(r"^([^:/\[]+:)(?!\d{1,5}(?:/|$))[^/]{3,}")  # host and colon, then no port
_TOKEN = re.compile(r"(?<=/)(?=[^/]*\d)[^/]{12,}")
_QUERY = re.compile(r"([?&][\w-]{0,40}(?:token|key|secret|sign|auth|passw|pwd)[\w-]{0,40}=)[^&\s'\"<>#]+", re.I)
_AUTHORIZATION = re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[\w+/=.~-]+", re.I)


def beginning(text: str) -> str:
    """The beginning of a foreign text; the rest is not read. Secrets must be hidden before any other change of it."""
    return text if len(text) <= READ else text[: READ - CUT]


def printable(text: str, length: int = LENGTH) -> str:
    """``text`` in one line of at most ``length`` characters; what cannot be printed is written as an escape.

    These are escaped: control characters (C0 and C1), marks of direction or of no width, and codes that are no
    character.
    """
    return escaped(" ".join(beginning(text).split())[:length])[:length]


def without_logins(text: str) -> str:
    """``text`` without the logins and tokens that are in addresses or in an Authorization header."""
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text)))


def address_shown(address: str) -> str:
    """A text that is used as an address, without login and query; a login is found even if there is no scheme. Possible
    passwords and tokens are hidden too: a port that is not a number, and a long part of a path.
    """
    scheme = found[0] if (found := _SCHEME.match(address)) else ""
    _, at, rest = address[len(scheme) :].rpartition("@")
    host, question, _ = rest.partition("?")
    host = _NO_PORT.sub(rf"\1{HIDDEN}", _TOKEN.sub(HIDDEN, host))
    return scheme + (f"{HIDDEN}@{host}" if at else host) + (f"?{HIDDEN}" if question else "")


def addresses_shown(value: Any) -> Any:
    """A copy of plain data that is used as an address, with each text shown as an address."""
    if isinstance(value, Mapping):
        return {name: addresses_shown(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [addresses_shown(each) for each in value]
    return address_shown(value) if isinstance(value, str) else value


def values_shown(value: Any, *, key: str = "") -> Any:
    """A copy of plain data in which secrets are hidden: values of keys such as apiKey, and logins."""
    if isinstance(value, Mapping):
        return {name: values_shown(each, key=key or _secret_name(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [values_shown(each, key=key) for each in value]
    if key and value is not None and not isinstance(value, bool):
        return HIDDEN
    return without_logins(value) if isinstance(value, str) else value


def is_secret_name(name: object) -> bool:
    """Whether the value of a key with this name is a secret."""
    return bool(_secret_name(name))


def _secret_name(name: object) -> str:
    return name if isinstance(name, str) and _SECRET_KEY.search(name) else ""


def secrets_in_address(address: str) -> Iterator[str]:
    """The secrets of an address: its password, or its user if it has no password, and the values of its query."""
    rest, _, query = address.rpartition("://")[2].partition("?")
    yield from (value for _, value in parse_qsl(query))
    login, at, _ = rest.rpartition("@")
    if at:
        user, _, password = login.partition(":")
        yield password or user  # a token may be in the user's place
        yield (sent := f"{user}:{password}")
        yield unquote(sent)


def secrets_in_environment(environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """The secrets of the proxies that the environment names."""
    environ = os.environ if environ is None else environ
    for kind in ("http_proxy", "https_proxy", "all_proxy"):
        for name in (kind, kind.upper()):
            yield from secrets_in_address(environ.get(name, ""))


def secrets_in_options(options: Any, *, key: str = "") -> Iterator[str]:
    """The secret texts in options: the values of keys such as apiKey, and the secrets in addresses."""
    if isinstance(options, Mapping):
        for name, each in options.items():
            yield from secrets_in_options(each, key=key or _secret_name(name))
    elif isinstance(options, list | tuple):
        for each in options:
            yield from secrets_in_options(each, key=key)
    elif isinstance(options, str | int | float) and not isinstance(options, bool):
        text = str(options)
        if key:
            yield text
            yield text.rpartition(" ")[2]  # the token in "Bearer ..."
        if "://" in text:
            yield from secrets_in_address(text)


class Cleaner:
    """Cleans texts; ``secrets`` are hidden in every form in which a text may repeat them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        parts = [_searched(form) for form in sorted(forms, key=len, reverse=True)]
        self._secrets = re.compile("|".join(parts), re.I) if parts else None

    def __repr__(self) -> str:
        return "<Cleaner>"

    def __call__(self, text: str, length: int = LENGTH) -> str:
        """``text`` in a form that may be shown, see ``printable``."""
        return printable(self.redacted(text), length)

    def redacted(self, text: str) -> str:
        """The beginning of ``text``, without the secrets."""
        return without_logins(self._hidden(beginning(text)))

    def lines(self, text: str) -> str:
        """A text of several lines, such as a traceback, in a form that may be logged."""
        redacted = without_logins(self._hidden(text if len(text) <= TRACE else text[: TRACE - CUT]))
        return "\n".join(escaped(line) for line in redacted.splitlines())

    def _hidden(self, text: str) -> str:
        """``text`` without the secrets, also where a secret extends over the end of a line."""
        if self._secrets is None:
            return text
        text = self._secrets.sub(HIDDEN, text)
        starts, lines = _lines(text)
        joined = "".join(lines)
        parts, shown = [], 0
        for found in self._secrets.finditer(joined) if len(lines) > 1 else ():
            begin, end = (starts[line] + at for line, at in _places(lines, found.start(), found.end() - 1))
            parts += [text[shown:begin], HIDDEN]
            shown = end + 1
        return "".join([*parts, text[shown:]])


def _lines(text: str) -> tuple[list[int], list[str]]:
    """Where each line of ``text`` starts, and the lines; a line ends also where its end is written as an escape."""
    starts, lines, start = [], [], 0
    for end in _LINE_END.finditer(text):
        starts.append(start)
        lines.append(text[start : end.start()])
        start = end.end()
    return [*starts, start], [*lines, text[start:]]


def _places(lines: list[str], *positions: int) -> Iterator[tuple[int, int]]:
    """For each of some positions in the joined lines: the line, and the place in that line."""
    ends = list(accumulate(map(len, lines)))
    for position in positions:
        line = bisect_right(ends, position)
        yield line, position - (ends[line - 1] if line else 0)


def escaped(text: str) -> str:
    """``text`` with an escape in place of each character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _searched(form: str) -> str:
    pattern = _written(form)
    return pattern if len(form) >= ANYWHERE else rf"(?<!\w){pattern}(?!\w)"


def _forms(secret: str) -> Iterator[str]:
    """All forms of a secret: unchanged, without percent-encoding, in base64 and in hexadecimal digits."""
    for plain in {secret, unquote(secret), unquote_plus(secret)}:
        yield plain
        for content in {plain.encode("utf-8", "replace"), plain.encode("latin-1", "replace")}:
            yield b64encode(content).decode().rstrip("=")
            yield urlsafe_b64encode(content).decode().rstrip("=")
            yield content.hex()


def _written(form: str) -> str:
    """A pattern that matches ``form`` with each character, and any white space, in any of its encodings."""
    return "".join(map(_part, _PARTS.findall(form)))


def _part(text: str) -> str:
    if text.isspace():
        return _BLANKS
    pattern = "".join(map(_character, text))
    if text.isascii():
        return pattern
    return f"(?:{pattern}|\ufffd{{1,{len(text.encode('utf-8', 'replace'))}}})"  # or U+FFFD for each undecodable byte


_ESCAPE = r"\\{1,15}"  # backslashes of a character escaped up to four times; without a bound, a long text takes hours
_LINE_END = re.compile(rf"(?:\r|\n|{_ESCAPE}[rn])+[ \t]*")  # the line's end and the indentation of the next line
_PARTS = re.compile(r"\s+|[!-~]+|[^\s!-~]+")
_BLANKS = rf"(?:\s|\+|%(?:25)*(?:20|0[9ad])|{_ESCAPE}[nrt])+"


@cache
def _character(char: str) -> str:
    """A pattern of one character: unchanged, percent-encoded, or escaped as in HTML, JSON or Python, once or twice.

    A character outside of ASCII may also have been read in a wrong encoding.
    """
    if char.isascii() and char.isalnum():
        return char
    utf8 = char.encode("utf-8", "replace")
    latin = char.encode("latin-1", "replace")
    utf16 = char.encode("utf-16-be", "surrogatepass")
    units = [utf16[at : at + 2].hex() for at in range(0, len(utf16), 2)]
    forms = [
        *(re.escape(form) for form in (char, *_read_wrongly(char, utf8, latin))),
        *("".join(f"%(?:25)*{byte:02x}" for byte in each) for each in (utf8, latin)),
        *("".join(rf"{_ESCAPE}x{byte:02x}" for byte in each) for each in (utf8, latin)),
        *("".join(rf"{_ESCAPE}udc{byte:02x}" for byte in each) for each in (utf8, latin)),
        "".join(rf"{_ESCAPE}u{unit}" for unit in units),
        rf"{_ESCAPE}U{ord(char):08x}",
        rf"{_ESCAPE}{re.escape(char)}",
        rf"&(?:amp;)*#0*{ord(char)};",
        rf"&(?:amp;)*#x0*{ord(char):x};",
    ]
    if name := codepoint2name.get(ord(char)) or {"'": "apos"}.get(char):
        forms.append(f"&(?:amp;)*{name};")
    return f"(?:{'|'.join(dict.fromkeys(forms))})"


def _read_wrongly(char: str, utf8: bytes, latin: bytes) -> Iterator[str]:
    if char.isascii():
        return
    for content in (utf8, latin):
        yield from (content.decode(encoding, "replace") for encoding in ("utf-8", "latin-1", "cp1252"))
        yield content.decode("ascii", "surrogateescape")
    yield latin.decode("latin-1")
