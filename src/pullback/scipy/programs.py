"""SciPy's functions in a program that is being differentiated: the table's entries stand in for them."""

from __future__ import annotations

import operator
import sys
from typing import Any, Final

from pullback.scipy.entries.distribution import Distribution
from pullback.scipy.entries.multivariate import Multivariate
from pullback.scipy.table import FUNCTIONS
from pullback.transforms.program import PROVIDERS, FunctionStandIn, holds_tensor

__all__: list[str] = []

# What these are given may be tracked without being an argument: a function that closes over it.
_ALWAYS: Final = ("integrate", "interpolate", "optimize")

_entries: dict[int, tuple[Any, str]] = {}  # by the id of SciPy's object, which the entry keeps alive: its name
_seen: set[str] = set()  # the modules of SciPy that were looked through


def _name_of(value: Any) -> str | None:
    """The table's name for an object of SciPy's."""
    modules = {name.partition(".")[0] for name in FUNCTIONS}
    for module in modules - _seen:
        if f"scipy.{module}" not in sys.modules:
            continue
        _seen.add(module)
        for name in FUNCTIONS:
            if name.startswith(f"{module}."):
                try:
                    original = operator.attrgetter(name)(sys.modules["scipy"])
                except AttributeError:  # this version of SciPy doesn't have it
                    continue
                _entries[id(original)] = original, name
    found = _entries.get(id(value))
    return None if found is None else found[1]


class _DistributionStandIn(FunctionStandIn):
    """In place of a distribution of `scipy.stats`: so are its methods, and what calling it gives."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if holds_tensor(args) or holds_tensor(kwargs.values()):
            return self._entry(*args, **kwargs)  # type: ignore[misc]
        return _DistributionStandIn(self.__wrapped__(*args, **kwargs), self._entry(*args, **kwargs))  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        found, entry = getattr(self.__wrapped__, name), getattr(self._entry, name, None)
        return FunctionStandIn(found, entry) if callable(found) and callable(entry) else found


def _stand_in(value: Any) -> Any:
    name = _name_of(value)
    if name is None:
        return FunctionStandIn(value, None) if callable(value) and not isinstance(value, type) else value
    entry = FUNCTIONS[name]
    if name.startswith(_ALWAYS) or not callable(value) or not callable(entry):
        return entry
    kind = _DistributionStandIn if isinstance(entry, Distribution | Multivariate) else FunctionStandIn
    return kind(value, entry)


PROVIDERS["scipy"] = _stand_in
