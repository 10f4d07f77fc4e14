"""A Binance trade as the minimal readers (floors) decode it, with only the fields that they use."""

from __future__ import annotations

import msgspec


class Trade(msgspec.Struct, gc=False):
    s: str
    p: float
    q: float
    m: bool
    T: int
    t: int


decode = msgspec.json.Decoder(Trade, strict=False).decode
