"""Lists for ``market-feed exchanges`` what each venue streams, from the profiles and ccxt's ``has``."""

from __future__ import annotations

from dataclasses import dataclass

from exchanges.ccxt_adapter.instance import ccxt_class
from exchanges.ccxt_adapter.stream.channels import source_of_quotes, streamed
from exchanges.names import exchange_names
from exchanges.venues.find import profile_of


@dataclass(frozen=True, slots=True)
class Support:
    """What a venue supports: ``title`` is its own name, ``channels`` are what it streams, ``note`` is a remark.

    ``book_proof`` says what proves its order books (docs/books.md), "" if it has none.
    """

    name: str
    title: str
    channels: tuple[str, ...]
    note: str
    book_proof: str = ""


def supported() -> list[Support]:
    """Every venue that settings may name, our own names first; read from the profiles and ccxt's ``has``."""
    rows = []
    for name in exchange_names():
        profile = profile_of(name)
        exchange = ccxt_class(profile.ccxt_id)()
        exchange.has.update(profile.has)
        channels = streamed(exchange)
        notes = [profile.note]
        if "trades" in channels and "candles" not in channels:
            channels += ("candles",)
            notes.append("candles are built from trades")
        if "ticker" not in channels and exchange.has.get("fetchTickers"):
            notes.append("day stats by REST")
        if "quotes" not in channels and (source := source_of_quotes(exchange)):
            channels += ("quotes",)
            notes.append(
                {"ticker": "quotes from tickers, else order books", "books": "quotes from order books"}[source]
            )
        note = "; ".join(filter(None, notes))
        proof = str(profile.books.kind) if "books" in channels else ""
        rows.append(Support(name, exchange.name, channels, note, proof))
    return rows
