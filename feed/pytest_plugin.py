"""Fixtures for the tests of a bot: simulated exchanges that fail on demand, and a feed on them with short times.

pytest finds the fixtures itself if market-feed is installed. They work in plain tests and in coroutine tests of any
plugin, because the exchanges run in a thread of their own. Other modules of market-feed are imported only when a test
uses a fixture.

The wheel also has this file as the module ``market_feed_pytest``, because pytest loads it in every project, and a
project may have its own ``feed`` or ``exchanges``. The fixtures then fail with that reason, and all other tests run.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from exchanges.simulator import ThreadedSimulator
    from feed import MarketFeed, Settings

MARK = "market_simulator"
QUICK = """\
connection: {connect_timeout: 5, backoff_initial: 0.1, backoff_max: 0.5, stable_after: 2}
staleness: {feed_stale_after: 1, coin_stale_after: 5, reconnect_after: 3}
"""


OURS = {"feed": "market_feed", "exchanges": "simulator"}  # package -> a module that only our package has


def _need_ours() -> None:
    """Fail the test with one line if the project has a module with the name of one of our packages."""
    for package, module in OURS.items():
        try:
            found = find_spec(f"{package}.{module}")
        except ImportError as error:
            if error.name == "exchanges":
                pytest.fail(str(error), pytrace=False)
            found = None
        if found is None:
            spec = find_spec(package)
            where = package if spec is None else spec.origin or next(iter(spec.submodule_search_locations or [package]))
            pytest.fail(
                f"{where} shadows the package '{package}' of market-feed, which has the same name: rename that "
                "module to use market-feed's fixtures",
                pytrace=False,
            )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    text = "arguments of Simulator (venues, rate, coins, ...) for the exchanges of the fixture market_simulator"
    config.addinivalue_line("markers", f"{MARK}(**arguments): {text}")


@pytest.fixture
def market_simulator(request: pytest.FixtureRequest) -> Iterator[ThreadedSimulator]:
    """Simulated exchanges, by default Binance and Bybit with 200 trades per second each.

    ``market_simulator["binance"]`` is one of them: ``with market_simulator["binance"].stalled(): ...``, ``.cut()``,
    ``.blocked(451)``, ``.trade("BTC", price=50_000)``. ``@pytest.mark.market_simulator(rate=0, venues=["bybit"])``
    changes these defaults.
    """
    _need_ours()
    from exchanges.simulator import ThreadedSimulator

    mark = request.node.get_closest_marker(MARK)
    arguments: dict[str, Any] = {"rate": 200, **(mark.kwargs if mark else {})}
    with ThreadedSimulator(**arguments) as simulator:
        yield simulator


@pytest.fixture
def market_feed_settings(
    market_simulator: ThreadedSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings with the simulated exchanges: stale after 1 s, dialled again after 3 s, backoffs of 0.1 to 0.5 s.

    MARKET_FEED_SETTINGS names a file with the same settings, so that a bot under test needs no change.
    """
    from feed import load_settings

    path = tmp_path / "market-feed-settings.yaml"
    path.write_text(market_simulator.settings_yaml() + QUICK, "utf-8")
    monkeypatch.setenv("MARKET_FEED_SETTINGS", str(path))
    return load_settings(path)


@pytest.fixture
def market_feed(market_feed_settings: Settings) -> Iterator[MarketFeed]:
    """A feed on the simulated exchanges, not connected yet.

    A plain test calls ``market_feed.start()``, and the feed is stopped at the end; a coroutine test uses
    ``async with market_feed: ...``.
    """
    from feed import MarketFeed

    feed = MarketFeed(settings=market_feed_settings)
    yield feed
    feed.stop()
