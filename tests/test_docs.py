"""Public names are documented, and the links of the documents are valid."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from feed import MarketFeed, Settings
from feed.settings import ExchangeConfig
from feed.subscriptions.status_events import KINDS

ROOT = Path(__file__).parents[1]
PACKAGES = ("feed", "exchanges", "exchanges.simulator")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SITE = ROOT / "docs" / "mkdocs" / "mkdocs.yml"


def public() -> Iterator[tuple[str, Any]]:
    """Every exported name, and every public member of MarketFeed, including inherited ones."""
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            yield f"{package}.{name}", getattr(module, name)
    for name, member in inspect.getmembers_static(MarketFeed):
        if not name.startswith("_"):
            yield f"MarketFeed.{name}", member


def documented(name: str, thing: Any) -> bool:
    """Whether a person wrote the object's docstring; Python makes one from the signature of a dataclass without
    docstring."""
    if not (inspect.isroutine(thing) or isinstance(thing, type | property)):
        return True  # constants are explained in their module
    text = thing.__doc__ or ""
    return bool(text.strip()) and not text.startswith(f"{name.rpartition('.')[2]}(")


def test_every_public_name_has_a_docstring() -> None:
    bare = [name for name, thing in public() if not documented(name, thing)]
    assert not bare


def test_docstrings_name_the_errors_and_units() -> None:
    """The test checks the methods whose wrong use can cost a bot's owner money."""
    words = {
        "connect": ("NoExchangeAvailable", "SettingsError", "seconds"),
        "candles_history": ("FeedError", "SettingsError", "currency"),
        "require_fresh": ("StaleDataError", "seconds"),
        "volatility": ("percent", "ValueError"),
        "start": ("FeedError",),
        "run": ("FeedError",),
        "stop": ("FeedError",),
    }
    for name, needed in words.items():
        missing = [word for word in needed if word not in (getattr(MarketFeed, name).__doc__ or "")]
        assert not missing, name
    errors = ("SettingsError", "TypeError", "ValueError")  # of the methods that subscribe
    assert [error for error in errors if error not in (MarketFeed.__doc__ or "")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_the_docs_has_a_target(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text("utf-8"))
    assert not [link for link in links if "://" not in link and not (document.parent / link).exists()]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = re.findall(r": ([\w/]+\.md)$", SITE.read_text("utf-8"), re.MULTILINE)
    pages = [str(path.relative_to(ROOT / "docs")) for path in DOCUMENTS[1:]]
    assert sorted(listed) == sorted(pages)


def keys(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key of the settings with its default; a key in a section begins with the section's name."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, f"{field.name}.")
        else:
            yield prefix + field.name, value


def test_the_settings_page_has_every_key_and_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (`[^|]+) \|([^|]*)\|", page, re.MULTILINE))
    written = {key: default.strip(" `") for names, default in rows.items() for key in re.findall(r"`([\w.]+)`", names)}
    exchange = {field.name for field in dataclasses.fields(ExchangeConfig)}
    assert exchange <= set(written)
    for name, default in keys(Settings()):
        key = name if name in written else name.partition(".")[2]
        assert key in written, name
        if isinstance(default, bool | int | float):
            assert written[key] == (str(default).lower() if isinstance(default, bool) else f"{default:g}"), name
        elif isinstance(default, str):
            assert written[key] == default, name


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda path: path.name)
def test_python_in_the_docs_can_be_parsed(document: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL):
        compile(block, str(document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_events_page_has_every_status_event_and_its_details() -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8")
    listed: dict[str, set[str]] = {}
    for names, details in re.findall(r"^\| (`[^|]+) \|([^|]*)\|", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            listed.setdefault(name, set()).update(re.findall(r"`(\w+)`", details))
    told = {str(event): sorted(kind.details) for event, kind in KINDS.items()}
    assert {event: sorted(details) for event, details in listed.items()} == told
