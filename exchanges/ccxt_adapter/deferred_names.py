"""Defers those imports of ccxt's base modules that only signatures and synchronous requests need.

``ccxt.base.exchange`` imports ``cryptography`` and ``requests``: 250 modules, 14 MB, a fifth of the start. A feed has
no keys and uses aiohttp. Here the module is executed with stand-ins for what it imports from those packages.
The first use of a stand-in, or a request for a missing name of the module, imports the packages and replaces all
stand-ins of the module. ``ccxt_import`` does the same as soon as a program asks for a synchronous exchange.
"""

from __future__ import annotations

import contextlib
import dis
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from types import CodeType, ModuleType
from typing import Any, TypeVar

T = TypeVar("T")
PACKAGES = ("cryptography", "requests")
MODULES = ("ccxt.base.exchange", "ccxt.base.order_router")
AGENT = "default_user_agent"  # the function of requests.utils that ccxt calls for each instance

_ours: ContextVar[bool] = ContextVar("ours", default=False)
_waiting: list[_Module] = []
names_of: Any = ModuleType.__dict__["__dict__"].__get__  # type: ignore[index] # the type's own, not an instance's
"""Returns a module's dict, even if its class has another ``__dict__``."""


@contextlib.contextmanager
def having(variable: ContextVar[T], value: T) -> Iterator[None]:
    """A context in which ``variable`` has this value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def instance_of_the_feed() -> contextlib.AbstractContextManager[None]:
    """Context in which a ccxt instance can be made without importing ``requests`` for its User-Agent."""
    return having(_ours, True)


@cache
def _user_agent() -> str | None:
    """The result of ``requests.utils.default_user_agent``; None if it cannot be known."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"python-requests/{importlib.metadata.version('requests')}"
    return None


class _StandIn:
    """Used in place of a name that ``module`` has imported from another module; ``real`` returns the real object."""

    def __init__(self, module: _Module, name: str, real: Callable[[], Any]) -> None:
        vars(self).update(_module=module, _name=name, _real=real)

    def _loaded(self) -> Any:
        _load(self._module)
        return self._real()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._name == AGENT and _ours.get() and (agent := _user_agent()):
            return agent
        return self._loaded()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if type(self._module).executing and not name.startswith("__"):  # e.g. a class body reads ``ec.SECP256K1``
            return _StandIn(self._module, name, lambda: getattr(self._real(), name))
        return getattr(self._loaded(), name)

    def __mro_entries__(self, bases: Any) -> tuple[Any, ...]:
        return (self._loaded(),)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._loaded())

    def __subclasscheck__(self, subclass: Any) -> bool:
        return issubclass(subclass, self._loaded())

    def __eq__(self, other: object) -> bool:
        return bool(self._loaded() == (other._loaded() if isinstance(other, _StandIn) else other))

    def __hash__(self) -> int:
        return hash(self._loaded())

    def __repr__(self) -> str:
        return repr(self._loaded())

    def __dir__(self) -> list[str]:
        return dir(self._loaded())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _same, (self._loaded(),)


def _same(thing: Any) -> Any:
    return thing


class _Source(ModuleType):
    """The module that ccxt's module finds in place of ``name``."""

    def __init__(self, name: str, importing: _Module) -> None:
        super().__init__(name)
        vars(self)["_importing"] = importing

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(self._importing, name, partial(_taken, self.__name__, name))


def _taken(module: str, name: str) -> Any:
    return getattr(__import__(module, fromlist=(name,)), name)


class _Module(ModuleType):
    """A module of ccxt that has stand-ins; it becomes a plain module when they are replaced."""

    executing = True  # an attribute of each module's class

    def __getattribute__(self, name: str) -> Any:
        value = ModuleType.__getattribute__(self, name)  # another thread may make this a plain module meanwhile
        return value._loaded() if type(value) is _StandIn else value

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # what vars() and importlib.reload() read
        _load(self)
        names: dict[str, Any] = names_of(self)
        return names


def execute(module: ModuleType, code: CodeType) -> None:
    """Execute a module of MODULES. Raises what its code raises, and ValueError if it uses PACKAGES in another way."""
    here = f"{__name__}:"
    ours = {name: here + name for name in code.co_names if name.partition(".")[0] in PACKAGES}
    if any(each.argval in ours and each.opname != "IMPORT_NAME" for each in dis.get_instructions(code)):
        raise ValueError(f"{module.__name__} uses {' or '.join(PACKAGES)} without importing names from it")
    names = vars(module)
    kind: Any = type("module", (_Module,), {})
    module.__class__ = kind
    # the module is a _Module by now
    sys.modules.update({own: _Source(name, module) for name, own in ours.items()})  # type: ignore[arg-type]
    try:
        exec(code.replace(co_names=tuple(ours.get(name, name) for name in code.co_names)), names)
    except BaseException:
        module.__class__ = ModuleType
        raise
    finally:
        kind.executing = False
        for own in ours.values():
            del sys.modules[own]
    _waiting.append(module)  # type: ignore[arg-type] # it is a _Module by now


def load() -> None:
    """Replace all stand-ins."""
    for module in tuple(_waiting):
        _load(module)


def _load(module: _Module) -> None:
    names = names_of(module)
    for name, value in tuple(names.items()):
        if type(value) is _StandIn:
            names[name] = value._real()
        elif isinstance(value, type) and value.__module__ == names["__name__"]:
            for held in vars(value).values():
                _replace(held)
    with contextlib.suppress(ValueError):  # another thread has removed the module already
        _waiting.remove(module)
        ModuleType.__setattr__(module, "__class__", ModuleType)


def _replace(held: Any) -> None:
    """Replace stand-ins in a class's tables."""
    if type(held) in (dict, list):
        for key, value in tuple(held.items() if type(held) is dict else enumerate(held)):
            if type(value) is _StandIn:
                held[key] = value._real()
            else:
                _replace(value)
