"""The public spot stream of Bybit v5, as the simulator serves it."""

from __future__ import annotations

from exchanges.simulator import Simulator
from tests.simulator.client import dial, status_of

SPOT = "/v5/public/spot"


async def test_a_frame_has_several_trades_with_the_documented_fields() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        await client.subscribe("publicTrade.BTCUSDT")
        await sim["bybit"].trade("BTC", ids=range(11, 14), price=60000.5, quantity=0.02, buyer_maker=True)
        frame = await client.first(lambda e: "topic" in e)
    assert (frame["topic"], frame["type"]) == ("publicTrade.BTCUSDT", "snapshot")
    assert [row["i"] for row in frame["data"]] == ["11", "12", "13"]
    row = frame["data"][0]
    assert (row["s"], row["S"], row["p"], row["v"], row["BT"]) == ("BTCUSDT", "Sell", "60000.50", "0.02000", False)
    assert isinstance(row["T"], int)
    assert isinstance(row["seq"], int)


async def test_requests_are_acknowledged_as_documented() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        answer = await client.subscribe("publicTrade.BTCUSDT")
        assert answer.pop("conn_id")
        assert answer == {"success": True, "ret_msg": "subscribe", "req_id": "1", "op": "subscribe"}
        pong = await client.ask({"op": "ping", "req_id": "2"})
        assert (pong["ret_msg"], pong["op"], pong["req_id"]) == ("pong", "ping", "2")
        gone = await client.ask({"op": "unsubscribe", "args": ["publicTrade.BTCUSDT"], "req_id": "3"})
        assert gone["success"]
        assert not sim["bybit"].connections[0].subscriptions


async def test_a_request_with_one_wrong_topic_is_refused_as_a_whole() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        unknown = await client.subscribe("publicTrade.BTCUSDT", "publicTrade.NOPEUSDT")
        assert (unknown["success"], unknown["ret_msg"]) == (False, "Invalid symbol :[publicTrade.NOPEUSDT]")
        assert not sim["bybit"].connections[0].subscriptions
        assert not (await client.subscribe("nonsense.BTCUSDT"))["success"]
        assert not (await client.ask({"op": "dance", "req_id": "1"}))["success"]
        assert (await client.subscribe("publicTrade.BTCUSDT"))["success"]
        twice = await client.subscribe("publicTrade.ETHUSDT", "publicTrade.BTCUSDT")
        assert twice["ret_msg"] == "error:already subscribed,topic:publicTrade.BTCUSDT"
        assert list(sim["bybit"].connections[0].subscriptions) == ["publicTrade.BTCUSDT"]
        assert sim["bybit"].violations == []


async def test_a_ticker_and_a_candle_come_after_the_subscription_and_after_a_trade() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, SPOT) as client:
        await client.subscribe("tickers.BTCUSDT", "kline.1.BTCUSDT")
        first = await client.first(lambda e: e.get("topic") == "tickers.BTCUSDT")
        candle = await client.first(lambda e: e.get("topic") == "kline.1.BTCUSDT")
        assert set(first["data"]) == {
            "symbol", "lastPrice", "highPrice24h", "lowPrice24h", "prevPrice24h", "volume24h", "turnover24h",
            "price24hPcnt", "usdIndexPrice",
        }  # fmt: skip
        assert first["type"] == "snapshot"
        assert candle["data"][0]["confirm"] is False
        assert float(candle["data"][0]["volume"]) == 0
        await sim["bybit"].trade("BTC", price=60123.45, quantity=2)
        await client.first(lambda e: e.get("topic") == "tickers.BTCUSDT" and e["data"]["lastPrice"] == "60123.45")
        candle = await client.first(
            lambda e: e.get("topic") == "kline.1.BTCUSDT" and float(e["data"][0]["volume"]) == 2
        )
        assert candle["data"][0]["end"] - candle["data"][0]["start"] == 59_999


async def test_only_spot_is_served() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim:
        assert await status_of(sim, "/v5/public/linear") == 404
