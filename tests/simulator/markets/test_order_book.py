"""The simulated order book numbers its changes, keeps earlier states, and tells what changed between two states."""

from __future__ import annotations

from random import Random

import pytest

from exchanges.simulator.markets.catalog import listing
from exchanges.simulator.markets.market import Market
from exchanges.simulator.markets.order_book import KEPT, BookState, SimulatedBook

NOW = 1_700_000_000_000


def market(coin: str = "BTC", price: float = 60_000.0, seed: str = "1") -> Market:
    return Market(listing(coin, "USDT", price, 1e8, 1.0), seed, "shape", NOW)


def levels(state: BookState, depth: int = 60) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return state.levels("bids", depth), state.levels("asks", depth)


def live(made: Market) -> SimulatedBook:
    return made.open_book(NOW)


def busy(made: Market, book: SimulatedBook, dice: Random, ms: int) -> None:
    """Cause trades, orders or a jump of the price, at random."""
    kind = dice.random()
    if kind < 0.5:
        made.make(dice.randint(1, 5), ms)
    elif kind < 0.95:
        book.stir(dice.randint(1, 30), ms)
    else:
        ticks = round(made.last_price * dice.uniform(0.998, 1.002))
        made.record([(made.next_id, ticks, 7, dice.random() < 0.5)], ms)


def test_an_order_book_begins_with_the_best_prices_that_the_market_had_before() -> None:
    made = market()
    made.make(20, NOW)
    shown, number = levels(made.book_state()), made.update_id
    book = live(made)
    assert (levels(book.now()), book.number) == (shown, number)
    assert (book.top.bid, book.top.ask) == made.best()
    assert (book.top.bid_lots, book.top.ask_lots) == made.sizes()


def test_the_same_seed_gives_the_same_book() -> None:
    one, other, third = (market(seed=seed) for seed in ("1", "1", "2"))
    found = []
    for made in (one, other, third):
        book = live(made)
        for step in range(50):
            made.make(2, NOW + step)
            book.stir(5, NOW + step)
        found.append((book.number, levels(book.now(), 200)))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_trade_takes_its_quantity_from_the_best_level() -> None:
    """Before the trade, the best price is the price of the trade, and its level has enough lots. The trade takes its
    quantity from this level."""
    made = market()
    book = live(made)
    for step in range(200):
        before = book.number
        (trade,) = made.make(1, NOW + step)
        ticks, lots = round(trade.price * made.scale), round(trade.quantity * made.lot_scale)
        assert book.number == before + 2
        quoted = book.at(before + 1)
        assert quoted is not None
        if trade.buyer_maker:
            assert (quoted.top.bid, book.top.bid) == (ticks, ticks)
            assert quoted.top.bid_lots - book.top.bid_lots == lots
        else:
            assert (quoted.top.ask, book.top.ask) == (ticks, ticks)
            assert quoted.top.ask_lots - book.top.ask_lots == lots


@pytest.mark.parametrize(("coin", "price"), [("BTC", 60_000.0), ("DOGE", 0.105)])
@pytest.mark.parametrize("seed", range(4))
def test_differences_lead_from_any_earlier_state_to_the_present_state(coin: str, price: float, seed: int) -> None:
    """A reader's snapshot may be older or newer than the first change of a message. With all messages, the reader has
    the true book."""
    made, dice = market(coin, price, str(seed)), Random(seed)
    book = live(made)
    told, sides, ranges = book.number, levels(book.now(), 400), (0, 0)
    reader = {"bids": dict(sides[0]), "asks": dict(sides[1])}
    ranges = (sides[0][-1][0], sides[1][-1][0])
    for step in range(60):
        for _ in range(dice.randint(1, 6)):
            busy(made, book, dice, NOW + step)
        if dice.random() < 0.2:  # a snapshot between two changes of the same message
            taken = book.at(dice.randint(told, book.number))
            assert taken is not None
            sides = levels(taken, 400)
            reader = {"bids": dict(sides[0]), "asks": dict(sides[1])}
            ranges = (sides[0][-1][0], sides[1][-1][0])
        changes = book.since(told)
        told = book.number
        for side, changed in (("bids", changes.bids), ("asks", changes.asks)):
            for tick, lots in changed:
                reader[side][tick] = lots
                if not lots:
                    del reader[side][tick]
        bids, asks = levels(book.now(), 3000)
        known_bids = {tick: lots for tick, lots in reader["bids"].items() if tick >= ranges[0]}
        known_asks = {tick: lots for tick, lots in reader["asks"].items() if tick <= ranges[1]}
        assert known_bids == {tick: lots for tick, lots in bids if tick >= ranges[0]}
        assert known_asks == {tick: lots for tick, lots in asks if tick <= ranges[1]}


def test_the_book_of_every_kept_number_can_be_read() -> None:
    made, dice = market(), Random(5)
    book = live(made)
    seen = {}
    for step in range(150):
        busy(made, book, dice, NOW + 10 * step)
        seen[book.number] = (levels(book.now()), NOW + 10 * step)
    for number, (then, ms) in seen.items():
        state = book.at(number)
        assert state is not None
        assert (levels(state), state.number) == (then, number)
        old = book.as_of(ms)
        assert old is not None
        assert levels(old) == then
    assert book.at(book.number + 1) is None
    assert book.as_of(NOW - 1) is None


def test_old_states_and_changed_prices_are_dropped() -> None:
    made = market()
    book = live(made)
    first = book.number
    for step in range(3000):
        book.stir(20, NOW + step * 100)
    assert book.at(first) is None
    assert book.at(book.oldest) is not None
    state = book.at(book.oldest)
    assert state is not None
    assert state.ms >= NOW + 3000 * 100 - KEPT - 200
    assert len(book._lots) <= 4001


def test_a_book_is_never_crossed_and_has_no_empty_level() -> None:
    made, dice = market(), Random(9)
    book = live(made)
    for step in range(500):
        busy(made, book, dice, NOW + step)
        bids, asks = levels(book.now(), 20)
        assert bids[0][0] < asks[0][0]
        assert all(lots > 0 for _, lots in [*bids, *asks])
        assert [tick for tick, _ in bids] == sorted((tick for tick, _ in bids), reverse=True)
        assert [tick for tick, _ in asks] == sorted(tick for tick, _ in asks)


def test_a_past_state_of_a_market_has_the_book_of_that_time() -> None:
    made, dice = market(), Random(3)
    book = live(made)
    for step in range(50):
        busy(made, book, dice, NOW + step)
    then = made.as_of(NOW + 20)
    state = book.as_of(NOW + 20)
    assert state is not None
    assert levels(then.book_state()) == levels(state)
    assert then.update_id == state.number < made.update_id
    assert then.best() == (state.top.bid, state.top.ask)
    assert then.sizes() == (state.top.bid_lots, state.top.ask_lots)


def test_the_numbers_of_a_books_states_increase_even_without_a_reader() -> None:
    made = market()
    book = live(made)
    book.stir(40, NOW)
    made.make(5, NOW)
    last = book.number
    made.close_book()
    assert made.update_id > last
    made.make(5, NOW)
    assert live(made).number == made.update_id > last
