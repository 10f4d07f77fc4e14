"""The list of exchange names is complete, and is read without importing ccxt."""

from __future__ import annotations

import subprocess
import sys

import ccxt.pro
import pytest

from exchanges.names import ALIASES, canonical, exchange_names, nearest


def test_the_names_are_our_aliases_and_every_id_of_ccxt_pro() -> None:
    assert set(exchange_names()) == {*ALIASES, *ccxt.pro.exchanges}
    assert len(exchange_names()) == len(set(exchange_names()))


def test_every_alias_has_a_ccxt_id() -> None:
    assert set(ALIASES.values()) <= set(ccxt.pro.exchanges)


def test_both_names_of_binance_us_mean_one_venue() -> None:
    assert {"binance_us", "binanceus"} <= set(exchange_names())
    assert canonical("binanceus") == canonical("binance_us") == "binance_us"
    assert canonical("kraken") == "kraken"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("binanc", "binance"),
        ("Bybit", "bybit"),
        ("binance-us", "binance_us"),
        ("krakn", "kraken"),
        ("KUCOIN", "kucoin"),
    ],
)
def test_the_nearest_name_comes_first(typed: str, meant: str) -> None:
    assert nearest(typed, exchange_names())[0] == meant
    assert len(nearest(typed, exchange_names())) <= 3


def test_a_meaningless_name_has_no_near_match() -> None:
    assert nearest("~~~~", exchange_names()) == []


def test_listing_the_names_does_not_import_ccxt() -> None:
    code = (
        "import sys; from exchanges.names import exchange_names as names; assert names(); print('ccxt' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
