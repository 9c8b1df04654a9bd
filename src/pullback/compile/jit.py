"""`pb.jit`: a function traced once for each kind of arguments, and run as native code from then on."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from pullback.compile.call import JitCall, Layout
from pullback.compile.capture import Untraceable
from pullback.compile.export.torch import as_torch
from pullback.compile.native import Native
from pullback.compile.report import Show, show
from pullback.compile.signature import Signature, Static, describe, key_of, leaf_names, sign
from pullback.compile.tracing import NeedsInteger, Refused, trace
from pullback.compile.version import Version, overlap, world
from pullback.tape.location import Location
from pullback.tape.node import Handle
from pullback.tape.state import modes
from pullback.tensor.core import watch_gradients
from pullback.transforms.calls import bind
from pullback.transforms.program import as_program
from pullback.transforms.tree import Tree, flatten
from pullback.values.dtype import when_default_changes
from pullback.values.graph import Graph, Symbol

__all__ = ["CacheInfo", "Jitted", "RecompilationWarning", "UncompiledWarning", "jit"]

_RAW = (np.ndarray, np.generic)
_WARN_AT: Final = 8
"""Traces of one function after which a warning says why."""
_PATIENCE: Final = 3
"""How often a function that can't be compiled is tried again: it may only have been setting something up."""


class RecompilationWarning(UserWarning):
    """A compiled function is traced again and again."""


class UncompiledWarning(UserWarning):
    """A function that `jit` was given does something that only an ordinary run does, and so runs as it is."""


class CacheInfo(NamedTuple):
    """How often a call found its code, how often it had to be compiled, and how many versions are kept, at most."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


def jit(f: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (), maxsize: int = 64) -> Any:
    """Compile a function: the same results, from native code.

    `f` is traced at the first call with arguments of some shapes, dtypes and containers, and the code is used for all
    calls like it; another kind of arguments is compiled on its own. NumPy functions, Tensor programs, `pb.grad(f)` and
    other transforms, and whole training steps (`loss.backward(); optimizer.step()`) can be compiled. Tensors, modules
    and optimisers that `f` finds outside its arguments are read and written in place by every call.

    Arrays, Tensors and numbers are dynamic; strings, None, other objects and the arguments numbered in
    `static_argnums` are static: they are known when `f` is traced, and another value is another version. An integer
    whose value `f` needs, as a shape is, is static too. At most `maxsize` versions are kept.

    Raises `TypeError` where `f` needs a number that is only known when the code runs (`if x > 0`, `float(x)`), naming
    the line. Python's own side effects (print, lists that are appended to) happen while tracing only: see
    `pb.debug.print`. The result is a `Jitted`, with `.show`, `.graph`, `.llvm`, `.asm`, `.cache_info`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> f = pb.jit(pb.grad(lambda x: np.sum(np.sin(x) * x)))
    >>> f(np.array([0.0, np.pi]))
    array([ 0.        , -3.14159265])
    """
    if f is None:
        return functools.partial(jit, static_argnums=static_argnums, maxsize=maxsize)
    if isinstance(f, Jitted):
        return f
    if not callable(f):
        raise TypeError(f"jit takes a function, not {type(f).__name__}")
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    return Jitted(f, numbers, maxsize)


class Jitted:
    """A compiled function; see `jit`."""

    def __init__(self, f: Callable[..., Any], static_argnums: tuple[int, ...], maxsize: int) -> None:
        functools.update_wrapper(self, f, updated=())
        self.function = f
        self._static = static_argnums
        self._maxsize = maxsize
        self._versions: OrderedDict[Any, list[Version]] = OrderedDict()
        self._last: Callable[..., Any] = self._call
        self._hits = self._misses = 0
        _all.add(self)
        watch_gradients()
        self._static_ints: set[int] = set()
        self._derived: dict[Any, tuple[Jitted, JitCall]] = {}
        self._warned = False
        self._refusals = 0

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    else:
        # A call goes the shortest way there was last time, which is looked up without running Python.
        __call__ = property(attrgetter("_last"))

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """A method: compiled for each object that it is called on."""
        return self if owner is None else functools.partial(self, owner)

    def __getattr__(self, name: str) -> Any:
        """What else is asked of it is asked of the function, or the module, that it is made of."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.function, name)

    def __repr__(self) -> str:
        return f"<pb.jit of {getattr(self.function, '__qualname__', repr(self.function))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or one that is unpickled, compiles for itself."""
        return Jitted, (self.function, self._static, self._maxsize)

    def cache_info(self) -> CacheInfo:
        """How often a call found its code and how often it had to be compiled. Calls that take the shortest way, with
        the same kind of arguments as the call before, are not counted."""
        size = sum(map(len, self._versions.values()))
        return CacheInfo(self._hits, self._misses, self._maxsize, size)

    def clear_cache(self) -> None:
        """Forget all versions."""
        with world:
            self._versions.clear()
            self._derived.clear()
            self._refusals = 0
            self._last = self._call

    # Looking at it

    def version(self, *args: Any, **kwargs: Any) -> Version:
        """The version for arguments like these, compiled if need be. Nothing is run.

        Raises `TypeError` where a call would run the function as it is.
        """
        leaves, tree = flatten((args, kwargs), registered=False)
        tracked = {i for i, x in enumerate(leaves) if isinstance(x, Handle) and x._node is not None and modes.grad}
        try:
            return self.find(leaves, tree, tracked)
        except Untraceable:
            raise TypeError(
                "there is no code for this call yet: it makes state (as the first step of an optimiser does), or uses "
                "values of an outer transform, and runs as plain Python. Call the function once, then look at it"
            ) from None

    def show(self, *args: Any, **kwargs: Any) -> Show:
        """What the compiler did for arguments like these: the graph before and after every pass, the schedule, state,
        guards, memory, sizes and times. It prints as text, and `.page(path)` writes it as a page. Nothing is run."""
        leaves, tree = flatten((args, kwargs), registered=False)
        return show(self, self.version(*args, **kwargs), leaves, tree)

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The graph that is compiled for arguments like these, simplified; of the forward pass, if there are two."""
        return self.version(*args, **kwargs).native.graph

    def llvm(self, *args: Any, **kwargs: Any) -> str:
        """The LLVM IR for arguments like these, optimised; of both passes, if there are two."""
        return self._text(";", lambda native: native.code.ir, args, kwargs)

    def asm(self, *args: Any, **kwargs: Any) -> str:
        """The machine code for arguments like these, as assembly; of both passes, if there are two."""
        return self._text("#", lambda native: native.code.asm, args, kwargs)

    def _text(self, comment: str, text: Callable[[Native], str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        version = self.version(*args, **kwargs)
        if version.passes is None:
            return text(version.native)
        passes = ("forward", version.passes.forward), ("backward", version.passes.native)
        return "\n".join(f"{comment} The {name} pass\n{text(native)}" for name, native in passes)

    def as_torch(self) -> Callable[..., Any]:
        """The function for PyTorch's tensors, with its compiled derivative: see `as_torch` in `compile.export.torch`.

        >>> import torch
        >>> import pullback as pb
        >>> f = pb.jit(lambda x: (x * x).sum()).as_torch()
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> f(x).backward()
        >>> x.grad
        tensor([2., 4.])
        """
        return as_torch(self)

    # Calling

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if modes.tracer is not None:  # part of another compiled function
            return as_program(self.function)(*args, **kwargs)
        if modes.session is not None or modes.anomaly or self._refusals >= _PATIENCE:
            return self.function(*args, **kwargs)
        leaves, tree = flatten((args, kwargs), registered=False)
        try:
            results, layout = self.results(leaves, tree)
        except Refused as refused:
            self._refusals += 1
            if self._refusals == 1:
                name = getattr(self.function, "__qualname__", repr(self.function))
                _warn(f"{name} runs uncompiled: {refused}.", UncompiledWarning)
            return self.function(*args, **kwargs)
        except Untraceable:
            return self.function(*args, **kwargs)
        return layout.build(results, leaves)

    def results(self, leaves: list[Any], tree: Tree) -> tuple[list[Any], Layout]:
        """The dynamic results for these leaves of arguments, on whatever tapes these are, and their layout.

        Raises `Untraceable` for a function that must run as it is.
        """
        for leaf in leaves:
            if isinstance(leaf, Handle) and not isinstance(leaf._value, _RAW):
                if _innermost(leaf) is Symbol:
                    raise Untraceable
                dynamic = sign(leaves, tree, set(), self._static, self._static_ints).dynamic
                call = JitCall(self, leaves, tree, dynamic)
                return bind(call, [leaves[i] for i in dynamic]), call.layout
        tracked = {i for i, x in enumerate(leaves) if isinstance(x, Handle) and x._node is not None and modes.grad}
        version = self.find(leaves, tree, tracked)
        given = [leaves[i] for i in version.signature.dynamic]
        if version.targets and overlap(version.targets, given, [cell.owner for cell in version.traced.cells]):
            raise Untraceable
        if version.passes is None:
            return version.run(given), version.traced.layout
        call = JitCall(self, leaves, tree, version.signature.dynamic, version)
        return bind(call, [*given, *version.traced.captured]), call.layout

    def find(self, leaves: list[Any], tree: Tree, tracked: set[int]) -> Version:
        """The version for arguments with these leaves, of which those numbered in `tracked` require gradients."""
        signature = sign(leaves, tree, tracked, self._static, self._static_ints)
        with world:
            versions = self._versions.get(signature.key)
            for version in versions or ():
                if version.holds():
                    self._hits += 1
                    self._last = version.quick
                    self._versions.move_to_end(signature.key)
                    return version
            self._misses += 1
            self._complain(signature, versions, tree)
            try:
                traced = trace(self.function, leaves, tree, signature)
                version = Version(traced, leaves, tree, signature, _long_way(self), jit)
            except NeedsInteger as need:
                self._misses -= 1
                self._static_ints.add(need.position)
                return self.find(leaves, tree, tracked)
            self._versions.setdefault(signature.key, []).append(version)
            self._last = version.quick
            while sum(map(len, self._versions.values())) > self._maxsize:
                oldest = next(iter(self._versions))
                del self._versions[oldest][0]
                if not self._versions[oldest]:
                    del self._versions[oldest]
            return version

    def derived(self, key: Any, call: JitCall, function: Callable[..., Any]) -> tuple[Jitted, JitCall]:
        """The compiled `function` that a transform made of this one for a call, or that it made before."""
        static = [Static(leaf) for i, leaf in enumerate(call.leaves) if i not in call.dynamic]
        full = (key, key_of(call.tree), tuple(static), tuple(call.dynamic))
        with world:
            if full not in self._derived:
                self._derived[full] = Jitted(function, (), self._maxsize), call
            return self._derived[full]

    def _complain(self, signature: Signature, versions: list[Version] | None, tree: Tree) -> None:
        if self._misses < _WARN_AT or self._warned:
            return
        self._warned = True
        name = getattr(self.function, "__qualname__", repr(self.function))
        reason = "its arguments have another kind each time"
        if versions:
            broken = next((g for g in versions[-1].traced.guards if not g.holds()), None)
            if broken is not None:
                reason = f"{broken} that it reads has changed"
        else:
            last = next(reversed(self._versions), None)
            if last is not None:
                names = leaf_names(self.function, tree)
                changed = [i for i, (a, b) in enumerate(zip(last[1], signature.key[1], strict=False)) if a != b]
                if changed:
                    was, now = last[1][changed[0]], signature.key[1][changed[0]]
                    reason = f"{names[changed[0]]} was {describe(was)} and is now {describe(now)}"
        _warn(
            f"{name} has been compiled {self._misses} times: {reason}. Pass what changes as an array or a float, and "
            "keep shapes the same, or give static arguments few values.",
            RecompilationWarning,
        )


def _innermost(handle: Any) -> type:
    """The kind of payload at the bottom of a value of several levels."""
    value: Any = handle
    while not isinstance(value, _RAW) and type(value) is not Symbol:
        value = value._value if isinstance(value, Handle) else getattr(value, "value", getattr(value, "primal", None))
    return type(value)


def _warn(text: str, category: type[Warning]) -> None:
    """A warning at the user's line."""
    line = Location.here()
    warnings.warn_explicit(text, category, line.file, line.line)


def _long_way(jitted: Jitted) -> Callable[..., Any]:
    """`jitted._call`, without keeping it: its shortest ways are its own."""
    reference = weakref.ref(jitted)

    def call(*args: Any, **kwargs: Any) -> Any:
        found = reference()
        assert found is not None
        return found._call(*args, **kwargs)

    return call


_all: weakref.WeakSet[Jitted] = weakref.WeakSet()


def _look_again() -> None:
    """The default dtype is another: the shortest ways don't look at it."""
    for jitted in list(_all):
        jitted._last = jitted._call


when_default_changes.append(_look_again)
