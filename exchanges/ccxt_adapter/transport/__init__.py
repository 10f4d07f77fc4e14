"""The transport of ccxt's WebSockets and REST: aiohttp, or picows with the extra ``[fast]``."""
