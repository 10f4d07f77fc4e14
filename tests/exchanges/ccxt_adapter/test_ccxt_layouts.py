"""If ccxt's files have another layout than today's, ccxt is imported whole."""

from __future__ import annotations

import py_compile
import shutil
import sys
import textwrap
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import pytest

from tests.exchanges.ccxt_adapter.ccxt_programs import FEED, ran

# The tests make layouts that a later ccxt may have: links to ccxt's own files, and changed __init__ files.


def ccxt_folder() -> Path:
    spec = find_spec("ccxt")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def linked(source: Path, target: Path) -> None:
    """A folder of links to everything in another folder, except the compiled ``__init__``."""
    target.mkdir(parents=True)
    for each in source.iterdir():
        if each.name == "__pycache__":
            (target / each.name).mkdir()
            for compiled in each.glob("[!_]*.pyc"):
                (target / each.name / compiled.name).symlink_to(compiled)
        else:
            (target / each.name).symlink_to(each)


def laid_out(folder: Path, change: dict[str, str]) -> Path:
    """Put ccxt into ``folder``, with the texts of ``change`` (package -> text) appended to the packages'
    ``__init__``."""
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
def test_with_an_unexpected_layout_ccxt_is_imported_whole(package: str, text: str, tmp_path: Path) -> None:
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
        assert ours.__bases__[1] is ccxt.pro.binance
    """
    ran(FEED + textwrap.dedent(code), first=tmp_path)


def test_an_exchange_under_another_name_is_found(tmp_path: Path) -> None:
    laid_out(tmp_path, {"pro": "from ccxt.pro.gate import gate as gateio\n"})
    code = "import sys, ccxt.pro\nassert 'ccxt.pro.gate' not in sys.modules\nassert ccxt.pro.gateio is ccxt.pro.gate"
    ran(f"{FEED}\n{code}", first=tmp_path)


@pytest.mark.skipif(sys.implementation.cache_tag is None, reason="this Python compiles nothing")
def test_ccxt_is_imported_from_compiled_modules_without_source(tmp_path: Path) -> None:
    """Tools that pack programs may leave only compiled files."""
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
        assert ccxt.okx and ccxt.pro.okx and ours.__bases__[1] is ccxt.pro.binance
    """
    ran(FEED + textwrap.dedent(code), first=tmp_path)
