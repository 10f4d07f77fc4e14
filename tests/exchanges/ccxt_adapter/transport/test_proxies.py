"""An address is reached through the proxy in the settings, otherwise through the environment's by curl's rules."""

from __future__ import annotations

import pytest

from exchanges.ccxt_adapter.transport.proxies import proxy_for
from exchanges.venue import NO_PROXY

BOTH = {"http_proxy": "http://plain:1", "https_proxy": "http://tls:2"}


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://venue.example/x", BOTH, "http://tls:2"),
        ("http://venue.example/x", BOTH, "http://plain:1"),
        ("wss://venue.example/x", BOTH, "http://tls:2"),
        ("ws://venue.example/x", BOTH, "http://plain:1"),
        ("https://venue.example", {"HTTPS_PROXY": "http://upper:1"}, "http://upper:1"),
        ("https://venue.example", {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "http://lower:1"),
        ("https://venue.example", {"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}, None),
        ("https://venue.example", {"ALL_PROXY": "socks5h://all:1"}, "socks5h://all:1"),
        ("https://venue.example", {"all_proxy": "http://all:1", "https_proxy": ""}, None),
        ("http://venue.example", {"all_proxy": "http://all:1", "https_proxy": "http://tls:2"}, "http://all:1"),
        ("http://venue.example", {"HTTP_PROXY": "http://upper:1"}, "http://upper:1"),
        ("http://venue.example", {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}, None),
        ("http://venue.example", {"http_proxy": "http://lower:1", "REQUEST_METHOD": "GET"}, "http://lower:1"),
        ("https://venue.example", {"https_proxy": "proxy.example:3128"}, "http://proxy.example:3128"),
        ("https://venue.example", {"https_proxy": " HTTP://u:p@proxy.example:3128/ "}, "http://u:p@proxy.example:3128"),
        ("https://venue.example", {"all_proxy": "socks://proxy.example:1080"}, "socks5://proxy.example:1080"),
        ("https://venue.example", {}, None),
    ],
)
def test_the_environments_variables_are_read_as_curl_reads_them(
    url: str, environ: dict[str, str], proxy: str | None
) -> None:
    found = proxy_for(url, None, environ)
    assert (found and found.url) == proxy


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "api.localhost", "[::1]", "[::ffff:127.0.0.1]"),
        *("0.0.0.0", "[::]", "127.1", "2130706433", "0x7f.0.0.1", "ip6-localhost", "localhost.localdomain"),
    ],
)
def test_loopback_addresses_never_go_through_the_environments_proxy(scheme: str, host: str) -> None:
    assert proxy_for(f"{scheme}://{host}:8080/x", None, BOTH) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://venue.example", True),
        ("venue.example", "https://venue.example", True),
        ("venue.example", "wss://stream.venue.example:9443", True),
        ("venue.example", "https://othervenue.example", False),
        (".venue.example", "https://venue.example", True),
        (".venue.example", "https://api.venue.example", True),
        ("*.venue.example", "https://api.venue.example", True),
        ("VENUE.example", "https://api.Venue.EXAMPLE", True),
        ("other.example, venue.example", "https://venue.example", True),
        ("other.example venue.example", "https://venue.example", True),
        ("venue.example:8443", "https://venue.example:8443", True),
        ("venue.example:8443", "https://venue.example", False),
        ("venue.example:443", "wss://venue.example", True),
        ("10.0.0.1", "https://10.0.0.1", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]:443", "https://[fd00::1]", True),
        ("fd00::1", "https://[fd00::1]:8443", True),
        ("0.0.0.1", "https://10.0.0.1", False),
        ("", "https://venue.example", False),
        (" , ,", "https://venue.example", False),
    ],
)
def test_hosts_in_the_variable_no_proxy_are_reached_directly(no_proxy: str, url: str, direct: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert (proxy_for(url, None, {**BOTH, name: no_proxy}) is None) is direct


def test_the_settings_take_precedence_over_the_environment() -> None:
    environ = {**BOTH, "no_proxy": "*"}
    for url in ("https://venue.example", "ws://127.0.0.1:1"):
        found = proxy_for(url, "http://own:9", environ)
        assert found is not None
        assert (found.url, found.source) == ("http://own:9", "settings")
        assert proxy_for(url, NO_PROXY, BOTH) is None


def test_a_proxy_is_shown_without_its_login_and_with_the_place_that_names_it() -> None:
    found = proxy_for("https://venue.example", None, {"HTTPS_PROXY": "http://me:hunter2@proxy.example:3128"})
    assert str(found) == "http://***@proxy.example:3128 (HTTPS_PROXY)"
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("wrong", ["ftp://me:hunter2@proxy.example:1", "http://me:hunter2@:1", "http://me:hunter2@h:x"])
def test_an_invalid_proxy_is_an_error_that_names_the_variable(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"the environment's all_proxy is .*, allowed is host:port behind") as caught:
        proxy_for("https://venue.example", None, {"all_proxy": wrong})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("entry", ["1.2.3", ".2.3", "*.3", "1.2.3:443"])
def test_no_proxy_does_not_match_the_end_of_an_ip_address(entry: str) -> None:
    assert proxy_for("https://10.1.2.3", None, {"https_proxy": "proxy:1", "no_proxy": entry}) is not None
