"""A function at a point, seen as a function of one vector of real numbers."""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pullback.check.adapters import Adapter, adapter_for, is_inexact, spacing
from pullback.transforms.tree import Tree, flatten

__all__ = ["EPS", "Array", "Part", "Problem", "numbers_of"]

Array = np.ndarray[Any, np.dtype[np.float64]]
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
EPS: Final = 2.0**-52
_ALIKE: Final = 0.3  # of the square root of the spacing: what a float32 computation may be off by


@dataclass(frozen=True)
class Part:
    """One array of floats among the arguments: entries `start` to `stop` of the vector are its numbers."""

    argument: int | str  # the position of the argument it is (in), or the name of a keyword
    path: str  # how a user would write it: "x", "args[0]['w']"
    leaf: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    stop: int

    @property
    def is_complex(self) -> bool:
        return self.dtype.kind == "c"

    def array(self, vector: Array) -> np.ndarray[Any, Any]:
        """The numbers of this part of a vector, in its shape; complex ones from their two parts."""
        piece = vector[self.start : self.stop]
        if self.is_complex:
            piece = piece.view(np.complex128)
        return piece.reshape(self.shape)

    def index(self, place: int) -> tuple[int, ...]:
        """The index within the array of an entry of the vector."""
        flat = (place - self.start) // (2 if self.is_complex else 1)
        return tuple(int(i) for i in np.unravel_index(flat, self.shape)) if self.shape else ()


class Problem:
    """A function `f` at arguments `args`, as `vector -> vector`.

    `x` is the vector of all floats among the arguments; complex numbers count as two. Every call gets arguments of its
    own, in the containers and of the kind that were given, so that `f` may write to them.
    """

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> None:
        self.f = f
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.calls = 0
        self.double = False  # whether float32 arguments are given as float64
        self._always = False  # also the original numbers
        self._frameworks: list[Adapter] = []  # that have to be told so
        self._leaves, self._tree = flatten((self.args, self.kwargs))
        self._adapters: list[Adapter] = [adapter_for(x) for x in self._leaves]
        self.parts: list[Part] = []
        pieces: list[Array] = []
        start = 0
        for position, path, leaf in self._places():
            value = self._leaves[leaf]
            if not is_inexact(value):
                continue
            array = self._adapters[leaf].array(value)
            piece = numbers_of(array)
            part = Part(position, path, leaf, array.shape, array.dtype, start, start + piece.size)
            self.parts.append(part)
            pieces.append(piece)
            start = part.stop
        self.x: Array = np.concatenate(pieces) if pieces else np.zeros(0)

    def _places(self) -> list[tuple[int | str, str, int]]:
        """For each leaf: its argument, its path, its number."""
        places: list[tuple[int | str, str, int]] = []
        leaf = 0
        arguments: list[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        for position, argument in arguments:
            for path in _paths(flatten(argument)[1], _parameter(self.f, position)):
                places.append((position, path, leaf))
                leaf += 1
        return places

    def arguments(self, vector: Array | None = None, narrow: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Fresh arguments that hold the numbers of a vector; the original numbers without one. `narrow` ones are of
        the original dtype even if `double` is set.
        """
        leaves = list(self._leaves)
        for part in self.parts:
            if vector is None:
                array = self._adapters[part.leaf].array(leaves[part.leaf])
                if self._always:
                    array = array.astype(np.complex128 if part.is_complex else np.float64)
            else:
                array = part.array(np.ascontiguousarray(vector))
                if narrow or not self.double:
                    array = array.astype(part.dtype)
            leaves[part.leaf] = self._adapters[part.leaf].like(leaves[part.leaf], array)
        args, kwargs = self._tree.unflatten(leaves)
        return args, kwargs

    def result(self, vector: Array | None = None) -> Any:
        """What `f` returns."""
        with self._widened(vector):
            args, kwargs = self.arguments(vector)
            self.calls += 1
            return self.f(*args, **kwargs)

    def __call__(self, vector: Array) -> Array:
        """All floats of what `f` returns."""
        with self._widened(vector):
            return vector_of(self.result(vector))

    def floats(self, result: Any) -> list[Any]:
        """The arguments and results that hold floats."""
        return [x for x in self._leaves + flatten(result)[0] if is_inexact(x)]

    @contextmanager
    def doubled(self) -> Iterator[bool]:
        """A context in which the original arguments, too, are float64 if `double` is set; gives whether it is."""
        with self._widened(self.x):
            self._always = self.double
            try:
                yield self.double
            finally:
                self._always = False

    @contextmanager
    def _widened(self, vector: Array | None) -> Iterator[None]:
        with ExitStack() as stack:
            for framework in self._frameworks if self.double and vector is not None else ():
                stack.enter_context(framework.double())
            yield

    def widen(self, result: Any) -> float:
        """Give the function float64 from now on, if that is what it then computes in: the relative spacing of the
        numbers that it works with. `result` is what it returned for the arguments as they are.
        """
        floats = self.floats(result)
        narrow = max(map(spacing, floats), default=EPS)
        if narrow <= EPS:
            return narrow
        self.double = True
        self._frameworks = list({a.name: a for a in map(adapter_for, floats)}.values())
        plain = vector_of(result)
        try:
            with self._widened(self.x), np.errstate(all="ignore"):
                found = self.result(self.x)
                wide = vector_of(found)
                is_wide = all(spacing(x) <= EPS for x in flatten(found)[0] if is_inexact(x))
        except Exception:  # such as layers that have float32 weights
            is_wide = False
        if is_wide and wide.shape == plain.shape and np.isfinite(wide).all():
            size = np.abs(wide).max(initial=0.0)
            if np.all(np.abs(wide - plain) <= _ALIKE * math.sqrt(narrow) * np.maximum(size, np.abs(plain))):
                return EPS
        self.double = False
        return narrow


def vector_of(result: Any) -> Array:
    """All floats in nested containers of any framework's values, as one vector of float64."""
    leaves, _ = flatten(result)
    pieces = [numbers_of(adapter_for(x).array(x)) for x in leaves if is_inexact(x)]
    return np.concatenate(pieces) if pieces else np.zeros(0)


def numbers_of(array: np.ndarray[Any, Any]) -> Array:
    """The numbers of an array as a vector of float64; a complex one as real part, imaginary part, ..."""
    if array.dtype.kind == "c":
        return np.ascontiguousarray(array, np.complex128).reshape(-1).view(np.float64)
    return np.ascontiguousarray(array, np.float64).reshape(-1)


def _paths(tree: Tree, name: str) -> Iterator[str]:
    """How a user would write each leaf of a container called `name`."""
    if tree.rebuild is None:
        yield name
        return
    keys = tree.rest[0] if tree.kind in (dict, OrderedDict) else range(len(tree.children))
    for key, child in zip(keys, tree.children, strict=True):
        yield from _paths(child, f"{name}[{key!r}]")


def _parameter(f: Callable[..., Any], position: int | str) -> str:
    """The name of a parameter of f, as far as Python knows it."""
    if isinstance(position, str):
        return position
    try:
        names = [p.name for p in inspect.signature(f).parameters.values() if p.kind in _POSITIONAL]
    except (TypeError, ValueError):  # of a function written in C
        names = []
    if position < len(names):
        return names[position]
    return f"argument {position}"
