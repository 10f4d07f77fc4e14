"""A working directory without settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from feed.settings.file import ENVIRONMENT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; the environment names no settings file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return tmp_path
