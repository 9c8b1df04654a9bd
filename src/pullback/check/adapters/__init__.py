"""What the checker has to know of a framework: to take numbers out of its values, and to make values like them.

A framework is imported only when one of its values, or one of its functions, is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Protocol

import numpy as np

from pullback.transforms.tree import flatten, map_leaves

__all__ = [
    "Adapter",
    "Own",
    "Written",
    "adapter_for",
    "adapter_named",
    "adapter_of",
    "conjugated",
    "is_inexact",
    "referenced",
    "spacing",
    "stand_in",
]


@dataclass(frozen=True)
class Own:
    """A function whose gradient is claimed by its own framework.

    f     the function to call with `args`: a Module as a function of its parameters, a Function as its `apply`.
    vjp   the framework's automatic differentiation: `(cotangent, *args)` to a tuple with a gradient for each argument.
    """

    f: Callable[..., Any]
    args: tuple[Any, ...]
    vjp: Callable[..., Any]


@dataclass(frozen=True)
class Written:
    """A rule that the user wrote for a framework: its two functions, and both run without the framework's engine.

    forward, backward  the user's functions, as the framework calls them.
    run                `(cotangent, *args)` to what `backward` returns, after `forward` was run.
    whole              whether the rule is all of the function that is checked, or a step inside it.
    """

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    run: Callable[..., Any]
    whole: bool


class Adapter(Protocol):
    """How values of one framework become arrays and arrays become values, and how the framework differentiates."""

    name: str
    conjugates: bool
    """Whether the gradient of a real function of z = x + iy is ∂x - i ∂y; else, as in PyTorch, it is ∂x + i ∂y."""

    def array(self, value: Any) -> np.ndarray[Any, Any]:
        """The numbers of a value, in memory of their own."""

    def like(self, value: Any, array: np.ndarray[Any, Any]) -> Any:
        """A value of the kind of `value` with other numbers; the dtype is the array's."""

    def make(self, array: np.ndarray[Any, Any]) -> Any:
        """A value with the numbers of an array, and its dtype if the framework has that."""

    def double(self) -> Any:
        """A context in which the framework has float64."""

    def owns(self, f: Any) -> bool:
        """Whether a callable is an object of the framework's."""

    def own(self, f: Any, args: Sequence[Any]) -> Own:
        """The framework's own automatic differentiation of `f`, as a claim."""

    def written(self, f: Any) -> Written | None:
        """The rule that `f` is, or the first one that its code refers to, if there is any."""

    def stand_in(self, value: Any) -> Any:
        """What pullback's tape is given for an object of the framework's; NotImplemented for other objects."""


class _Plain:
    """Arrays and Python's numbers, which pullback differentiates."""

    name = "numpy"
    conjugates = False

    def array(self, value: Any) -> np.ndarray[Any, Any]:
        return np.array(value)

    def like(self, value: Any, array: np.ndarray[Any, Any]) -> Any:
        if isinstance(value, np.ndarray):
            return array.reshape(value.shape).copy()
        if isinstance(value, np.generic):
            return array.reshape(())[()]
        return array.item()

    def make(self, array: np.ndarray[Any, Any]) -> Any:
        return array

    def double(self) -> Any:
        return nullcontext()

    def owns(self, f: Any) -> bool:
        return False

    def own(self, f: Any, args: Sequence[Any]) -> Own:
        from pullback.check.adapters.pullback import ADAPTER as pullback_adapter

        return pullback_adapter.own(f, args)

    def written(self, f: Any) -> Written | None:
        return None

    def stand_in(self, value: Any) -> Any:
        return NotImplemented


_PLAIN = _Plain()


def adapter_for(value: Any) -> Adapter:
    """The adapter of the framework that a value belongs to."""
    return _adapter(type(value).__module__)


def adapter_named(name: str) -> Adapter:
    """The adapter of a framework by its name."""
    return _adapter(name)


def _adapter(module: Any) -> Adapter:
    package = module.partition(".")[0] if isinstance(module, str) else ""
    if package in ("numpy", "builtins"):
        return _PLAIN
    if package == "pullback":
        from pullback.check.adapters.pullback import ADAPTER as pullback_adapter

        return pullback_adapter
    if package == "torch":
        from pullback.check.adapters.torch import ADAPTER as torch_adapter

        return torch_adapter
    if package in ("jax", "jaxlib"):
        from pullback.check.adapters.jax import ADAPTER as jax_adapter

        return jax_adapter
    if package in ("tensorflow", "keras"):
        from pullback.check.adapters.tensorflow import ADAPTER as tensorflow_adapter

        return tensorflow_adapter
    return _PLAIN


def adapter_of(f: Any, values: Any) -> Adapter:
    """The adapter of the framework that a function with these arguments, or results, belongs to: that of the first
    value that is of a framework, else that of what the function is made of, else the plain one.
    """
    for leaf in flatten(values)[0]:
        adapter = adapter_for(leaf)
        if adapter is not _PLAIN:
            return adapter
    bases = (base.__module__ for base in getattr(f, "__mro__", ()) + type(f).__mro__)
    for module in (type(f).__module__, type(getattr(f, "__self__", None)).__module__, *bases):
        adapter = _adapter(module)
        if adapter is not _PLAIN and adapter.owns(f):
            return adapter
    return _PLAIN


def is_inexact(value: Any) -> bool:
    """Whether a value holds floats or complex numbers; of Python's, a float or a complex number."""
    if isinstance(value, float | complex):
        return True
    dtype = getattr(value, "dtype", None)
    return dtype is not None and any(kind in str(dtype) for kind in ("float", "complex", "double", "half"))


def spacing(value: Any) -> float:
    """The relative spacing of the numbers of a value's dtype: 2**-52 for float64."""
    dtype = getattr(value, "dtype", np.float64)
    if "bfloat16" in str(dtype):
        return 2.0**-7
    return float(np.finfo(adapter_for(value).array(value).dtype).eps)


def stand_in(value: Any) -> Any:
    """What pullback's tape is given for an object of any framework; `NotImplemented` for other objects."""
    if isinstance(value, ModuleType):
        modules: Iterable[Any] = (value.__name__,)
    elif isinstance(value, FunctionType):
        modules = (value.__globals__.get("__name__"),)
    else:
        kinds = value.__mro__ if isinstance(value, type) else type(value).__mro__
        modules = (*(kind.__module__ for kind in kinds), getattr(value, "__module__", None))
    for module in modules:
        adapter = _adapter(module)
        if adapter is not _PLAIN:
            return adapter.stand_in(value)
    return NotImplemented


def conjugated(vjp: Callable[..., Any]) -> Callable[..., Any]:
    """A backward with cotangents and gradients in PyTorch's convention, whatever its framework's is."""

    def converted(cotangent: Any, *args: Any, **kwargs: Any) -> Any:
        found = vjp(map_leaves(_conjugate, cotangent), *args, **kwargs)
        return map_leaves(_conjugate, found)

    return converted


def _conjugate(leaf: Any) -> Any:
    return leaf.conj() if adapter_for(leaf).conjugates and "complex" in str(leaf.dtype) else leaf


def referenced(f: Any) -> Iterator[Any]:
    """The objects that a Python function's code names, in its closure and in its module; of the functions among them
    also theirs.
    """
    seen: set[int] = set()
    waiting = [f]
    while waiting and len(seen) < 200:
        code = getattr(getattr(f := waiting.pop(0), "__func__", f), "__code__", None)
        if code is None or id(code) in seen:
            continue
        seen.add(id(code))
        for name in code.co_names:
            if name in f.__globals__:
                waiting.append(f.__globals__[name])
                yield f.__globals__[name]
        for cell in f.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            waiting.append(value)
            yield value
