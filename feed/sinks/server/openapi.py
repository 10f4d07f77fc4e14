"""The description of the REST interface, as OpenAPI 3.1."""

from __future__ import annotations

import dataclasses
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from feed.events import Candle, OrderBook, PriceTick
from feed.settings.schema import MAX_DEPTH
from feed.sinks.server.messages import EVENT_TYPES

_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def _type(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is list:  # a list of (price, size)
        number = {"type": "number"}
        return {"type": "array", "items": {"type": "array", "prefixItems": [number, number], "items": False}}
    if NoneType in get_args(hint):
        return {"type": [_TYPES[get_args(hint)[0]], "null"]}
    return {"type": _TYPES[(get_args(hint) or [hint])[0]]}


def _schema(kind: type[Any], **more: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    fields = {each.name: _type(hints[each.name]) for each in dataclasses.fields(kind)}
    return {"type": "object", "properties": fields | more, "required": list(fields | more)}


def _object(**types: str | list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in types.items()},
        "required": list(types),
    }


_STATUS = _object(
    connected="boolean", exchange="string", state="string", coins="array", messages_received="integer",
    reconnect_count="integer", failover_count="integer", errors="integer", prices_cached="integer",
    last_message_age=["number", "null"], tradable="boolean", lag=["number", "null"],
)  # fmt: skip
_HEALTH = _object(status="string", last_activity=["string", "null"], error_count="integer", metrics="object")


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, text: str, schema: dict[str, Any], where: str = "query") -> dict[str, Any]:
    return {"name": name, "in": where, "description": text, "schema": schema, "required": where == "path"}


def _path(
    name: str, text: str, good: dict[str, Any], parameters: list[dict[str, Any]] | None = None, **bad: str
) -> dict[str, Any]:
    bad |= {"_401": "the token is missing or wrong", "_403": "from another host's page, or to another host's name"}
    errors = {code.removeprefix("_"): _answer(why, {"$ref": "#/components/schemas/Error"}) for code, why in bad.items()}
    return {
        "get": {
            "operationId": name,
            "summary": text,
            "parameters": parameters or [],
            "responses": {"200": good} | errors,
        }
    }


def _whole(low: int, high: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


def _health_path() -> dict[str, Any]:
    path = _path("health", "For a health check, without a token", _answer("healthy or degraded", _HEALTH))
    path["get"]["responses"]["503"] = _answer("failed", _HEALTH)
    del path["get"]["responses"]["401"]
    path["get"]["security"] = []
    return path


def description() -> dict[str, Any]:
    """The whole document."""
    coin = _parameter("coin", "such as BTC, in any case", {"type": "string"}, "path")
    seconds = {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400}
    max_age = _parameter("max_age", "the greatest age in seconds; by default the settings'", seconds)
    price, candle = {"$ref": "#/components/schemas/Price"}, {"$ref": "#/components/schemas/Candle"}
    book = {"$ref": "#/components/schemas/Book"}
    listed = _schema(PriceTick, fresh={"type": "boolean"}, reason={"type": "string"})
    unknown, old = "no such coin", "the price is not fresh; the error says why"
    streams = {
        "channels": _parameter("channels", f"{', '.join(EVENT_TYPES)}; with commas between them", {"type": "string"}),
        "coins": _parameter("coins", "with commas between them; by default all", {"type": "string"}),
        "on_full": _parameter("on_full", "drop_oldest or latest", {"type": "string"}),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Market Feed",
            "version": "1",
            "description": "A running feed's prices and candles, in quote currency; timestamps in Unix ms.",
        },
        "paths": {
            "/v1/prices": _path(
                "prices", "The latest price of every coin, fresh or not",
                _answer("by coin", {"type": "object", "additionalProperties": listed}),
            ),
            "/v1/prices/{coin}": _path(
                "price", "A coin's price, if a bot may act on it now", _answer("the price", price), [coin, max_age],
                _400="a wrong max_age", _404=unknown, _503=old,
            ),
            "/v1/candles/{coin}": _path(
                "candles", "The newest candles, oldest first; the last one is still open",
                _answer("the candles", {"type": "array", "items": candle}),
                [
                    coin,
                    _parameter("timeframe", "such as 1m", {"type": "string", "default": "1m"}),
                    _parameter("limit", "how many candles", _whole(1, 1000, 100)),
                ],
                _400="a wrong timeframe or limit", _404=unknown, _429="too many wait", _503="no answer of the exchange",
            ),
            "/v1/books/{coin}": _path(
                "book", "A coin's order book, if it is proven and a bot may act on it now",
                _answer("bids and asks are (price, size), best first", book),
                [
                    coin,
                    max_age,
                    _parameter("depth", "levels", _whole(1, MAX_DEPTH, 20)),
                ],
                _400="a wrong max_age or depth", _404=unknown, _503="the book is not synchronized, or not fresh",
            ),
            "/v1/volatility/{coin}": _path(
                "volatility", "Standard deviation of 1-minute log returns, in percent; null while candles are too few",
                _answer("the volatility", _object(coin="string", window="integer", volatility=["number", "null"])),
                [coin, max_age, _parameter("window", "candles", _whole(3, 1500, 60))],
                _400="a wrong max_age or window", _404=unknown, _503=old,
            ),
            "/v1/status": _path("status", "The feed's state and counts", _answer("as get_status()", _STATUS)),
            "/health": _health_path(),
            "/metrics": _path(
                "metrics", "Prometheus", {"description": "text", "content": {"text/plain": {}}}, _501="not installed"
            ),
            "/v1/events": _path(
                "events", "Server-Sent Events: a snapshot, then every event, with Last-Event-ID",
                {"description": "the events", "content": {"text/event-stream": {}}}, [*streams.values()],
                _400="a wrong channel, coin or policy", _503="too many clients",
            ),
        },
        "components": {
            "schemas": {
                "Price": _schema(PriceTick),
                "Candle": _schema(Candle),
                "Book": _schema(OrderBook),
                "Error": _ERROR,
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }  # fmt: skip
