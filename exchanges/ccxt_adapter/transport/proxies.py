"""Finds the proxy for an address: the settings' proxy, else the proxy that the environment names by curl's rules.

The environment's variables are ``http_proxy`` (for http and ws), ``https_proxy`` (for https and wss), ``all_proxy``
(for addresses without either) and ``no_proxy``, each in lower or upper case; lower case takes precedence, and an empty
value means no proxy. HTTP_PROXY is ignored in a CGI program, where a client could set it (https://httpoxy.org). A
loopback address is never requested through the environment's proxy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from socket import inet_aton, inet_ntoa
from urllib.parse import urlsplit

from exchanges.foreign_text import Cleaner, address_shown
from exchanges.venue import NO_PROXY

SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_OTHER_NAMES = {"socks": "socks5"}  # desktops write "socks"
PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
TLS = ("https", "wss")
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback")
_NUMERIC = re.compile(r"[0-9a-fx.]+")  # IPv4 addresses in all forms that the C library reads: 127.1, 0x7f000001


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """A proxy: its address with the login, and ``source``, which says where it is configured."""

    url: str
    source: str

    def __str__(self) -> str:
        return f"{address_shown(self.url)} ({self.source})"

    def __repr__(self) -> str:
        return f"<Proxy {self}>"

    @property
    def socks(self) -> bool:
        return self.url.startswith("socks")


def proxy_for(url: str, configured: str | None, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """The proxy for ``url`` (http, https, ws or wss); None for a direct connection.

    ``configured`` is the settings' ``proxy``. Raises ValueError if the environment names a proxy in a wrong form.
    """
    if configured is not None:
        return None if configured == NO_PROXY else Proxy(configured, "settings")
    environ = os.environ if environ is None else environ
    address = urlsplit(url)
    host = address.hostname or ""
    if is_loopback(host) or _excepted(host, address.port or PORTS.get(address.scheme, 0), environ):
        return None
    for kind in ("https" if address.scheme in TLS else "http", "all"):
        name, value = _variable(f"{kind}_proxy", environ)
        if value is not None:
            return _read(name, value.strip()) if value.strip() else None
    return None


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address, is this machine itself."""
    name = host.strip("[]").rstrip(".").lower()
    with suppress(ValueError):
        address = ip_address(name.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_unspecified
    if _NUMERIC.fullmatch(name):
        with suppress(OSError):
            return is_loopback(inet_ntoa(inet_aton(name)))
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The variable's name in the case that is used, and its value; None if the variable is not set."""
    if name in environ:
        return name, environ[name]
    upper = name.upper()
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        return upper, None
    return upper, environ.get(upper)


def _read(name: str, value: str) -> Proxy:
    scheme, separator, rest = value.partition("://")
    scheme = _OTHER_NAMES.get(scheme.lower(), scheme.lower()) if separator else "http"
    url = f"{scheme}://{rest if separator else value}".rstrip("/")
    try:
        address = urlsplit(url)
        known = scheme in SCHEMES and bool(address.hostname) and address.port != 0
    except ValueError:
        known = False
    if not known:
        found = Cleaner()(address_shown(value))
        raise ValueError(
            f"the environment's {name} is {found!r}, allowed is host:port behind one of "
            f"{', '.join(f'{each}://' for each in SCHEMES)}"
        )
    return Proxy(url, name)


def _excepted(host: str, port: int, environ: Mapping[str, str]) -> bool:
    """Whether ``no_proxy`` has the host's name or a parent domain, its address or network, or ``*``; maybe a port."""
    _, value = _variable("no_proxy", environ)
    entries = [entry.strip().lower() for entry in re.split(r"[,\s]+", value or "") if entry.strip()]
    return any(_matches(entry, host.rstrip(".").lower(), port) for entry in entries)


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    name, only = _split(entry)
    if only is not None and only != port:
        return False
    with suppress(ValueError):
        address = ip_address(host)  # an address has no parent domains
        with suppress(ValueError):
            return address == ip_address(name)
        return False
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    """An entry's host and port: ``host:8443``, ``[::1]:8443``, ``::1``."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", entry)
    plain = re.fullmatch(r"([^:]*):(\d+)", entry)
    found = bracketed or plain
    if found is None:
        return entry, None
    return found[1], int(found[2]) if found[2] else None
