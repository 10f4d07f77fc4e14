"""How long a venue wants no requests is read from its answer; each venue writes it in its own form."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

import pytest

from exchanges.ccxt_adapter.bans import LONGEST, Quiet, Wait, wait_told

NOW = 1_795_887_600.0


@pytest.mark.parametrize(
    ("status", "headers", "text", "wait"),
    [
        (418, {}, "binance 418 Way too much request weight used; IP banned until 1795887720000.", Wait(120.0, True)),
        (429, {}, '{"code":-1003,"msg":"Too much request weight; IP banned until 1795887720"}', Wait(120.0, True)),
        (418, {"Retry-After": "30"}, "IP banned until 1795887720000", Wait(30.0, True)),
        (418, {}, "I'm a teapot", Wait(120.0, True)),
        (403, {}, "access too frequent, please try again later", Wait(600.0, True)),
        (403, {}, "<html>Request blocked by CloudFront</html>", Wait(None)),
        (451, {}, "Service unavailable from a restricted location", Wait(None)),
        (429, {"Retry-After": formatdate(NOW + 90, usegmt=True)}, "", Wait(90.0)),
        (503, {"Retry-After": "7"}, "maintenance", Wait(7.0)),
        (429, {"X-Bapi-Limit-Reset-Timestamp": "1795887605000"}, "Too many visits!", Wait(5.0)),
        (429, {"X-Bapi-Limit-Reset-Timestamp": "1795887500000"}, "Too many visits!", Wait(None)),
        (429, {"gw-ratelimit-reset": "2500"}, '{"code":"429000","msg":"Too many requests"}', Wait(2.5)),
        (429, {"X-RateLimit-Reset": "12"}, "", Wait(12.0)),
        (429, {"X-Gate-RateLimit-Reset-Timestamp": "1795887603"}, "", Wait(3.0)),
        (429, {}, '{"code":"50011","msg":"Rate limit reached."}', Wait(None)),
        (429, {}, "please retry in 45 seconds", Wait(45.0)),
        (429, {}, "You have been banned, wait 5 minutes", Wait(300.0, True)),
        (429, {}, "limited until 2026-11-28T17:43:00Z", Wait(180.0)),
        (418, {}, "banned until 9999999999999", Wait(LONGEST, True)),
        (418, {}, "banned until 1795887000000", Wait(120.0, True)),
        (429, {"Date": formatdate(NOW - 86_400, usegmt=True)}, "banned until 1795801320000", Wait(120.0, True)),
        (500, {}, "order 1795887720000 after 1795887720000", Wait(None)),
        (429, {"Retry-After": "nan", "gw-ratelimit-reset": "x"}, "", Wait(None)),
        (429, {"Retry-After": "-5"}, "", Wait(0.0)),
        (429, {}, '{"code":429,"bannedUntil":1795887720000}', Wait(120.0, True)),
        (429, {}, '{"retry_after": 30}', Wait(30.0)),
        (429, {}, '{"retryAfter":30000}', Wait(30.0)),
        (429, {}, '{"retry_after_ms": "900"}', Wait(0.9)),
        (429, {}, "retry in 1m30s", Wait(90.0)),
        (429, {}, "wait one minute and 15 seconds", Wait(75.0)),
        (429, {}, "resets in 12,000 ms", Wait(12.0)),
        (429, {}, "the ban expires at 1795887720000", Wait(120.0, True)),
        (429, {}, "next request allowed 1795887720", Wait(120.0)),
        (418, {}, "banned until 2026-11-28T19:42:00+02:00", Wait(120.0, True)),
        (429, {}, f"blocked until {formatdate(NOW + 120, usegmt=True)}", Wait(120.0)),
        (403, {}, "Forbidden: IP banned until 1795887720000", Wait(120.0, True)),
        (403, {}, "your address is banned for 10 minutes", Wait(600.0, True)),
        (503, {}, "banned until 1795887720000", Wait(120.0, True)),
        (403, {}, "your address is banned", Wait(None)),
        (429, {}, '{"serverTime":1795887599000,"orderId":"1795887720000.5"}', Wait(None)),
        (429, {}, "too many requests; a halt is planned for 2027-06-01 00:00:00", Wait(None)),
        (418, {"Retry-After": "0"}, "IP banned until 1795887720000", Wait(120.0, True)),
        (418, {"Retry-After": "-7"}, "I'm a teapot", Wait(120.0, True)),
        (429, {"Retry-After": formatdate(NOW - 90, usegmt=True)}, "banned until 1795887720", Wait(120.0, True)),
        (429, {"Retry-After": "1795887630"}, "", Wait(30.0)),
        (429, {"Retry-After": "1795887630000"}, "", Wait(30.0)),
        (429, {"Retry-After": "1795887570"}, "", Wait(0.0)),
        (429, {"Retry-After": "30 seconds"}, "", Wait(30.0)),
        (429, {"Retry-After": "2026-11-28T17:41:30Z"}, "", Wait(90.0)),
        (429, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, "", Wait(LONGEST)),
        (429, {}, "banned until 1795887720000000", Wait(120.0, True)),
        (429, {}, "banned until 1795887720000000000", Wait(120.0, True)),
        (418, {}, "banned until 253402300799000", Wait(LONGEST, True)),
    ],
)
def test_a_ban_is_recognized_in_all_its_forms(status: int, headers: Mapping[str, str], text: str, wait: Wait) -> None:
    assert wait_told(status, headers, text, NOW) == wait


def test_a_ban_also_stops_dials_and_a_rate_limit_stops_dials_only_if_rest_has_the_same_host(
    unused_tcp_port: int,
) -> None:
    at = f"127.0.0.1:{unused_tcp_port}"
    for number, (rest, ws, wait, both) in enumerate(
        [
            ("http://" + at, "ws://" + at, Wait(60.0), True),
            ("http://" + at, "ws://other.example", Wait(60.0), False),
            (None, None, Wait(60.0), False),
            (None, None, Wait(60.0, True), True),
        ]
    ):
        quiet = Quiet(rest, ws, at, number)
        quiet.note(wait, dial=False)
        quiet.note(Wait(None), dial=True)
        assert 59 < quiet.left(dial=False) <= 60
        assert (quiet.left(dial=True) > 59) is both
        assert Quiet(rest, ws, at, number).left(dial=False) > 59  # another feed of this process knows it too
        assert Quiet(rest, ws, at, number, "by another proxy").left(dial=False) == 0
