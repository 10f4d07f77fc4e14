"""Writes the runs as Markdown: all readers at full speed, their delays, and whether the goals are reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from tests.benchmarks.figures import DELAY_GOALS, FULL_SPEED, GOALS, JUDGED, Runs, ratio, values
from tests.benchmarks.measure import Phase
from tests.benchmarks.readers import READERS

Row = Sequence[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def spread(measured: Sequence[float], form: str) -> str:
    """The median, followed by the range if the values differ."""
    low, middle, high = (format(each(measured), form) for each in (min, median, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def at_full_speed(runs: Runs) -> Iterator[Row]:
    for name, rounds in runs.items():
        speed = spread(values(runs, name, FULL_SPEED, "speed"), ",.0f")
        faster = f"{ratio(runs, name, 'ccxt', FULL_SPEED, 'speed'):.1f} x" if "ccxt" in runs else ""
        cpu = spread(values(runs, name, FULL_SPEED, "cpu"), ".2f")
        missed = (f"{sum(getattr(each, what) for run in rounds for each in run):,}" for what in ("lost", "doubled"))
        yield READERS[name].label, speed, faster, cpu, *missed


def delays(runs: Runs, phases: Sequence[Phase]) -> Iterator[Row]:
    for name in runs:
        cells = [READERS[name].label]
        for i in range(1, len(phases)):
            cells.append(" / ".join(f"{median(values(runs, name, i, what)):,.0f}" for what in ("p50", "p99", "worst")))
        yield cells


def goals(runs: Runs, phases: Sequence[Phase]) -> Iterator[Row]:
    """Yield each goal whose two readers ran: the wanted ratio, and the measured ratios of speed and of CPU time."""
    for goal in GOALS:
        if {goal.reader, goal.peer} <= runs.keys():
            names = f"{READERS[goal.reader].label} against {READERS[goal.peer].label}"
            reached = ratio(runs, goal.reader, goal.peer, FULL_SPEED, "speed")
            spared = ratio(runs, goal.peer, goal.reader, FULL_SPEED, "cpu")
            yield f"{names}: trades/s", f"at least {goal.speed:g} x", f"{reached:.2f} x", f"{spared:.2f} x"
    rates = [phase.rate for phase in phases]
    for delay in DELAY_GOALS:
        if delay.rate in rates and {delay.reader, delay.peer} <= runs.keys():
            phase = rates.index(delay.rate)
            names = f"{READERS[delay.reader].label} against {READERS[delay.peer].label}"
            for what in ("p50", "p99"):
                reached = ratio(runs, delay.reader, delay.peer, phase, what)
                yield f"{names}: {what} at {delay.rate:,}/s", f"at most {delay.share:g} x", f"{reached:.2f} x", ""
            worst = spread([each / 1000 for each in values(runs, delay.reader, phase, "worst")], ".1f")
            worst_of = f"{READERS[delay.reader].label}: worst at {delay.rate:,}/s"
            yield worst_of, f"under {delay.worst / 1000:g} ms", f"{worst} ms", ""


def report(venue: str, runs: Runs, phases: Sequence[Phase], left_out: Mapping[str, str]) -> str:
    rounds = len(next(iter(runs.values())))
    full = phases[FULL_SPEED].trades
    parts = [
        f"{full:,} {venue.capitalize()} trades on 20 coins at full speed over loopback, one core for each process; "
        f"medians (and ranges) of {rounds} interleaved rounds. Lost and doubled are of all that was sent.",
        table(("reader", "trades/s", "to ccxt.pro", "CPU s per 100,000", "lost", "doubled"), at_full_speed(runs)),
    ]
    if len(phases) > 1:
        head = ("µs from the write to the callback", *(f"at {phase.rate:,}/s" for phase in phases[1:]))
        parts += ["p50 / p99 / worst, medians of the rounds:", table(head, delays(runs, phases))]
    if venue == JUDGED and (judged := list(goals(runs, phases))):
        parts.append(table(("goal", "wanted", "reached", "in trades per CPU s"), judged))
    parts += [f"Left out: {READERS[name].label}: {reason}." for name, reason in left_out.items()]
    return "\n\n".join(parts)
