"""``python -m tests.benchmarks`` compares this project, other libraries and minimal readers (floors) in one table."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.environments import interpreter
from tests.benchmarks.figures import JUDGED
from tests.benchmarks.frames import WIRES
from tests.benchmarks.measure import ROOT, Failed, Figures, Phase, measure
from tests.benchmarks.plot import plot
from tests.benchmarks.readers import READERS
from tests.benchmarks.report import report

RESULTS = Path(__file__).with_name("RESULTS.md")
PLOT = ROOT / ".github" / "benchmark.svg"
COMMAND = "python -m tests.benchmarks"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in READERS]:
        raise argparse.ArgumentTypeError(f"unknown reader {', '.join(unknown)}; known are {', '.join(READERS)}")
    return chosen


def rates(text: str) -> list[int]:
    return [int(each) for each in text.split(",") if each]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--venue", choices=WIRES, default=JUDGED)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trades", type=int, default=100_000, help="at full speed")
    parser.add_argument("--rates", type=rates, default=[5_000], help="trades/s for the delays")
    parser.add_argument("--seconds", type=float, default=3.0, help="at each of these rates")
    usual = [name for name, reader in READERS.items() if reader.usual]
    parser.add_argument("--readers", type=names, default=usual, help=f"out of {','.join(READERS)}")
    parser.add_argument("--cache", type=Path, help="folder for the peers' environments; without it they are not kept")
    parser.add_argument("--short", action="store_true", help="one quick round of what needs no environment of its own")
    parser.add_argument("--write", action="store_true", help=f"{RESULTS.name} and {PLOT.relative_to(ROOT)} too")
    chosen = parser.parse_args()
    chosen.readers = [name for name in chosen.readers if chosen.venue in READERS[name].venues]
    if chosen.short:
        chosen.rounds, chosen.trades, chosen.rates = 1, 20_000, []
        chosen.readers = [name for name in chosen.readers if not READERS[name].needs]
    return chosen


async def compare(
    venue: str, readers: Sequence[str], phases: Sequence[Phase], rounds: int, cache: Path
) -> tuple[dict[str, list[list[Figures]]], dict[str, str]]:
    """Return the runs of each reader that could be measured in every round, and why each other reader was left out."""
    runs: dict[str, list[list[Figures]]] = {name: [] for name in readers}
    left_out: dict[str, str] = {}
    for i in range(rounds):
        for name in list(runs):
            try:
                own = await measure(READERS[name], venue, interpreter(READERS[name], cache), phases)
            except Failed as problem:
                del runs[name]
                left_out[name] = str(problem)
                say(f"{i + 1}/{rounds} {name}: left out: {problem}")
            else:
                runs[name].append(own)
                say(f"{i + 1}/{rounds} {name}: {own[0].speed:,.0f} trades/s, {own[0].cpu:.2f} CPU s per 100,000")
    return runs, left_out


def main() -> int:
    chosen = arguments()
    phases = [Phase(chosen.trades, 0), *(Phase(round(rate * chosen.seconds), rate) for rate in chosen.rates)]
    with tempfile.TemporaryDirectory() as passing:
        cache = chosen.cache.resolve() if chosen.cache else Path(passing)
        runs, left_out = asyncio.run(compare(chosen.venue, chosen.readers, phases, chosen.rounds, cache))
    if not runs:
        say("nothing could be measured")
        return 1
    text = report(chosen.venue, runs, phases, left_out)
    print(text)
    if chosen.write:
        paced = ",".join(map(str, chosen.rates))
        options = f"--rounds {chosen.rounds} --trades {chosen.trades} --rates {paced} --seconds {chosen.seconds:g}"
        RESULTS.write_text(f"`{COMMAND} {options}` printed:\n\n{text}\n")
        PLOT.write_text(plot(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
