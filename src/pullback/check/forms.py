"""What a call of `check` says: which argument is the claim, and whose derivative it is if there is none."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.check.adapters import Own, adapter_for, adapter_of, is_inexact
from pullback.transforms.tree import flatten

__all__ = ["NOTHING", "own_autodiff", "told_apart"]


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
"""In place of a claim that was not given."""


def told_apart(f: Callable[..., Any], args: Sequence[Any], grad: Any = NOTHING) -> tuple[Any, tuple[Any, ...]]:
    """The claim and the arguments of `check(f, claim, *args)`; `NOTHING` as the claim of `check(f, *args)`.

    What `grad=` says goes first. The first of several arguments is the claim if it is a plain callable. Else the
    parameters of `f` decide: it is the claim if `f` takes the rest and not all, an argument if `f` takes all and not
    the rest. If `f` takes both, it is the claim if it has the shapes of a gradient of the rest, and `f` runs with the
    rest and not with all; where that leaves two readings open, `TypeError` says so.
    """
    if grad is not NOTHING:
        return grad, tuple(args)
    if len(args) < 2:
        return NOTHING, tuple(args)
    first, rest = args[0], tuple(args[1:])
    if callable(first) and not any(map(is_inexact, flatten(first)[0])) and not hasattr(first, "parameters"):
        return first, rest
    if isinstance(f, type):  # such as a torch.autograd.Function, which is not called itself
        f = adapter_of(f, list(args)).own(f, args).f
    takes_rest, takes_all = _takes(f, rest), _takes(f, args)
    if takes_rest != takes_all:
        return (first, rest) if takes_rest else (NOTHING, tuple(args))
    if not _is_like_gradient(first, rest):
        return NOTHING, tuple(args)
    if isinstance(first, tuple) and len(first) == len(rest):
        return first, rest
    runs_rest, runs_all = _runs(f, rest), _runs(f, args)
    if runs_rest != runs_all:
        return (first, rest) if runs_rest else (NOTHING, tuple(args))
    name = getattr(f, "__name__", "f")
    raise TypeError(
        f"check({name}, ...) can be read in two ways, since {name} takes {len(rest)} or {len(args)} arguments and the "
        "first one has the shape of a gradient of the others: write check(f, *args, grad=claim) if it is the claim, "
        "check(lambda *xs: f(*xs), ...) with as many parameters as there are arguments if it is not"
    )


def _takes(f: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Whether a function takes arguments by position: by its signature; by a call where it has none."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return _runs(f, args)
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _runs(f: Callable[..., Any], args: Sequence[Any]) -> bool:
    try:
        f(*args)
    except Exception:  # of whatever kind it raises
        return False
    return True


def _is_like_gradient(claim: Any, args: Sequence[Any]) -> bool:
    """Whether a value has the shapes that a gradient with respect to `args` has."""
    if claim is None:
        return True
    wanted = [np.shape(adapter_for(x).array(x)) for x in flatten(list(args))[0] if is_inexact(x)]
    given = [np.shape(adapter_for(x).array(x)) for x in flatten(claim)[0] if is_inexact(x)]
    return bool(given) and (given == wanted or given == wanted[:1])


class _Constant:
    """An argument that is not differentiated, out of sight of those who look for floats."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _wants_gradient(x: Any) -> bool:
    return getattr(x, "requires_grad", False) is True


def own_autodiff(f: Callable[..., Any], args: Sequence[Any]) -> Own:
    """The framework's own automatic differentiation as a claim. Numbers that it does not track are constants, and where
    some of the Tensors have `requires_grad`, so are the others.
    """
    adapter = adapter_of(f, list(args))
    if adapter.name == "numpy":  # a function of arrays may still compute with a framework
        adapter = adapter_of(f, f(*args))
    own = adapter.own(f, args)
    leaves, tree = flatten(own.args)
    known = {adapter.name, "numpy"} if adapter.name in ("jax", "numpy", "pullback") else {adapter.name}
    given = flatten(list(args))[0]
    some = any(map(_wants_gradient, given))
    unmarked = {id(x) for x in given if some and not _wants_gradient(x)}
    fixed = [is_inexact(x) and (adapter_for(x).name not in known or id(x) in unmarked) for x in leaves]
    if not any(fixed):
        return own
    inner = own.f

    @functools.wraps(inner)
    def without_constants(*xs: Any) -> Any:
        found, shape = flatten(xs)
        return inner(*shape.unflatten([x.value if isinstance(x, _Constant) else x for x in found]))

    hidden = tree.unflatten([_Constant(x) if is_fixed else x for x, is_fixed in zip(leaves, fixed, strict=True)])
    return Own(without_constants, hidden, adapter.own(without_constants, hidden).vjp)
