"""Draws the speeds as bars, in an SVG that is written without a library."""

from __future__ import annotations

from html import escape
from statistics import median

from tests.benchmarks.figures import FULL_SPEED, Runs, values
from tests.benchmarks.readers import READERS

WIDTH, LEFT, RIGHT, LINE, TOP = 760, 290, 90, 30, 44
OURS, PEER, FLOOR = "#1a7f37", "#8c959f", "#d0d7de"


def plot(runs: Runs) -> str:
    """Draw the trades per second of CPU: the fastest reader last, ours in green, the floors in a pale colour."""
    speeds = {name: 100_000 / median(values(runs, name, FULL_SPEED, "cpu")) for name in runs}
    scale = (WIDTH - LEFT - RIGHT) / max(speeds.values())
    height = TOP + LINE * len(speeds) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#1f2328">',
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="15" font-weight="600">Binance trades read per second of CPU</text>',
    ]
    for i, (name, speed) in enumerate(sorted(speeds.items(), key=lambda item: item[1])):
        reader, y = READERS[name], TOP + LINE * i
        colour = OURS if reader.client == "market_feed" else FLOOR if reader.client.startswith("floor") else PEER
        label = escape(reader.label.replace("`", "").replace("*", ""))
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{label}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(1.0, speed * scale):.1f}" height="21" rx="2" fill="{colour}"/>',
            f'<text x="{LEFT + speed * scale + 8:.1f}" y="{y + 15}">{speed:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
