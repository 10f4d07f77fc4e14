"""The troubleshooting page quotes messages as the code writes them, and has a heading for every symptom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
QUOTED = [line for block in re.findall(r"```text\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
TELLING = 7  # a text in the code counts as a message if it has this many constant characters

SYMPTOMS = [
    "451",
    "403",
    "proxy",
    "certificate",
    "clock",
    "name server",
    "rate limit",
    "ban",
    "stale",
    "lagging",
    "order book",
    "missing",
    "slow callback",
    "memory",
    "several processes",
]


@cache
def messages() -> list[re.Pattern[str]]:
    """Every text in the library's code, as a pattern that allows any values of its parameters."""
    found = []
    for package in ("feed", "exchanges"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "simulator" not in path.parts:
                found += [pattern for node in ast.walk(ast.parse(path.read_text("utf-8"))) for pattern in said(node)]
    return found


def said(node: ast.AST) -> Iterator[re.Pattern[str]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = [node.value]
        pattern = re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = [str(each.value) for each in node.values if isinstance(each, ast.Constant)]
        pattern = "".join(
            re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".*" for each in node.values
        )
    else:
        return
    if sum(map(len, parts)) >= TELLING:
        yield re.compile(pattern)


@pytest.mark.parametrize("line", QUOTED)
def test_every_quoted_message_is_in_the_code(line: str) -> None:
    assert any(pattern.fullmatch(line) for pattern in messages())


def test_the_page_quotes_some_messages() -> None:
    assert len(QUOTED) > 15


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_every_symptom_has_a_heading(symptom: str) -> None:
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.M)).lower()
    assert symptom in headings


def test_the_check_finds_a_message_that_is_not_in_the_code() -> None:
    assert not any(pattern.fullmatch("the moon is in the wrong house") for pattern in messages())
