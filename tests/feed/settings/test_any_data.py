"""Whatever a settings file contains, the result is Settings or one SettingsError that lists every problem."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feed.errors import SettingsError
from feed.settings.file import load_settings
from feed.settings.schema import Settings
from feed.settings.validation import check

# --- generated data

KEYS = st.sampled_from(
    [each.name for each in fields(Settings)]
    + ["symbol", "tier", "name", "markets", "ws_url", "rest_url", "proxy", "options", "backoff_max", "enabled"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["BTC", "btc", "bybit", "1m", "trades", "USDT", "http://h:1", "ws://h:1", "spot", "BTC/USD"])
    | st.dates()
    | st.binary(max_size=4)
)
DATA = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5) | st.integers(), inner, max_size=5)
    ),
    max_leaves=20,
)

LINE = r"{}: [^\n]*(found|not YAML)[^\n]*"


def settings_or_lines(text: str, file: Path) -> Settings | None:
    file.write_text(text)
    try:
        return load_settings(file)
    except SettingsError as error:
        wrong = [line for line in error.problems if not re.fullmatch(LINE.format(re.escape(str(file))), line)]
        return None if error.problems and not wrong else pytest.fail(f"{wrong}")


@given(st.dictionaries(KEYS, DATA, max_size=6) | DATA)
def test_any_data_gives_settings_or_a_settings_error(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    settings = settings_or_lines(yaml.safe_dump(data), tmp_path_factory.getbasetemp() / "fuzz.yaml")
    if settings is not None:
        check(settings)


@given(st.text(alphabet=st.sampled_from("abz:-[]{}&*!|>'\"#%@,?\n\t 0.1~<é\x00\ufeff")) | st.text())
def test_any_text_gives_settings_or_a_settings_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    settings_or_lines(text, tmp_path_factory.getbasetemp() / "fuzz.yaml")


@given(st.builds(Settings, *[DATA] * 9))
def test_check_takes_any_object(settings: Settings) -> None:
    try:
        check(settings)
    except SettingsError as error:
        wrong = [line for line in error.problems if not re.fullmatch(LINE.format("settings"), line)]
        if wrong:
            pytest.fail(f"{wrong}")
    else:
        check(settings)
