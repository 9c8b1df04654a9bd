"""The gradient by pullback's own tape, where it can run the function: a second opinion, and the true backward."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.check.adapters import adapter_for, is_inexact, stand_in
from pullback.check.problem import Array, Problem, numbers_of
from pullback.tape.node import Handle, new_handle
from pullback.transforms.lifting import run_program
from pullback.transforms.program import standing_in
from pullback.transforms.reverse import vjp
from pullback.transforms.tree import flatten

__all__ = ["on_tape", "reference_gradient", "rounding_of"]


def on_tape(problem: Problem, inputs: Sequence[Any], operands: Sequence[Any] | None = None) -> Any:
    """What the problem's function returns for `inputs`, Tensors or arrays, in the place of its parts: as a program, in
    which the functions of NumPy, and those of the other frameworks by the same names, reach pullback. It runs with the
    promotion rules of PyTorch if it is made for Tensors of PyTorch's or pullback's.

    Raises whatever a function raises that the tape can't run.
    """
    leaves = list(problem._leaves)
    frameworks = {adapter_for(x).name for x in leaves}
    for place, leaf in enumerate(leaves):
        found = stand_in(leaf) if adapter_for(leaf).name != "numpy" else NotImplemented
        if found is not NotImplemented:
            leaves[place] = found
    for part, x in zip(problem.parts, inputs, strict=True):
        leaves[part.leaf] = x
    args, kwargs = problem._tree.unflatten(leaves)
    problem.calls += 1
    like_torch = bool(frameworks & {"torch", "pullback"})
    f = getattr(problem.f, "on_tape", problem.f)
    with standing_in(stand_in):
        return run_program(f, args, kwargs, list(inputs) if like_torch else [np.zeros(())])


def reference_gradient(problem: Problem, cotangent: Array, at: Array | None = None) -> Array | None:
    """The gradient of `cotangent · f`, at the problem's point if no other is given; None if the tape can't run `f`."""
    point = problem.x if at is None else at
    handles = [new_handle(part.array(point).copy()) for part in problem.parts]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            outs, pull = vjp(lambda *xs: list(filter(is_inexact, flatten(on_tape(problem, xs))[0])), *handles)
            pieces, start = [], 0
            for out in outs:
                array = out._value if isinstance(out, Handle) else np.asarray(out)
                size = array.size * (2 if array.dtype.kind == "c" else 1)
                g = np.ascontiguousarray(cotangent[start : start + size])
                start += size
                g = (g.view(complex) if array.dtype.kind == "c" else g).reshape(array.shape).astype(array.dtype)
                pieces.append(new_handle(g) if isinstance(out, Handle) else g)
            found = pull(pieces)
    except Exception:  # whatever a user's function does with what is no array of NumPy's
        return None
    return np.concatenate([numbers_of(np.asarray(g.detach().numpy())) for g in found]) if found else np.zeros(0)


def rounding_of(problem: Problem, cotangent: Array, gradient: Array) -> Array:
    """How far the entries of a gradient by the tape move when the point is moved by some units in its last place."""
    signs = np.where(np.arange(problem.x.size) % 3, 1.0, -1.0)
    nearby = reference_gradient(problem, cotangent, problem.x * (1 + 2.0**-50 * signs))
    return np.zeros_like(gradient) if nearby is None else np.abs(nearby - gradient)
