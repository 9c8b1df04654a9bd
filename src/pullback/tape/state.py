"""Modes of the thread: whether operations are recorded, how deep the transforms are nested, anomaly mode.

Every mode switch is a context manager with try/finally, and every mode belongs to one thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "enable_grad",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "modes",
    "nested",
    "no_grad",
    "set_anomaly",
    "set_grad_enabled",
]

P = ParamSpec("P")
R = TypeVar("R")


class _Modes(threading.local):
    """`fast` sums up the others: gradients recorded, no transform active, no anomaly mode. Operators read it first."""

    grad: bool = True
    depth: int = 0
    anomaly: bool = False
    fast: bool = True

    def refresh(self) -> None:
        self.fast = self.grad and not self.depth and not self.anomaly


modes = _Modes()


def is_grad_enabled() -> bool:
    """Whether operations are recorded for differentiation in this thread."""
    return modes.grad


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on in this thread."""
    return modes.anomaly


class set_grad_enabled:
    """Turn recording on or off: at once when called, until the end of the block as a context manager, and for the
    function's run as a decorator.

    >>> import pullback as pb
    >>> with pb.set_grad_enabled(False):
    ...     pb.is_grad_enabled()
    False
    >>> pb.is_grad_enabled()
    True
    """

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._previous = [modes.grad]
        modes.grad = self.mode
        modes.refresh()

    def __enter__(self) -> None:
        modes.grad = self.mode
        modes.refresh()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        modes.grad = self._previous[-1]
        modes.refresh()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        self.__exit__(None, None, None)
        return _decorate(function, lambda: set_grad_enabled(self.mode))


class _GradMode:
    """Shared by `no_grad` and `enable_grad`: reusable and re-entrant, as a context manager or a decorator."""

    mode: bool

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        if function is None:
            return self
        return self(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(modes.grad)
        modes.grad = self.mode
        modes.refresh()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        modes.grad = self._previous.pop()
        modes.refresh()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return _decorate(function, type(self))


class no_grad(_GradMode):
    """Record nothing: a context manager (`with no_grad():`) or a decorator (`@no_grad()`, `@no_grad`).

    >>> import pullback as pb
    >>> w = pb.tensor([1.0], requires_grad=True)
    >>> with pb.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    mode = False


class enable_grad(_GradMode):
    """Record again inside `no_grad`: a context manager or a decorator."""

    mode = True


def _decorate(function: Callable[P, R], mode: Callable[[], Any]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with mode():
            return function(*args, **kwargs)

    return wrapper


@contextmanager
def nested() -> Iterator[int]:
    """One transform (a batch, a dual number, a trace) deeper; gives the new depth."""
    modes.depth += 1
    modes.refresh()
    try:
        yield modes.depth
    finally:
        modes.depth -= 1
        modes.refresh()


@contextmanager
def set_anomaly(mode: bool) -> Iterator[None]:
    """Anomaly mode for the block; see `pullback.autograd.set_detect_anomaly`."""
    previous = modes.anomaly
    modes.anomaly = mode
    modes.refresh()
    try:
        yield
    finally:
        modes.anomaly = previous
        modes.refresh()
