"""Text from venues and libraries is shown printable, in one short line, and without the settings' secrets."""

from __future__ import annotations

import html
import json
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.foreign_text import (
    READ,
    TRACE,
    Cleaner,
    address_shown,
    printable,
    secrets_in_address,
    secrets_in_options,
    values_shown,
)
from exchanges.venue import Access
from feed import Settings, SettingsError, load_settings
from feed.settings import ExchangeConfig
from feed.settings.validation import check

PASSWORD = "S3cr3t p@ss/word"
LOGIN = f"me:{quote(PASSWORD, safe='')}"
ACCESS = Access(
    proxy=f"http://{LOGIN}@proxy.example:3128",
    options={
        "apiKey": "AKIA-0123456789",
        "headers": {"X-Venue": "tok-abcdefgh"},
        "nested": [{"password": 987_654_321}],
    },
)


@pytest.mark.parametrize(
    "mark",
    [
        "\x1b",
        "\x07",
        "\x9b",
        "\x00",
        "\u202e",
        "\u2066",
        "\u2069",
        "\u200e",
        "\u200f",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\udc80",
    ],
)
def test_control_characters_and_direction_marks_are_escaped(mark: str) -> None:
    assert printable(f"a{mark}[31mb\nc\r\nd\te").isprintable()
    assert Cleaner()(f"a{mark}b").isprintable()
    assert Cleaner().lines(f"a{mark}b\n  c").replace("\n", "").isprintable()


@given(st.text(max_size=2000), st.integers(1, 300))
def test_any_text_becomes_one_printable_line_within_its_length(text: str, length: int) -> None:
    shown = printable(text, length)
    assert shown.isprintable()
    assert len(shown) <= length


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD),
        quote(PASSWORD, safe=""),
        quote(quote(PASSWORD, safe=""), safe=""),
        b64encode(f"me:{PASSWORD}".encode()).decode(),
        b64encode(PASSWORD.encode()).decode(),
        json.dumps(PASSWORD),
        f"http://{LOGIN}@proxy.example:3128",
        f"http://me:{PASSWORD}@proxy.example:3128",
        "AKIA-0123456789",
        "akia-0123456789",
        "tok-abcdefgh",
        "987654321",
    ],
)
def test_a_secret_of_the_settings_is_hidden_in_every_form_that_a_text_may_contain(form: str) -> None:
    clean = Cleaner(ACCESS.secrets())
    for text in (form, f"407 of {form}!", "x" * 190 + form, json.dumps({"error": form})):
        for shown in (clean(text), clean(text, 5000), clean.lines(text)):
            for secret in (PASSWORD, "S3cr3t", "AKIA", "akia", "tok-abc", "98765"):
                assert secret not in shown
            assert b64encode(f"me:{PASSWORD}".encode()).decode()[:12] not in shown
    assert "S3cr3t" not in repr(clean)


ODD = "pä§s  w😀rd%'<&>/\"x"


@pytest.mark.parametrize(
    "form",
    [
        ODD,
        " ".join(ODD.split()),
        ascii(ODD),
        repr(ODD.encode()),
        ODD.encode().hex(),
        *(ODD.encode().decode(wrong, "replace") for wrong in ("latin-1", "cp1252")),
        ODD.encode("latin-1", "replace").decode("utf-8", "surrogateescape"),
        ODD.encode("latin-1", "replace").decode("utf-8", "replace"),
        ODD.encode().decode("ascii", "surrogateescape"),
        json.dumps(ODD).replace("/", "\\/"),
        json.dumps(ODD, ensure_ascii=False).replace("<", "\\u003c").replace("&", "\\u0026"),
        json.dumps(json.dumps(ODD)),
        html.escape(ODD),
        html.escape(ODD, quote=False),
        html.escape(html.escape(ODD)),
        ODD.encode("ascii", "xmlcharrefreplace").decode(),
        quote(ODD.encode("latin-1", "replace"), safe=""),
        quote(ODD, safe="/"),
        quote(quote(quote(ODD))),
    ],
)
def test_a_password_of_special_characters_is_hidden_in_any_encoding(form: str) -> None:
    """The password may be written as Python, PHP or Go write JSON, as HTML, percent-encoded, or in a wrong encoding."""
    clean = Cleaner(secrets_in_address(f"http://me:{quote(ODD, safe='')}@proxy.example:3128"))
    for shown in (clean(f"no to {form}!", 1000), clean.lines(f"no to {form}!"), clean(" ".join(form.split()), 1000)):
        assert "***" in shown
        assert "rd" not in shown


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n   ", "\n\t", "\\n", "\\r\\n ", "\\\\n", "\n\n"])
@pytest.mark.parametrize("every", [1, 7, 60])
def test_a_secret_that_is_split_over_several_lines_is_hidden(end: str, every: int) -> None:
    """Line breaks split a secret in MIME's base64, in a folded header and in a table of a terminal; JSON that quotes
    such a text has escaped line breaks.
    """
    secret = "".join(map(chr, range(ord("A"), ord("Z")))) * 4
    clean = Cleaner([secret])
    for form in (secret, b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex()):
        split = end.join(form[at : at + every] for at in range(0, len(form), every))
        text = f"before{end}it: {split} after{end}it"
        for shown in (clean(text), clean.lines(text), clean.redacted(text)):
            assert shown.count("***") == 1
            assert form[:3] not in shown
            assert form[-3:] not in shown
            assert shown.startswith("before")
            assert shown.endswith("it")


@pytest.mark.parametrize("cut", range(4, 26, 3))
@pytest.mark.parametrize("before", ["\n", "x", "\u202e"])
def test_a_secret_that_is_cut_at_the_length_limit_is_not_shown(before: str, cut: int) -> None:
    """White space before the secret becomes one blank, so the beginning of the cut secret would fit into the line."""
    secret = "".join(map(chr, range(ord("a"), ord("z") + 1)))
    clean = Cleaner([secret])
    for size, cleaned in ((READ, clean), (TRACE, clean.lines)):
        text = before * (size - cut) + secret + "z" * size
        assert "abcd" not in cleaned(text)
        assert "abcd" not in cleaned(text[:size] + "z")


@pytest.mark.parametrize("address", ["http://tok-hunter2@proxy.example:1", "http://tok-hunter2:@proxy.example:1"])
def test_a_token_in_place_of_the_user_is_hidden(address: str) -> None:
    clean = Cleaner(secrets_in_address(address))
    for form in ("tok-hunter2", "tok-hunter2:", b64encode(b"tok-hunter2:").decode()):
        assert clean(f"no to {form}!") in ("no to ***!", "no to ***:!", "no to ***=!", "no to ***==!")


@pytest.mark.parametrize("hostile", ["\\", "?" + "key" * 6000, "%25", "&amp;", "//", "authorization ", "\ufffd"])
def test_the_time_to_clean_a_hostile_text_does_not_grow_with_the_square_of_its_length(hostile: str) -> None:
    clean = Cleaner(["@hunter2", "ä-hunter2", "a b c d"])
    text = (hostile * READ)[:READ]

    def seconds(length: int) -> float:
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            clean(text[:length])
            best = min(best, time.process_time() - began)
        return best

    assert seconds(READ) < 24 * seconds(READ // 8) + 0.02


@pytest.mark.parametrize(
    "text",
    [
        "via http://someone:else@proxy:1/ now",
        "GET wss://venue.example/ws?token=else-token&x=1",
        "{'Proxy-Authorization': 'Basic ZWxzZQ=='}",
        "authorization: Bearer ZWxzZQ==",
    ],
)
def test_logins_and_tokens_are_recognized_by_their_form(text: str) -> None:
    shown = Cleaner()(text)
    assert "else" not in shown
    assert "ZWxzZQ" not in shown


def test_text_without_secrets_is_not_changed() -> None:
    text = "HTTP 403: wss://stream.example:9443/ws/btcusdt@trade refuses 1 of 3, Basic authentication required"
    assert Cleaner(["pw", "a", "", "1"])(text) == text


def test_no_repr_shows_a_secret() -> None:
    config = ExchangeConfig("okx", proxy=ACCESS.proxy, options=dict(ACCESS.options))
    for shown in (repr(config), repr(Settings(exchanges=[config])), repr(ACCESS)):
        for secret in ("S3cr3t", "AKIA", "tok-", "98765"):
            assert secret not in shown
        assert "***" in shown
    assert repr(ExchangeConfig("okx")) == (
        "ExchangeConfig(name='okx', market_type='spot', rest_url=None, ws_url=None, proxy=None, options={})"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxy": "me:hunter2@proxy.example:3128"},
        {"proxy": "ftp://me:hunter2@proxy.example"},
        {"proxy": "http://me:hunter2/x@proxy.example:1"},
        {"rest_url": "https://me:hunter2@venue.example"},
        {"rest_url": "https://venue.example?token=hunter2"},
        {"ws_url": "wss://hunter2@venue.example"},
        {"options": ["hunter2", {"apiKey": "hunter2"}]},
        {"options": "apiKey=hunter2"},
        {"proxy": ["me:hunter2@proxy.example:1"]},
        {"proxy": {"http": "me:hunter2@proxy.example:1"}},
        {"proxy": "socks5://me:hunter2"},
        {"ws_url": "wss://venue.example/ws/hunter2-a-listen-key"},
    ],
)
def test_a_settings_error_shows_no_secret(wrong: dict[str, object]) -> None:
    settings = Settings(exchanges=[ExchangeConfig("okx", **wrong)])  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert "hunter2" not in str(caught.value)
    assert caught.value.problems[0].startswith("settings: exchanges[0]")


@pytest.mark.parametrize(
    "text",
    [
        "[{name: okx, options: {apiKey: *hunter2}}]",
        "[{name: okx, options: {password: !hunter2 x}}]",
        "[{name: okx, proxy: !hunter2@proxy.example}]",
        "[{name: okx, options: {secret: !!int hunter2}}]",
        "[{name: okx, options: {headers: {a: !!float hunter2}}}]",
    ],
)
def test_text_that_yaml_cannot_read_is_not_quoted_if_it_may_be_a_secret(text: str, tmp_path: Path) -> None:
    (file := tmp_path / "settings.yaml").write_text(f"exchanges: {text}\n")
    with pytest.raises(SettingsError, match="line 1, column") as caught:
        load_settings(file)
    assert "hunter2" not in str(caught.value)


def test_addresses_and_values_are_shown_without_their_secrets() -> None:
    assert address_shown("http://u:p@h:1") == "http://***@h:1"
    assert address_shown("u:p@q@h:1") == "***@h:1"
    for password in ("12345?67", "tok?en", "a://b", "12/34", "1#2"):
        assert address_shown(f"http://{password}@h:1") == "http://***@h:1"
    assert address_shown("http://h:1?token=x") == "http://h:1?***"
    assert address_shown("h:1") == "h:1"
    assert values_shown({"a": [1, {"secret": "x"}], "headers": {"b": ["y"]}, "token": None}) == {
        "a": [1, {"secret": "***"}],
        "headers": {"b": ["***"]},
        "token": None,
    }
    assert set(secrets_in_options({"url": "http://u:pass@h", "defaultType": "spot"})) == {"pass", "u:pass"}
