"""The proof of each venue's books accepts documented frames without a fault, and notices each kind of fault."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import pytest

from exchanges.books.proof import FrameProof, Step, Verdict
from exchanges.venues.find import profile_of
from tests.venues.books import depth as book
from tests.venues.books.depth import Change, Level
from tests.venues.market import PRICES

BY_US = ("bybit_swap",)  # this project keeps the books of these venues; tests/exchanges/books tests their rules
VENUES = [name for name in book.names() if not getattr(book.script(name), "WHOLE", False) and name not in BY_US]
LINKED = [name for name in VENUES if "lost" in book.script(name).NOTICES]
CHECKED = [name for name in VENUES if "level" in book.script(name).NOTICES]


class Stream:
    """The frames of one connection with the books of two coins; each change is a list of frames."""

    def __init__(self, name: str, count: int = 9) -> None:
        script = book.script(name)
        self.counted: str = getattr(script, "COUNTED", "")
        first, other = book.first("BTC"), book.first("ETH")
        self.changes = list(book.changes(first, count))
        self.opening = script.opening(first) + script.opening(other)
        others = [script.change(change) for change in book.changes(other, count)]
        own = [script.change(change) for change in self.changes]
        self.steps = [step for pair in zip(own, others, strict=True) for step in pair]

    def frames(self) -> list[Any]:
        """All frames, in order and numbered."""
        frames = self.opening + [frame for step in self.steps for frame in step]
        if self.counted:
            frames = [{**frame, self.counted: number} for number, frame in enumerate(frames)]
        return frames


def proof_of(name: str) -> FrameProof:
    proof = profile_of(name).books.proof
    assert proof is not None
    return proof()


def judged(proof: FrameProof, frames: Iterable[Any]) -> list[tuple[str, Verdict]]:
    """The verdicts on frames that come in this order."""
    verdicts: list[tuple[str, Verdict]] = []
    for frame in frames:
        text = "" if isinstance(frame, bytes) else frame if isinstance(frame, str) else json.dumps(frame)
        verdicts += proof.judge(json.loads(text) if text.startswith("{") else frame, text)
    return verdicts


def steps(verdicts: Sequence[tuple[str, Verdict]]) -> list[Step]:
    return [verdict.step for _, verdict in verdicts]


@pytest.mark.parametrize("name", VENUES)
def test_in_a_stream_without_a_fault_every_update_joins_or_follows(name: str) -> None:
    stream = Stream(name)
    verdicts = judged(proof_of(name), stream.frames())
    of_market: dict[str, list[Step]] = {}
    for market_id, verdict in verdicts:
        of_market.setdefault(market_id, []).append(verdict.step)
    assert len(of_market) == 2
    for known in of_market.values():
        assert known[0] is Step.JOINED
        assert {*known[1:], Step.FOLLOWS} <= {Step.FOLLOWS, Step.REPEATED if name == "bitfinex" else Step.FOLLOWS}
        assert len(known) >= len(stream.changes)


@pytest.mark.parametrize("name", LINKED)
def test_a_missing_frame_is_noticed(name: str) -> None:
    """Each frame is missing once, except the frames of the first and of the last change of each coin."""
    stream = Stream(name)
    frames = stream.frames()
    begin = len(stream.opening) + len(stream.steps[0]) + len(stream.steps[1])
    for missing in range(begin, len(frames) - len(stream.steps[-1]) - len(stream.steps[-2])):
        verdicts = judged(proof_of(name), frames[:missing] + frames[missing + 1 :])
        if name != "bitfinex" or is_near_the_top(frames[missing]):
            assert Step.LOST in steps(verdicts), f"frame {missing} of {name}: {frames[missing]}"


def is_near_the_top(frame: list[Any]) -> bool:
    """For Bitfinex: whether the level stays among the best levels, which are those that the checksum covers."""
    return bool(frame[1] != "cs" and min(abs(frame[1][0] - PRICES[coin]) for coin in ("BTC", "ETH")) < 5)


@pytest.mark.parametrize("name", VENUES)
def test_a_repeated_frame_is_noticed_and_is_no_loss(name: str) -> None:
    if name in ("kraken", "bitfinex"):
        return  # these venues have checksums, which are still right after a repeated frame
    stream = Stream(name)
    frames = stream.frames()
    place = len(frames) // 2
    verdicts = judged(proof_of(name), [*frames[: place + 1], frames[place], *frames[place + 1 :]])
    assert Step.REPEATED in steps(verdicts)
    assert Step.LOST not in steps(verdicts)


@pytest.mark.parametrize("name", VENUES)
def test_an_update_that_comes_late_is_noticed(name: str) -> None:
    """Changes 4 and 5 of a coin come in the opposite order, or change 5 comes before 3 and 4."""
    stream = Stream(name)
    for order in ((0, 1, 2, 3, 5, 4, 6, 7, 8), (0, 1, 2, 5, 3, 4, 6, 7, 8)):
        numbered = iter(stream.frames()[len(stream.opening) :])
        told = [[next(numbered) for _ in step] for step in stream.steps]
        own = [told[2 * place] for place in order]
        shuffled = [step for place in range(len(order)) for step in (own[place], told[2 * place + 1])]
        late = stream.frames()[: len(stream.opening)] + [frame for step in shuffled for frame in step]
        assert Step.LOST in steps(judged(proof_of(name), late))


@pytest.mark.parametrize("name", CHECKED)
def test_a_wrong_size_is_noticed_by_the_checksum(name: str) -> None:
    script = book.script(name)
    first = book.first("BTC")
    good, *rest = book.changes(first, 3)
    wrong = Change(tuple(map(doubled, good.bids)), good.asks, good.after)
    frames = script.opening(first) + [frame for change in (wrong, *rest) for frame in script.change(change)]
    assert Step.LOST in steps(judged(proof_of(name), frames))


def doubled(level: Level) -> Level:
    return level[0], 2 * level[1]


def test_the_checksum_of_krakens_documented_example_is_right() -> None:
    """The example is from Kraken's page "Book checksum (WebSocket v2)"."""
    bids = (
        "45283.5 0.10000000", "45283.4 1.54582015", "45282.1 0.10000000", "45281.0 0.10000000", "45280.3 1.54592586",
        "45279.0 0.07990000", "45277.6 0.03310103", "45277.5 0.30000000", "45277.3 1.54602737", "45276.6 0.15445238",
    )  # fmt: skip
    asks = (
        "45285.2 0.00100000", "45286.4 1.54571953", "45286.6 1.54571109", "45289.6 1.54560911", "45290.2 0.15890660",
        "45291.8 1.54553491", "45294.7 0.04454749", "45296.1 0.35380000", "45297.5 0.09945542", "45299.5 0.18772827",
    )  # fmt: skip

    def message(cut: bool) -> str:
        sides = []
        for levels in (bids, asks):
            pairs = [level.split() for level in levels]
            numbers = [(price, size.rstrip("0") if cut else size) for price, size in pairs]
            sides.append(",".join(f'{{"price":{price},"qty":{size}}}' for price, size in numbers))
        data = f'[{{"symbol":"BTC/USD","bids":[{sides[0]}],"asks":[{sides[1]}],"checksum":3310070434}}]'
        return f'{{"channel":"book","type":"snapshot","data":{data}}}'

    for cut in (False, True):  # the checksum is right even if zeros at the end were left out
        assert steps(judged(proof_of("kraken"), [message(cut)])) == [Step.JOINED]
    assert steps(judged(proof_of("kraken"), [message(False).replace("0.09945542", "0.09945543")])) == [Step.LOST]


def test_okx_frames_of_a_quiet_market_and_after_a_maintenance_are_proven() -> None:
    """The example is from OKX's page "Sequence ID"."""
    links = (("snapshot", -1, 10), ("update", 10, 15), ("update", 15, 15), ("update", 15, 3), ("update", 3, 5))
    frames = [okx(action, {"prevSeqId": previous, "seqId": number}) for action, previous, number in links]
    assert steps(judged(proof_of("okx"), frames)) == [Step.JOINED] + [Step.FOLLOWS] * 4
    without = frames[:3] + frames[4:]  # without the frame at which numbers begin again
    assert steps(judged(proof_of("okx"), without))[-1] is Step.LOST


def test_okx_frames_without_numbers_are_proven_by_their_checksum() -> None:
    """The first frame is OKX's own example of a checksum."""
    levels = {"bids": [["3366.1", "7", "0", "3"]], "asks": [["3366.8", "9", "10", "3"]]}
    good = okx("snapshot", {**levels, "checksum": book_crc("3366.1:7:3366.8:9")})
    assert steps(judged(proof_of("okx"), [good])) == [Step.JOINED]
    late = okx("update", {"bids": [["3366.1", "8", "0", "3"]], "asks": [], "checksum": 5})
    assert steps(judged(proof_of("okx"), [good, late])) == [Step.JOINED, Step.LOST]
    zero = okx("update", {"bids": [["3366.1", "8", "0", "3"]], "asks": [], "checksum": 0})
    assert steps(judged(proof_of("okx"), [good, zero])) == [Step.JOINED, Step.FOLLOWS]


def okx(action: str, row: dict[str, Any]) -> dict[str, Any]:
    arg = {"channel": "books", "instId": "BTC-USDT"}
    return {"arg": arg, "action": action, "data": [{"asks": [], "bids": [], "ts": "1597026383085", **row}]}


def book_crc(text: str) -> int:
    value = crc32(text.encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def test_updates_of_bitgets_unified_accounts_are_proven_by_their_links() -> None:
    def pushed(action: str, previous: int, number: int) -> dict[str, Any]:
        row = {"a": [["64000.5", "1"]], "b": [["64000", "1"]], "checksum": 0, "pseq": previous, "seq": str(number)}
        arg = {"instType": "usdt-futures", "topic": "books", "symbol": "BTCUSDT"}
        return {"action": action, "arg": arg, "data": [row], "ts": 1_755_937_421_337}

    frames = [pushed("snapshot", 0, 90), pushed("update", 90, 95), pushed("update", 95, 101)]
    assert steps(judged(proof_of("bitget"), frames)) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]
    assert steps(judged(proof_of("bitget"), [frames[0], frames[2]])) == [Step.JOINED, Step.LOST]


def test_updates_of_htx_swaps_are_proven_by_their_versions() -> None:
    def pushed(event: str, version: int) -> dict[str, Any]:
        channel = "market.BTC-USDT.depth.size_150.high_freq"
        tick = {"asks": [], "bids": [[64_000, 1]], "ch": channel, "event": event, "version": version}
        return {"ch": channel, "tick": tick, "ts": 1_645_023_376_098}

    frames = [pushed("snapshot", 7), pushed("update", 8), pushed("update", 9)]
    assert steps(judged(proof_of("htx"), frames)) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]
    assert steps(judged(proof_of("htx"), [frames[0], frames[2]])) == [Step.JOINED, Step.LOST]


def test_the_htx_snapshot_joins_the_updates_that_came_before_it() -> None:
    script = book.script("htx")
    first = book.first("BTC")
    told = [script.change(change) for change in book.changes(first, 4)]
    early = [frame for step in told[:3] for frame in step]
    snapshot = script.opening(first)
    verdicts = judged(proof_of("htx"), [*early, *snapshot, *told[3]])
    assert steps(verdicts) == [Step.WAITING] * 3 + [Step.JOINED, Step.FOLLOWS]


def test_updates_of_kucoin_futures_are_proven_by_their_sequence_numbers() -> None:
    def pushed(number: int) -> dict[str, Any]:
        data = {"sequence": number, "change": "5000.0,sell,83", "timestamp": 1_551_770_400_000}
        return {"topic": "/contractMarket/level2:XBTUSDTM", "type": "message", "subject": "level2", "data": data}

    assert steps(judged(proof_of("kucoin"), map(pushed, (18, 19, 20)))) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]
    assert steps(judged(proof_of("kucoin"), map(pushed, (18, 20)))) == [Step.JOINED, Step.LOST]


def test_updates_of_gate_futures_are_proven_by_their_ids_without_a_snapshot() -> None:
    def pushed(first: int, last: int) -> dict[str, Any]:
        book = {"t": 1_650_188_898_938, "s": "BTC_USDT", "U": first, "u": last, "b": [{"p": "2.5", "s": 0}], "a": []}
        return {"id": None, "time": 1, "channel": "futures.order_book_update", "event": "update", "result": book}

    frames = [pushed(5, 9), pushed(10, 10), pushed(11, 20)]
    assert steps(judged(proof_of("gate"), frames)) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]
    assert steps(judged(proof_of("gate"), [frames[0], frames[2]])) == [Step.JOINED, Step.LOST]


def test_geminis_second_version_joins_at_its_first_frame_and_needs_no_numbers() -> None:
    whole = {"type": "l2_updates", "symbol": "BTCUSD", "changes": [], "trades": [], "auction_events": []}
    change = {"type": "l2_updates", "symbol": "BTCUSD", "changes": [["buy", "64000", "1"]]}
    assert steps(judged(proof_of("gemini"), [whole, change, change])) == [Step.JOINED, Step.FOLLOWS, Step.FOLLOWS]


def test_a_heartbeat_counts_as_a_frame_if_the_connections_frames_are_numbered() -> None:
    stream = Stream("gemini", 3)
    frames = stream.frames()
    beat = {"type": "heartbeat", "timestampms": 1_659_740_268_958, "socket_sequence": len(frames)}
    after = {**frames[-1], "socket_sequence": len(frames) + 1}
    assert Step.LOST not in steps(judged(proof_of("gemini"), [*frames, beat, after]))
    assert Step.LOST in steps(judged(proof_of("gemini"), [*frames, after]))


def test_frames_without_a_book_give_no_verdict() -> None:
    strange: list[Any] = ["pong", 5, [], [1, "hb"], {}, {"event": "error"}, {"arg": None}, {"data": 1}, None]
    for name in VENUES:
        assert judged(proof_of(name), strange) == []
