"""WebSocket frames as a server sends them (RFC 6455: unmasked, in one piece), ready for ``transport.write``.

They are built here rather than by aiohttp because one event goes to many subscribers: it is encoded once, and many
frames go out in one write.
"""

from __future__ import annotations

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A

_SHORT = 126  # a length below this is written into the second byte


def _header(kind: int, size: int) -> bytes:
    if size < _SHORT:
        return bytes((kind, size))
    if size < 1 << 16:
        return bytes((kind, 126)) + size.to_bytes(2, "big")
    return bytes((kind, 127)) + size.to_bytes(8, "big")


_TEXT_HEADERS = [_header(TEXT, size) for size in range(1024)]  # nearly every event is shorter


def text_frame(text: str) -> bytes:
    data = text.encode()
    size = len(data)
    return (_TEXT_HEADERS[size] if size < 1024 else _header(TEXT, size)) + data


def ping_frame(payload: bytes) -> bytes:
    return _header(PING, len(payload)) + payload


def pong_frame(payload: bytes) -> bytes:
    return _header(PONG, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    data = code.to_bytes(2, "big") + reason.encode()[:123]
    return _header(CLOSE, len(data)) + data
