"""What a settings file may contain, and the defaults of keys that it leaves out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from feed.errors import SettingsError
from feed.events import CoinConfig
from feed.settings.file import ENVIRONMENT, load_settings
from feed.settings.schema import ExchangeConfig, Settings, packaged_settings
from feed.settings.validation import check


def load(text: str, file: Path) -> Settings:
    file.write_text(text)
    return load_settings(file)


# --- defaults, and the file that is read


def test_the_packaged_file_and_the_dataclasses_agree_on_every_default() -> None:
    written = yaml.safe_load(packaged_settings().read_text())
    assert list(written) == [each.name for each in fields(Settings)]
    assert load_settings(str(packaged_settings())) == Settings()
    for section in ("connection", "staleness", "circuit_breaker", "backfill"):
        assert list(written[section]) != []
        assert set(written[section]) == {each.name for each in fields(type(getattr(Settings(), section)))}


def test_the_defaults_are_twenty_coins_in_three_tiers_on_three_venues() -> None:
    settings = Settings()
    tiers = {tier: [coin.symbol for coin in settings.coins if coin.tier == tier] for tier in (1, 2, 3)}
    assert tiers == {
        1: ["BTC", "ETH", "SOL", "BNB", "XRP"],
        2: ["DOGE", "ADA", "AVAX", "LINK", "DOT", "POL", "UNI", "ATOM", "LTC", "ETC"],
        3: ["NEAR", "APT", "ARB", "OP", "INJ"],
    }
    assert all(coin.name for coin in settings.coins)
    assert [exchange.name for exchange in settings.exchanges] == ["bybit", "binance", "binance_us"]
    assert settings.quote == ["USDT", "USDC", "USD"]
    assert settings.channels == ["trades", "ticker", "candles"]


def test_two_settings_objects_share_no_values() -> None:
    first, second = Settings(), Settings()
    first.coins[0].symbol = "XYZ"
    first.exchanges[0].options["a"] = 1
    first.connection.backoff_max = 99
    assert second == Settings() != first


def test_settings_are_taken_from_path_then_environment_then_working_directory_then_package(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings() == Settings()
    (here / "settings.yaml").write_text("coins: [AAA]")
    assert load_settings().coins == [CoinConfig("AAA")]
    (here / "named.yaml").write_text("coins: [BBB]")
    monkeypatch.setenv(ENVIRONMENT, str(here / "named.yaml"))
    assert load_settings().coins == [CoinConfig("BBB")]
    (here / "given.yaml").write_text("coins: [CCC]")
    assert load_settings(here / "given.yaml").coins == [CoinConfig("CCC")]
    monkeypatch.setenv(ENVIRONMENT, "")
    assert load_settings().coins == [CoinConfig("AAA")]


def test_a_file_that_the_environment_names_must_exist(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "nowhere.yaml")
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load_settings()


# --- what a file may contain


def test_keys_that_a_file_leaves_out_keep_their_defaults(tmp_path: Path) -> None:
    settings = load("staleness: {feed_stale_after: 2}", tmp_path / "s.yaml")
    expected = Settings()
    expected.staleness.feed_stale_after = 2
    assert settings == expected
    assert load("{}", tmp_path / "s.yaml") == Settings()


def test_short_forms_and_any_letter_case_are_accepted(tmp_path: Path) -> None:
    settings = load(
        """
        coins: [btc, {symbol: eTh, tier: 1, markets: {kraken: ETH/USD, binanceus: "ETH/USDT:USDT"}}]
        quote: usdc
        exchanges: [kraken, {name: binanceus, market_type: swap, rest_url: "http://127.0.0.1:1/", options: {a: {b: 1}}}]
        """,
        tmp_path / "s.yaml",
    )
    assert settings.coins == [
        CoinConfig("BTC"),
        CoinConfig("ETH", 1, markets={"kraken": "ETH/USD", "binance_us": "ETH/USDT:USDT"}),
    ]
    assert settings.quote == ["USDC"]
    assert settings.exchanges == [
        ExchangeConfig("kraken"),
        ExchangeConfig("binance_us", "swap", "http://127.0.0.1:1", options={"a": {"b": 1}}),
    ]


NOT_TEXT = "ON on NO 00 4 007 08 1e5 1E5 0x0 0X0 1_000 +1 -1 .inf .NaN ~ NULL null Y TRUE Off 2024-01-01 1.5 = $B 1INCH"


@pytest.mark.parametrize("written", NOT_TEXT.split())
def test_a_coin_or_currency_is_read_as_it_is_written(written: str, tmp_path: Path) -> None:
    """In YAML 1.1 each of these names is a truth value, a number, a date or null."""
    text = f"coins: [{written}, BTC]\nquote: [{written}]\nexchanges: [{{name: okx, options: {{{written}: 1}}}}]"
    settings = load(text, tmp_path / "s.yaml")
    assert [coin.symbol for coin in settings.coins] == [written.upper(), "BTC"]
    assert settings.quote == [written.upper()]
    settings = load(f"coins:\n- symbol: {written}\n  markets: {{okx: {written}/USDT}}", tmp_path / "s.yaml")
    assert settings.coins == [CoinConfig(written.upper(), markets={"okx": f"{written}/USDT"})]


@pytest.mark.parametrize(("written", "read"), [("NO", ["NO"]), ("5", ["5"]), ("1e5", ["1E5"]), ("off", ["OFF"])])
def test_a_single_currency_is_read_as_it_is_written(written: str, read: list[str], tmp_path: Path) -> None:
    settings = load(f"quote: {written}", tmp_path / "s.yaml")
    assert settings.quote == read
    assert type(settings.quote[0]) is str


@pytest.mark.parametrize(("written", "read"), [("1e1", 10.0), ("1_0", 10.0), ("010", 10.0), ("+1.5E+1", 15.0)])
def test_a_number_is_decimal_in_every_notation(written: str, read: float, tmp_path: Path) -> None:
    assert load(f"connection: {{connect_timeout: {written}}}", tmp_path / "s.yaml").connection.connect_timeout == read


def test_options_for_ccxt_keep_their_types(tmp_path: Path) -> None:
    text = "exchanges: [{name: okx, options: {a: on, b: '4', c: 4, d: [1.5, ~], e: {f: 1e3}, g: x, h: !!str 4}}]"
    options = load(text, tmp_path / "s.yaml").exchanges[0].options
    assert options == {"a": True, "b": "4", "c": 4, "d": [1.5, None], "e": {"f": 1000.0}, "g": "x", "h": "4"}
    assert type(options["g"]) is str


def test_the_keys_of_options_stay_as_they_are_written(tmp_path: Path) -> None:
    text = "exchanges: [{name: okx, options: {NO: 1, 1e5: {on: 2, ~: [{4: true}]}}}]"
    options = load(text, tmp_path / "s.yaml").exchanges[0].options
    assert options == {"NO": 1, "1e5": {"on": 2, "~": [{"4": True}]}}


def test_an_address_without_a_value_means_none(tmp_path: Path) -> None:
    settings = load("exchanges: [{name: okx, rest_url: ~, ws_url: , proxy: null}]", tmp_path / "s.yaml")
    assert settings.exchanges == [ExchangeConfig("okx")]


@pytest.mark.parametrize("word", ["yes", "On", "TRUE", "no", "Off", "false"])
def test_a_switch_accepts_yamls_words_for_true_and_false(word: str, tmp_path: Path) -> None:
    assert load(f"backfill: {{enabled: {word}}}", tmp_path / "s.yaml").backfill.enabled is (word.lower() in "yesontrue")


def test_whole_numbers_of_seconds_become_floats(tmp_path: Path) -> None:
    assert isinstance(load("backfill: {max_gap: 7}", tmp_path / "s.yaml").backfill.max_gap, float)


def test_anchors_and_merge_keys_are_accepted(tmp_path: Path) -> None:
    text = "exchanges:\n- &first {name: binance, proxy: 'socks5://u:p@h:1'}\n- {<<: *first, name: bybit}"
    settings = load(text, tmp_path / "s.yaml")
    assert settings.exchanges == [ExchangeConfig(n, proxy="socks5://u:p@h:1") for n in ("binance", "bybit")]


def test_a_byte_order_mark_and_any_unicode_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes("coins: [{symbol: 币安人生, name: Binance-Leben}]".encode("utf-8-sig"))
    assert load_settings(file).coins[0].symbol == "币安人生"


# --- settings built in Python


def test_settings_built_in_python_are_checked_by_the_same_rules() -> None:
    settings = Settings(coins=[CoinConfig("eth", tier=7)], channels=[])
    settings.connection.connect_timeout = float("nan")
    settings.exchanges[1] = ExchangeConfig("bybit")
    settings.staleness = None  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert [line.split(": ")[:2] for line in caught.value.problems] == [
        ["settings", "coins[0].tier"],
        ["settings", "channels"],
        ["settings", "exchanges[1]"],
        ["settings", "connection.connect_timeout"],
        ["settings", "staleness"],
    ]


def test_check_expands_short_forms_and_leaves_other_values_unchanged() -> None:
    settings = Settings(coins=[CoinConfig("eth")], quote="usdt")  # type: ignore[arg-type]  # a file may have text here too
    connection, exchanges = settings.connection, settings.exchanges
    check(settings)
    assert (settings.coins, settings.quote) == ([CoinConfig("ETH")], ["USDT"])
    assert settings.connection is connection
    assert settings.exchanges is exchanges


@pytest.mark.parametrize(
    ("written", "proxy"),
    [
        ("none", "none"),
        ("None", "none"),
        ("NO", "none"),
        ("off", "none"),
        ("false", "none"),
        ("'none'", "none"),
        ("", None),
        ("null", None),
        ("~", None),
        ("socks5h://u:p@h:1", "socks5h://u:p@h:1"),
    ],
)
def test_a_proxy_can_be_none_and_the_default_is_the_environments_proxy(
    written: str, proxy: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"exchanges:\n- name: okx\n  proxy: {written}\n")
    assert load_settings(file).exchanges[0].proxy == proxy
