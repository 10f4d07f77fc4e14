"""Keeps YAML's scalars as they were written: YAML 1.1 reads the coins ON, NO, 00, 1E5 and NULL as something else.

The loader keeps every scalar without quotes as :class:`Plain` text. The settings' schema knows whether a coin, a number
or a switch is expected there. The functions below say what the text means as one of these.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import Node, ScalarNode

_PLAIN, _MERGE, _STR = "!plain", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_SWITCHES = {
    form(word): on
    for words, on in (("true yes on", True), ("false no off", False))
    for word in words.split()
    for form in (str.lower, str.upper, str.title)
}
_NUMBER = re.compile(r"[-+]?(\d+(_\d+)*(\.(\d+(_\d+)*)?)?|\.\d+)([eE][-+]?\d{1,4})?", re.ASCII)
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
_LONGEST = 400  # the most characters of a number: no setting allows more, and Python refuses to read 4,300 digits


class Plain(str):
    """Text that the file has without quotes."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, except that it does not interpret scalars without quotes and without a tag."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node that has none in the file."""
        if kind is ScalarNode:
            if implicit[0]:  # without quotes
                return _MERGE if value == "<<" else _PLAIN
            return _STR
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call] # types-PyYAML has no types here


Loader.add_constructor(_PLAIN, lambda _, node: Plain(node.value))


def is_nothing(value: object) -> bool:
    """Return whether ``value`` means null: it is None, or empty, ``~`` or ``null`` in the file without quotes."""
    return value is None or (isinstance(value, Plain) and value in _NOTHING)


def number(text: Plain) -> int | float | None:
    """Return the number in ``text`` (10, 1_000, 1.5, 1e1 or .inf), or None; octal and hexadecimal numbers are None."""
    if found := _NOT_FINITE.fullmatch(text):
        return float(found[1] + found[2])
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return None
    whole = not any(char in text for char in ".eE")
    return int(text) if whole else float(text)


def switch(text: Plain) -> bool | None:
    """Return the truth value of ``text``, or None if it is not one."""
    return _SWITCHES.get(text)


def natural(value: Any) -> Any:
    """Return ``value`` with its plain text read by YAML's usual rules: null, true, 5, or text."""
    if isinstance(value, dict):
        # keys are names in ccxt, so they are text, even NO
        return {str(key) if isinstance(key, Plain) else key: natural(each) for key, each in value.items()}
    if isinstance(value, list):
        return [natural(each) for each in value]
    if not isinstance(value, Plain):
        return value
    if is_nothing(value):
        return None
    for meaning in (switch(value), number(value)):
        if meaning is not None:
            return meaning
    return str(value)
