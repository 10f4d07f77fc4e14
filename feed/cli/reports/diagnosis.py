"""Describes this machine for ``market-feed check``, and turns what the venues answered into advice."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

TOO_LATE = "does not answer in time: a firewall may drop what is sent there"
IN_ITS_PLACE = (
    "does not answer like an exchange: a proxy, a firewall or a page that asks for a login may answer in its place; "
    "check `rest_url` and `ws_url`, if the settings have them"
)
SILENT_SERVER = "the name server does not answer for"

# Words in a venue's reason -> what can be done about it. The first entry that matches is the advice.
ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"the environment's \w+ is",
        "follows an environment variable that is wrong: correct the variable that its row names",
    ),
    (
        r"\b407\b|(?i:(?:the|SOCKS) proxy)",
        "cannot be reached through its proxy: check its address and login, or write `proxy: none`",
    ),
    (r"\b451\b|\b403\b", "does not serve this location: put another exchange first, or name a `proxy:` for it"),
    (r"[Cc]ertificate|CERTIFICATE", "shows a certificate that is not trusted here: its row says what helps"),
    (
        r"\b429\b|\b418\b|left alone|banned",
        "limits this address: wait, and send fewer requests from it",
    ),
    (
        r"this machine:|this program:",
        "cannot be reached because of a fault of this machine or program, which its row names",
    ),
    (r"name server|[Nn]ame or service|getaddrinfo|resolution", "has a name that is not found: check the name server"),
    (r"no answer|not reached|timed out|in time", TOO_LATE),
    (
        r"lists none|does not list|has halted",
        "trades none of the coins: check `quote:` and `markets:`, or name other coins",
    ),
    (r"Cannot connect|refused", "cannot be connected to: check the address, and any firewall in between"),
    (r"HTTP 5\d\d", "has a fault of its own: put another exchange first, and try this one later"),
    (
        r"market at all|cannot be read|Bad status|not completed|HTTP [2-4]\d\d|WebSocket protocol|isconnected",
        IN_ITS_PLACE,
    ),
)
OTHERWISE = "does not work, for the reason in its row"
PAGE = "docs/troubleshooting.md has more, by symptom"


def machine(settings: str) -> dict[str, Any]:
    """Versions and environment of this machine, by their names in the output; ``settings`` is the settings file."""
    return {
        "settings": os.path.abspath(settings),
        "market_feed": _version("market-feed"),
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform(terse=True)})",
        "ccxt": _version("ccxt"),
        "transport": _transport(),
        "cache": _cache(),
        "certificates": _certificates(),
        "names": {"unanswered": _unanswered_names()},
    }


def remedies(rows: Iterable[Mapping[str, Any]], facts: Mapping[str, Any], clock: Mapping[str, str]) -> list[str]:
    """What to do, one line for each step; no line if all is well. ``clock``: by venue, a remark about the clock."""
    found = [
        *_of_machine(facts),
        *dict.fromkeys(f"set the clock of this machine: it is {said}" for said in clock.values()),
    ]
    for row in rows:
        for reason in dict.fromkeys(filter(None, (row["rest_reason"], row["live_reason"]))):
            advice = next((text for pattern, text in ADVICE if re.search(pattern, reason)), OTHERWISE)
            if advice is TOO_LATE and facts["names"]["unanswered"]:  # _of_machine reports it
                continue
            if advice is TOO_LATE and row["proxies"]:
                advice = "does not answer in time: its proxy may pass nothing on"
            found.append(f"{row['exchange']} {advice}")
        if row["rest"] is not None and row["live"] is None:
            found.append(
                f"{row['exchange']} answers over REST only: a proxy or firewall may not let WebSockets through"
            )
        if row["missing"]:
            found.append(
                f"{row['exchange']} does not list {', '.join(row['missing'])}: take them from another exchange of the "
                "order, or name the market under the coin's `markets:`"
            )
    return list(dict.fromkeys(found))


def _of_machine(facts: Mapping[str, Any]) -> Iterator[str]:
    if names := facts["names"]["unanswered"]:
        yield f"{SILENT_SERVER} {', '.join(names)}: look at /etc/resolv.conf, or try another name server"
    yield from facts["certificates"]["problems"]
    cache = facts["cache"]
    if cache["problem"]:
        yield f"market lists are loaded again at every start: {cache['problem']}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout, or from a program that was packed without this information
        module = sys.modules.get(name)
        return str(getattr(module, "__version__", "unknown"))


def _transport() -> str:
    from exchanges.ccxt_adapter.transport.choose import VARIABLE, uses_picows

    named = f" ({VARIABLE})" if os.environ.get(VARIABLE) else ""
    try:
        return ("picows" if uses_picows() else "aiohttp") + named
    except ValueError as error:
        return str(error)


def _cache() -> dict[str, str]:
    from exchanges.ccxt_adapter.markets.disk_cache import VARIABLE, cache_folder, why_unwritable

    try:
        folder = cache_folder()
    except ValueError as error:
        return {"folder": "", "problem": str(error)}
    if folder is None:
        return {"folder": "off" if os.environ.get(VARIABLE) == "off" else "", "problem": ""}
    return {"folder": str(folder), "problem": why_unwritable(folder)}


def _unanswered_names() -> list[str]:
    from exchanges.ccxt_adapter.transport.name_lookup import unanswered

    return unanswered()


def _certificates() -> dict[str, Any]:
    from exchanges.ccxt_adapter.transport.certificates import FILE, FOLDER, problems

    named = {name: os.environ[name] for name in (FILE, FOLDER) if os.environ.get(name)}
    found = problems()
    used = [
        f"{path} ({name})"
        for name, path in named.items()
        if not any(each.startswith(f"{name} names {path!r}") for each in found)
    ]
    return {"trusted": ["ccxt's own list", *used], "problems": found}
