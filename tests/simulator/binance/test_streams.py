"""The WebSocket of Binance spot, as the simulator serves it."""

from __future__ import annotations

import json

import pytest

from exchanges.simulator import Simulator
from tests.simulator.client import dial, until


async def test_the_frame_of_a_trade_is_written_as_documented() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@trade")
        (trade,) = await sim["binance"].trade("BTC", ids=[7], price=61837.63, quantity=0.02, buyer_maker=True)
        event = await client.first(lambda e: e.get("e") == "trade")
    text = client.frames[-1]
    assert text == (
        f'{{"e":"trade","E":{event["E"]},"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000",'
        f'"T":{trade.timestamp},"m":true,"M":true}}'
    )


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade/ethusdt@trade", "/ws/0", "/ws"])
async def test_the_raw_endpoint_takes_streams_from_the_path_or_from_a_request(path: str) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, path) as client:
        if "@" not in path:
            assert await client.subscribe("btcusdt@trade", "ethusdt@trade") == {"result": None, "id": 1}
        await until(lambda: sim["binance"].connections)
        await sim["binance"].trade("ETH")
        assert (await client.first(lambda e: e.get("e") == "trade"))["s"] == "ETHUSDT"


async def test_the_combined_endpoint_adds_the_streams_name_to_each_event() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim, "/stream?streams=btcusdt@trade") as client:
        await until(lambda: sim["binance"].connections)
        await sim["binance"].trade("BTC", ids=[5])
        event = await client.first(lambda e: "stream" in e)
        assert event["stream"] == "btcusdt@trade"
        assert event["data"]["t"] == 5


async def test_subscriptions_can_be_listed_and_cancelled() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@trade", "ethusdt@trade")
        gone = await client.ask({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 2})
        assert gone == {"result": None, "id": 2}
        listed = await client.ask({"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert listed == {"result": ["ethusdt@trade"], "id": 3}
        assert list(sim["binance"].connections[0].subscriptions) == ["ethusdt@trade"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"method": "NOPE", "id": 9}, 2),
        ({"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 9}, 2),
        ({"method": "SUBSCRIBE", "params": ["no stream"], "id": 9}, 2),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@kline_7m"], "id": 9}, 2),
    ],
)
async def test_wrong_requests_get_the_documented_error(request_: dict[str, object], code: int) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        answer = await client.ask(request_)
        assert answer["id"] == 9
        assert answer["error"]["code"] == code


async def test_a_subscription_to_an_unlisted_market_is_accepted_and_gets_no_data() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        assert await client.subscribe("nopeusdt@trade") == {"result": None, "id": 1}


async def test_tickers_and_candles_come_after_a_trade() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@ticker", "btcusdt@miniTicker", "btcusdt@kline_1m", "btcusdt@bookTicker")
        await sim["binance"].trade("BTC", price=60123.45, buyer_maker=False)
        ticker = await client.first(lambda e: e.get("e") == "24hrTicker")
        mini = await client.first(lambda e: e.get("e") == "24hrMiniTicker")
        candle = (await client.first(lambda e: e.get("e") == "kline"))["k"]
        quote = await client.first(lambda e: "u" in e)
    assert ticker["c"] == mini["c"] == candle["c"] == "60123.45000000"
    assert set(ticker) == set("eEspPwxcQbBaAohlvqOCFLn")
    assert set(candle) == set("tTsifLocholvnxqVQBn") | {"h", "x"}
    assert (quote["b"], quote["a"]) == ("60123.44000000", "60123.45000000")


async def test_an_aggregate_trade_joins_the_fills_of_one_order_at_one_price() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@aggTrade")
        for ids in (range(1, 4), range(4, 6)):
            await sim["binance"].trade("BTC", ids=ids, price=60000, quantity=0.5, buyer_maker=False)
        await until(lambda: len(client.frames) == 3)
    first, second = client.events[1:]
    assert (first["f"], first["l"], first["q"]) == (1, 3, "1.50000000")
    assert (second["f"], second["l"], second["a"] > first["a"]) == (4, 5, True)


async def test_a_candle_has_one_final_state_which_is_its_last() -> None:
    """Each candle has exactly one state with x:true. This state has the values of the candle's trades, and no other
    state follows it."""
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@kline_1s")
        venue = sim["binance"]
        trades = await venue.trade("BTC", count=5)
        final = await client.first(lambda e: e.get("e") == "kline" and e["k"]["x"] and e["k"]["n"])
        again = await client.first(lambda e: e.get("e") == "kline" and e["k"]["x"] and e["k"]["t"] > final["k"]["t"])
    candle = final["k"]
    assert candle["n"] == 5
    assert float(candle["o"]) == trades[0].price
    assert float(candle["c"]) == trades[-1].price
    assert (candle["f"], candle["L"]) == (trades[0].id, trades[-1].id)
    assert again["k"]["n"] == 0
    finals = [json.loads(frame)["k"]["t"] for frame in client.frames if '"x":true' in frame]
    assert len(finals) == len(set(finals))


async def test_each_connection_gets_the_notice_of_a_shutdown() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as one, dial(sim) as two:
        await until(lambda: len(sim["binance"].connections) == 2)
        sim["binance"].shutdown_notice()
        for client in (one, two):
            event = await client.first(lambda e: e.get("e") == "serverShutdown")
            assert isinstance(event["E"], int)


async def test_all_tickers_come_in_one_array() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("!miniTicker@arr")
        await sim["binance"].trade("BTC")
        await sim["binance"].trade("ETH")
        await until(lambda: len(client.events) > 1)
        assert {event["s"] for event in client.events[1]} == {"BTCUSDT", "ETHUSDT"}


async def test_moving_the_venues_clock_forward_closes_the_candles_in_between() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@kline_1m")
        trades = await sim["binance"].trade("BTC", count=3)
        sim["binance"].skip(120)
        await until(lambda: sum('"x":true' in frame for frame in client.frames) >= 2)
    finals = [json.loads(frame)["k"] for frame in client.frames if '"x":true' in frame]
    assert finals[0]["n"] == 3
    assert float(finals[0]["c"]) == trades[-1].price
    assert finals[1]["t"] - finals[0]["t"] == 60_000
