"""The benchmarks' arithmetic: lost and repeated trades, delays, ratios, and the tables made of them."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest

from tests.benchmarks.figures import FULL_SPEED, ratio
from tests.benchmarks.measure import Failed, Figures, Phase, figures, measure
from tests.benchmarks.plot import plot
from tests.benchmarks.readers import READERS
from tests.benchmarks.report import report

SENT = {"ids": [1, 2, 3, 4], "sent": [0, 1_000, 2_000, 3_000]}
FULL = Phase(4, 0)


def run(speed: float, phase: Phase = FULL) -> Figures:
    return Figures(phase, speed, 1e5 / speed, lost=0, doubled=0, p50=1.0, p99=2.0, worst=3.0)


def test_lost_and_repeated_trades_are_counted_and_a_delay_ends_at_the_first_arrival_of_a_trade() -> None:
    arrivals = {1: [10_000], 2: [21_000, 50_000], 4: [33_000], 9: [1]}
    own = figures(FULL, SENT, 0.5, arrivals)
    assert (own.lost, own.doubled) == (1, 1)
    assert (own.p50, own.worst) == (20.0, 30.0)
    assert own.speed == pytest.approx(2 / 23e-6)
    assert own.cpu == pytest.approx(0.5 / 4 * 100_000)


def test_a_reader_that_received_nothing_has_no_results() -> None:
    with pytest.raises(Failed, match="0 of 4 trades"):
        figures(FULL, SENT, 0.5, {})


def test_ratios_are_computed_within_each_round() -> None:
    """A round that is slow for all readers changes no ratio."""
    runs = {"feed": [[run(50)], [run(5)], [run(60)]], "ccxt": [[run(10)], [run(1)], [run(12)]]}
    assert ratio(runs, "feed", "ccxt", FULL_SPEED, "speed") == 5.0


def test_the_report_names_readers_that_were_left_out_and_compares_the_other_readers() -> None:
    phases = [FULL, Phase(4, 5_000)]
    runs = {name: [[run(speed), run(5_000, phases[1])]] for name, speed in (("feed", 80.0), ("ccxt", 10.0))}
    text = report("binance", runs, phases, {"cryptofeed": "no network"})
    assert "against ccxt.pro loops: trades/s | at least 5 x | 8.00 x | 8.00 x |" in text
    assert "Left out: cryptofeed 3.0.1: no network." in text
    assert "against cryptofeed" not in text


def test_the_plot_is_an_svg_with_a_bar_for_each_reader() -> None:
    root = ElementTree.fromstring(plot({"feed": [[run(80)]], "floor-picows": [[run(200)]]}))
    assert sum(each.get("rx") == "2" for each in root.iter("{http://www.w3.org/2000/svg}rect")) == 2


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_the_feed_gets_every_trade_that_the_sender_writes(venue: str) -> None:
    phases = [Phase(2_000, 0), Phase(200, 1_000)]
    runs = await measure(READERS["feed"], venue, sys.executable, phases)
    assert [(own.phase, own.lost, own.doubled) for own in runs] == [(phase, 0, 0) for phase in phases]
