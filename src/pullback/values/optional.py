"""Functions of SciPy, which is imported when the first of them is called: without it everything else works."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

__all__ = ["from_scipy", "scipy_module"]


def scipy_module(name: str) -> Any:
    """A module of SciPy, such as "special", imported now.

    Raises `ImportError` that says what to install.
    """
    try:
        import scipy
    except ImportError as error:
        raise ImportError(f"this needs scipy.{name}, but SciPy is missing: pip install 'pullback[scipy]'") from error
    return operator.attrgetter(name)(scipy)  # SciPy imports its modules when they are first asked for


def from_scipy(module: str, name: str) -> Callable[..., Any]:
    """A function of SciPy that is looked up at its first call.

    Raises as `scipy_module` does, when called.

    >>> from_scipy("special", "gammaln")(3.0)
    np.float64(0.6931471805599453)
    """
    found: Callable[..., Any] | None = None

    def function(*args: Any, **kwargs: Any) -> Any:
        nonlocal found
        if found is None:
            found = getattr(scipy_module(module), name)
        return found(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    return function
