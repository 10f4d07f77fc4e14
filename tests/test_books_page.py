"""docs/books.md gives each exchange the same kind of order book proof as the exchange's profile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exchanges.books.proof import ProofKind
from exchanges.names import exchange_names
from exchanges.venues.find import profile_of

PAGE = Path(__file__).parents[1] / "docs" / "books.md"


@pytest.mark.parametrize("kind", ProofKind)
def test_the_page_names_the_exchanges_of_each_kind_of_proof(kind: ProofKind) -> None:
    rows = re.findall(rf"^\| ([^|]+) \| {kind} \|", PAGE.read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in row.split(", ")}
    known = {name for name in exchange_names() if profile_of(name).books.kind is kind} - {
        "binanceus"
    }  # ccxt's name for binance_us
    if kind is ProofKind.PLAUSIBILITY:
        assert named - {"all others"} < known
    else:
        assert named == known
