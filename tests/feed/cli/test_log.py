"""The log of the command line has no control characters, even if an error of a library contains some."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger

from feed.cli.process import start_log


@pytest.fixture
def written() -> Iterator[list[str]]:
    lines: list[str] = []
    start_log("INFO", lines.append)
    yield lines
    logger.remove()
    for package in ("feed", "exchanges"):
        logger.disable(package)


def test_a_traceback_is_logged_without_control_characters_and_logins(written: list[str]) -> None:
    def fail() -> None:
        raise ValueError("\x1b[2Jgone \x9b31m http://user:pa55word@host/ \u202eback")

    try:
        fail()
    except ValueError as error:
        logger.opt(exception=error).error("it failed\x1b]0;x\x07")
    (text,) = written
    assert len(text.splitlines()) > 4
    assert all(line.isprintable() for line in text.splitlines())
    assert "pa55word" not in text
    assert text.endswith("\n")
