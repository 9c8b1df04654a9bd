"""What NumPy's and the math module's objects are replaced by in a function that is being differentiated.

NumPy's protocols show a library the calls that have one of its objects among their arguments. They show nothing of
`np.zeros(3)`, of `np.array([x, y])` for two Tensors, or of `math.sin(x)`. Here they are: a stand-in does what the
original does, through pullback's table if a Tensor is among its arguments or in a list of them, and gives Tensors for
float arrays, which can be written with tracked values. Integer arrays, scalars and everything else stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

import numpy as np

from pullback.tape.node import Handle, new_handle
from pullback.tape.state import modes
from pullback.tensor.conversion import numbers
from pullback.tensor.numpy_api.table import FUNCTIONS, implementation

__all__ = ["FunctionStandIn", "array_type", "holds_tensor", "math_stand_in", "numpy_stand_in", "writable"]

_SEQUENCES = (list, tuple)
_GENERATORS = (np.random.Generator, np.random.RandomState)


def holds_tensor(items: Any) -> bool:
    """Whether a Tensor is among the items, or in a list or tuple among them."""
    return any(isinstance(x, Handle) or (isinstance(x, _SEQUENCES) and holds_tensor(x)) for x in items)


def writable(result: Any) -> Any:
    """A result with its float arrays as Tensors, on the same memory."""
    if type(result) is np.ndarray:
        return new_handle(result) if result.dtype.kind in "fc" else result
    if isinstance(result, _GENERATORS):
        return _GeneratorStandIn(result)
    if isinstance(result, _SEQUENCES):
        parts = [writable(x) for x in result]
        if all(a is b for a, b in zip(parts, result, strict=True)):
            return result
        kind = type(result)
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return result


class FunctionStandIn:
    """In place of a function: `entry` for Tensors, the original for anything else."""

    def __init__(self, original: Callable[..., Any], entry: Callable[..., Any] | None) -> None:
        self.__wrapped__ = original
        self.__name__ = getattr(original, "__name__", type(original).__name__)
        self.__doc__ = original.__doc__
        self._entry = entry

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._entry is not None and (
            holds_tensor(args) or (kwargs and holds_tensor(kwargs.values())) or FunctionType in map(type, args)
        ):
            return self._entry(*args, **kwargs)
        return writable(self.__wrapped__(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


class _UfuncStandIn(FunctionStandIn):
    """In place of a universal function, whose methods see Tensors by NumPy's protocol."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        entry = self._entry
        if entry is not None and modes.numpy and (holds_tensor(args) or (kwargs and holds_tensor(kwargs.values()))):
            return entry(*args, **kwargs)
        return writable(self.__wrapped__(*args, **kwargs))


class _GeneratorStandIn:
    """In place of a random generator: its float samples are Tensors."""

    def __init__(self, original: Any) -> None:
        self.__wrapped__ = original

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__wrapped__, name)
        return FunctionStandIn(found, None) if callable(found) else found


class _Joiner:
    """In place of `np.r_` and `np.c_`."""

    def __init__(self, original: Any, join: str) -> None:
        self.__wrapped__ = original
        self._join = join

    def __getitem__(self, key: Any) -> Any:
        items = key if isinstance(key, tuple) else (key,)
        if not holds_tensor(items):
            return writable(self.__wrapped__[key])
        parts = [self.__wrapped__[x] if isinstance(x, slice) else FUNCTIONS["atleast_1d"](x) for x in items]
        return FUNCTIONS[self._join](parts)


class _Grid:
    """In place of `np.mgrid` and `np.ogrid`."""

    def __init__(self, original: Any) -> None:
        self.__wrapped__ = original

    def __getitem__(self, key: Any) -> Any:
        return writable(self.__wrapped__[key])


class _ArrayType(type(np.ndarray)):  # type: ignore[misc]
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, np.ndarray | Handle)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, np.ndarray | Handle)


class array_type(np.ndarray[Any, Any], metaclass=_ArrayType):
    """In place of `np.ndarray`: a Tensor is an instance."""


def numpy_stand_in(value: Any) -> Any:
    """What stands for an object of NumPy's; the object itself if nothing has to."""
    if isinstance(value, np.ufunc):
        return _UfuncStandIn(value, implementation(value))
    if isinstance(value, type) and value not in _GENERATORS:
        entry = FUNCTIONS.get(value.__name__)  # such as np.vectorize
        return array_type if value is np.ndarray else value if entry is None else entry
    if isinstance(value, _GENERATORS):
        return _GeneratorStandIn(value)
    if value is np.r_ or value is np.c_:
        return _Joiner(value, "concatenate" if value is np.r_ else "column_stack")
    if value is np.mgrid or value is np.ogrid:
        return _Grid(value)
    if callable(value) and hasattr(value, "__name__"):
        return FunctionStandIn(value, implementation(value))
    return value


# The math module takes the number out of its argument, where NumPy's function of that meaning keeps the gradient.

_SAME = (
    "sin cos tan sinh cosh tanh exp expm1 log1p log2 log10 sqrt cbrt exp2 fabs degrees radians hypot copysign fmod "
    "isnan isfinite isinf isclose ldexp prod"
)
_RENAMED: Final = {
    **{name: name for name in _SAME.split()},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "atan2": "arctan2",
    "pow": "power",
    "fsum": "sum",
    "phase": "angle",
}


def _log(x: Any, base: Any = None) -> Any:
    log = FUNCTIONS["log"]
    return log(x) if base is None else log(x) / log(base)


def _dist(p: Any, q: Any) -> Any:
    return FUNCTIONS["linalg.norm"](FUNCTIONS["subtract"](p, q))


def _hypot(*coordinates: Any) -> Any:
    return FUNCTIONS["hypot"](*coordinates) if len(coordinates) == 2 else FUNCTIONS["linalg.norm"](list(coordinates))


def _whole(function: Callable[[float], int]) -> Callable[[Any], int]:
    """A function whose derivative is 0 where it has one, so that a plain integer loses nothing."""
    return lambda x: function(numbers(x, function.__name__).item())


_OTHER: Final[Mapping[str, Callable[..., Any]]] = {
    "log": _log,
    "dist": _dist,
    "hypot": _hypot,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "trunc": _whole(math.trunc),
}
SPECIAL: Final[dict[str, Callable[..., Any]]] = {}  # erf, gamma and their like, entered by the module that has them


class _MathStandIn(FunctionStandIn):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._entry is None or not holds_tensor(args):
            return self.__wrapped__(*args, **kwargs)
        for x in args:
            if isinstance(x, Handle) and math.prod(x._value.shape) != 1:
                raise TypeError(
                    f"math.{self.__name__} takes one number, not an array of shape {tuple(x._value.shape)}: "
                    f"write np.{getattr(self._entry, '__name__', self.__name__)}"
                )
        return self._entry(*args, **kwargs)


def math_stand_in(value: Any) -> Any:
    """What stands for an object of `math` or `cmath`."""
    if not callable(value) or isinstance(value, type):
        return value
    name = value.__name__
    entry = _OTHER.get(name) or SPECIAL.get(name) or FUNCTIONS.get(_RENAMED.get(name, ""))
    return _MathStandIn(value, entry) if entry is not None else value
