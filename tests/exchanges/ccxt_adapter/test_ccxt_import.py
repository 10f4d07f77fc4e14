"""ccxt without the exchanges that nobody asks for: a program beside the feed sees no difference to the whole of it.

Each program runs in a process of its own, with the feed's import before it and after it, and once more with ccxt
imported whole; what it prints must be the same.
"""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import pytest

from exchanges.ccxt_adapter import ccxt_import
from exchanges.ccxt_adapter.instance import make_instance
from exchanges.errors import Rejected
from exchanges.venue import Access
from exchanges.venues.find import profile_of

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
assert ours.__mro__[2] is ccxt.pro.binance
assert errors is sys.modules['ccxt.base.errors']
"""

THREADS = """
import sys, threading
sys.setswitchinterval(1e-5)
told = {}

def run(name, work):
    while name != "feed" and "ccxt" not in sys.modules:  # two threads with ccxt alone may meet a deadlock of Python's
        pass
    told[name] = work()

def feed():
    from exchanges.ccxt_adapter.instance import ccxt_class
    return ccxt_class("binance").__mro__[2]

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
    """A program's run, in a process of its own; ``first`` is a folder that stands before ccxt's own."""
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
    """The output of a program beside the feed, and with the whole of ccxt."""
    with ThreadPoolExecutor(2) as pool:
        lazy, whole = pool.map(lambda each: ran(code, whole=each).stdout, (False, True))
    return ADDRESS.sub("", lazy), ADDRESS.sub("", whole)


@cache
def with_the_whole() -> Mapping[str, str]:
    """What each way prints with the whole of ccxt, all but those that change ccxt in one process."""
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


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_imports_ccxt_after_the_feed_gets_the_whole_of_it(way: str) -> None:
    code = f"{FEED}{textwrap.dedent(WAYS[way])}"
    if way == "imported anew":
        lazy, whole = both(code)
    elif way in CHANGING:
        lazy, whole = both(code + SAME)
    else:
        lazy, whole = ran(code + SAME).stdout, with_the_whole()[way]
    assert lazy
    assert ADDRESS.sub("", lazy) == ADDRESS.sub("", whole)


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_imports_ccxt_before_the_feed_keeps_it(way: str) -> None:
    code = f"""
import sys, types
{textwrap.dedent(WAYS[way])}
before = {{name: sys.modules[name] for name in sys.modules if name.partition(".")[0] == "ccxt"}}
{FEED}
import ccxt.pro
assert ours.__mro__[2] is ccxt.pro.binance
assert all(sys.modules[name] is module for name, module in before.items())
assert {{type(each) for each in (ccxt, ccxt.async_support, ccxt.pro)}} == {{types.ModuleType}}
assert "ccxt.okx" in before
"""
    ran(code)


@pytest.mark.parametrize("again", range(3))
def test_threads_may_import_ccxt_in_every_form_at_the_same_time(again: int) -> None:
    assert ran(THREADS).stdout == "well\n"


def test_every_exchange_is_the_same_either_way() -> None:
    """Its class, its ``has`` and its description."""
    lazy, whole = both(EVERY_EXCHANGE)
    assert len(lazy.splitlines()) > 70
    assert lazy.splitlines()[:-1] == whole.splitlines()[:-1]


def test_the_feed_asks_for_nothing_that_brings_all_the_rest() -> None:
    """None of the exchanges' classes for synchronous programs, whichever venue is carried."""
    assert both(EVERY_EXCHANGE)[0].splitlines()[-1] == "[]"


def test_a_venue_brings_its_own_modules_alone() -> None:
    told = ran(f"{FEED}\nimport sys\nprint(*(name for name in sys.modules if name.startswith('ccxt.')))").stdout.split()
    exchanges = {name for name in told if name.count(".") == 2 and not name.startswith(("ccxt.base", "ccxt.static"))}
    assert exchanges == {
        "ccxt.abstract.binance", "ccxt.async_support.base", "ccxt.async_support.binance", "ccxt.pro.binance"
    }  # fmt: skip


def test_an_instance_of_the_feed_brings_neither_requests_nor_cryptography() -> None:
    code = """
        import sys
        from exchanges.ccxt_adapter.instance import make_instance
        from exchanges.venue import Access
        from exchanges.venues.find import profile_of
        made = make_instance(profile_of("binance"), Access())
        print(made.userAgent, *(name for name in ("requests", "urllib3", "cryptography") if name in sys.modules))
    """
    lazy, whole = both(FEED + textwrap.dedent(code))
    assert lazy.startswith("python-requests/")
    assert whole.split() == [*lazy.split(), "requests", "urllib3", "cryptography"]


def test_a_name_that_is_not_there_brings_the_rest_once() -> None:
    code = """
        import sys
        import ccxt
        assert not hasattr(ccxt, "__nosuch__")
        assert "ccxt.okx" not in sys.modules
        assert not hasattr(ccxt, "nosuch")
        okx = sys.modules.pop("ccxt.okx")
        assert not hasattr(ccxt, "nosuch")
        assert "ccxt.okx" not in sys.modules
    """
    ran(FEED + textwrap.dedent(code))


def test_ccxt_is_imported_whole_when_the_environment_says_so() -> None:
    code = f"{FEED}\nimport ccxt, sys, types\nprint(type(ccxt) is types.ModuleType, 'ccxt.okx' in sys.modules)"
    lazy, whole = both(code)
    assert (lazy, whole) == ("False False\n", "True True\n")


def test_any_other_word_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ccxt_import.VARIABLE, "hole")
    with pytest.raises(Rejected, match="MARKET_FEED_CCXT is 'hole': allowed is whole"):
        make_instance(profile_of("binance"), Access())


# Possible later layouts: ccxt's own files, except the __init__ of its packages


def ccxt_folder() -> Path:
    spec = find_spec("ccxt")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def linked(source: Path, target: Path) -> None:
    """A folder of links to all that is in another one, but for what was compiled of its ``__init__``."""
    target.mkdir(parents=True)
    for each in source.iterdir():
        if each.name == "__pycache__":
            (target / each.name).mkdir()
            for compiled in each.glob("[!_]*.pyc"):
                (target / each.name / compiled.name).symlink_to(compiled)
        else:
            (target / each.name).symlink_to(each)


def laid_out(folder: Path, change: dict[str, str]) -> Path:
    """ccxt in ``folder``, with ``change`` (package -> text) at the end of the packages' ``__init__``."""
    source = ccxt_folder()
    linked(source, folder / "ccxt")
    for package in ("async_support", "pro"):
        (folder / "ccxt" / package).unlink()
        linked(source / package, folder / "ccxt" / package)
    for package, text in change.items():
        file = folder / "ccxt" / package / "__init__.py"
        content = file.read_text()
        file.unlink()
        file.write_text(content + textwrap.dedent(text))
    return folder


LAYOUTS = (
    ("pro", "def make(name):\n    return binance\n"),
    ("pro", "CLASSES = [binance, kraken]\n"),
    ("async_support", "CLASSES = (binance,)\n"),
    ("async_support", "made = binance()\n"),
    ("", "class mine(binance):\n    pass\n"),
    ("pro", "title = binance.__name__\n"),
)


@pytest.mark.parametrize(("package", "text"), LAYOUTS)
def test_a_layout_that_is_not_as_expected_is_imported_whole(package: str, text: str, tmp_path: Path) -> None:
    laid_out(tmp_path, {package: text})
    name = f"ccxt.{package}".strip(".")
    code = f"""
        import sys, types
        import ccxt.pro
        changed = sys.modules[{name!r}]
        assert changed.__file__.startswith({str(tmp_path)!r})
        assert type(changed) is types.ModuleType
        assert isinstance(changed.kraken, type)
        assert changed.binance is sys.modules[{name!r} + ".binance"].binance
        for each in [*getattr(changed, "CLASSES", ()), getattr(changed, "mine", changed.binance)]:
            assert isinstance(each, type), each
        assert ours.__mro__[2] is ccxt.pro.binance
    """
    ran(FEED + textwrap.dedent(code), first=tmp_path)


def test_an_exchange_under_another_name_is_found(tmp_path: Path) -> None:
    laid_out(tmp_path, {"pro": "from ccxt.pro.gate import gate as gateio\n"})
    code = "import sys, ccxt.pro\nassert 'ccxt.pro.gate' not in sys.modules\nassert ccxt.pro.gateio is ccxt.pro.gate"
    ran(f"{FEED}\n{code}", first=tmp_path)


@pytest.mark.skipif(sys.implementation.cache_tag is None, reason="compiles nothing")
def test_modules_without_source_will_do(tmp_path: Path) -> None:
    """As packers of programs leave them: compiled files alone."""
    source = ccxt_folder()
    for path in source.rglob("*.py"):
        compiled = Path(cache_from_source(str(path)))
        place = tmp_path / path.relative_to(source.parent).with_suffix(".pyc")
        if place.parts[-2] in ("test", "prediction") or "test" in place.parts:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if compiled.exists():
            shutil.copyfile(compiled, place)
        elif path.name in ("__init__.py", "binance.py", "okx.py") or "base" in path.parts:
            py_compile.compile(str(path), str(place), doraise=True)
    code = """
        import sys, ccxt.pro
        assert ccxt.__file__.endswith(".pyc"), ccxt.__file__
        assert type(ccxt).__name__ == "module" and "ccxt.okx" not in sys.modules
        assert ccxt.okx and ccxt.pro.okx and ours.__mro__[2] is ccxt.pro.binance
    """
    ran(FEED + textwrap.dedent(code), first=tmp_path)
