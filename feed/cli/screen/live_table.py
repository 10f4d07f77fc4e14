"""Draws the live state: as plain lines for pipes and logs, as a table (with rich) for terminals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from feed.cli.screen.live_state import Note, Row
from feed.subscriptions.status_events import KINDS, EventKind

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

FLASH = 0.6  # seconds for which a changed price is highlighted
NOTES_SHOWN = 8
_HEAD = 3  # lines above the rows: status, column names and the rule under them
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def price(value: float) -> str:
    """Return a price with about six significant digits: 65,012.30, 0.48210, 0.000012345."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    digits = min(12, max(2, 4 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def amount(value: float) -> str:
    """Return an amount of money in at most six characters: 1.23B, 45.6M, 789."""
    for size, unit in _UNITS:
        if value >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Return 0:07, 12:34 or 3:00:00."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float | None) -> str:
    """Return the age of a tick: 0.2, 41, 12:34."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:.0f}" if seconds < 120 else duration(seconds)


def latency(ms: float | None) -> str:
    """Return a latency as measured: 2.1, 85, -1200 (the clocks differ), 41 s or 838 d (a replay)."""
    if ms is None:
        return "-"
    size = abs(ms)
    if size < 9.95:
        return f"{ms:.1f}"
    return f"{ms:.0f}" if size < 20_000 else f"{ms / 1000:.0f} s" if size < 172_800_000 else f"{ms / 86_400_000:.0f} d"


def clock(at: float) -> str:
    """Return the local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def price_line(row: Row, at: float) -> str:
    """Return one coin's price as a line of plain text."""
    value = "-" if row.price is None else price(row.price)
    change, turnover = f"{row.change_24h:+.2f}%", f"24h turnover {amount(row.volume_24h)}"
    late = latency(row.latency)
    if late[-1].isdigit():
        late += " ms"
    return f"{clock(at)} {row.coin:<6} {value:>12} {change:>8}  {turnover:<19}  {late:>9}  {row.venue}"


def note_line(note: Note) -> str:
    """Return an event as a line of plain text."""
    return f"{clock(note.at)} {note.event:<16} {note.text}".rstrip()


def header(
    state: str, exchange: str, connected_for: float | None, message_rate: float, reconnects: int, failovers: int
) -> str:
    """Return the line above the table."""
    connected = "not connected" if connected_for is None else f"connected {duration(connected_for)}"
    shown = "STARTING" if state == "idle" else state.upper()
    return (
        f" {shown}  {exchange or '-'}  {connected}  {message_rate:,.0f} msg/s  "
        f"reconnects {reconnects}  failovers {failovers}"
    )


def screen(
    head: str,
    rows: Sequence[Row],
    notes: Iterable[Note],
    caption: str,
    console: Console,
    height: int | None = None,
    book: RenderableType | None = None,
) -> RenderableType:
    """Return the whole screen for rich; a line says how many rows did not fit into ``height`` lines.

    ``book`` is shown below the table.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    plain = console.options.ascii_only
    overflow: Literal["crop", "ellipsis"] = "crop" if plain else "ellipsis"

    def line(text: str, style: str) -> Text:
        return Text(text, style=style, no_wrap=True, overflow=overflow)

    if book is not None and height is not None:
        height = max(_HEAD, height - len(console.render_lines(book)))
    shown, below, hidden = _fit(len(rows), len(list(notes := list(notes))), bool(caption), height)
    cells = [_cells(row, "^v" if plain else "▲▼") for row in rows[:shown]]
    columns = zip(_HEADINGS, *cells, strict=True)
    widths = {column[0]: max(cell_len(str(cell)) for cell in column) for column in columns}
    for name in _DISPENSABLE:
        if sum(widths.values()) + len(widths) > console.width:
            del widths[name]
    gap = min(2, max(0, (console.width - sum(widths.values())) // len(widths) - 1))  # blanks besides the border
    style = box.ASCII2 if plain else box.SIMPLE_HEAD
    table = Table(box=style, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    for name in widths:
        side: Literal["left", "right"] = "left" if name in _LEFT else "right"
        table.add_column(name, justify=side, no_wrap=True, overflow=overflow)
    for each in cells:
        table.add_row(*(cell for name, cell in zip(_HEADINGS, each, strict=True) if name in widths))
    parts: list[RenderableType] = [line(head, "bold"), table]
    if hidden:
        parts.append(line(f" and {hidden} more: the window is not high enough for them", "dim"))
    if book is not None:
        parts.append(book)
    if caption:
        parts.append(line(f" {caption}", "yellow"))
    parts += [line(f" {note_line(note)}", style_of(note.event)) for note in (notes[-below:] if below else ())]
    return Group(*parts)


_HEADINGS = ("coin", "price", "24h", "turnover", "tr/s", "age s", "ms", "venue")
_DISPENSABLE = ("venue", "ms", "tr/s", "turnover", "age s", "24h")  # columns that a narrow window omits, in this order
_LEFT = frozenset({"coin", "venue"})


def _fit(rows: int, notes: int, caption: bool, height: int | None) -> tuple[int, int, int]:
    """Return how many rows and notes are shown in ``height`` lines, and how many rows are not shown."""
    notes = min(notes, NOTES_SHOWN)
    if height is None:
        return rows, notes, 0
    room = height - _HEAD - caption
    if rows + notes <= room:
        return rows, notes, 0
    spare = room - rows
    notes = min(notes, spare if spare > 0 else min(3, room // 4))  # even a window of few lines shows the latest events
    shown = min(rows, room - notes)
    if shown < rows:
        shown = max(0, shown - 1)  # leaves room for the line that says how many rows are not shown
    return shown, max(0, notes), rows - shown


def _cells(row: Row, arrows: str) -> tuple[Text | str, ...]:
    from rich.text import Text

    if row.price is None:
        return (Text(row.coin, style="dim"), Text("waiting", style="dim"), *[""] * 6)
    colour = {1: "green", -1: "red", 0: "default"}[row.direction]
    arrow = {1: arrows[0], -1: arrows[1], 0: " "}[row.direction]
    loud = f"bold reverse {colour}" if row.moved < FLASH and row.direction else colour
    silent = row.age is not None and row.age >= 60
    return (
        Text(row.coin, style="bold"),
        Text(f"{price(row.price)} {arrow}", style=loud),
        Text(f"{row.change_24h:+.2f}%", style="green" if row.change_24h > 0 else "red" if row.change_24h < 0 else ""),
        amount(row.volume_24h),
        f"{row.rate:.1f}",
        Text(age(row.age), style="yellow" if silent else ""),
        latency(row.latency),
        row.venue,
    )


def style_of(event: str) -> str:
    """The colour of an event's line; ``event`` is a status event, or a name from the program."""
    return _STYLES.get(event, "dim")


def _style(kind: EventKind) -> str:
    return "green" if kind.good else "red" if kind.error or kind.level == "WARNING" else "dim"


_STYLES: Mapping[str, str] = {"demo": "cyan"} | {str(event): _style(kind) for event, kind in KINDS.items()}
