"""The server's page in Debian's chromium: moving prices, a silent exchange, hostile text, the keyboard, a phone."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed, Settings
from feed.sinks.server import streams
from feed.sinks.server.app import Server
from feed.sinks.server.serve_page import Page
from tests.feed.sinks.server.support import TOKEN
from tests.support import settings_for, until

ROOT = Path(__file__).parents[4]
PICTURES = bool(os.environ.get("MARKET_FEED_SCREENSHOTS"))
PHONE = {"width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": True}
HOSTILE = "<IMG/SRC=X>"
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
in_chromium = pytest.mark.skipif(
    DRIVER is None or BROWSER is None, reason="chromium is missing: apt-get install chromium chromium-driver"
)
PATIENCE = 20.0  # seconds


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(0, ("binance",), rate=200.0) as simulator:
        yield simulator


@pytest.fixture
def venue(simulator: Simulator) -> SimulatedVenue:
    return simulator["binance"]


@pytest.fixture
def settings(simulator: Simulator) -> Settings:
    return settings_for(simulator, coins=["BTC", "ETH", "SOL", "XRP", "DOGE"])


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[MarketFeed]:
    feed = MarketFeed(settings=settings)
    yield feed
    await feed.disconnect()


@pytest.fixture
async def server(feed: MarketFeed, settings: Settings) -> AsyncIterator[Server]:
    async with Server(feed, settings, port=0) as server:
        await feed.connect()
        await until(lambda: len(feed.get_all_prices()) == 5)
        yield server


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--window-size=1200,900",
    ):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    yield driver
    driver.quit()


def see(browser: Any, what: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Wait until ``what`` returns a true value for the page, and return this value."""
    end = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < end, browser.execute_script("return document.body.innerText")
        time.sleep(0.05)
    return found


def banner(browser: Any) -> str:
    return str(browser.execute_script("return document.getElementById('banner').textContent"))


def cells(browser: Any, name: str) -> list[str]:
    script = "return [...document.querySelectorAll('td.' + arguments[0])].map((cell) => cell.textContent)"
    return list(browser.execute_script(script, name))


async def test_the_page_loads_nothing_from_other_hosts_and_its_headers_forbid_such_loads(server: Server) -> None:
    async with aiohttp.ClientSession(server.url) as http, http.get("/") as answer:
        policy, text = answer.headers["Content-Security-Policy"], await answer.text()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    addresses = set(re.findall(r"https?://[^\"' ]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of an XML namespace, which is not fetched
    assert "innerHTML" not in text


def test_the_content_policy_has_the_hashes_of_the_pages_scripts_and_styles() -> None:
    assert Page()._policy.count("sha256-") == 2


def _brightness(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_brightness(one), _brightness(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_text_has_enough_contrast_in_light_and_dark() -> None:
    """The contrast is 4.5 to 1 at least, as WCAG's level AA requires."""
    text = (ROOT / "feed" / "sinks" / "server" / "page.html").read_text("utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{([^}]*)\}", text))
    for colours in (light, light | dark):
        pairs = [(colours[name], colours["back"]) for name in ("text", "soft", "up", "down")]
        pairs += [(colours["on"], colours[name]) for name in ("good", "bad", "warn")]
        for one, other in pairs:
            assert _contrast(one, other) >= 4.5, (one, other)


@in_chromium
async def test_numbers_are_updated_and_a_silent_exchange_is_clearly_marked(
    server: Server, venue: SimulatedVenue, browser: Any
) -> None:
    def live() -> None:
        browser.get(server.url)
        see(browser, lambda: banner(browser) == "Live from binance")
        before = see(browser, lambda: len(cells(browser, "price")) == 5 and cells(browser, "price"))
        see(browser, lambda: cells(browser, "price") != before)
        see(browser, lambda: "▲" in "".join(cells(browser, "price")))
        see(browser, lambda: all(cells(browser, "bid") + cells(browser, "ask")))
        see(browser, lambda: browser.execute_script("return document.querySelectorAll('#candles rect').length") >= 50)
        assert set(cells(browser, "state")) == {"fresh"}

    await asyncio.to_thread(live)
    with venue.stalled():
        await asyncio.to_thread(see, browser, lambda: banner(browser).startswith("STALE: binance"), 6)
        assert browser.title == "STALE - Market Feed"
        states = await asyncio.to_thread(cells, browser, "state")
        assert all(state.startswith("old: ") for state in states)
    await asyncio.to_thread(see, browser, lambda: banner(browser) == "Live from binance", 30)
    events = await asyncio.to_thread(browser.execute_script, "return document.getElementById('log').textContent")
    assert "feed_stale" in events
    await server.close()
    await asyncio.to_thread(see, browser, lambda: banner(browser).startswith("DISCONNECTED"))
    faults = [each["message"] for each in browser.get_log("browser") if "Content Security Policy" in each["message"]]
    assert faults == []


@in_chromium
async def test_a_hostile_name_or_reason_is_shown_as_text(server: Server, feed: MarketFeed, browser: Any) -> None:
    def hostile() -> None:
        browser.get(server.url)
        see(browser, lambda: banner(browser) == "Live from binance")
        # otherwise a heartbeat would remove coins that the feed does not have
        browser.execute_script("onMessage = () => {}")
        tick = {"coin": HOSTILE, "price": 1, "timestamp": 1, "volume_24h": 1, "change_24h": 1, "received_at": 1}
        tick |= {"exchange": HOSTILE, "market": HOSTILE}
        browser.execute_script("take(arguments[0], clock())", tick)
        browser.execute_script("note('error', {exchange: arguments[0], error: arguments[0]})", HOSTILE)
        see(browser, lambda: HOSTILE in cells(browser, "market"))
        assert HOSTILE in browser.execute_script("return document.getElementById('log').textContent")
        assert browser.execute_script("return document.querySelectorAll('img').length") == 0

    await asyncio.to_thread(hostile)


@in_chromium
async def test_the_page_works_with_the_keyboard_and_on_a_phone(server: Server, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def use() -> None:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        browser.get(server.url)
        see(browser, lambda: len(cells(browser, "price")) == 5)
        assert browser.execute_script("return document.documentElement.scrollWidth") == 360
        table = "const box = document.querySelector('.scroll'); return box.scrollWidth <= box.clientWidth"
        assert browser.execute_script(table)
        shown = browser.find_elements(By.CSS_SELECTOR, "tbody tr:first-child > *")
        assert [node.get_attribute("class").split()[0] for node in shown[1:] if node.is_displayed()] == [
            *("price", "change", "age", "state")
        ]
        buttons = browser.find_elements(By.CSS_SELECTOR, "tbody button")
        buttons[1].send_keys(Keys.ENTER)
        see(browser, lambda: buttons[1].get_attribute("aria-pressed") == "true")
        assert buttons[1].text in browser.find_element(By.ID, "chosen").text
        heads = browser.find_elements(By.CSS_SELECTOR, "tbody th[scope=row]")
        assert [head.text for head in heads] == ["BTC", "ETH", "SOL", "XRP", "DOGE"]
        live = browser.find_elements(By.CSS_SELECTOR, "[role=alert], [role=status]")
        # screen readers read these texts aloud at each change, so no text may contain a price
        assert not any(digit in node.text for node in live for digit in "0123456789")
        roles = {node.get_attribute("role") for node in browser.find_elements(By.CSS_SELECTOR, "[role]")}
        assert {"alert", "status", "log", "region", "img"} <= roles

    await asyncio.to_thread(use)


@in_chromium
async def test_the_book_of_the_chosen_coin_is_shown_while_it_is_proven(
    settings: Settings, venue: SimulatedVenue, browser: Any
) -> None:
    """With MARKET_FEED_SCREENSHOTS this test also makes the pictures of the README and docs/server.md."""
    settings.channels = ["trades", "ticker", "candles", "quotes", "books"]
    feed = MarketFeed(settings=settings)

    def rows() -> list[str]:
        script = "return [...document.querySelectorAll('#book td.' + arguments[0])].map((cell) => cell.textContent)"
        assert "0" not in browser.execute_script(script, "size")
        return list(browser.execute_script(script, "bid"))

    def use(url: str) -> None:
        browser.get(url)
        see(browser, lambda: len(rows()) == 10 and all(rows()))
        bids = [float(text.replace(",", "")) for text in rows()]
        assert bids == sorted(bids, reverse=True)
        assert browser.execute_script("return document.getElementById('booked').textContent") == "Order book of BTC"
        if PICTURES:
            time.sleep(50)  # the sparklines show the prices of this time
            browser.set_window_size(1200, 1260)
            browser.save_screenshot(str(ROOT / ".github" / "page.png"))
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
            dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)

    async with Server(feed, settings, port=0) as opened, feed:
        await asyncio.to_thread(use, opened.url)
        with venue.stalled():
            doubt = "return document.getElementById('doubt').textContent"
            await asyncio.to_thread(see, browser, lambda: "no book: " in browser.execute_script(doubt))
            assert await asyncio.to_thread(rows) == []
            if PICTURES:
                await asyncio.to_thread(see, browser, lambda: banner(browser).startswith("STALE"))
                await asyncio.to_thread(browser.save_screenshot, str(ROOT / "docs" / "server" / "phone.png"))


@in_chromium
async def test_a_suspended_machine_shows_nothing_as_fresh_when_it_wakes(server: Server, browser: Any) -> None:
    """This holds even if one of the browser's clocks stood still during the suspend."""

    def wake() -> None:
        browser.get(server.url)
        see(browser, lambda: banner(browser) == "Live from binance")
        script = "onMessage = () => {}; heard.wall -= 60000; for (const each of coins.values()) each.at.wall -= 60000;"
        browser.execute_script(script + "redraw()")
        assert banner(browser).startswith("DISCONNECTED")
        assert all(state.startswith("old: ") for state in cells(browser, "state"))
        assert all(float(age.split()[0]) >= 60 for age in cells(browser, "age"))

    await asyncio.to_thread(wake)


@in_chromium
async def test_the_page_reconnects_after_the_server_refused_it(
    server: Server, feed: MarketFeed, settings: Settings, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser stops requesting Server-Sent Events after an error, such as a proxy's answer during a restart."""
    await asyncio.to_thread(browser.get, server.url)
    await asyncio.to_thread(see, browser, lambda: banner(browser) == "Live from binance")
    await server.close()
    monkeypatch.setattr(streams, "CLIENTS", 0)
    async with Server(feed, settings, port=server.port):
        given_up = "return stream.readyState === EventSource.CLOSED"
        await asyncio.to_thread(see, browser, lambda: browser.execute_script(given_up))
        assert (await asyncio.to_thread(banner, browser)).startswith("DISCONNECTED")
        monkeypatch.setattr(streams, "CLIENTS", 10)
        await asyncio.to_thread(see, browser, lambda: banner(browser) == "Live from binance")


@in_chromium
async def test_another_hosts_page_can_read_answers_only_if_it_is_allowed(
    feed: MarketFeed, settings: Settings, browser: Any
) -> None:
    async def blank(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>bots</title>", content_type="text/html")

    script = """
    const [url, token, done] = arguments;
    fetch(url + "v1/status", {headers: {Authorization: "Bearer " + token}})
        .then((answer) => answer.json()).then((status) => done(status.state), () => done("refused"));
    """
    app = web.Application()
    app.add_routes([web.get("/", blank)])
    async with TestServer(app) as other:
        origin = f"http://127.0.0.1:{other.port}"
        for origins, expected in ([origin], "live"), ([], "refused"):
            async with Server(feed, settings, port=0, token=TOKEN, origins=origins) as server:
                if not feed.status.connected:
                    await feed.connect()
                await asyncio.to_thread(browser.get, origin)
                found = await asyncio.to_thread(browser.execute_async_script, script, server.url, TOKEN)
                assert found == expected


async def test_the_demo_prints_the_address_of_its_page() -> None:
    command = [sys.executable, "-m", "feed", "demo", "--serve", "--port", "0", "--seconds", "30"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        url = line.removeprefix("the page is at ").strip()
        async with aiohttp.ClientSession(url) as http, http.get("/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
