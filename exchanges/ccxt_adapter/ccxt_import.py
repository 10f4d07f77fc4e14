"""Imports only the parts of ccxt that are used, in half of the time and memory that ``import ccxt.pro`` takes.

The ``__init__`` of ``ccxt``, ``ccxt.async_support`` and ``ccxt.pro`` imports every exchange, 986 modules in all. Here
the ``__init__`` is executed too, in the same module object, but each line ``from ccxt.pro.NAME import NAME`` is carried
out only when its name is looked up: by the feed, or by a program that imports ccxt itself, in any form and in any
thread. The name's class is the same as without this module. A request that needs all exchanges (``dir``, ``vars``, a
missing name) imports the others first. Nothing here holds a lock: each import takes Python's own locks. Imports of
ccxt's base that a feed does not need are deferred too: see ``deferred_names`` and ``late_authorities``.

ccxt is imported as a whole if the program imported it before the feed, if an ``__init__`` does more than import and
list (a later version), or if the environment's MARKET_FEED_CCXT is ``whole``.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
import weakref
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from loguru import logger

from exchanges.ccxt_adapter import deferred_names
from exchanges.ccxt_adapter.transport.late_authorities import authorities_when_used

VARIABLE = "MARKET_FEED_CCXT"
WHOLE = "whole"
TRIES, PAUSE = 100, 0.05  # attempts, and seconds between them, while another thread imports ccxt too
PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")

_names_of = deferred_names.names_of


class _Package(ModuleType):
    """A package whose exchanges are imported when they are looked up; after the last one it is a plain module."""

    deferred: dict[str, tuple[str, str]]
    """The name in the package -> the module that has the object, and its name there. Each package has its own class."""

    def __getattr__(self, name: str) -> Any:
        names = _names_of(self)
        if name in type(self).deferred:
            _take(self, name)
        elif name not in names and not (name.startswith("__") and name.endswith("__")):
            _take_all(self)  # the import of an exchange may set the name of a subpackage
        if name in names:
            return names[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if place := type(self).deferred.get(name):
            # Python puts an imported module into its package
            if isinstance(value, ModuleType) and value is sys.modules.get(place[0]):
                _put(self, name, value)
                return
            _take(self, name)  # import the name now: otherwise Python would overwrite the program's own value later
        ModuleType.__setattr__(self, name, value)  # another thread may make the package a plain module meanwhile

    def __delattr__(self, name: str) -> None:
        if name in type(self).deferred:
            _take(self, name)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        _take_all(self)
        return sorted(_names_of(self))

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # what vars() and importlib.reload() read
        _take_all(self)
        names: dict[str, Any] = _names_of(self)
        return names


def _take(package: _Package, name: str) -> None:
    """Carry out the line of ``__init__`` that imports ``name``."""
    if package.__name__ == "ccxt":  # the synchronous exchanges
        deferred_names.load()
    if place := type(package).deferred.get(name):  # no place: another thread has imported the name already
        _put(package, name, import_module(place[0]))


def _put(package: _Package, name: str, module: ModuleType) -> None:
    deferred = type(package).deferred
    if (place := deferred.get(name)) and place[1] in (found := _names_of(module)):
        _names_of(package)[name] = found[place[1]]
        deferred.pop(name, None)


def _take_all(package: ModuleType) -> None:
    """Import the missing exchanges; then the package is a plain module."""
    if isinstance(package, _Package):
        for name in tuple(type(package).deferred):
            _take(package, name)
        if not type(package).deferred:
            ModuleType.__setattr__(package, "__class__", ModuleType)


class _Mark:
    """Used in place of an exchange's class while ``__init__`` runs."""

    __slots__ = ("__weakref__", "place")

    def __init__(self, place: tuple[str, str]) -> None:
        self.place = place


class _Unexpected(Exception):
    """Raised if an ``__init__`` does more with an exchange's class than import it."""


def _run(code: CodeType, package: str, names: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Execute an ``__init__`` without importing exchanges; returns the skipped imports. Raises what the code raises."""
    marks: list[weakref.ref[_Mark]] = []

    def importing(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        above, _, last = name.rpartition(".")
        if level or above != package or tuple(fromlist or ()) != (last,):
            return builtins.__import__(name, globals, locals, fromlist, level)
        mark = _Mark((name, last))
        marks.append(weakref.ref(mark))
        return SimpleNamespace(**{last: mark})

    names["__builtins__"] = {**vars(builtins), "__import__": importing}
    try:
        exec(code, names)
    finally:
        names["__builtins__"] = vars(builtins)
        deferred = {key: names.pop(key).place for key in tuple(names) if type(names[key]) is _Mark}
    if any(mark() is not None for mark in marks):
        raise _Unexpected("it keeps exchanges in other places than under their names")
    return deferred


class _Loader(Loader):
    """Loads a package like ``loader``, without the exchanges."""

    def __init__(self, loader: Any, code: CodeType) -> None:
        self._loader = loader
        self._code = code

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader
        if module.__name__ == "ccxt.pro":  # otherwise its first line would take import locks in another order
            import_module("ccxt.async_support")
        try:
            if module.__name__ not in PACKAGES:
                deferred_names.execute(module, self._code)
            elif deferred := _run(self._code, module.__name__, module.__dict__):
                module.__class__ = type("module", (_Package,), {"deferred": deferred})
        except Exception as error:  # noqa: BLE001 - a later version of ccxt may do anything with the missing classes
            logger.warning("{} is imported as a whole, its code is not as expected: {!r}", module.__name__, error)
            self._loader.exec_module(module)


class _Finder(MetaPathFinder):
    """The first of Python's finders while ccxt's packages are imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in deferred_names.MODULES:
            if all(package in sys.modules for package in deferred_names.PACKAGES):
                return None
        elif name not in PACKAGES or (path is not None and not _deferring("ccxt")):
            return None
        others = (getattr(finder, "find_spec", None) for finder in sys.meta_path if finder is not self)
        specs = (find(name, path, target) for find in others if find is not None)
        spec: ModuleSpec | None = next((spec for spec in specs if spec is not None), None)
        loader: Any = spec.loader if spec is not None else None
        code = loader.get_code(name) if hasattr(loader, "get_code") else None
        if spec is None or not isinstance(code, CodeType):
            return None
        if name in PACKAGES and any(isinstance(value, CodeType) for value in code.co_consts):
            return None  # a function may look names up at any time
        spec.loader = _Loader(loader, code)
        return spec


def _deferring(package: str) -> bool:
    return isinstance(sys.modules.get(package), _Package)


def _import() -> ModuleType:
    """Import ``ccxt.pro`` without its exchanges, if possible, and return it."""
    if os.environ.get(VARIABLE) != WHOLE:
        if "ccxt" in sys.modules and not _deferring("ccxt"):
            logger.info("the program has imported ccxt as a whole already")
        else:
            finder = _Finder()
            sys.meta_path.insert(0, finder)
            try:
                with authorities_when_used():
                    _import_pro()
            finally:
                sys.meta_path.remove(finder)
            if whole := [package for package in PACKAGES if not _deferring(package)]:
                logger.warning("these packages of ccxt were imported as a whole: {}", ", ".join(whole))
                deferred_names.load()
    return _import_pro()


def _import_pro() -> ModuleType:
    """Import ccxt.pro; try again after a deadlock error, because another thread that imports ccxt may hold a lock."""
    for _ in range(TRIES):
        try:
            return import_module("ccxt.pro")
        except RuntimeError as error:
            if "deadlock" not in str(error):  # Python's class of a deadlock error has no public name
                raise
            time.sleep(PAUSE)
    return import_module("ccxt.pro")


def check_variable() -> None:
    """Raise ValueError for an unknown value of MARKET_FEED_CCXT."""
    if (asked := os.environ.get(VARIABLE, "")) not in ("", WHOLE):
        raise ValueError(f"the environment's {VARIABLE} is {asked!r}: allowed is {WHOLE}")


_pro = _import()
errors = import_module("ccxt.base.errors")
VERSION: str = import_module("ccxt").__version__


def exchange_class(ccxt_id: str) -> Any:
    """An exchange's class of ccxt.pro; the first call imports its module, which may take a tenth of a second."""
    return getattr(_pro, ccxt_id)
