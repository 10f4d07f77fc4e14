"""Finds the venue for a name in the settings: an exchange of ccxt or on a bus, or a venue that a program registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from exchanges import names
from exchanges.errors import Rejected
from exchanges.local_faults import local_fault
from exchanges.venue import Access, Venue
from exchanges.venues.find import profile_of

if TYPE_CHECKING:
    from exchanges.ccxt_adapter.support import Support

__all__ = ["Factory", "import_for", "open_exchange", "register", "supported"]

Factory = Callable[[Access], Venue]
_factories: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """Make ``name`` an exchange that settings may name: ``factory`` makes its venue when a feed first needs it.

    An existing name is replaced. Raises ValueError for a name with other characters than lower case letters, digits and
    _.
    """
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"found {name!r}, allowed is a name of lower case letters, digits and _")
    _factories[name] = factory
    names.add(name)


def import_for(exchanges: Iterable[str]) -> None:
    """Import what these exchanges need. Call it outside of the loop's thread: ccxt takes half a second the first time.

    Raises nothing: ``open_exchange`` reports what cannot be imported.
    """
    for name in exchanges:
        if name not in _factories:
            with suppress(ImportError, AttributeError, ValueError, OSError, MemoryError):
                from exchanges.ccxt_adapter.instance import ccxt_class

                ccxt_class(profile_of(name).ccxt_id)


def open_exchange(name: str, access: Access | None = None) -> Venue:
    """The venue ``name``, with nothing fetched yet; imports ccxt if it is needed, see ``import_for``.

    Raises ValueError for an unknown name. Raises Rejected if there is no such testnet, or if this machine or Python
    lacks something that the venue needs.
    """
    access = access or Access()
    if access.bus is not None:
        from exchanges.bus.venue import BusVenue

        return BusVenue(name, access)
    if name in _factories:
        return _factories[name](access)
    try:
        profile_of(name)  # checked before ccxt is imported, which takes long
        from exchanges.ccxt_adapter.venue import open_venue

        return open_venue(name, access)
    except (OSError, ImportError, MemoryError) as error:
        raise Rejected(name, local_fault([error]) or f"this machine: {error}") from error


def supported() -> list[Support]:
    """Every venue that settings may name, and what each streams. Imports ccxt."""
    from exchanges.ccxt_adapter import support

    return support.supported()
