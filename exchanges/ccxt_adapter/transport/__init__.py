"""What carries ccxt's WebSockets: aiohttp, or picows with the extra ``[fast]``."""
