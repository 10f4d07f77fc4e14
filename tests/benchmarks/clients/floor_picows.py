"""The minimal reader (floor) with the extra ``[fast]``: picows reads, msgspec decodes each frame into a struct."""

from __future__ import annotations

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.benchmarks.clients.binance_trade import decode
from tests.benchmarks.clients.tally import begin, take


class Reader(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            take(decode(frame.get_payload_as_memoryview()).t)
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())


async def main() -> None:
    place = begin()
    streams = "/".join(f"{coin}usdt@trade".lower() for coin in place.coins)
    transport, _ = await ws_connect(Reader, f"{place.ws_url}/ws/{streams}")
    await transport.wait_disconnected()


asyncio.run(main())
