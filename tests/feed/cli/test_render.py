"""What the table and the lines of the command watch show for given events."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from feed.cli.screen import live_table
from feed.cli.screen.book_view import BookView
from feed.cli.screen.live_state import WORDS, WORDS_FOR_MANY, LiveState, Note, Row, clock_remark, describe
from feed.errors import StaleDataError
from feed.events import FeedState, FeedStatus, OrderBook, PriceTick, TradeEvent


class Hand:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def status(messages: int) -> FeedStatus:
    return FeedStatus(True, "bybit", FeedState.LIVE, None, 0, 0, messages, 0)


def tick(price: float, coin: str = "BTC", timestamp: int = 999_900, received: float = 1000.0) -> PriceTick:
    return PriceTick(coin, price, timestamp, 1.5e9, -2.5, "bybit", int(received * 1e9))


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def board(hand: Hand) -> LiveState:
    return LiveState(clock=hand, wall=hand)


def drawn(rows: list[Row], notes: list[Note], width: int, height: int | None, caption: str = "") -> list[str]:
    """The lines that a terminal of this size shows."""
    console = Console(file=io.StringIO(), width=width, height=height or 100, force_terminal=True, color_system=None)
    head = live_table.header("live", "bybit", 75.0, 1234.5, 1, 2)
    with console.capture() as captured:
        console.print(live_table.screen(head, rows, notes, caption, console, height))
    return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]


class OneBook:
    """Stands in for a feed; it has nothing but an order book."""

    def __init__(self, book: OrderBook | None) -> None:
        self._book = book

    def subscribe_books(self, *subscription: object) -> None: ...

    def require_fresh_book(self, coin: str, depth: int) -> OrderBook:
        if self._book is None:
            raise StaleDataError(coin, None, 60.0, "the order book is not synchronized: an update is missing")
        return self._book


def shown(book: OrderBook | None) -> str:
    view = BookView("BTC")
    view.attach(OneBook(book))  # type: ignore[arg-type] # only these methods are used
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(live_table.screen("", [Row("BTC")], [], "", console, 24, view.draw()))
    assert view.line(0.0).split()[1:4] == ["BTC", "order", "book:"]
    return captured.get()


def test_an_order_book_is_shown_below_the_table() -> None:
    text = shown(OrderBook("BTC", [(60_000.0, 0.5), (59_999.5, 12.25)], [(60_000.5, 0.75)], 0, "binance"))
    assert "spread 0.50000" in text
    rows = [line.split() for line in text.splitlines() if "60,000.00" in line or "59,999.50" in line]
    assert rows == [["0.5", "60,000.00", "60,000.50", "0.75"], ["12.25", "59,999.50"]]


def test_the_reason_is_shown_in_place_of_a_missing_order_book() -> None:
    assert "not synchronized: an update is missing" in shown(None)


# --- numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (65012.3, "65,012.30"),
        (1234567.891, "1,234,567.89"),
        (151.27, "151.27"),
        (4.6, "4.6000"),
        (0.4821, "0.48210"),
        (0.000012345, "0.000012345"),
        (0.0, "0"),
    ],
)
def test_prices_have_about_six_significant_digits(value: float, text: str) -> None:
    assert live_table.price(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (789.4, "789"),
        (999.9, "1.00K"),
        (45_600_000, "45.6M"),
        (1.234e9, "1.23B"),
        (999_600, "1.00M"),
        (7.3e14, "730T"),
    ],
)
def test_turnovers_are_short(value: float, text: str) -> None:
    assert live_table.amount(value) == text


@given(st.floats(0, 9.9e14))
def test_a_turnover_fits_into_six_characters(value: float) -> None:
    assert len(live_table.amount(value)) <= 6


@given(st.floats(1e-8, 1e7))
def test_a_price_keeps_four_digits_and_stays_narrow(value: float) -> None:
    text = live_table.price(value)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=1e-3)
    assert len(text) <= 14


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (0.04, "0.0"),
        (-1.26, "-1.3"),
        (-1200.4, "-1200"),
        (85.2, "85"),
        (41_300, "41 s"),
        (7.24e10, "838 d"),
    ],
)
def test_latency_is_shown_as_measured(ms: float | None, text: str) -> None:
    assert live_table.latency(ms) == text


@pytest.mark.parametrize(("ms", "text"), [(2.1, "2.1 ms"), (None, "-"), (41_300, "41 s"), (7.24e10, "838 d")])
def test_a_line_shows_the_latency_with_one_unit_and_keeps_its_length(ms: float | None, text: str) -> None:
    line = live_table.price_line(Row("BTC", 65012.3, latency=ms, venue="bybit"), 0.0)
    assert line.endswith(f" {text}  bybit")
    assert len(line) == len(live_table.price_line(Row("BTC", 65012.3, latency=85.0, venue="bybit"), 0.0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0"), (9.96, "10"), (119.0, "119"), (125.0, "2:05"), (7265.0, "2:01:05")],
)
def test_ages_are_short(seconds: float | None, text: str) -> None:
    assert live_table.age(seconds) == text


# --- the data of the table


def test_a_row_has_price_direction_rate_age_and_latency(board: LiveState, hand: Hand) -> None:
    board.sample(status(0))
    board.on_price(tick(100.0))
    board.on_price(tick(101.0))
    for _ in range(10):
        board.on_trade(TradeEvent("BTC", 101.0, 1.0, True, 0))
    hand.now += 2.0
    board.sample(status(40))
    (row,) = board.rows(["BTC"], {"BTC": tick(101.0)})
    assert row == Row("BTC", 101.0, 1, 2.0, -2.5, 1.5e9, 5.0, 2.0, 100.0, "bybit")
    assert board.message_rate == 20.0


def test_an_unchanged_price_keeps_its_direction(board: LiveState, hand: Hand) -> None:
    for price in (100.0, 99.0, 99.0):
        board.on_price(tick(price))
        hand.now += 1.0
    (row,) = board.rows(["BTC"], {"BTC": tick(99.0)})
    assert (row.direction, row.moved) == (-1, 2.0)


def test_a_rate_is_measured_over_the_last_seconds(board: LiveState, hand: Hand) -> None:
    for _ in range(100):
        board.on_trade(TradeEvent("BTC", 1.0, 1.0, True, 0))
        hand.now += 0.1
        board.sample(status(1))
    hand.now += 60.0
    board.sample(status(1))
    hand.now += 1.0
    board.sample(status(1))
    assert board.rows(["BTC"], {"BTC": tick(1.0)})[0].rate == 0.0


def test_a_coin_without_a_price_has_an_empty_row(board: LiveState) -> None:
    assert board.rows(["BTC"], {}) == [Row("BTC")]


def test_an_impossible_latency_is_reported_as_different_clocks() -> None:
    rows = [Row("A", 1.0, latency=-1190.0), Row("B", 1.0, latency=-1200.0), Row("C", 1.0, latency=3.0), Row("D")]
    assert "1190 ms ahead" in clock_remark(rows)
    assert clock_remark([Row("A", 1.0, latency=-1.0), Row("B", 1.0, latency=-1.0)]) == ""
    assert clock_remark([Row("A", 1.0, latency=900.0)]) == ""
    assert "replay" in clock_remark([Row("A", 1.0, latency=7.2e10)])
    assert clock_remark([]) == ""


def test_bad_frames_are_counted_in_one_line(board: LiveState) -> None:
    for count in (1, 2, 3):
        board.on_status("bad_frame", {"exchange": "bybit", "count": count, "sample": "{"})
    assert [note.text for note in board.take_notes()] == ["bybit: 3 frames that could not be read"]
    assert board.take_notes() == []


def test_one_outage_causes_one_line_for_all_coins(board: LiveState, hand: Hand) -> None:
    for coin in ("BTC", "ETH", "SOL"):
        board.on_status("gap", {"exchange": "binance", "coin": coin, "missing": None})
        board.on_status("gap_filled", {"exchange": "binance", "coin": coin, "trades": 5, "complete": True})
    hand.now += 60.0
    board.on_status("gap", {"exchange": "binance", "coin": "BTC", "missing": None})
    assert [note.text for note in board.take_notes()] == [
        "binance: 3 coins missed trades",
        "binance: 3 coins got 15 missed trades",
        "binance: BTC missed some trades",
    ]


DETAILS = {
    "exchange": "bybit",
    "at": 1,
    "reason": "HTTP 451",
    "attempt": 1,
    "delay": 1.0,
    "seconds": 5.0,
    "coin": "BTC",
    "status": 451,
    "from": "bybit",
    "to": "binance",
    "missing": 3,
    "trades": 3,
    "count": 2,
    "callback": "f",
    "error": "E",
    "ms": 120.0,
    "until": 2,
    "coins": 20,
    "source": "collector 1",
}
OF_MARKETS = DETAILS | {
    "from": {"exchange": "bybit", "market": "BTC/USDT"},
    "to": {"exchange": "binance", "market": "BTC/USDC"},
    "ratio": 1.7,
}


@pytest.mark.parametrize("event", WORDS)
def test_each_documented_event_is_shown_in_words_with_its_details_only(event: str) -> None:
    details = OF_MARKETS if "[market]" in WORDS[event] or "ratio" in WORDS[event] else DETAILS
    assert describe(event, details) == " ".join(WORDS[event].format_map(details).split())
    if event in WORDS_FOR_MANY:
        assert describe(event, DETAILS, WORDS_FOR_MANY).startswith(("bybit: 20 coins", "bybit: 20 order books"))


def test_a_consumer_that_falls_behind_is_shown_in_words() -> None:
    details = {"exchange": "bybit", "at": 1, "callback": "prices()", "behind": 8.02, "waiting": 41}
    assert describe("slow_callback", details) == "prices() is 8 s behind, 41 events wait"


def test_unknown_events_and_missing_details_still_make_a_line() -> None:
    assert (
        describe("moon_phase", {"exchange": "bybit", "at": 1, "phase": "full", "note": "a\nb"})
        == "phase full, note a b"
    )
    assert describe("failover", {"exchange": "bybit", "to": "binance"}) == "to binance"
    assert describe("reconnecting", {"exchange": "x", "attempt": 1, "delay": None}) == "attempt 1, delay None"


# --- the screen

ROWS = [
    Row(f"COIN{n}", 65012.3 + n, (-1) ** n, 0.1, 2.5 - n, 1.5e9, 12.5, 0.2, -1200.0, "binance_us") for n in range(20)
]
NOTES = [Note(float(n), "reconnecting", f"number {n} " + "and more " * 20) for n in range(12)]


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_window(width: int) -> None:
    lines = drawn(ROWS, NOTES, width, None, "a caption " * 20)
    assert max(map(cell_len, lines)) <= width
    assert all(any(row.coin in line and "binance_us" in line for line in lines) for row in ROWS)


def test_the_longest_numbers_fit_into_80_columns() -> None:
    row = Row("1000000MOG", 0.0000000123456, 1, 0.1, -12.25, 9.99e8, 1234.5, 7199.0, -12345.0, "binance_us")
    (line,) = drawn([row], [], 80, None)[3:]
    assert all(
        text in line
        for text in ("1000000MOG", "0.000000012346 ▲", "-12.25%", "999M", "1:59:59", "-12345", "binance_us")
    )


@pytest.mark.parametrize("height", range(5, 45))
@pytest.mark.parametrize("caption", ["", "clocks differ"])
def test_the_screen_fits_any_window_and_says_how_many_coins_it_leaves_out(height: int, caption: str) -> None:
    lines = drawn(ROWS, NOTES, 80, height, caption)
    assert len(lines) <= height
    shown = sum("binance_us" in line for line in lines)
    assert shown == 20 or any(f"{20 - shown} more" in line for line in lines)


def test_a_24_line_window_shows_twenty_coins_and_the_latest_event() -> None:
    lines = drawn(ROWS, NOTES, 80, 24)
    assert sum("binance_us" in line for line in lines) == 20
    assert "number 11" in lines[-1]


def test_a_small_window_leaves_out_coins_but_not_the_latest_event() -> None:
    assert "number 11" in drawn(ROWS, NOTES, 80, 14)[-1]


def test_the_direction_is_visible_without_colour() -> None:
    up, down = drawn([Row("A", 1.0, 1), Row("B", 1.0, -1)], [], 80, None)[-2:]
    assert "▲" in up
    assert "▼" in down


def test_on_a_terminal_without_unicode_the_table_is_ascii() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    console = Console(file=Ascii(), width=80, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(live_table.screen("head", ROWS, NOTES, "", console))
    assert captured.get().isascii()


def test_a_price_and_an_event_are_each_one_line_of_plain_text() -> None:
    assert "65,012.30" in live_table.price_line(ROWS[0], 0.0)
    assert live_table.note_line(Note(0.0, "failover", "a -> b: x")).endswith(" failover         a -> b: x")


@pytest.mark.parametrize(
    ("event", "style"),
    [
        ("feed_lagging", "red"),
        ("exhausted", "red"),
        ("gap", "red"),
        ("book_unsynced", "red"),
        ("callback_error", "red"),
        ("feed_caught_up", "green"),
        ("book_synced", "green"),
        ("connected", "green"),
        ("coin_stale", "dim"),
        ("demo", "cyan"),
    ],
)
def test_an_event_has_the_colour_that_its_row_says(event: str, style: str) -> None:
    """Warnings of the log are red; events that say that all is well again are green."""
    assert live_table.style_of(event) == style
