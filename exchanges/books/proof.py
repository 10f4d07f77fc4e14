"""What a profile says about order books: what proves them, which depths are requested; and the verdict on each frame.

A profile's field ``books`` is a :class:`BookRules`. It is written in three steps:

1. Say which *kind* of proof the venue's frames allow (:class:`ProofKind`): numbers that follow one another, a checksum,
   whole books in every frame, or nothing. The table in docs/books.md is made from it.
2. For "sequence" and "checksum": write a class with the two methods of :class:`FrameProof` into the venue's file in
   ``exchanges/venues``, or into ``<venue>_books.py`` beside it, and name it as ``proof``. One object is made for each
   connection, so it may keep what it knows about each market or about the connection. Most venues number the frames of
   each market: :class:`NumberedFrames` is the proof for them, and needs a function that reads a frame.
3. Say what is requested from ccxt: ``depths`` (the values that its ``limit`` may have), ``window`` and ``nonce``.

ccxt builds the book from the same frames. A book is delivered while the verdicts of its market are good and its levels
are plausible (:mod:`exchanges.books.plausibility`). After a verdict ``LOST`` the market is not proven until the next
``JOINED``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, StrEnum
from typing import Any, Protocol

from exchanges.books.order_book import Level, LocalBook

MOST_EARLY = 1_000  # updates of a market that are kept until its snapshot comes


class ProofKind(StrEnum):
    """How a venue's books can be proven, best first."""

    SEQUENCE = "sequence"  # every update says which one it follows
    CHECKSUM = "checksum"  # the venue sends a checksum of the levels, which must match ours
    SNAPSHOTS = "snapshots only"  # every frame is a whole book, which replaces whatever was lost
    PLAUSIBILITY = "plausibility only"  # nothing in the frames proves anything


class Step(Enum):
    """What a frame does to a market's book."""

    JOINED = "joined"  # the book is proven from this frame on: a snapshot, or the frame that joins one
    FOLLOWS = "follows"  # the frame continues the last one; a market that is not proven stays so
    REPEATED = "repeated"  # the same or a newer frame came before: the book stays as it is
    WAITING = "waiting"  # the frame is judged when the snapshot has come
    EARLY = "early"  # the frame came before the whole book that the venue sends, so it is not needed
    LOST = "lost"  # something is missing, or the checksum differs: the book is not proven any more


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a frame, for one market. If it is LOST, ``reason`` tells users what was found and expected.

    ``sequence`` is the venue's number of the state after the frame, if it has one. ``best`` is the best bid and ask of
    a book that the proof itself keeps (for checksums); ccxt's book must have the same.
    """

    step: Step
    reason: str = ""
    sequence: int | None = None
    best: tuple[float | None, float | None] | None = None


FOLLOWS = Verdict(Step.FOLLOWS)
JOINED = Verdict(Step.JOINED)
REPEATED = Verdict(Step.REPEATED)
WAITING = Verdict(Step.WAITING)
EARLY = Verdict(Step.EARLY)


def lost(reason: str) -> Verdict:
    """The verdict LOST with its reason."""
    return Verdict(Step.LOST, reason)


class FrameProof(Protocol):
    """Judges the frames of one connection, before ccxt reads them.

    It may raise any error on an unexpected frame: then the frame counts as bad, and every book of the connection as
    not proven.
    """

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """The market id ("": all markets of the connection) and the verdict for each book in a frame.

        ``frame`` is the decoded message, ``text`` the message itself, for numbers that must be read as they were sent.
        """

    def forget(self, market_id: str) -> None:
        """Call this when the market is subscribed to again: its next frame may begin a new sequence."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The position of a frame in one market's sequence.

    ``last`` is the number of the state after the frame. ``first`` is the number of the first change in the frame, so
    the frame follows state ``first - 1``. ``previous`` is the number of the state before the frame, if the venue sends
    that instead. ``snapshot``: the frame is a whole book.
    """

    market_id: str
    last: int
    first: int | None = None
    previous: int | None = None
    snapshot: bool = False


@dataclass(eq=False, repr=False)
class NumberedFrames:
    """The proof for venues that number each market's updates. ``read`` returns the numbers of the books in a frame.

    ``joins_late``: the first update of a market is no snapshot; ccxt fetches a snapshot by REST. So the numbers
    prove only that no update is missing, and ``BookRules.nonce`` has to prove that the snapshot joins them.
    ``snapshot_asked``: the snapshot is the answer to a request of its own. It may be older than updates that came
    before it, so these updates are kept until it comes.
    """

    read: Callable[[Any], Iterable[Numbers]]
    _: KW_ONLY
    joins_late: bool = False
    snapshot_asked: bool = False

    def __post_init__(self) -> None:
        self._newest: dict[str, Numbers] = {}  # market id -> the numbers of the last proven state
        self._began: dict[str, Numbers] = {}  # market id -> the numbers of the first proven state
        self._early: dict[str, deque[Numbers]] = {}  # market id -> updates that came while the market was unproven
        self._lost: set[str] = set()  # market ids with a missing update

    def judge(self, frame: Any, text: str) -> Iterable[tuple[str, Verdict]]:
        """See FrameProof.judge."""
        return [(numbers.market_id, self._verdict(numbers)) for numbers in self.read(frame)]

    def forget(self, market_id: str) -> None:
        """See FrameProof.forget."""
        self._newest.pop(market_id, None)
        self._early.pop(market_id, None)
        self._lost.discard(market_id)

    def _verdict(self, numbers: Numbers) -> Verdict:
        market_id = numbers.market_id
        known = self._newest.get(market_id)
        if numbers.snapshot or (known is None and self.joins_late and market_id not in self._lost):
            return self._joined(numbers)
        if known is None:
            if not self.snapshot_asked:
                return EARLY
            self._early.setdefault(market_id, deque(maxlen=MOST_EARLY)).append(numbers)
            return WAITING
        step = _step(numbers, known)
        if step is Step.REPEATED and numbers.last < (began := self._began[market_id]).last and known is not began:
            step = Step.LOST  # this number has not come before: the venue has begun to count from a lower number
        if step is Step.FOLLOWS:
            self._newest[market_id] = numbers
            return Verdict(step, sequence=numbers.last)
        return REPEATED if step is Step.REPEATED else self._lose(numbers, known)

    def _joined(self, known: Numbers) -> Verdict:
        """Join a snapshot to those updates that came before it but are newer."""
        early = self._early.pop(known.market_id, deque())
        for update in early:
            step = _step(update, known)
            if step is Step.FOLLOWS:
                known = update
            elif step is Step.LOST and known.snapshot:  # the snapshot is too old: another one is requested
                self._early[known.market_id] = early
                return WAITING
            elif step is Step.LOST:
                return self._lose(update, known)
        self._lost.discard(known.market_id)
        self._newest[known.market_id] = self._began[known.market_id] = known
        return Verdict(Step.JOINED, sequence=known.last)

    def _lose(self, numbers: Numbers, known: Numbers) -> Verdict:
        self._newest.pop(numbers.market_id, None)
        self._lost.add(numbers.market_id)
        if numbers.previous is not None:
            found = f"follows {numbers.previous}"
        else:
            found = f"is {numbers.last}" if numbers.first is None else f"begins with {numbers.first}"
        return lost(f"an update is missing: after {known.last} came one that {found}")


def _step(numbers: Numbers, known: Numbers) -> Step:
    """How an update relates to the state after ``known``."""
    if numbers.previous is not None:
        # an update with previous == last changes nothing. A lower number proves no repetition: numbers may restart
        if numbers.previous == known.last:
            return Step.FOLLOWS
        old = numbers == known or (known.snapshot and numbers.last <= known.last)
    else:
        first = numbers.last if numbers.first is None else numbers.first
        if first <= known.last + 1 <= numbers.last:  # the update may repeat changes that came before: no harm
            return Step.FOLLOWS
        old = numbers.last <= known.last
    return Step.REPEATED if old else Step.LOST


@dataclass(slots=True)
class BookUpdate:
    """A decoded frame of a book, for books that we build ourselves.

    ``bids`` and ``asks`` are (price, size) in the venue's units. ``first`` to ``last`` are the numbers of the changes
    (Binance's U and u). ``previous`` is the number of the state before the update, where the venue sends it (pu).
    ``snapshot``: the frame has a whole book. ``cross`` is a number that never restarts (Bybit's seq). ``timestamp`` is
    in Unix ms.
    """

    coin: str  # empty if only the market id is known
    market_id: str
    bids: list[Level]
    asks: list[Level]
    last: int
    timestamp: int
    received_at: int
    first: int | None = None
    previous: int | None = None
    snapshot: bool = False
    cross: int | None = None


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """A book fetched over REST: at most ``limit`` levels of each side; ``number`` is the number of the book's state."""

    bids: list[Level]
    asks: list[Level]
    number: int
    limit: int


class OwnBook(Protocol):
    """A book that we build from a venue's frames ourselves, with the venue's rule for the order of updates.

    ``sequence``, ``timestamp`` and ``received_at`` are those of the last update.
    """

    levels: LocalBook
    sequence: int | None
    timestamp: int
    received_at: int

    @property
    def proven(self) -> bool: ...

    def apply(self, update: BookUpdate) -> Verdict:
        """Take an update; ``JOINED`` and ``FOLLOWS`` say that the book is proven after it."""

    def wants_snapshot(self) -> int:
        """How many levels the book's next snapshot must have; 0 if the book needs none now."""

    def join(self, snapshot: BookSnapshot) -> Verdict:
        """Take a snapshot from REST. ``WAITING``: a later update can join it, or the book needs another snapshot."""

    def forget(self) -> None:
        """Mark the book as not proven any more."""


@dataclass(frozen=True)
class SnapshotRules:
    """How a venue's REST snapshots are requested: with ccxt's ``method``; ``weights`` has the weight of each limit.

    ``others`` has the methods of related ccxt ids that use another method. ``per_minute`` is the weight that books may
    use in a minute: a part of the venue's limit, whose rest is for trades and candles.
    """

    method: str
    weights: Mapping[int, int]
    per_minute: int
    read: Callable[[Any, int], BookSnapshot]  # reads the answer; gets the limit too
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnBooks:
    """How we build books from a venue's frames ourselves.

    ``make`` makes a book for the subscribed depth. ``convert`` makes an update from a decoded frame that the fast
    decoder did not take; it returns None for a frame of another kind. If snapshots come in the stream, ``resubscribe``
    returns the requests (for a market id and a depth) after which the venue sends a new one. If snapshots come over
    REST, ``snapshots`` says how they are fetched.
    """

    make: Callable[[int], OwnBook]
    convert: Callable[[Any, int], BookUpdate | None]
    snapshots: SnapshotRules | None = None
    resubscribe: Callable[[str, int], list[Mapping[str, Any]]] | None = None


@dataclass(frozen=True)
class BookRules:
    """A venue's rules for order books: how they are proven, and how they are requested from ccxt.

    - ``depths``: the values that ccxt's ``limit`` may have; the smallest that is deep enough is used. Empty if ccxt
      takes no limit here.
    - ``params``: parameters of ccxt's call.
    - ``window``: the venue sends the whole book, or its best levels down to the requested depth, so all levels are
      proven. Otherwise updates reach beyond the snapshot from REST, and only levels inside its range are proven.
    - ``nonce``: the ``nonce`` of ccxt's book is the number of its state. The book is delivered only when the nonce
      equals the number in the verdict.
    - ``own``: the books that we build; ccxt does not see their frames.
    - ``merges``: ccxt merges a whole book into its old book, so the old book is dropped first.
    - ``anew``: returns the requests (for a market's id, symbol and depth) that subscribe to a book again where ccxt
      cannot unsubscribe; without them the whole connection is replaced.
    - ``fetched``: the most levels of each side in ccxt's snapshot from REST: a side with fewer levels is whole. 0 if
      this number is not known.
    - ``unchanged``: makes an update without changes that follows a snapshot. It is needed where ccxt joins a snapshot
      only to an update that came before it.
    - ``span``: gives the first and last number of an update, where ccxt joins updates wrongly to a snapshot.
    - ``numbers_per_ms``: the number of a state is its time, more exact than ccxt's time, and grows by this much in a
      millisecond; 0 where the number is not a time.
    """

    kind: ProofKind = ProofKind.PLAUSIBILITY
    proof: Callable[[], FrameProof] | None = None
    depths: tuple[int, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    window: bool = False
    nonce: bool = False
    own: OwnBooks | None = None
    merges: bool = False
    anew: Callable[[str, str, int | None], Sequence[Mapping[str, Any]]] | None = None
    fetched: int = 0
    unchanged: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    span: Callable[[Mapping[str, Any]], tuple[int, int]] | None = None
    numbers_per_ms: int = 0

    def depth(self, wanted: int) -> int | None:
        """The depth to request for ``wanted`` levels: the smallest that has them, else the largest."""
        enough = [each for each in self.depths if each >= wanted]
        return min(enough) if enough else max(self.depths, default=None)


def place_of_join(number: int, spans: Iterable[tuple[int, int]]) -> int:
    """The index of the first update that a snapshot of state ``number`` lacks; the updates' count if it lacks none.

    -1: the first update does not follow the snapshot, so updates between the two are missing.
    """
    place = -1
    for place, (first, last) in enumerate(spans):
        if place == 0 and first > number + 1:
            return -1
        if last > number:
            return place
    return place + 1
