"""Known venues have profiles of their own; other ccxt.pro ids have a related venue's profile or the default one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pkgutil import iter_modules
from typing import Any

import ccxt.pro
import pytest

from exchanges import Access, venues
from exchanges.ccxt_adapter.venue import CcxtVenue, open_venue
from exchanges.errors import Rejected
from exchanges.names import ALIASES, exchange_names
from exchanges.venues import find
from exchanges.venues.coin_renames import RENAMES, codes_of
from exchanges.venues.find import profile_of
from exchanges.venues.profile import Profile

ROWS = [profile for module in iter_modules(venues.__path__) for profile in find._special(module.name).values()]


def test_each_of_our_names_has_a_profile_of_its_own() -> None:
    assert set(ALIASES) <= {profile.name for profile in ROWS}
    for name, ccxt_id in ALIASES.items():
        assert profile_of(name).name == name
        assert profile_of(name).ccxt_id == ccxt_id


def test_ccxts_name_for_binance_us_gives_the_profile_of_binance_us() -> None:
    assert profile_of("binanceus") is profile_of("binance_us")


def test_any_other_ccxt_pro_id_has_the_default_profile() -> None:
    profile = profile_of("bitvavo")
    assert (profile.name, profile.ccxt_id) == ("bitvavo", "bitvavo")
    assert not profile.sandbox
    assert not profile.limits.consecutive_ids


def test_a_ccxt_class_derived_from_another_venues_class_has_that_venues_profile() -> None:
    """The test finds such venues in ccxt's classes, so that a new one is not forgotten."""
    rows = {profile.ccxt_id: profile for profile in ROWS if not profile.sandbox}
    for ccxt_id in set(ccxt.pro.exchanges) - set(rows):
        bases = [base.__name__ for base in getattr(ccxt.pro, ccxt_id).__mro__[1:] if "ccxt.pro." in base.__module__]
        plain = Profile(ccxt_id, books=profile_of(ccxt_id).books)
        kin = next((rows[base] for base in bases if base in rows), plain)
        assert profile_of(ccxt_id) == replace(kin, name=ccxt_id)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("binanse", "binance"), ("Bybit", "bybit"), ("binance-us", "binance_us"), ("krakken", "kraken")],
)
def test_the_error_for_an_unknown_name_suggests_the_nearest_name(typed: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown exchange '{typed}'; did you mean .*\\b{meant}\\b"):
        profile_of(typed)


def test_without_a_similar_name_the_error_says_where_the_names_are_listed() -> None:
    with pytest.raises(ValueError, match="market-feed exchanges"):
        profile_of("!?")


@pytest.mark.parametrize("name", ["binance_testnet", "bybit_testnet"])
async def test_testnets_use_only_testnet_hosts(name: str) -> None:
    venue = open_venue(name)
    urls = [url for url in _strings(venue._api.urls["api"]) if "spot" in url or "api/v3" in url]
    assert urls
    assert all("testnet" in url or "demo" in url for url in urls), urls
    await venue.close()


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_the_option_sandbox_selects_the_testnet_too(name: str) -> None:
    venue = open_venue(name, Access(options={"sandbox": True}))
    testnet = open_venue(f"{name}_testnet")
    assert venue._api.urls["api"] == testnet._api.urls["api"]
    assert "sandbox" not in venue._api.options
    await venue.close()
    await testnet.close()


@pytest.mark.parametrize("name", ["binance_us", "binanceus", "kraken", "upbit"])
def test_a_venue_without_a_testnet_refuses_the_sandbox(name: str) -> None:
    """ccxt would silently use binance.com's testnet for binance_us."""
    with pytest.raises(Rejected, match="has no testnet; binance_testnet and bybit_testnet") as caught:
        open_venue(name, Access(options={"sandbox": True}))
    assert caught.value.exchange == profile_of(name).name


def test_an_error_names_the_package_that_a_venue_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """MEXC's frames are protobuf; without the package ccxt would fail at each frame."""
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(Rejected, match=r'needs google.protobuf, .* pip install "market-feed\[mexc\]"'):
        open_venue("mexc")


def test_every_venue_either_has_a_testnet_or_says_that_it_has_none() -> None:
    """A venue with an empty entry for the testnet in ``urls`` has no testnet."""
    refused = set()
    for name in exchange_names():
        try:
            venue = open_venue(name, Access(options={"sandbox": True}))
        except Rejected:
            refused.add(name)
        else:
            assert venue._api.isSandboxModeEnabled
    assert {"binance_us", "kraken", "coinbase", "kucoin"} <= refused
    assert not {"binance", "bybit", "okx", "deribit"} & refused


@pytest.mark.parametrize(
    ("ccxt_id", "topics", "dials"), [("binance", 1024, 300), ("binanceus", 1024, 300), ("bybit", 10, 500)]
)
def test_no_profile_exceeds_the_venues_limits(ccxt_id: str, topics: int, dials: int) -> None:
    """The test checks topics per request and dials in five minutes; the contract tests check other limits."""
    for profile in ROWS:
        if profile.ccxt_id == ccxt_id:
            assert profile.chunk <= topics
            assert profile.limits.dials <= dials


def test_a_renamed_coin_is_looked_for_under_both_codes() -> None:
    """The given code comes first. A coin that was never renamed has one code."""
    assert codes_of("POL") == ("POL", "MATIC")
    assert codes_of("MATIC") == ("MATIC", "POL")
    assert codes_of("BTC") == ("BTC",)
    codes = [code for pair in RENAMES for code in pair]
    assert len(set(codes)) == len(codes), "one code belongs to two coins"


@pytest.mark.parametrize(
    ("name", "spelled", "coin"),
    [("bitfinex", "IOT", "IOTA"), ("bitfinex", "DOG", "MDOGE"), ("bitfinex", "MNA", "MANA"), ("okx", "BCHSV", "BSV")],
)
def test_ccxt_maps_a_venues_own_spelling_to_the_coin(name: str, spelled: str, coin: str) -> None:
    assert getattr(ccxt.pro, name)().safe_currency_code(spelled) == coin


def test_every_profile_names_a_class_that_ccxt_has() -> None:
    for profile in ROWS:
        assert hasattr(ccxt.pro, profile.ccxt_id)
        spot = getattr(ccxt.pro, profile.ccxt_id)().has["spot"] is not False
        assert isinstance(open_venue(profile.name, Access("spot" if spot else "swap")), CcxtVenue)


@pytest.mark.parametrize(
    ("frame", "row", "closed"),
    [
        ({"k": {"x": True}}, [60_000], True),
        ({"k": {"x": False}}, [60_000], False),
    ],
)
def test_binance_flags_closed_candles(frame: Any, row: Any, closed: bool) -> None:
    assert profile_of("binance").candle_is_closed(frame, row) is closed


def test_bybit_flags_each_closed_candle() -> None:
    flag = profile_of("bybit").candle_is_closed
    frame = {"data": [{"start": 0, "confirm": True}, {"start": 60_000, "confirm": False}]}
    assert flag(frame, [0, 1.0]) is True
    assert flag(frame, [60_000, 1.0]) is False
    assert flag(frame, [120_000, 1.0]) is None


def _strings(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [text for branch in tree.values() for text in _strings(branch)]
    return [tree] if isinstance(tree, str) else []
