"""Functions with true gradients, and the faults that are planted in them.

A subject is a function `f` and its backward, both written as people write them. A fault is one or more edits of the
source of the backward (or of `f`, where the fault is the function's), or one of the named changes below; it is labelled
with the kind that a checker should name.

    @subject(normals((3,), (20, 3), (20,)))
    def least_squares(w, X, y):
        return np.mean((X @ w - y) ** 2)

    @gradient_of(
        least_squares,
        ("sign", "2 * X.T", "-2 * X.T"),
        ("one_over_n", " / len(y)", ""),
        piles_up(),
    )
    def least_squares_grad(w, X, y):
        r = X @ w - y
        return 2 * X.T @ r / len(y)

A fault of kind "kink" is none: it is another convention for the slope at a kink, and has to be accepted.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

__all__ = [
    "OF_F",
    "SUBJECTS",
    "Built",
    "Fault",
    "Model",
    "Subject",
    "entry_off",
    "gradient_of",
    "ignores_upstream",
    "integers",
    "model",
    "normals",
    "nothing",
    "of_seed",
    "piles_up",
    "single",
    "spoils",
    "subject",
    "times",
    "vjp_of",
]

Group = Literal["ordinary", "hard", "kinks"]
Inputs = Callable[[np.random.Generator], tuple[Any, ...]]

OF_F: Final = ("nondeterministic", "mutates_input", "aliases_output")  # the kinds that are faults of f itself


@dataclass(frozen=True)
class Fault:
    """A change of a backward: edits of its source, each `(old, new)`, or a function that changes it."""

    kind: str
    edits: tuple[tuple[str, str], ...] = ()
    change: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    name: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it is no fault, but another convention at a kink."""
        return self.kind == "kink"

    def __str__(self) -> str:
        return self.name or "; ".join(f"{old.strip()} → {new.strip() or 'nothing'}" for old, new in self.edits)


@dataclass(frozen=True)
class Built:
    """A function and a claim about its gradient, ready to be checked; `fault` is None if the claim is the true one."""

    subject: Subject
    fault: Fault | None
    f: Callable[..., Any]
    claim: Callable[..., Any]


@dataclass
class Subject:
    """A function, its true backward, and the faults that can be planted in it."""

    name: str
    f: Callable[..., Any]
    inputs: Inputs
    group: Group
    family: str
    backward: Callable[..., Any] | None = None
    is_vjp: bool = False
    faults: list[Fault] = field(default_factory=list)
    model: type[Model] | None = None

    def args(self, seed: int) -> tuple[Any, ...]:
        """The arguments that belong to a seed."""
        return self.inputs(np.random.default_rng([seed, zlib.crc32(self.name.encode())]))

    def built(self, fault: Fault | None = None) -> Built:
        """The pair with a fault planted; with none, as it was written. Nothing is shared with other pairs."""
        edits = fault.edits if fault is not None else ()
        if self.model is not None:
            made = _edited(self.model, edits)()
            f, claim = made.forward, made.gradient
        else:
            assert self.backward is not None
            f, claim = self.f, self.backward
            if fault is not None and fault.kind in OF_F:
                f = _edited(f, edits)
            elif edits:
                claim = _edited(claim, edits)
        if fault is not None and fault.change is not None:
            claim = fault.change(claim)
        return Built(self, fault, f, claim)

    @cached_property
    def pairs(self) -> list[Fault | None]:
        """The true claim, then all faults."""
        return [None, *self.faults]


SUBJECTS: dict[str, Subject] = {}


class Model:
    """A class that keeps what it needs from `forward` for `backward`, as networks written by hand do."""

    def forward(self, *args: Any) -> Any:
        raise NotImplementedError

    def backward(self) -> Any:
        raise NotImplementedError

    def gradient(self, *args: Any) -> Any:
        """The gradient at some arguments."""
        self.forward(*args)
        return self.backward()


# Planting


def subject(inputs: Inputs, group: Group = "ordinary") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the corpus; its backward follows."""

    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        if f.__name__ in SUBJECTS:
            raise ValueError(f"there are two functions named {f.__name__}")
        SUBJECTS[f.__name__] = Subject(f.__name__, f, inputs, group, f.__module__.rpartition(".")[2])
        return f

    return enter


def gradient_of(f: Callable[..., Any], *faults: Fault | tuple[str, ...]) -> Callable[..., Any]:
    """The true gradient of a scalar function, `(*args) -> gradients`, and the faults to plant in it."""

    def enter(backward: Callable[..., Any]) -> Callable[..., Any]:
        entry = SUBJECTS[f.__name__]
        entry.backward = backward
        entry.faults += [_fault(x) for x in faults]
        return backward

    return enter


def vjp_of(f: Callable[..., Any], *faults: Fault | tuple[str, ...]) -> Callable[..., Any]:
    """The true backward of any function, `(cotangent, *args) -> cotangents`, and the faults to plant in it."""
    SUBJECTS[f.__name__].is_vjp = True
    return gradient_of(f, *faults)


def model(inputs: Inputs, *faults: Fault | tuple[str, ...], group: Group = "ordinary") -> Callable[[type], type]:
    """Enter a class with `forward` and `backward`, and the faults to plant in it."""

    def enter(cls: type[Model]) -> type[Model]:
        subject(inputs, group)(cls)
        entry = SUBJECTS[cls.__name__]
        entry.model = cls
        entry.faults = [_fault(x) for x in faults]
        return cls

    return enter


def _fault(given: Fault | tuple[str, ...]) -> Fault:
    if isinstance(given, Fault):
        return given
    kind, *texts = given
    return Fault(kind, tuple(zip(texts[::2], texts[1::2], strict=True)))


def _edited(made: Any, edits: Sequence[tuple[str, str]]) -> Any:
    """A function or class made anew from its edited source, with global variables of its own."""
    inner = inspect.unwrap(made)
    source = _source(inner)
    for old, new in edits:
        if source.count(old) != 1:
            raise ValueError(f"{made.__name__}: {old!r} stands {source.count(old)} times in\n{source}")
        source = source.replace(old, new)
    module = inspect.getmodule(inner)
    assert module is not None
    filename = f"<{made.__name__} {zlib.crc32(source.encode()):08x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace = dict(vars(module))
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)
    return namespace[made.__name__]


def _source(made: Any) -> str:
    """The source of a function or class without its decorators."""
    source = textwrap.dedent(inspect.getsource(made))
    (node,) = ast.parse(source).body
    return "".join(source.splitlines(keepends=True)[node.lineno - 1 :])  # type: ignore[attr-defined]


# Inputs


def normals(*shapes: tuple[int, ...]) -> Inputs:
    """Arguments of these shapes with standard normal entries; floats for the shape ()."""
    return lambda rng: tuple(rng.standard_normal(shape) if shape else float(rng.standard_normal()) for shape in shapes)


def of_seed(make: Callable[..., Any], *shapes: tuple[int, ...]) -> Inputs:
    """What `make` makes of standard normal arrays of these shapes."""

    def inputs(rng: np.random.Generator) -> tuple[Any, ...]:
        made = make(*normals(*shapes)(rng))
        return made if isinstance(made, tuple) else (made,)

    return inputs


# Named changes of a backward


def _each(claim: Callable[..., Any], change: Callable[[Any], Any], which: int | None = None) -> Callable[..., Any]:
    """The backward with each of its results changed, or only one of them."""

    def changed(*args: Any) -> Any:
        given = claim(*args)
        if not isinstance(given, tuple):
            return change(given)
        return tuple(change(g) if which in (None, i) else g for i, g in enumerate(given))

    return changed


def times(ratio: float, kind: str = "factor", which: int | None = None) -> Fault:
    """All gradients, or one, times a number."""
    return Fault(kind, change=lambda claim: _each(claim, lambda g: ratio * g, which), name=f"times {ratio:.12g}")


def entry_off(ratio: float, *places: int, which: int = 0) -> Fault:
    """Single entries of one gradient times a number."""

    def change(g: Any) -> Any:
        g = np.array(g)
        for place in places:
            g.flat[place] *= ratio
        return g

    at = ", ".join(map(str, places))
    return Fault("entry", change=lambda claim: _each(claim, change, which), name=f"entry {at} times {ratio:.12g}")


def nothing(which: int | None = None) -> Fault:
    """Zeros for a gradient."""
    return Fault("zero", change=lambda claim: _each(claim, np.zeros_like, which), name="zeros")


def single() -> Fault:
    """Gradients that have been through float32."""
    return Fault("dtype", change=lambda claim: _each(claim, _through_float32), name="through float32")


def _through_float32(g: Any) -> Any:
    g = np.asarray(g)
    return g.astype(np.complex64 if g.dtype.kind == "c" else np.float32).astype(g.dtype)


def integers() -> Fault:
    """Gradients that have been through integers."""
    return Fault("dtype", change=lambda claim: _each(claim, lambda g: np.trunc(g).astype(int)), name="through integers")


def piles_up() -> Fault:
    """Gradients that are added to what the last call left."""

    def change(claim: Callable[..., Any]) -> Callable[..., Any]:
        kept: list[Any] = []

        def piling(*args: Any) -> Any:
            given = claim(*args)
            pieces = list(given) if isinstance(given, tuple) else [given]
            kept[:] = [old + new for old, new in zip(kept, pieces)] if kept else pieces
            return tuple(kept) if isinstance(given, tuple) else kept[0]

        return piling

    return Fault("accumulate", change=change, name="added to the last call's")


def spoils(which: int = 0) -> Fault:
    """A backward that leaves one of its (array) arguments changed."""

    def change(claim: Callable[..., Any]) -> Callable[..., Any]:
        def spoiling(*args: Any) -> Any:
            given = claim(*args)
            args[which][...] *= 0.5
            return given

        return spoiling

    return Fault("side_effect", change=change, name=f"halves argument {which}")


def ignores_upstream() -> Fault:
    """A backward that takes ones for its cotangent."""
    return Fault(
        "ignore_upstream",
        change=lambda vjp: lambda cotangent, *args: vjp(np.ones_like(cotangent), *args),
        name="ones for the cotangent",
    )
