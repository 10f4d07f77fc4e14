"""Gate v4. Candles: "spot candlesticks channel" and the futures' klines of its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from exchanges.venues.profile import Profile


class _Gate(Profile):
    flags_closed_candles: ClassVar[bool] = True

    def candle_is_closed(self, frame: Any, row: Any) -> bool | None:
        """The field "w": the window is closed."""
        closed = _candle(frame, row).get("w")
        return None if closed is None else bool(closed)

    def is_off_book(self, info: Any) -> bool:
        """A take-over by the insurance fund or by deleveraging (futures trades), which its candles leave out too."""
        return isinstance(info, dict) and info.get("is_internal") is True

    def base_volume(self, frame: Any, row: Any) -> Any:
        """The field "a", base currency amount; ccxt takes "v", which is in quote currency on spot."""
        return _candle(frame, row).get("a") if frame["channel"].startswith("spot") else None


def _candle(frame: Any, row: Any) -> Mapping[str, Any]:
    bars = frame["result"] if isinstance(frame["result"], list) else [frame["result"]]
    return next((bar for bar in bars if int(bar["t"]) * 1000 == row[0]), {})


PROFILES = (_Gate("gate", "gate", candles_in_contracts=True),)  # "v" counts contracts on swap, ccxt hands it on
