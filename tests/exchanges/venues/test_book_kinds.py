"""The table in the docs that names the proof of each venue's books agrees with the code."""

from __future__ import annotations

from pathlib import Path

from exchanges.books.proof import ProofKind
from exchanges.ccxt_adapter.support import supported
from exchanges.names import exchange_names
from exchanges.venues.find import profile_of

PAGE = Path(__file__).parents[3] / "docs" / "books.md"


def table() -> dict[str, str]:
    """Each exchange that the page names, and the proof that the page gives for it."""
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in PAGE.read_text("utf-8").splitlines()]
    kinds = set(map(str, ProofKind))
    named = [row for row in rows if len(row) >= 2 and row[1] in kinds and row[0] != "all others"]
    return {name: row[1] for row in named for name in row[0].split(", ")}


def test_the_page_names_the_proof_of_every_exchange_that_has_one() -> None:
    told = table()
    for name in set(exchange_names()) - {"binanceus"}:  # ccxt's name for binance_us
        rules = profile_of(name).books
        assert told.get(name, str(ProofKind.PLAUSIBILITY)) == str(rules.kind), name
        assert str(profile_of(name).for_market_type("swap").books.kind) == str(rules.kind), name
        if rules.proof is not None or rules.own is not None:
            assert name in told
    assert set(told) <= set(exchange_names())


def test_the_list_of_exchanges_says_what_proves_their_books() -> None:
    shown = {row.name: row.book_proof for row in supported()}
    assert (shown["okx"], shown["kraken"], shown["upbit"], shown["phemex"]) == (
        "sequence", "checksum", "snapshots only", "plausibility only"
    )  # fmt: skip
    assert shown["coincheck"] == ""
