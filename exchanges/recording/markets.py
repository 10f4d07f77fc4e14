"""Turns Binance's market ids, such as BTCUSDT, into coin and market symbol without a list of markets."""

from __future__ import annotations

TIMEFRAMES = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
QUOTES = (
    "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD1", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "GBP",
)  # fmt: skip


def symbol_of(market_id: str, *, swap: bool = False) -> tuple[str, str]:
    """Coin and market symbol of an id: BTCUSDT -> BTC, BTC/USDT. Raises ValueError for an unknown quote currency."""
    quote = next((quote for quote in QUOTES if market_id.endswith(quote) and market_id != quote), None)
    if quote is None:
        raise ValueError(f"found the market {market_id}, allowed are markets against {', '.join(QUOTES)}")
    coin = market_id.removesuffix(quote)
    return coin, f"{coin}/{quote}:{quote}" if swap else f"{coin}/{quote}"
