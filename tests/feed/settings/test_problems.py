"""For each wrong setting there is one line: its place in the file, what was found and what is allowed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from feed.errors import SettingsError
from feed.events import CoinConfig
from feed.settings import file as settings_file
from feed.settings.file import load_settings
from feed.settings.schema import Settings
from feed.settings.validation import check


def problems(text: str | bytes, file: Path) -> list[str]:
    """Return the lines of the error for a file with this ``text``, without the file's name."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    lines = str(caught.value).split("\n")
    assert lines == caught.value.problems
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


# --- what a file may not contain


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "exchanges: [bybit, {name: okx, ws_url: 'htp://x'}]",
            "exchanges[1].ws_url: found 'htp://x', allowed is ws://",
        ),
        ("conection: {}", "conection: found an unknown key, nearest is connection; allowed are coins, quote"),
        ("connection: {backoff: 1}", "connection.backoff: found an unknown key, nearest is backoff_"),
        ("coins: [{symbol: BTC, teir: 1}]", "coins[0].teir: found an unknown key, nearest is tier"),
        ("1: 2", "1: found an unknown key"),
        ("coins: []", "coins: found [], allowed is a list of coins, at least one"),
        ("coins: BTC", "coins: found 'BTC', allowed is a list"),
        ("coins:", "coins: found nothing, allowed is a list"),
        ("coins: [BTC, ETH, btc]", "coins[2]: found 'BTC' again, allowed is once (coins[0]"),
        ("coins: [BTC/USDT]", "coins[0].symbol: found 'BTC/USDT', allowed is a coin such as BTC"),
        ("coins: ['']", "coins[0].symbol: found ''"),
        ("coins: NULL", "coins: found NULL, allowed is a list of coins"),
        ("coins:\n-\n", "coins[0]: found nothing, allowed is a mapping with any of symbol"),
        ("coins: [{symbol: }]", "coins[0].symbol: found nothing, allowed is a coin"),
        ("coins: [{symbol: 12:30}]", "coins[0].symbol: found '12:30', allowed is a coin"),
        ("coins: [NO, 'no']", "coins[1]: found 'NO' again, allowed is once"),
        (
            "coins: [{symbol: A, name: ~}]",
            "coins[0].name: found ~, allowed is text of at most 100 characters, or write",
        ),
        (
            "coins: [*BTC]",
            "line 1, column 9: not YAML: found undefined alias 'BTC'; if it is meant as text, write it in",
        ),
        (
            "coins: [@BTC]",
            "line 1, column 9: not YAML: found character '@' that cannot start any token; if it is meant",
        ),
        (
            "coins: [!BTC ]",
            "line 1, column 9: not YAML: could not determine a constructor for the tag '!BTC'; if it is",
        ),
        ("quote: null", "quote: found null, allowed is a currency, or a list of them, or write it in quotes: 'null'"),
        ("exchanges: [NO]", "exchanges[0].name: found NO, allowed is"),
        ("exchanges: [{name: okx, proxy: on}]", "exchanges[0].proxy: found on, allowed is"),
        ("connection: {backoff_max: 1:30}", "connection.backoff_max: found '1:30', allowed is a number of seconds"),
        ("connection: {backoff_max: 0x20}", "connection.backoff_max: found '0x20', allowed is a number of seconds"),
        ("coins: [{tier: 1}]", "coins[0].symbol: found nothing"),
        ("coins: [{symbol: A, tier: 4}]", "coins[0].tier: found 4, allowed is 1, 2 or 3"),
        ("coins: [{symbol: A, tier: true}]", "coins[0].tier: found true"),
        (
            "coins: [{symbol: A, markets: {krakn: A/USD}}]",
            "coins[0].markets.krakn: found 'krakn', allowed is a ccxt.pro ",
        ),
        (
            "coins: [{symbol: A, markets: {kraken: AUSD}}]",
            "coins[0].markets.kraken: found 'AUSD', allowed is a market symbol",
        ),
        ("coins: [{symbol: A, markets: [kraken]}]", "coins[0].markets: found ['kraken'], allowed is a mapping"),
        ("quote: []", "quote: found []"),
        ("quote: [USDT, usdt]", "quote[1]: found 'USDT' again"),
        ("channels: [trade]", "channels[0]: found 'trade', allowed is one of trades, ticker, candles, quotes"),
        ("channels: trades", "channels: found 'trades', allowed is a list"),
        ("candle_timeframe: 7m", "candle_timeframe: found '7m', allowed is one of 1s, 1m"),
        ("candle_timeframe: 5", "candle_timeframe: found 5, allowed is one of"),
        ("exchanges: [binanc]", "exchanges[0].name: found 'binanc', allowed is a ccxt.pro exchange, nearest: binance"),
        ("exchanges: [binance_us, binanceus]", "exchanges[1]: found 'binance_us' again"),
        ("exchanges: [{market_type: spot}]", "exchanges[0].name: found nothing"),
        (
            "exchanges: [{name: okx, market_type: future}]",
            "exchanges[0].market_type: found 'future', allowed is one of spot, s",
        ),
        ("exchanges: [{name: okx, rest_url: 'http://h:99999'}]", "exchanges[0].rest_url: found 'http://h:99999'"),
        ("exchanges: [{name: okx, rest_url: 'http://h:x'}]", "exchanges[0].rest_url: found 'http://h:x'"),
        ("exchanges: [{name: okx, rest_url: 'http://h/v1'}]", "exchanges[0].rest_url: found 'http://h/v1'"),
        ("exchanges: [{name: okx, rest_url: 'http://'}]", "exchanges[0].rest_url: found 'http://'"),
        ("exchanges: [{name: okx, rest_url: 'http://['}]", "exchanges[0].rest_url: found 'http://['"),
        ("exchanges: [{name: okx, ws_url: 'http://h:1'}]", "exchanges[0].ws_url: found 'http://h:1', allowed is ws://"),
        ("exchanges: [{name: okx, proxy: 'ftp://h:1'}]", "exchanges[0].proxy: found 'ftp://h:1', allowed is http://"),
        ("exchanges: [{name: okx, options: 1}]", "exchanges[0].options: found 1, allowed is a mapping"),
        ("connection: 5", "connection: found 5, allowed is a mapping with any of connect_timeout"),
        ("connection:", "connection: found nothing, allowed is a mapping"),
        (
            "connection: {connect_timeout: '10'}",
            "connection.connect_timeout: found '10', allowed is a number of seconds",
        ),
        (
            "connection: {connect_timeout: 0}",
            "connection.connect_timeout: found 0, allowed is a number of seconds above 0",
        ),
        ("connection: {connect_timeout: -1}", "connection.connect_timeout: found -1"),
        ("connection: {connect_timeout: yes}", "connection.connect_timeout: found yes"),
        ("connection: {connect_timeout: .nan}", "connection.connect_timeout: found .nan"),
        ("connection: {connect_timeout: .inf}", "connection.connect_timeout: found .inf"),
        ("connection: {backoff_jitter: 1.5}", "connection.backoff_jitter: found 1.5, allowed is a number from 0 to 1"),
        (
            "connection: {attempts_before_failover: 2.0}",
            "connection.attempts_before_failover: found 2.0, allowed is a whole",
        ),
        (
            "connection: {backoff_initial: 2, backoff_max: 1}",
            "connection.backoff_max: found 1, allowed is at least backoff_in",
        ),
        ("connection: {backoff_initial: 60}", "connection.backoff_max: found the default 30, allowed is at least"),
        ("staleness: {reconnect_after: 1}", "staleness.reconnect_after: found 1, allowed is at least feed_stale_after"),
        ("circuit_breaker: {failures: 0}", "circuit_breaker.failures: found 0"),
        ("backfill: {enabled: 1}", "backfill.enabled: found 1, allowed is true or false"),
        ("quote: USDT\nquote: USD", "quote: found in lines 1 and 2, allowed is once"),
        (
            "connection: {backoff_max: 40, backoff_max: 50}",
            "connection.backoff_max: found in lines 1 and 1, allowed is once",
        ),
        ("", "found an empty file"),
        ("# nothing", "found an empty file"),
        ("- coins", "found ['coins'], allowed is a mapping with any of coins"),
        ("just text", "found 'just text', allowed is a mapping"),
        ("coins: [BTC", "line 1, column 12: not YAML: "),
        (
            "quote: USDT\n\tcoins: []",
            "line 2, column 1: not YAML: found character '\\t' that cannot start any token; a tab: indent with blanks",
        ),
        ("a: 1\n---\nb: 2", "line 2, column 1: not YAML: "),
        ("coins: \x07", "line 1, column 8: found the character '\\x07'"),
        (b"coins: [\xff]", "found the byte 0xff at offset 8, allowed is UTF-8"),
        ("coins: !!python/object/apply:os.getcwd []", "line 1, column 8: not YAML: "),
        ("? [a]\n: 1", "line 1, column 3: not YAML: "),
        ("coins: 2024-13-45", "coins: found '2024-13-45', allowed is a list"),
        ("coins: !!timestamp 2024-13-45", "line 1, column 8: found '2024-13-45'"),
        ("coins: " + "9" * 5000, "coins: found '9999"),
        ("backfill: {max_gap: " + "9" * 5000 + "}", "backfill.max_gap: found '9999"),
        ("coins: &a [*a]", "line 1: found an anchor that contains itself"),
        ("[" * 3000, "found values nested too deeply"),
        ("#" * 300_000, "found more than 256 kB"),
    ],
)
def test_one_problem_is_reported_in_one_line_with_its_path_and_what_is_allowed(
    text: str | bytes, line: str, tmp_path: Path
) -> None:
    found = problems(text, tmp_path / "s.yaml")
    assert len(found) == 1
    assert found[0].startswith(line)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = """
    coins: [btc, BTC, {symbol: a/b, tier: 0}]
    exchanges: [{name: nope, ws_url: 5}]
    quote: USDT
    quote: USD
    connection: {connect_timeout: [], backoff_initial: 31}
    stalenes: 1
    """
    paths = {line.split(":")[0] for line in problems(text, tmp_path / "s.yaml")}
    assert paths == {
        "coins[1]",
        "coins[2].symbol",
        "coins[2].tier",
        "exchanges[0].name",
        "exchanges[0].ws_url",
        "quote",
        "connection.connect_timeout",
        "stalenes",
    }


def test_a_yaml_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    bomb = "a: &x0 [1,1,1,1,1,1,1,1,1,1]\n"
    bomb += "".join(f"b{n}: &x{n} [{','.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 30))
    assert len(problems(bomb, tmp_path / "s.yaml")) == 1
    merges = "a: &x0 {k: v}\n"
    merges += "".join(f"b{n}: &x{n} {{<<: [{','.join([f'*x{n - 1}'] * 10)}]}}\n" for n in range(1, 30))
    assert len(problems(merges, tmp_path / "s.yaml")) == 1


def test_the_error_for_a_proxy_does_not_show_its_password(tmp_path: Path) -> None:
    (line,) = problems("exchanges: [{name: okx, proxy: 'ftp://me:secret@h:1'}]", tmp_path / "s.yaml")
    assert "secret" not in line


@pytest.mark.parametrize(
    "path", ["", ".", "nowhere.yaml", "nul\0byte", "/dev/zero" if os.path.exists("/dev/zero") else "."]
)
def test_a_path_without_a_settings_file_causes_an_error_of_one_line(path: str, here: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert len(caught.value.problems) == 1
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("named", [True, False], ids=["named", "in the folder"])
def test_a_broken_link_causes_an_error_and_does_not_load_the_defaults(named: bool, here: Path) -> None:
    (here / "settings.yaml").symlink_to(here / "gone.yaml")
    (here / "round.yaml").symlink_to(here / "round.yaml")
    with pytest.raises(SettingsError) as caught:
        load_settings("round.yaml" if named else None)
    (line,) = caught.value.problems
    assert "can't be read (" in line


def test_a_pipe_is_read_like_a_file_and_the_wait_for_its_writer_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell makes a pipe for <(...). In an earlier version a pipe without a writer blocked the process for ever."""
    pipe = tmp_path / "settings.yaml"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", 'sleep 0.3; echo "coins: [NO]" > "$0"', str(pipe)]):
        assert [coin.symbol for coin in load_settings(pipe).coins] == ["NO"]
    monkeypatch.setattr(settings_file, "_PIPE_WITHIN", 0.1)
    with pytest.raises(SettingsError) as caught:
        load_settings(pipe)
    (line,) = caught.value.problems
    assert "a pipe into which nobody wrote within 0.1 s" in line
    with subprocess.Popen(["sh", "-c", 'exec > "$0"; echo "coins: [NO]"; exec sleep 60', str(pipe)]) as stalled:
        monkeypatch.setattr(settings_file, "_PIPE_WITHIN", 5.0)
        with pytest.raises(SettingsError, match=r"nobody wrote within 5 s"):
            load_settings(pipe)
        stalled.kill()
    with subprocess.Popen(["sh", "-c", 'exec > "$0"; while echo "# slow"; do sleep 0.1; done', str(pipe)]):
        monkeypatch.setattr(settings_file, "_PIPE_WHOLE", 0.5)
        with pytest.raises(SettingsError, match=r"did not end within 0\.5 s"):
            load_settings(pipe)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_reported_in_one_line(here: Path) -> None:
    (here / "s.yaml").touch(mode=0)
    with pytest.raises(SettingsError, match="Permission denied"):
        load_settings("s.yaml")


@pytest.mark.parametrize("mark", ["\u200b", "\u202e", "\ufeff", "\x85", "\u2066"])
def test_a_coin_with_an_invisible_character_is_refused(mark: str) -> None:
    with pytest.raises(SettingsError, match="a coin such as BTC"):
        check(Settings(coins=[CoinConfig(f"BT{mark}C")]))


@pytest.mark.parametrize("symbol", ['"\\ud83d"', '"\\x1b[2J"', '"B\\u180eTC"', '"BTC\\U000e0041"'])
def test_a_coin_that_cannot_be_printed_is_refused(symbol: str, tmp_path: Path) -> None:
    """Half of a surrogate pair would raise an error in the first output that shows the coin."""
    file = tmp_path / "settings.yaml"
    file.write_text(f"coins: [{symbol}]\nquote: {symbol}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert len(caught.value.problems) == 2
    assert str(caught.value).isascii()
    file.write_text(f"coins: [{{symbol: BTC, name: {symbol}}}]\n")
    if "ud83d" in symbol or "x1b" in symbol:
        with pytest.raises(SettingsError, match="name: found"):
            load_settings(file)


def test_a_long_tag_is_shortened_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("!" * 100_000)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert len(str(caught.value)) < 1000
