"""Proofs for venues whose numbers do not link one market's updates: the numbers only rise, or count per connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from exchanges.books.proof import EARLY, FOLLOWS, JOINED, REPEATED, FrameProof, Numbers, Step, Verdict, lost


@dataclass(eq=False, repr=False)
class RisingNumbers:
    """The proof for numbers that rise, but do not show whether an update is missing between them (``PLAUSIBILITY``).

    A lost update is not noticed; a late update is noticed. ``read`` gives the numbers of the books in a frame.
    ``joins_late``: the first update is no snapshot, as in NumberedFrames. ``ties``: two updates may have the same
    number, because the number is a time. ``jitter``: an update whose number is lower by at most this much is not late,
    because the numbers come from a clock.
    """

    read: Callable[[Any], Iterable[Numbers]]
    _: KW_ONLY
    joins_late: bool = False
    ties: bool = False
    jitter: int = 0

    def __post_init__(self) -> None:
        self._newest: dict[str, tuple[Numbers, str]] = {}  # market id -> the newest numbers, and the frame with them

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge."""
        return [(numbers.market_id, self._verdict(numbers, text)) for numbers in self.read(frame)]

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        self._newest.pop(market_id, None)

    def _verdict(self, numbers: Numbers, text: str) -> Verdict:
        known, newest = self._newest.get(numbers.market_id, (None, ""))
        if numbers.snapshot or (known is None and self.joins_late):
            self._newest[numbers.market_id] = numbers, text
            return Verdict(Step.JOINED, sequence=numbers.last)
        if known is None:
            return EARLY
        behind = known.last - numbers.last
        if behind == 0 and text == newest:
            return REPEATED
        if behind < 0 or (behind == 0 and self.ties) or 0 < behind <= self.jitter:
            self._newest[numbers.market_id] = numbers if behind < 0 else known, text
            return Verdict(Step.FOLLOWS, sequence=numbers.last)
        if known.snapshot:  # an earlier snapshot has this update already
            return REPEATED
        del self._newest[numbers.market_id]
        return lost(f"an update came late: after {known.last} came {numbers.last}")


@dataclass(frozen=True, slots=True)
class CountedFrame:
    """A frame of a venue that counts the frames of a connection: its ``number``, and its books.

    ``books`` has a pair for each book: the market id, and whether the frame has the whole book. Some venues count the
    frames of each ``topic`` instead. ``number`` is None if the venue does not count this frame.
    """

    number: int | None
    books: Sequence[tuple[str, bool]] = ()
    topic: str = ""


class CountedFrames:
    """The proof for venues that count a connection's frames up by one: a missing frame may concern any market.

    ``read`` gives None for a frame without a number.
    """

    def __init__(self, read: Callable[[Any], CountedFrame | None]) -> None:
        self._read = read
        self._last: int | None = None
        self._of_topic: dict[str, int] = {}
        self._whole: set[str] = set()  # market ids whose whole book has come
        self._newest = ""  # the text of the frame with the last number

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge; "" stands for every market of the connection."""
        counted = self._read(frame)
        if counted is None:
            return []
        verdicts: list[tuple[str, Verdict]] = []
        if counted.number is not None:
            known, due = self._last, self._of_topic.get(counted.topic, -1) + 1
            if counted.number == known and text == self._newest:
                return [("", REPEATED)]
            # the next number of the frame's topic is right too: some venues count per topic
            if known is not None and counted.number not in (known + 1, due):
                verdicts.append(("", lost(f"a frame is missing: after {known} came {counted.number}")))
            self._last, self._newest = counted.number, text
            self._of_topic[counted.topic] = counted.number
        self._whole |= {market_id for market_id, whole in counted.books if whole}
        for market_id, whole in counted.books:
            follows = FOLLOWS if market_id in self._whole else EARLY
            verdicts.append((market_id, JOINED if whole else follows))
        return verdicts

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        self._whole.discard(market_id)


class OrderedProofs:
    """Several proofs of one venue: the strictest verdict on a frame counts.

    They judge each frame in the given order; if one proof finds the frame repeated, the later proofs do not judge it.
    """

    def __init__(self, *proofs: FrameProof) -> None:
        self._proofs = proofs

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge."""
        verdicts: dict[str, Verdict] = {}
        for proof in self._proofs:
            for market_id, verdict in proof.judge(frame, text):
                known = verdicts.get(market_id)
                verdicts[market_id] = verdict if known is None else _least(known, verdict)
            if any(verdict.step is Step.REPEATED for verdict in verdicts.values()):
                break
        return verdicts.items()

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        for proof in self._proofs:
            proof.forget(market_id)


_TRUST = (Step.LOST, Step.WAITING, Step.EARLY, Step.REPEATED, Step.FOLLOWS, Step.JOINED)


def _least(one: Verdict, other: Verdict) -> Verdict:
    """The stricter of two verdicts; unless it is LOST, it gets ``sequence`` and ``best`` from whichever has them."""
    less = min(one, other, key=lambda verdict: _TRUST.index(verdict.step))
    if less.step is Step.LOST:
        return less
    sequence = other.sequence if one.sequence is None else one.sequence
    return replace(less, sequence=sequence, best=other.best if one.best is None else one.best)
