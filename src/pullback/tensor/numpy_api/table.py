"""The table of NumPy functions: dotted name within NumPy -> implementation over tensors.

An entry is made by decorating a function that has NumPy's signature with `@implements("linalg.norm")`, or by a line in
`ufuncs` for a universal function. Nothing else has to know: `np.linalg.norm(tensor)` finds it through the NumPy
protocols, and `pb.numpy.linalg.norm` through the namespace. Signatures and meanings are NumPy's; docstrings say what
goes beyond them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np

__all__ = ["FUNCTIONS", "SCIPY_UFUNCS", "entering", "implementation", "implements", "not_covered", "qualified_name"]

F = TypeVar("F", bound=Callable[..., Any])
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {}
SCIPY_UFUNCS: Final[dict[str, Callable[..., Any]]] = {}  # the universal functions of scipy.special, by their own names


def entering(table: dict[str, Callable[..., Any]], package: str) -> Callable[..., Callable[[F], F]]:
    """The decorator that enters functions into the table of a package."""

    def implements(*names: str) -> Callable[[F], F]:
        """Enter a function in the table, under each of its names in the package.

        Raises `ValueError` for a name that is entered already.
        """

        def enter(function: F) -> F:
            for name in names:
                if name in table:
                    raise ValueError(f"{package}.{name} is in the table already")
                table[name] = function
            cast(Any, function).__name__ = names[0].rpartition(".")[2]
            return function

        return enter

    return implements


implements = entering(FUNCTIONS, "np")


def qualified_name(function: Any) -> str:
    """The dotted name of one of NumPy's functions, without `numpy.`; of another library's ufunc, as it calls itself.

    >>> import numpy as np
    >>> qualified_name(np.linalg.norm), qualified_name(np.abs), qualified_name(np.max)
    ('linalg.norm', 'absolute', 'max')
    """
    name: str = function.__name__
    if isinstance(function, np.ufunc):
        return name if getattr(np, name, None) is function else f"<ufunc '{name}'>"
    return f"{function.__module__}.{name}".removeprefix("numpy.")


_found: dict[Any, Callable[..., Any]] = {}  # by NumPy's function object: what `implementation` has looked up


def implementation(function: Any) -> Callable[..., Any] | None:
    """What the table has for one of NumPy's functions, or a universal function of `scipy.special`, or None."""
    entry = _found.get(function)
    if entry is None:
        entry = FUNCTIONS.get(qualified_name(function))
        if entry is None and isinstance(function, np.ufunc):
            special, name = sys.modules.get("scipy.special"), function.__name__
            if special is not None and getattr(special, name, None) is function:
                entry = SCIPY_UFUNCS.get(name)
        if entry is not None:
            _found[function] = entry
    return entry


def not_covered(name: str) -> TypeError:
    """The error for a NumPy function that the table does not have."""
    called = name if name.startswith("<") else f"numpy.{name}"
    return TypeError(
        f"{called} has no derivative in pullback yet. Call it on `x.detach().numpy()` if no gradient should flow "
        "through it, write it with functions that pb.numpy has, or give it a derivative of its own with pb.custom_vjp."
    )
