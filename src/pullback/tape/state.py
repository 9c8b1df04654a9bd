"""Modes of the thread: whether operations are recorded, how deep the transforms are nested, anomaly mode.

Every mode switch is a context manager with try/finally, and every mode belongs to one thread.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar

__all__ = [
    "TRACING",
    "detect_anomaly",
    "enable_grad",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "modes",
    "nested",
    "no_grad",
    "numpy_promotion",
    "set_detect_anomaly",
    "set_grad_enabled",
    "tracing",
]

P = ParamSpec("P")
R = TypeVar("R")


class Listener(Protocol):
    """What an open `GradientTape` leaves in the thread's modes."""

    def note(self, handle: Any) -> None:
        """A handle was put on the tape."""

    def read(self, variable: Any) -> Any:
        """The place on the tape of a Variable read now, None if no tape watches it."""


class Tracer(Protocol):
    """What a compiler leaves in the thread's modes while it traces a function: everything that the function reads of
    the world outside goes through it.
    """

    def lift(self, handle: Any) -> None:
        """A handle is about to be used: if it holds numbers, have it hold a symbol that stands for them."""

    def reads_grad(self, leaf: Any) -> None:
        """The `.grad` of a leaf is about to be read."""

    def clears_grad(self, leaf: Any) -> None:
        """The `.grad` of a leaf is about to be dropped unread."""

    def reads_name(self, names: Any, name: str, value: Any) -> None:
        """A program has looked a name up, in a dict or a cell."""

    def watches(self, names: dict[str, Any]) -> None:
        """The attributes of an object, or a module's names, may be set from here on."""

    def reads_cell(self, cell: Any) -> None:
        """A program has a variable of an enclosing function, in this cell."""

    def array(self, value: Any) -> Any:
        """What stands for an array that a program has met outside of its arguments."""

    def draw(self, sample: Callable[[Any], Any], source: Callable[[], Any]) -> Any:
        """A symbol for what `sample(source())` will draw at every run, `source` giving NumPy's generator."""

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        """The options of an optimizer: with a symbol for the learning rate, which schedules change."""

    def known(self, handle: Any) -> Any:
        """The number that a symbol of `options` stands for now, to begin state with; any other handle as it is."""

    def adopt(self, handle: Any) -> None:
        """A handle that was made here is kept outside from now on: state that is begun. None: that an ordinary run has
        to begin it."""


class _Modes(threading.local):
    """The modes, as plain attributes: reading one is on the path of every operation.

    fast     sums up the others, and operators read it first: 0 if there is something special (a transform or a
             `GradientTape` is active, or anomaly mode); else every payload is an array, and 2 means that gradients are
             recorded, 1 that they are not.
    session  what is told of new handles while a `GradientTape` is open.
    tracer   what lifts values into a graph while a function is traced to be compiled.
    numpy    operators of unlike dtypes promote them as NumPy does, not as PyTorch does.
    """

    grad: bool = True
    numpy: bool = False
    depth: int = 0
    anomaly: bool = False
    session: Listener | None = None
    tracer: Tracer | None = None
    special: bool = False
    fast: int = 2

    def refresh(self) -> None:
        self.special = self.depth > 0 or self.anomaly or self.session is not None or self.tracer is not None
        self.fast = 0 if self.special else 2 if self.grad else 1


modes = _Modes()
TRACING: list[Tracer] = []
"""The tracers at work in all threads. Where every operation comes by, it is looked at before the thread's modes are:
that takes a quarter of the time."""


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

    mode: ClassVar[bool]
    _previous: list[bool]

    __slots__ = ("_previous",)

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = object.__new__(cls)
        self._previous = []
        return self if function is None else self(function)

    def __enter__(self) -> None:
        self._previous.append(modes.grad)
        modes.grad = grad = self.mode
        modes.fast = 0 if modes.special else 2 if grad else 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        modes.grad = grad = self._previous.pop()
        modes.fast = 0 if modes.special else 2 if grad else 1

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

    __slots__ = ()
    mode = False


class enable_grad(_GradMode):
    """Record again inside `no_grad`: a context manager or a decorator."""

    __slots__ = ()
    mode = True


def _decorate(function: Callable[P, R], mode: Callable[[], Any]) -> Callable[P, R]:
    if inspect.isgeneratorfunction(function):
        return _decorate_generator(function, mode)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with mode():
            return function(*args, **kwargs)

    return wrapper


def _decorate_generator(function: Callable[P, Any], mode: Callable[[], Any]) -> Callable[P, Any]:
    """The mode holds while the generator runs, and not while its consumer does."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        resume: Callable[[], Any] = functools.partial(next, generator)
        while True:
            try:
                with mode():
                    item = resume()
            except StopIteration as end:
                return end.value
            try:
                resume = functools.partial(generator.send, (yield item))
            except GeneratorExit:
                with mode():
                    generator.close()
                raise
            except BaseException as error:
                resume = functools.partial(generator.throw, error)

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
def tracing(tracer: Tracer) -> Iterator[None]:
    """Trace a function: a world of its own, in which no transform or tape around it is active."""
    kept = modes.depth, modes.session, modes.tracer, modes.grad, modes.numpy
    modes.depth, modes.session, modes.tracer = 0, None, tracer
    modes.refresh()
    TRACING.append(tracer)
    try:
        yield
    finally:
        TRACING.remove(tracer)
        modes.depth, modes.session, modes.tracer, modes.grad, modes.numpy = kept
        modes.refresh()


@contextmanager
def numpy_promotion(mode: bool) -> Iterator[None]:
    """Promote dtypes as NumPy does for the block, or as PyTorch does."""
    previous = modes.numpy
    modes.numpy = mode
    try:
        yield
    finally:
        modes.numpy = previous


class set_detect_anomaly:
    """Turn anomaly mode on or off: at once when called, until the end of the block as a context manager.

    In anomaly mode a backward pass whose gradients become NaN raises `RuntimeError`, naming the operation that made the
    first one and the line that recorded it. With `check_nan` False nothing is looked for.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = pb.tensor(0.0, requires_grad=True)
    >>> with np.errstate(all="ignore"), pb.autograd.set_detect_anomaly(True):
    ...     (pb.sqrt(x) * 0.0).backward()
    Traceback (most recent call last):
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output. The operation was recorded at ...
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._previous = modes.anomaly
        self.mode = bool(mode and check_nan)
        self._switch(self.mode)

    def _switch(self, mode: bool) -> None:
        modes.anomaly = mode
        modes.refresh()

    def __enter__(self) -> None:
        self._switch(self.mode)

    def __exit__(self, *error: object) -> None:
        self._switch(self._previous)


class detect_anomaly(set_detect_anomaly):
    """Anomaly mode for the block; see `set_detect_anomaly`."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)
        self._switch(self._previous)


def inference_mode(mode: Any = True) -> Any:
    """`no_grad`, as a context manager or a decorator; with `mode` False it changes nothing."""
    if callable(mode):
        return no_grad(mode)
    return no_grad() if mode else set_grad_enabled(modes.grad)
