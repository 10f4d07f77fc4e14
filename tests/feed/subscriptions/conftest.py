"""Fixtures: a dispatcher, and its reports."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from feed.subscriptions.dispatcher import Dispatcher
from tests.feed.subscriptions.support import Reports, own_tasks


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
async def dispatcher(reports: Reports) -> AsyncIterator[Dispatcher]:
    made = Dispatcher(reports, queue_size=4)
    yield made
    await made.close(1)
    assert own_tasks() == []
