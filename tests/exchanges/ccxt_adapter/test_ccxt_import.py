"""ccxt is imported without unused exchanges, but a program that uses ccxt beside the feed sees no difference.

Each program runs in a process of its own: with the feed imported before the program's code, with the feed imported
after it, and with ccxt imported whole. The program must print the same each time.
"""

from __future__ import annotations

import textwrap

import pytest

from exchanges.ccxt_adapter import ccxt_import
from exchanges.ccxt_adapter.instance import make_instance
from exchanges.errors import Rejected
from exchanges.venue import Access
from exchanges.venues.find import profile_of
from tests.exchanges.ccxt_adapter.ccxt_programs import (
    ADDRESS,
    CHANGING,
    EVERY_EXCHANGE,
    FEED,
    SAME,
    THREADS,
    WAYS,
    both,
    ran,
    with_the_whole,
)


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_imports_ccxt_after_the_feed_can_use_all_of_ccxt(way: str) -> None:
    code = f"{FEED}{textwrap.dedent(WAYS[way])}"
    if way == "imported anew":
        lazy, whole = both(code)
    elif way in CHANGING:
        lazy, whole = both(code + SAME)
    else:
        lazy, whole = ran(code + SAME).stdout, with_the_whole()[way]
    assert lazy
    assert ADDRESS.sub("", lazy) == ADDRESS.sub("", whole)


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_imports_ccxt_before_the_feed_keeps_its_ccxt(way: str) -> None:
    code = f"""
import sys, types
{textwrap.dedent(WAYS[way])}
before = {{name: sys.modules[name] for name in sys.modules if name.partition(".")[0] == "ccxt"}}
{FEED}
import ccxt.pro
assert ours.__bases__[1] is ccxt.pro.binance
assert all(sys.modules[name] is module for name, module in before.items())
assert {{type(each) for each in (ccxt, ccxt.async_support, ccxt.pro)}} == {{types.ModuleType}}
assert "ccxt.okx" in before
"""
    ran(code)


@pytest.mark.parametrize("again", range(3))
def test_threads_may_import_ccxt_in_every_form_at_the_same_time(again: int) -> None:
    assert ran(THREADS).stdout == "well\n"


def test_every_exchange_is_the_same_as_with_the_whole_ccxt() -> None:
    """The test compares each exchange's class, its ``has`` and its description."""
    lazy, whole = both(EVERY_EXCHANGE)
    assert len(lazy.splitlines()) > 70
    assert lazy.splitlines()[:-1] == whole.splitlines()[:-1]


def test_the_feed_never_imports_all_of_ccxt() -> None:
    """No class for synchronous programs is imported, for any venue."""
    assert both(EVERY_EXCHANGE)[0].splitlines()[-1] == "[]"


def test_a_venue_imports_only_its_own_modules() -> None:
    told = ran(f"{FEED}\nimport sys\nprint(*(name for name in sys.modules if name.startswith('ccxt.')))").stdout.split()
    exchanges = {name for name in told if name.count(".") == 2 and not name.startswith(("ccxt.base", "ccxt.static"))}
    assert exchanges == {
        "ccxt.abstract.binance", "ccxt.async_support.base", "ccxt.async_support.binance", "ccxt.pro.binance"
    }  # fmt: skip


def test_making_an_instance_imports_neither_requests_nor_cryptography() -> None:
    code = """
        import sys
        from exchanges.ccxt_adapter.instance import make_instance
        from exchanges.venue import Access
        from exchanges.venues.find import profile_of
        made = make_instance(profile_of("binance"), Access())
        print(made.userAgent, *(name for name in ("requests", "urllib3", "cryptography") if name in sys.modules))
    """
    lazy, whole = both(FEED + textwrap.dedent(code))
    assert lazy.startswith("python-requests/")
    assert whole.split() == [*lazy.split(), "requests", "urllib3", "cryptography"]


def test_an_unknown_name_imports_the_rest_of_ccxt_once() -> None:
    code = """
        import sys
        import ccxt
        assert not hasattr(ccxt, "__nosuch__")
        assert "ccxt.okx" not in sys.modules
        assert not hasattr(ccxt, "nosuch")
        okx = sys.modules.pop("ccxt.okx")
        assert not hasattr(ccxt, "nosuch")
        assert "ccxt.okx" not in sys.modules
    """
    ran(FEED + textwrap.dedent(code))


def test_ccxt_is_imported_whole_when_the_environment_says_so() -> None:
    code = f"{FEED}\nimport ccxt, sys, types\nprint(type(ccxt) is types.ModuleType, 'ccxt.okx' in sys.modules)"
    lazy, whole = both(code)
    assert (lazy, whole) == ("False False\n", "True True\n")


def test_an_unknown_value_of_the_environment_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ccxt_import.VARIABLE, "hole")
    with pytest.raises(Rejected, match="MARKET_FEED_CCXT is 'hole': allowed is whole"):
        make_instance(profile_of("binance"), Access())
