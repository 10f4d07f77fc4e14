"""Two streams get the same frames, one with and one without the fast decoder, and must deliver the same events.

Both have the real ccxt.pro class with the markets of a simulator, and the real guard; only the socket is missing.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from exchanges import Subscription
from exchanges.ccxt_adapter.venue import CcxtVenue
from exchanges.events import Candle
from exchanges.simulator import Simulator
from exchanges.venues.fast_decoder import unambiguous
from feed.candles.delivered import DeliveredCandles
from feed.candles.tracker import CandleTracker
from tests.exchanges.support import Heard, opened, streaming
from tests.exchanges.venues.fast_frames import (
    ALL,
    BINANCE_KLINE,
    BINANCE_TRADE,
    BYBIT_CANDLE,
    BYBIT_KLINE,
    BYBIT_ROW,
    BYBIT_TICKER,
    BYBIT_TRADES,
    CANDLE,
    COMBINED,
    GOOD,
    KEYS,
    NOW,
    ODD,
    REQUESTS,
    changed,
    paths,
    put,
    text,
)
from tests.properties import drawing

COINS = ("BTC", "ETH", "DOGE")
CHANNELS = ("trades", "ticker", "candles", "quotes")
URLS = {"binance": "wss://stream.binance.com:9443/ws/0", "bybit": "wss://stream.bybit.com/v5/public/spot"}
CAPTURES = sorted((Path(__file__).parents[4] / "shared" / "captures").glob("*.raw.gz"))


class Line:
    """One connection without a socket: ``receive`` gives it a message, as the socket would."""

    def __init__(self, venue: CcxtVenue, coins: Iterable[str] = COINS) -> None:
        self.heard = Heard()
        self.told: list[Any] = []
        self.failing = False  # the listener raises once, at the next event
        for name in ("trade", "ticker", "quote", "bad_frame"):
            setattr(self.heard, f"on_{name}", self._tell)
        self.heard.on_candle = self._tell_candle  # type: ignore[method-assign] # replaced like the others
        self.going_down = 0
        wanted = Subscription({coin: venue.market(coin) for coin in coins}, CHANNELS)
        self.stream = venue.connect(wanted, self.heard, self._down)
        self.exchange = self.stream.exchange
        self.client = self.exchange.client(URLS[venue.name])
        self.by_ccxt = 0
        dispatch = self.client.on_message_callback

        def counted(client: Any, frame: Any) -> None:
            self.by_ccxt += 1
            dispatch(client, frame)

        self.client.on_message_callback = counted

    def _tell(self, event: Any, number: int | None = None) -> None:
        assert number is None or event.trade_id == str(number)
        if self.failing:
            self.failing = False
            raise RuntimeError("the first")
        self.told.append(event)

    def _tell_candle(self, candle: Candle, flagged: bool) -> None:
        assert flagged
        self._tell(candle)

    def _down(self) -> None:
        self.going_down += 1

    def forget_candles(self) -> None:
        """Forget the candles, so that the next candle counts as the first one."""
        self.stream._delivery._begun_candles.clear()

    def receive(self, data: Any, kind: WSMsgType = WSMsgType.TEXT) -> list[Any]:
        """Give the client a message; return what the listener receives, in order."""
        self.told.clear()
        self.client.handle_message(WSMessage(kind, data, None))
        return list(self.told)


class Pair:
    """Two streams of one venue: ``hot`` has the fast decoder, ``cold`` does not have it."""

    def __init__(self, hot: Line, cold: Line) -> None:
        self.hot, self.cold = hot, cold

    def receive(self, data: Any, kind: WSMsgType = WSMsgType.TEXT, *, alone: bool = True) -> list[Any]:
        """What both streams deliver for a message, which must be equal; with ``alone``, both forget the candles of
        earlier messages first."""
        if alone:
            self.hot.forget_candles()
            self.cold.forget_candles()
        told, reference = self.hot.receive(data, kind), self.cold.receive(data, kind)
        assert [(type(each), each) for each in told] == [(type(each), each) for each in reference], data
        assert self.hot.going_down == self.cold.going_down
        return told

    def taken(self, data: str) -> bool:
        """Compare as ``receive`` does; returns whether the fast decoder read the message without ccxt."""
        before = self.hot.by_ccxt
        self.receive(data)
        return self.hot.by_ccxt == before


@pytest.fixture(params=["binance", "bybit"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def pair(name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """The clock stands still, so that the events of both streams have equal times."""
    monkeypatch.setattr("exchanges.ccxt_adapter.stream.client_guard.time.time_ns", lambda: NOW * 1_000_000 + 987)
    monkeypatch.setattr("ccxt.pro.Exchange.timeout_on_exit", 0)  # ms that ccxt waits when it closes
    async with Simulator(venues=(name,), rate=0) as simulator:
        lines = []
        async with opened(name, simulator) as hot, opened(name, simulator, options={"hotpath": False}) as cold:
            for venue in (hot, cold):
                await venue.load()
                lines.append(Line(venue))
            yield Pair(*lines)
            await asyncio.gather(*(line.stream.close() for line in lines))


# --- frames that the fast decoder reads -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_an_ordinary_frame_is_read_without_ccxt(pair: Pair, frame: Any) -> None:
    """If ccxt read these frames too, all later tests would compare ccxt with itself."""
    assert pair.taken(text(frame))
    assert pair.hot.told
    assert pair.hot.heard.bad == []


@pytest.mark.parametrize(("name", "frame"), [("binance", frame) for frame in COMBINED])
async def test_a_frame_of_the_combined_endpoint_is_read_without_ccxt(pair: Pair, frame: Any) -> None:
    assert pair.taken(text(frame))
    assert pair.hot.told


@pytest.mark.parametrize("name", ["binance"])
async def test_fields_that_are_not_used_may_be_missing(pair: Pair) -> None:
    """In 2024, for example, Binance removed the order ids from its trades."""
    assert pair.taken(text({key: value for key, value in BINANCE_TRADE.items() if key not in ("a", "b", "E", "M")}))


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_the_hot_path_can_be_turned_off(pair: Pair, frame: Any) -> None:
    """The option is this project's own and does not reach ccxt."""
    pair.receive(text(frame))
    assert pair.cold.by_ccxt == 1
    assert "hotpath" not in pair.cold.exchange.options


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_a_coin_that_is_not_wanted_is_not_delivered(pair: Pair, frame: Any) -> None:
    """The frame is not reported as bad."""
    assert pair.receive(text(frame).replace("BTC", "SOL").replace("ETH", "SOL").replace("DOGE", "SOL")) == []


def test_an_id_of_two_markets_is_left_to_ccxt() -> None:
    spot, swap = {"symbol": "A/B", "spot": True}, {"symbol": "A/B:B", "spot": False}
    wanted = {"A/B": "A", "A/B:B": "A", "C/B": "C"}
    assert unambiguous({"AB": [spot], "CB": [{"symbol": "C/B", "spot": True}]}, wanted) == {"AB": "A", "CB": "C"}
    assert unambiguous({"AB": [spot, swap], "AB.P": [spot]}, wanted) == {}
    assert unambiguous({"AB": [swap]}, wanted) == {}
    assert unambiguous({"AB": [spot]}, {"C/B": "C"}) == {}


# --- other frames are read by ccxt, with the same result --------------------------------------------------------------


@pytest.mark.parametrize(("name", "frame"), [*ALL, *[("binance", frame) for frame in COMBINED]])
async def test_every_odd_value_of_every_field_is_read_as_ccxt_reads_it(pair: Pair, frame: Any) -> None:
    for path in paths(frame):
        for value in ODD:
            pair.receive(text(changed(frame, path, put(value))))
        if isinstance(path[-1], str):
            pair.receive(text(changed(frame, path, lambda holder, key: holder.pop(key))))


@pytest.mark.parametrize(("name", "frame"), [*ALL, *[("binance", frame) for frame in COMBINED]])
async def test_an_additional_known_key_in_any_place_is_read_as_ccxt_reads_it(pair: Pair, frame: Any) -> None:
    """The frame may already have the key: JSON parsers take the last of several values."""
    for path in [(), *paths(frame)]:
        holder = frame
        for key in path:
            holder = holder[key]
        if isinstance(holder, dict):
            inside = text(holder)
            for key in KEYS:
                for value in ('"1"', "null", "{}"):
                    more = f"{json.dumps(key)}:{value}"
                    for longer in (f"{inside[:-1]},{more}}}", f"{{{more},{inside[1:]}"):
                        pair.receive(text(frame).replace(inside, longer, 1))


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_a_frame_cut_anywhere_is_read_as_ccxt_reads_it(pair: Pair, frame: Any) -> None:
    whole = text(frame)
    for end in range(len(whole)):
        pair.receive(whole[:end])
    for tail in (" ", "\n", "x", "}", ",", "\x00", whole):
        pair.receive(whole + tail)
        pair.receive(tail + whole)


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_a_frame_with_escapes_is_left_to_ccxt(pair: Pair, frame: Any) -> None:
    whole = text(frame)
    for word in ("USDT", "e", "p", "trade", "topic", "1", "2"):
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in word)
        for written in (whole.replace(f'"{word}', f'"{escaped}'), whole.replace(word, escaped, 1)):
            pair.receive(written)
    assert not pair.taken(whole.replace("USDT", "\\u0055SDT"))


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_other_kinds_of_messages_are_left_to_ccxt(pair: Pair, frame: Any) -> None:
    data = text(frame).encode()
    assert pair.receive(data, WSMsgType.BINARY)
    pair.receive(b"\x1f\x8b" + data, WSMsgType.BINARY)
    pair.receive(b"\xff" + data, WSMsgType.BINARY)


@pytest.mark.parametrize("name", ["bybit"])
async def test_ccxt_merges_a_delta_into_the_ticker_that_the_fast_decoder_read(pair: Pair) -> None:
    """Spot has no deltas today. If a delta comes, ccxt needs the raw ticker from before."""
    delta = {**BYBIT_TICKER, "type": "delta", "data": {"symbol": "ETHUSDT", "lastPrice": "2500.5"}}
    pair.receive(text(delta))
    assert pair.taken(text(BYBIT_TICKER))
    for price in ("2500.5", "2500.6"):
        (ticker,) = pair.receive(text({**delta, "data": {"symbol": "ETHUSDT", "lastPrice": price}}))
        assert ticker.last == float(price)
        assert ticker.volume_24h == 423332407.03994118
    pair.receive(text(BYBIT_TICKER))
    pair.receive(text(delta))


@pytest.mark.parametrize("name", ["bybit"])
async def test_one_bad_row_sends_the_whole_frame_to_ccxt(pair: Pair) -> None:
    """Each good row is delivered once, and each bad row is counted, whatever their order in the frame."""
    good, bad = BYBIT_ROW, {**BYBIT_ROW, "v": "many"}
    for rows in ([good, bad], [bad, good], [good, bad, good], [good, None], [bad, bad]):
        told = pair.receive(text({**BYBIT_TRADES, "data": rows}))
        assert len(told) == len(rows)
        assert sum(isinstance(each, str) for each in told) == sum(row is not good for row in rows)


@pytest.mark.parametrize(("name", "frame"), ALL)
async def test_a_listener_that_raises_has_the_same_effect_as_with_ccxt(pair: Pair, frame: Any) -> None:
    """The rest of the frame is delivered once."""
    pair.hot.failing = pair.cold.failing = True
    pair.receive(text(frame))
    assert not pair.hot.failing


PRICE = st.integers(1, 10**12).map(lambda units: f"{units / 10**8:.8f}")


@st.composite
def following(draw: st.DrawFn, name: str) -> str:
    """A frame with the candle of any minute. Some frames have another field or candle, so that only ccxt reads them."""
    opened, closed = CANDLE + 60_000 * draw(st.integers(-6, 1)), draw(st.booleans())
    low, one, other, high = sorted((draw(PRICE) for _ in range(4)), key=float)
    one, other = draw(st.permutations([one, other]))
    extra = {"new": 1} if draw(st.integers(0, 3)) == 0 else {}
    if name == "binance":
        figures = {"t": opened, "o": one, "c": other, "h": high, "l": low, "v": draw(PRICE), "x": closed}
        return text({**BINANCE_KLINE, "k": {**BINANCE_KLINE["k"], **figures, **extra}})  # type: ignore[dict-item] # the value is a dict
    figures = {"start": opened, "open": one, "close": other, "high": high, "low": low}
    candle = {**BYBIT_CANDLE, **figures, "volume": draw(PRICE), "confirm": closed, **extra}
    before = [{**candle, "start": opened - 60_000, "confirm": True}] if draw(st.integers(0, 3)) == 0 else []
    return text({**BYBIT_KLINE, "data": [*before, candle]})


async def test_successive_candles_are_read_as_ccxt_reads_them(pair: Pair, name: str) -> None:
    """The fast decoder reads some candles, ccxt reads the others. Candles may be missing, late or repeated; each
    minute is closed at most once."""

    @drawing(300, suppress_health_check=list(HealthCheck))
    @given(st.lists(following(name), min_size=2, max_size=12))
    def compare(frames: list[str]) -> None:
        tracker, delivered, closed = CandleTracker("ETH", "1m"), DeliveredCandles(), list[int]()
        for number, frame in enumerate(frames):
            for candle in pair.receive(frame, alone=number == 0):
                told = [each for each in tracker.follow(candle, said=True) if delivered.enter(each)]
                closed += [each.timestamp for each in told if each.closed]
        assert len(closed) == len(set(closed))

    compare()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)
DECIMAL = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "", "", "-", "+"]),
    st.from_regex(r"\A(0|[1-9][0-9]{0,20}|[0-9]{0,3})\Z"),
    st.from_regex(r"\A(\.[0-9]{0,25})?\Z"),
    st.from_regex(r"\A([eE][-+]?[0-9]{1,3})?\Z") | st.just(""),
)


@st.composite
def mutated(draw: st.DrawFn, frames: Sequence[Any]) -> str:
    """A valid frame with one to three changes that a venue, a proxy or an attacker could make."""
    frame = deepcopy(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(1, 3))):
        places = paths(frame)
        if not places:
            break
        path = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(["value", "decimal", "number", "drop", "extra", "reorder", "twice"]))
        value = draw(JSON)
        if kind == "decimal":
            value = draw(DECIMAL)
        elif kind == "number":
            value = draw(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70))

        def change(holder: Any, key: Any, kind: str = kind, value: Any = value) -> None:
            if kind == "drop":
                holder.pop(key)
            elif kind == "extra" and isinstance(holder, dict):
                holder[draw(st.sampled_from(KEYS))] = value
            elif kind == "reorder" and isinstance(holder, dict):
                items = draw(st.permutations(list(holder.items())))
                holder.clear()
                holder.update(items)
            elif kind == "twice" and isinstance(holder, list):
                holder.append(deepcopy(holder[key]))
            else:
                holder[key] = value

        frame = changed(frame, path, change)
    written = text(frame)
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(written)))
        written = draw(st.sampled_from([written[:at], written[:at] + draw(st.characters()) + written[at:]]))
    return written


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_mutated_frames_are_read_as_ccxt_reads_them(pair: Pair, name: str) -> None:
    frames = [*GOOD[name], *(COMBINED if name == "binance" else [])]

    @drawing(1500, suppress_health_check=list(HealthCheck))
    @given(mutated(frames))
    def compare(frame: str) -> None:
        pair.receive(frame)

    compare()


PRICES = st.decimals(min_value="0.00000001", max_value="999999999", places=8).map(lambda price: f"{price:f}")


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_plausible_frames_with_any_numbers_are_read_as_ccxt_reads_them(pair: Pair, name: str) -> None:
    """Each number of a frame is replaced by another plausible number; the floats must be equal to the last bit."""

    @drawing(500, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(GOOD[name]), st.data())
    def compare(frame: Any, data: st.DataObject) -> None:
        for path in paths(frame):
            holder = frame
            for key in path:
                holder = holder[key]
            if isinstance(holder, str) and holder.replace(".", "").replace("-", "").isdigit() and path[-1] != "i":
                frame = changed(frame, path, put(data.draw(PRICES)))
        pair.receive(text(frame))

    compare()


# --- real frames ------------------------------------------------------------------------------------------------------


async def test_every_frame_of_the_simulator_is_read_as_ccxt_reads_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames are trades, tickers, candles, book tickers, answers, errors, bad frames and a notice of shutdown."""
    frames: list[Any] = []
    aiohttp = {"transport": "aiohttp"}  # with aiohttp all messages pass ccxt's handler, where they are recorded
    async with Simulator(venues=(name,), rate=400) as simulator, opened(name, simulator, options=aiohttp) as venue:
        simulated = simulator[name]
        async with streaming(venue, COINS, [c for c in CHANNELS if name == "binance" or c != "quotes"]) as running:
            await running.until(lambda: len(running.heard.trades) > 0)
            (client,) = running.exchange.clients.values()
            handle = client.handle_message

            def recorded(message: Any) -> None:
                frames.append((message.type, message.data))
                handle(message)

            client.handle_message = recorded
            await simulated.burst(2000, coins=COINS, malformed=0.05)
            heard = running.heard
            for request in REQUESTS[name]:
                count = len(heard.tickers)
                await running.until(lambda count=count: len(heard.tickers) > count + 3)  # type: ignore[misc] # mypy cannot check a lambda with a default
                await client.send(request)
            await running.until(lambda: len(heard.tickers) > count + 6 and len(heard.candles) > 2)
            if name == "binance":
                simulated.shutdown_notice()
                await running.until(lambda: "serverShutdown" in str(frames[-50:]))
        async with opened(name, simulator, options={"hotpath": False}) as cold:
            await cold.load()
            moment = time.time_ns()
            monkeypatch.setattr("exchanges.ccxt_adapter.stream.client_guard.time.time_ns", lambda: moment)
            pair = Pair(Line(venue), Line(cold))
            for kind, data in frames:
                if kind is WSMsgType.TEXT:
                    pair.receive(data, alone=False)
            assert pair.hot.by_ccxt < pair.cold.by_ccxt / 2
            await asyncio.gather(pair.hot.stream.close(), pair.cold.stream.close())


@pytest.mark.skipif(not CAPTURES, reason="no ../shared/captures beside the repository")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["binance"])
async def test_every_captured_frame_is_read_as_ccxt_reads_it(pair: Pair, path: Path) -> None:
    """The frames are Binance's trades and book tickers, in the combined form of the recording and in the raw form."""
    with gzip.open(path, "rt") as lines:
        frames = [line.partition(" ")[2].strip() for line in lines]
    seen = {"trade": 0, "bookTicker": 0}
    for number, frame in enumerate(frames):
        kind = frame[:60].partition("@")[2].partition('"')[0]
        if kind in seen and (kind == "trade" or number % 10 == 0):
            seen[kind] += 1
            assert pair.taken(frame)
            assert pair.taken(text(json.loads(frame)["data"]))
            assert len(pair.hot.told) == 1
    assert min(seen.values()) > 1000
