"""``market-feed recording``: shows, verifies, compacts, exports and imports recordings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from feed.cli.process import CommandError, Exit, complain
from feed.cli.reports.tables import columns
from feed.errors import FeedError

HOLES = 20  # holes that are shown as text


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    try:
        import_module("exchanges.recording.rows")  # if pyarrow is missing, the error of this import names the extra
        return _ACTIONS[args.action](args)
    except (ImportError, ValueError, FeedError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        told = error.strerror or str(error)
        raise CommandError(f"{error.filename}: {told}" if error.filename else told) from None


def _info(args: argparse.Namespace) -> int:
    from exchanges.recording.overview import holes, overview

    folder = Path(args.folder)
    found, lacking = overview(folder), holes(folder)
    if args.json:
        shown = {name: asdict(channel) for name, channel in found.items()}
        print(json.dumps({"channels": shown, "holes": lacking}, default=sorted))
        return Exit.OK
    rows = [
        [
            name,
            f"{channel.rows:,}",
            str(channel.files),
            _size(channel.size),
            _time(channel.since),
            _time(channel.until),
            str(len(channel.days)),
            ",".join(sorted(channel.exchanges)) or "-",
            ",".join(sorted(channel.coins)) or "-",
        ]
        for name, channel in found.items()
    ]
    print(columns(("channel", "rows", "files", "size", "from", "to", "days", "exchange", "coins"), rows))
    print(f"\n{len(lacking)} holes" + (":" if lacking else ""))
    for hole in lacking[-HOLES:]:
        what = " ".join(filter(None, (hole["channel"], hole["exchange"], hole["coin"])))
        missing = "" if hole["missing"] is None else f", {hole['missing']:,} missing"
        print(f"{_time(hole['from_ts'])} to {_time(hole['to_ts'])}  {what}{missing}  {hole['reason']}")
    if len(lacking) > HOLES:
        print(f"and {len(lacking) - HOLES} earlier ones: see --json")
    return Exit.OK


def _verify(args: argparse.Namespace) -> int:
    from exchanges.recording.overview import verify

    problems = list(verify(Path(args.folder)))
    if args.json:
        print(json.dumps({"problems": problems}))
    else:
        for problem in problems:
            complain(problem)
        if not problems:
            print("whole: every file can be read and matches the manifest")
    return Exit.FAILED if problems else Exit.OK


def _compact(args: argparse.Namespace) -> int:
    from exchanges.recording.overview import overview
    from feed.sinks.recorder.merging import compact, merge_recent

    folder = Path(args.folder)
    overview(folder)
    with _locked(folder):
        merge_recent(folder)
        print(f"{compact(folder)} files fewer")
    return Exit.OK


def _export(args: argparse.Namespace) -> int:
    from exchanges.recording.overview import export_csv

    rows = export_csv(Path(args.folder), Path(args.csv), args.channels, args.coins)
    print(f"{rows:,} rows in {args.csv}")
    return Exit.OK


def _import(args: argparse.Namespace) -> int:
    from exchanges.recording.archives import read_archive

    folder = Path(args.folder)
    with _locked(folder):
        for name in args.files:
            got = read_archive(folder, Path(name), args.exchange, swap=args.market == "swap")
            print(f"{name}: {got['rows']:,} {got['channel']} of {got['coin']} over {got['days']} days", flush=True)
    return Exit.OK


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against recorders. A folder that this command made is removed if it is empty at the end."""
    from exchanges.recording.writing import recover
    from feed.sinks.folder_lock import FolderLock

    is_new = not folder.exists()
    lock = FolderLock(folder)
    try:
        recover(folder)
        yield
    finally:
        lock.release(remove=True)
        if is_new:
            with suppress(OSError):
                folder.rmdir()


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "info": _info,
    "verify": _verify,
    "compact": _compact,
    "export": _export,
    "import": _import,
}


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
