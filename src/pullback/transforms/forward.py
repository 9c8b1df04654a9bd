"""Forward mode: dual numbers carry a tangent through every op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.elementwise import add
from pullback.ops.table import Op
from pullback.tape.node import Handle, content, new_handle
from pullback.tape.state import nested
from pullback.transforms.lifting import as_operand, run_program, unlike
from pullback.transforms.tree import flatten

__all__ = ["Dual", "jvp"]


class Dual:
    """A primal and a tangent of its shape, at one level of nesting; both are arrays or handles of lower levels."""

    __slots__ = ("level", "primal", "tangent")

    def __init__(self, primal: Any, tangent: Any, level: int) -> None:
        self.primal = primal
        self.tangent = tangent
        self.level = level

    @property
    def shape(self) -> Any:
        return self.primal.shape

    @property
    def dtype(self) -> Any:
        return self.primal.dtype

    @property
    def ndim(self) -> int:
        return len(self.primal.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.primal.shape))

    def bind(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        level = self.level
        duals = [isinstance(a, Dual) and a.level == level for a in args]
        primals = [a.primal if dual else a for a, dual in zip(args, duals, strict=True)]
        tangents = [a.tangent if dual else None for a, dual in zip(args, duals, strict=True)]
        if any(isinstance(v, Handle) for v in (*primals, *tangents)):
            primals = [new_handle(v) if isinstance(v, np.ndarray | np.generic) else v for v in primals]
            tangents = [new_handle(v) if isinstance(v, np.ndarray | np.generic) else v for v in tangents]
        y = op(*primals, **params)
        if op.family == "nondifferentiable":
            return y
        t = push(op, y, primals, tangents, params)
        if isinstance(y, tuple):
            return tuple(yi if ti is None else new_handle(Dual(yi, ti, level)) for yi, ti in zip(y, t, strict=True))
        return y if t is None else new_handle(Dual(y, t, level))


def push(op: Op, y: Any, primals: Sequence[Any], tangents: Sequence[Any], params: dict[str, Any]) -> Any:
    """The tangent of `y = op(*primals)`, None where it is zero; `tangents` are None where theirs are."""
    if op.family == "general":
        return op.jvp(tangents, y, *primals, **params)  # type: ignore[misc]
    if op.family == "linear" and op.joint:
        return op(*(_or_zeros(t, x) for t, x in zip(tangents, primals, strict=True)), **params)
    total: Any = None
    for i, t in enumerate(tangents):
        if t is None:
            continue
        if op.family == "elementwise":
            rule = op.rules[i]  # type: ignore[index]
            if rule is None:
                continue
            term = rule(t, y, *primals, **params)
        else:
            if isinstance(op.rules, tuple) and op.rules[i] is None:
                continue
            term = op(*primals[:i], t, *primals[i + 1 :], **params)
        total = term if total is None else _add(total, term)
    return total


def _add(a: Any, b: Any) -> Any:
    return tuple(map(add, a, b)) if isinstance(a, tuple) else add(a, b)


def _or_zeros(tangent: Any, primal: Any) -> Any:
    if tangent is not None:
        return tangent
    kind = type(primal)  # not isinstance: np.float64 is a float
    if kind is float or kind is complex:
        return kind(0)
    if kind is int or kind is bool or primal.dtype.kind not in "fc":  # an index, say
        return primal
    zeros = np.zeros(primal.shape, primal.dtype)
    return new_handle(zeros) if isinstance(primal, Handle) else zeros


def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """Value of `f(*primals)` and its derivative in the direction `tangents`, in one forward pass.

    `primals` and `tangents` are tuples of nested containers of arrays, numbers or Tensors, alike in structure, shape
    and dtype. Returns `(value, tangent)`, or `(value, tangent, aux)` with `has_aux`, when f returns `(value, aux)`.
    Results are NumPy's if all primals were, else Tensors. Raises `TypeError` for integer primals or unlike tangents.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.jvp(np.sin, (0.0,), (1.0,))
    (np.float64(0.0), np.float64(1.0))
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError("jvp takes the primals and the tangents as tuples: pb.jvp(f, (x,), (t,))")
    leaves, tree = flatten(tuple(primals))
    directions, tangent_tree = flatten(tuple(tangents))
    if not tree.same_as(tangent_tree):
        raise TypeError("jvp: primals and tangents must have the same structure")
    xs = [as_operand(x, "jvp") for x in leaves]
    back = unlike(leaves)
    with nested() as level:
        duals = []
        for x, t in zip(xs, directions, strict=True):
            t = as_operand(t, "jvp", like=x)
            duals.append(new_handle(Dual(content(x), content(t), 2 * level)))
        result = run_program(f, tree.unflatten(duals), {}, leaves)
        aux = None
        if has_aux:
            result, aux = result
        outs, out_tree = flatten(result)
        values, derivatives = zip(*(_split(out, 2 * level) for out in outs), strict=True) if outs else ((), ())
        if has_aux:
            found, aux_tree = flatten(aux)
            aux = aux_tree.unflatten([back(_split(a, 2 * level)[0]) if isinstance(a, Handle) else a for a in found])
    value, tangent = out_tree.unflatten(list(map(back, values))), out_tree.unflatten(list(map(back, derivatives)))
    return (value, tangent, aux) if has_aux else (value, tangent)


def _split(out: Any, level: int) -> tuple[Any, Any]:
    """Primal and tangent of a result, as handles."""
    if isinstance(out, Handle):
        found = out._value
        if isinstance(found, Dual) and found.level == level:
            return _handle(found.primal), _handle(found.tangent)
        return out, new_handle(np.zeros(out.shape, found.dtype))
    value = np.asarray(out)
    return new_handle(value), new_handle(np.zeros_like(value))


def _handle(value: Any) -> Any:
    return value if isinstance(value, Handle) else new_handle(value)
