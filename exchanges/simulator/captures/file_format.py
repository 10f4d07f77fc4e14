"""Reads raw capture files for the simulator: each line is ``<local Unix ns> <frame of Binance's combined stream>``."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from exchanges.simulator.errors import SimulatorError
from exchanges.simulator.markets.catalog import DEFAULT_COINS, Listing, price_digits, quantity_digits

_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")
SNAPSHOT = "@snapshot"  # an order book over REST: it is not from a stream, but it is in the file like the other frames
_GZIP = b"\x1f\x8b"


@dataclass(slots=True)
class CapturedFrame:
    """One captured frame: ``payload`` is the event in the combined frame, verbatim; ``trade`` is the decoded trade."""

    stamp_ns: int
    stream: str
    payload: str
    event_ms: int | None  # the venue's own time, if the event has it
    trade: dict[str, Any] | None


@dataclass(slots=True)
class Capture:
    """The frames of one or several files, sorted by their stamps."""

    frames: list[CapturedFrame] = field(default_factory=list)

    @property
    def streams(self) -> set[str]:
        return {frame.stream for frame in self.frames if not frame.stream.endswith(SNAPSHOT)}

    @property
    def trades(self) -> Iterator[dict[str, Any]]:
        return (frame.trade for frame in self.frames if frame.trade is not None)

    def listings(self) -> list[Listing]:
        """The markets in the files, with the decimals that their trades need."""
        first: dict[str, float] = {}
        digits: dict[str, tuple[int, int]] = {}
        for stream in sorted(self.streams):
            first.setdefault(stream.partition("@")[0].upper(), 0.0)
        for trade in self.trades:
            symbol = trade["s"]
            first[symbol] = first.get(symbol) or float(trade["p"])
            price, lots = digits.get(symbol, (2, 0))
            digits[symbol] = max(price, _decimals(trade["p"])), max(lots, _decimals(trade["q"]))
        return [_listing(symbol, price or 1.0, digits.get(symbol)) for symbol, price in first.items()]


def _listing(symbol: str, price: float, digits: tuple[int, int] | None) -> Listing:
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), symbol[-4:])
    coin = symbol.removesuffix(quote)
    turnover = DEFAULT_COINS[coin][1] * 1e6 if coin in DEFAULT_COINS else 1e8
    own, lots = digits or (price_digits(price), quantity_digits(price))
    return Listing(coin, quote, price, turnover, 1.0, own, lots)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))


def read_captures(paths: Iterable[str | Path]) -> Capture:
    """Read and merge the files. Raises SimulatorError naming the file, the line and what is wrong with it."""
    frames = [frame for path in paths for frame in _read(Path(path))]
    if not any(frame.trade for frame in frames):
        raise SimulatorError("the capture files hold no trades: a replay needs at least one @trade event")
    return Capture(sorted(frames, key=attrgetter("stamp_ns")))


def _read(path: Path) -> Iterator[CapturedFrame]:
    if path.exists() and not path.is_file():  # a pipe or a device would be read without an end
        raise SimulatorError(f"capture file {path} is no plain file")
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode()
    except FileNotFoundError:
        raise SimulatorError(f"capture file {path} does not exist") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SimulatorError(f"capture file {path} cannot be read: {error}") from None
    snapshots, symbol = list[tuple[int, str]](), ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            frame = _parse(line)
            if frame is None and '"lastUpdateId"' in line:
                stamp, _, snapshot = line.partition(" ")
                snapshots.append((int(stamp), snapshot))
        except (ValueError, KeyError, TypeError) as error:
            raise SimulatorError(
                f"{path}:{number}: not a line '<Unix ns> <frame of a combined stream>': {_reason(error)}"
            ) from None
        if frame is not None:
            symbol = symbol or frame.stream.partition("@")[0]
            yield frame
    for stamp_ns, snapshot in snapshots if symbol else ():
        yield CapturedFrame(stamp_ns, f"{symbol}{SNAPSHOT}", snapshot, None, None)


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def _parse(line: str) -> CapturedFrame | None:
    """Parse one line; None if it is empty or a plain snapshot."""
    if not line.strip():
        return None
    stamp, _, text = line.partition(" ")
    frame = json.loads(text)
    if not isinstance(frame, dict):
        raise ValueError("the frame is not a JSON object")
    if "stream" not in frame:
        return None
    stream, data = frame["stream"], frame["data"]
    head = f'{{"stream":"{stream}","data":'
    verbatim = text.startswith(head) and text.endswith("}")
    payload = text[len(head) : -1] if verbatim else json.dumps(data, separators=(",", ":"))
    if not isinstance(stream, str) or not isinstance(data, dict):
        raise ValueError("stream or data is not what a combined stream sends")
    return CapturedFrame(
        int(stamp), stream, payload, data.get("E"), _trade(data) if stream.endswith("@trade") else None
    )


def _trade(data: dict[str, Any]) -> dict[str, Any]:
    price, quantity = data["p"], data["q"]
    if float(price) <= 0 or float(quantity) <= 0:
        raise ValueError("a trade without price or quantity")
    return {"s": data["s"], "t": int(data["t"]), "p": price, "q": quantity, "T": int(data["T"]), "m": bool(data["m"])}
