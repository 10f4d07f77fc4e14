"""Programs that import ccxt in all possible ways; each program runs in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from exchanges.ccxt_adapter import ccxt_import

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
ROOT = Path(__file__).parents[3]

FEED = """
from exchanges.ccxt_adapter.ccxt_import import errors
from exchanges.ccxt_adapter.instance import ccxt_class
ours = ccxt_class("binance")
"""

WAYS = {
    "import": """
        import ccxt
        print(ccxt.exchanges, ccxt.__version__, ccxt.base, ccxt.binance.__mro__, ccxt.Exchange, ccxt.Precise)
        assert isinstance(ccxt.kraken(), ccxt.Exchange)
    """,
    "from": """
        from ccxt import binance, kraken, NetworkError, RequestTimeout
        assert issubclass(RequestTimeout, NetworkError)
        print(binance.__mro__, kraken().describe()["id"], sorted(k for k, v in kraken().has.items() if v))
    """,
    "star": """
        from ccxt import *
        import ccxt
        print(ccxt.__all__, [globals()[name] for name in ccxt.__all__ if isinstance(globals()[name], type)])
    """,
    "async_support": """
        import ccxt.async_support as ccxt
        print(ccxt, ccxt.okx.__mro__, ccxt.exchanges, ccxt.base, ccxt.binance.__mro__, ccxt.NetworkError)
    """,
    "async_support.base": """
        from ccxt.async_support.base.exchange import Exchange
        from ccxt.async_support.base import exchange as base
        from ccxt.async_support.base.ws.client import Client
        import ccxt.async_support.binance as binance
        print(Exchange is base.Exchange, issubclass(binance, Exchange), Client)
    """,
    "aiohttp": """
        import ssl, ccxt.pro
        from aiohttp.connector import _SSL_CONTEXT_UNVERIFIED, _SSL_CONTEXT_VERIFIED
        for context in (_SSL_CONTEXT_VERIFIED, _SSL_CONTEXT_UNVERIFIED):
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
            print(type(context), context.cert_store_stats(), context.verify_mode, vars(ssl.SSLContext).keys())
    """,
    "pro": """
        import ccxt.pro
        print(ccxt.pro.exchanges, [getattr(ccxt.pro, each).__mro__[:4] for each in ccxt.pro.exchanges])
        class Mine(ccxt.pro.binance): pass
        print(Mine.__mro__, ccxt.binance, ccxt.pro.Exchange)
    """,
    "pro as": """
        import ccxt.pro as ccxt
        print(ccxt, ccxt.bybit.__mro__, issubclass(ccxt.RequestTimeout, ccxt.NetworkError))
    """,
    "from pro": """
        from ccxt.pro import bybit, binanceusdm
        from ccxt import pro, async_support
        print(bybit is pro.bybit, binanceusdm.__mro__, async_support.bybit in bybit.__mro__)
    """,
    "submodules": """
        import ccxt.binance as sync, ccxt.async_support.binanceusdm as futures, ccxt.pro.okx as okx, ccxt.kraken, sys
        from ccxt.async_support.gate import gate
        print(sync, futures, okx, gate, ccxt.kraken, ccxt.async_support.gate is gate)
        print(sys.modules["ccxt.binance"], sys.modules["ccxt.pro.okx"].okx is okx, ccxt.abstract)
    """,
    "import_module": """
        from importlib import import_module
        from importlib.util import find_spec
        for name in ("ccxt.pro", "ccxt.bybit", "ccxt.pro.kraken", "ccxt.async_support.bybit"):
            print(import_module(name), find_spec(name).origin)
        print(getattr(import_module("ccxt"), "bybit"), getattr(import_module("ccxt.pro"), "kraken"))
    """,
    "except": """
        import sys, ccxt
        try:
            raise sys.modules["ccxt.base.errors"].RequestTimeout("late")
        except ccxt.NetworkError as error:
            print(type(error), error, ccxt.error_hierarchy)
        import ccxt.pro
        for name in ccxt.errors.__all__:
            if name != "error_hierarchy":
                assert getattr(ccxt, name) is getattr(ccxt.pro, name) is getattr(ccxt.async_support, name)
    """,
    "dir": """
        import ccxt.pro
        print([dir(each) for each in (ccxt, ccxt.async_support, ccxt.pro)], type(ccxt), type(ccxt.pro))
    """,
    "vars": """
        import ccxt.pro
        for package in (ccxt, ccxt.async_support, ccxt.pro):
            print(sorted((name, str(value)) for name, value in vars(package).items() if not name.startswith("__")))
            import builtins
            assert package.__dict__["__builtins__"] is vars(builtins)
    """,
    "attributes of the modules": """
        import ccxt.pro
        for package in (ccxt, ccxt.async_support, ccxt.pro):
            print(package, package.__name__, package.__file__, package.__path__, package.__package__, package.__doc__)
            print(package.__spec__.name, package.__spec__.origin, package.__spec__.parent)
            print(type(package.__loader__), package.__loader__ is package.__spec__.loader)
            print(package.__cached__ if hasattr(package, "__cached__") else None)
    """,
    "what is not there": """
        import ccxt.pro
        for package in (ccxt, ccxt.async_support, ccxt.pro):
            print([hasattr(package, name) for name in ("nosuch", "__wrapped__", "__warningregistry__", "nosuch")])
            try:
                package.nosuch
            except AttributeError as error:
                print(error, error.name, error.obj is package)
            try:
                package.binanse
            except AttributeError as error:
                print(error)
        try:
            from ccxt import nosuch
        except ImportError as error:
            print(error)
        try:
            import ccxt.nosuch
        except ImportError as error:
            print(error)
    """,
    "own values": """
        import sys, ccxt
        from unittest import mock
        ccxt.kraken = "mine"
        import ccxt.kraken, ccxt.pro.kraken, ccxt.async_support
        print(ccxt.kraken, sys.modules["ccxt.kraken"])
        del ccxt.okx
        import ccxt.okx
        print(hasattr(ccxt, "okx"))
        with mock.patch("ccxt.pro.bybit") as patched:
            print(ccxt.pro.bybit is patched)
        print(ccxt.pro.bybit, ccxt.pro.kraken)
        ccxt.async_support.new = 1
        print(ccxt.async_support.new)
    """,
    "pickle and copy": """
        import copy, pickle, ccxt.pro
        for thing in (ccxt.NetworkError, ccxt.NetworkError("x"), ccxt.binance, ccxt.pro.kraken, ccxt.Precise("1.5")):
            back = pickle.loads(pickle.dumps(thing))
            print(back, type(back), copy.copy(thing), type(copy.deepcopy(thing)))
        for made in (ccxt.kraken(), ccxt.pro.kraken(), ccxt.async_support.kraken()):
            try:
                print(type(copy.copy(made)), type(pickle.loads(pickle.dumps(made))))
            except Exception as error:
                print(type(error), str(error)[:40])
        try:
            pickle.dumps(ccxt)
        except TypeError as error:
            print("a module")
    """,
    "inspect and pkgutil": """
        import inspect, pkgutil, ccxt.pro
        print(inspect.getmembers(ccxt, inspect.isclass), inspect.ismodule(ccxt), inspect.getmodule(ccxt.pro.kraken))
        print(inspect.getsource(ccxt.pro)[:400], inspect.getfile(ccxt), inspect.getdoc(ccxt))
        print([each.name for each in pkgutil.iter_modules(ccxt.pro.__path__)], pkgutil.resolve_name("ccxt.pro:okx"))
    """,
    "reload": """
        import importlib, ccxt.pro
        before = ccxt.binance, ccxt.pro.binance, ccxt.async_support.okx
        for package in (ccxt, ccxt.async_support, ccxt.pro):
            print(importlib.reload(package) is package, len(vars(package)))
        print(before == (ccxt.binance, ccxt.pro.binance, ccxt.async_support.okx), type(ccxt), ccxt.__spec__.origin)
    """,
    "imported anew": """
        import sys, ccxt.pro
        before = ccxt
        for name in [name for name in sys.modules if name.partition(".")[0] == "ccxt"]:
            del sys.modules[name]
        import ccxt.pro
        print(ccxt is before, type(ccxt), ccxt.pro.binance, ccxt.exchanges == before.exchanges)
    """,
    "the base module": """
        import copy, inspect, pickle, sys, ccxt
        base = sys.modules["ccxt.base.exchange"]
        from ccxt.base.exchange import Session, Timeout, ec, default_user_agent
        import requests
        from cryptography.hazmat.primitives.asymmetric import ec as theirs
        print(Session is requests.Session, issubclass(Timeout, requests.Timeout), ec is theirs, type(base))
        print(sorted(vars(base)), dir(base), default_user_agent() == requests.utils.default_user_agent(), base.hashes)
    """,
    "tables of the base class": """
        import copy, pickle, ccxt
        from ccxt import Exchange
        made = copy.deepcopy(Exchange.ecdsa_curves), pickle.loads(pickle.dumps(Exchange.ecdsa_prehashed_algorithms))
        from cryptography.hazmat.primitives.asymmetric import ec
        print(*made, Exchange.ecdsa_curves["p256"][0] == ec.SECP256R1, Exchange.ecdsa_prehashed_algorithms)
        assert isinstance(ec.SECP256K1(), Exchange.ecdsa_curves["secp256k1"][0])
    """,
    "signatures": """
        import ccxt.async_support, hashlib
        Exchange = ccxt.async_support.Exchange
        print(Exchange.ecdsa("ab" * 32, "1" * 64), Exchange.ecdsa("ab", "1" * 64, "secp256k1", "sha256"))
        print(Exchange.eddsa(b"ab", b"1" * 32), Exchange.eth_get_address_from_private_key("0x" + "1" * 64))
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
        from cryptography.hazmat.primitives import serialization as form
        pem = form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        key = generate_private_key(65537, 2048).private_bytes(*pem).decode()
        print(len(Exchange.rsa("text", key, "sha256")), len(Exchange.jwt({}, key.encode(), "sha256", True)))
        print(Exchange.jwt({"a": 1}, b"secret", "sha256"))
    """,
    "a session of one's own": """
        import ccxt, requests
        class Late:
            headers, cookies = {}, {}
            def request(self, *args, **kwargs):
                raise requests.exceptions.ConnectTimeout("late")
        class Lost(Late):
            def request(self, *args, **kwargs):
                raise requests.ConnectionError("Connection aborted")
        class Mine(ccxt.Exchange):
            def __init__(self, config):
                self.userAgent = None
                super().__init__(config)
        for kind in (Mine, ccxt.kraken):
            for session in (Late(), Lost()):
                try:
                    kind({"session": session}).fetch("http://127.0.0.1:9")
                except ccxt.NetworkError as error:
                    print(type(error), type(error.__cause__))
    """,
    "a router and an agent": """
        import ccxt.pro, requests
        print(type(ccxt.OrderRouter().session) is requests.Session, ccxt.OrderRouter.__mro__)
        for made in (ccxt.kraken(), ccxt.pro.kraken(), ccxt.async_support.okx()):
            print(made.userAgent == requests.utils.default_user_agent(), type(made.session))
    """,
    "a fork": """
        import os, ccxt
        if hasattr(os, "fork"):
            if child := os.fork():
                print(os.waitpid(child, 0)[1])
            else:
                os._exit(0 if len(dir(ccxt)) > 150 and ccxt.okx and ccxt.exchanges else 1)
    """,
}

CHANGING = ("own values", "reload", "imported anew", "submodules")

SAME = """
import sys, ccxt.pro
assert ours.__bases__[1] is ccxt.pro.binance
assert errors is sys.modules['ccxt.base.errors']
"""

THREADS = """
import sys, threading
sys.setswitchinterval(1e-5)
told = {}

def run(name, work):
    while name != "feed" and "ccxt" not in sys.modules:  # without the feed, Python itself may deadlock
        pass
    told[name] = work()

def feed():
    from exchanges.ccxt_adapter.instance import ccxt_class
    return ccxt_class("binance").__bases__[1]

def plain():
    import ccxt
    return ccxt.binance

def taken():
    from ccxt import binance
    return binance

def everything():
    names = {}
    exec("from ccxt import *", names)
    return names["binance"]

def streams():
    import ccxt.pro
    return ccxt.pro.binance

def other():
    import ccxt.async_support as ccxt
    return ccxt.binance

def listed():
    import ccxt.pro
    assert not hasattr(ccxt.pro, "nosuch")
    return vars(ccxt.pro)["binance"]

def one():
    from ccxt.pro.binance import binance
    return binance

works = feed, plain, taken, everything, streams, other, listed, one
threads = [threading.Thread(target=run, args=(work.__name__, work)) for work in works]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
assert told["plain"] is told["taken"] is told["everything"], told
assert told["feed"] is told["streams"] is told["listed"] is told["one"], told
assert told["other"] in told["feed"].__mro__, told
import ccxt.pro
assert len(vars(ccxt)) > 170, len(vars(ccxt))
print("well")
"""

EVERY_EXCHANGE = """
import hashlib, sys
from exchanges.ccxt_adapter.ccxt_import import exchange_class
from exchanges.names import exchange_names
from exchanges.venues.find import profile_of
for ccxt_id in sorted({profile_of(name).ccxt_id for name in exchange_names()}):
    found = exchange_class(ccxt_id)
    made = found()
    told = repr((found.__mro__, sorted(made.has.items()), made.describe(), sorted(vars(made)), sorted(dir(found))))
    print(ccxt_id, hashlib.sha256(told.encode()).hexdigest())
    import ccxt.pro
    assert getattr(ccxt.pro, ccxt_id) is found is getattr(sys.modules[f"ccxt.pro.{ccxt_id}"], ccxt_id)
print([name for name in sys.modules if name in ("ccxt.binance", "ccxt.okx")])
"""


def ran(code: str, *, whole: bool = False, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own; a ccxt in the folder ``first`` takes precedence over the installed one."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, filter(None, (first, ROOT)))), PYTHONHASHSEED="0")
    env.pop(ccxt_import.VARIABLE, None)
    if whole:
        env[ccxt_import.VARIABLE] = ccxt_import.WHOLE
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, env=env, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run


@cache
def both(code: str) -> tuple[str, str]:
    """The output of a program in which the feed imports parts of ccxt, and its output if all of ccxt is imported."""
    with ThreadPoolExecutor(2) as pool:
        lazy, whole = pool.map(lambda each: ran(code, whole=each).stdout, (False, True))
    return ADDRESS.sub("", lazy), ADDRESS.sub("", whole)


@cache
def with_the_whole() -> Mapping[str, str]:
    """The output of each way of importing if all of ccxt is imported. One process runs all ways, except those that
    change ccxt."""
    end = "--- end of a way ---"
    ways = {way: textwrap.dedent(code) for way, code in WAYS.items() if way not in CHANGING}
    program = """
for code in {codes}:
    exec(code, {{"__name__": "__main__"}})
    print({end!r})
"""
    code = program.format(codes=list(ways.values()), end=end)
    told = ran(f"{FEED}\n{code}", whole=True).stdout.split(f"{end}\n")
    return dict(zip(ways, told, strict=False))
