"""The ids of the last ten minutes are remembered to find duplicates, up to a limit."""

from __future__ import annotations

from feed.trades.duplicates import LIMIT, REACH, STEP, RecentIds


def added(ids: RecentIds, names: range, at: float | None, *, keep: bool = False) -> int:
    return sum(ids.add(str(name), at, keep=keep) for name in names)


def test_an_id_is_new_only_once_within_ten_minutes() -> None:
    ids = RecentIds()
    for minute in range(10):
        assert added(ids, range(100 * minute, 100 * minute + 100), 60.0 * minute) == 100
        assert added(ids, range(0, 100 * minute + 100), 60.0 * minute + 1) == 0
    assert ids.newest == "999"


def test_ids_older_than_ten_minutes_are_forgotten() -> None:
    """Ids are never forgotten earlier, but sometimes a little later, because removals happen at intervals."""
    ids = RecentIds()
    for second in range(0, 2000, 10):
        added(ids, range(second, second + 1), float(second))
    assert str(1990 - int(REACH)) in ids
    assert str(1990 - int(REACH) - 2 * int(STEP)) not in ids
    assert len(ids) <= (REACH + 2 * STEP) / 10


def test_no_more_ids_are_remembered_than_the_limit_allows() -> None:
    ids = RecentIds()
    for at in (None, 1.0):
        added(ids, range(LIMIT), at)
        assert added(ids, range(LIMIT), at) == 0
        added(ids, range(LIMIT, LIMIT + 5), at)
        assert len(ids) == LIMIT
        assert "4" not in ids
        assert "5" in ids
        ids = RecentIds()


def test_ids_are_kept_while_a_fetch_is_running() -> None:
    ids = RecentIds()
    added(ids, range(LIMIT + 100), 0.0, keep=True)
    added(ids, range(LIMIT + 100, LIMIT + 200), 10 * REACH, keep=True)
    assert len(ids) == LIMIT + 200
    added(ids, range(LIMIT + 200, LIMIT + 201), 10 * REACH)
    assert len(ids) == LIMIT
