"""One WebSocket connection over ccxt: subscribing, guarding the client, delivering its rows."""
