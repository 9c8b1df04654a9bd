"""Calls: functions of handles with a derivative rule of their own, bound like ops.

A call is bound at the outermost level among its arguments: on the tape it becomes one `CustomNode`, under `jvp` its
forward rule is run, under `vmap` it is bound again one level down, as the same call on the batched values. The rules
themselves are ordinary code on the values of lower levels, which differentiate through it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.ops.shape import broadcast_to, sum_, sum_to
from pullback.tape.engine import walk
from pullback.tape.node import (
    Handle,
    LeafMark,
    Node,
    Projection,
    content,
    edge_of,
    is_inexact,
    new_handle,
    next_number,
    note,
    payload,
    snapshot,
    strip,
    version_of,
    wrap,
)
from pullback.tape.state import enable_grad, modes, nested, no_grad, numpy_promotion
from pullback.tensor.dispatch import is_raw, to_dtype
from pullback.transforms.forward import Dual
from pullback.transforms.lifting import to_handle
from pullback.transforms.vmap import Batch
from pullback.values.shape import Spec, spec_of

__all__ = [
    "Backward",
    "Call",
    "CustomNode",
    "JvpCall",
    "Lanes",
    "Pulling",
    "VjpCall",
    "batched_function",
    "batched_rule",
    "bind",
    "is_at",
    "stripped",
]

Backward = Callable[[Sequence[Any], list[Any]], Sequence[Any]]  # (saved, cotangents of all results) -> of all arguments
Pulling = tuple[list[Any], list[Any], Backward]  # results, handles to save, and the way back


Rule = Callable[[list[Any], Sequence[bool], int, bool], Pulling]  # what `Call.forward` is


class Call(ABC):
    """A function of a list of values (handles, or constants of any kind), with a derivative rule of its own."""

    name: str
    masks = False
    plain = False

    @property
    def title(self) -> str:
        """The name of its node."""
        return f"{self.name}Backward"

    @abstractmethod
    def primal(self, args: list[Any]) -> list[Any]:
        """The function itself."""

    @abstractmethod
    def forward(self, args: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        """Its results, and the way back from them to the arguments that are `wanted`.

        With `create_graph` the way back is recorded on the tape of `level`, where the arguments then are.
        """

    @abstractmethod
    def push(self, primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """Its results and their tangents; the tangents of constants are None."""

    @abstractmethod
    def batched(self, lanes: Lanes) -> Call:
        """The same call on arguments that have the batch in front where `lanes` says so; every result has it."""

    def record(self, args: list[Any], level: int) -> list[Any]:
        """Its results on the tape of `level`.

        The rule runs below the tape, so that it may call the function itself; for a higher derivative it runs again,
        on the tape.
        """
        inner = [stripped(arg, level) for arg in args]
        outs, saved, backward = self.forward(inner, [is_at(arg, level) for arg in args], level, False)
        outs = list(map(to_handle, outs))
        if any(is_at(y, level) for y in outs):
            raise RuntimeError(
                f"{self.name} uses a tracked tensor that is not one of its arguments, and its derivative rule would "
                "drop that dependence. Pass the tensor as an argument, or as a constant: pb.stop_gradient(tensor)."
            )
        saved = [next((arg for arg, below in zip(args, inner, strict=True) if x is below), x) for x in saved]
        node = CustomNode(self, args, outs, level, saved, backward)
        return attach_results(node, outs, [*inner, *saved])


class Lanes(NamedTuple):
    """Which of some values have the batch in front, and how large it is.

    Levels exist for the time of a `nested()` block, so a batch is entered and left within one, at its level.
    """

    size: int
    flags: tuple[bool, ...]

    def enter(self, values: Sequence[Any], level: int) -> list[Any]:
        """The values as one element of the batch sees them."""
        return [new_handle(Batch(content(v), level)) if has else v for v, has in zip(values, self.flags, strict=True)]

    def leave(self, result: Any, level: int) -> Any:
        """A result for all elements of the batch."""
        handle = to_handle(result)
        if is_batch(handle, level):
            return to_handle(handle._value.value)
        return wrap(broadcast_to(handle, shape=(self.size, *handle.shape)))

    def leave_cotangents(self, cotangents: Sequence[Any], level: int) -> list[Any]:
        """Cotangents of the values: summed over the batch for those without it."""
        return [
            d
            if d is None
            else self.leave(d, level)
            if has
            else wrap(sum_(self.leave(d, level), axis=(0,), keepdims=False))
            for d, has in zip(cotangents, self.flags, strict=True)
        ]


def is_batch(x: Any, level: int) -> bool:
    return isinstance(x, Handle) and x._node is None and isinstance(x._value, Batch) and x._value.level == level


def bind(call: Call, args: list[Any]) -> list[Any]:
    """Apply a call at the outermost level among its arguments."""
    top = max((arg for arg in args if isinstance(arg, Handle)), key=lambda arg: arg.level, default=None)
    level = -1 if top is None else top.level
    if top is None or level < 0:
        return call.primal(args)
    if level & 1:
        if modes.grad:
            return call.record(args, level >> 1)
        if level == 1:
            return call.primal(args)  # nothing is recorded, and there is nothing below
        return bind(call, [stripped(arg, level >> 1) for arg in args])
    if isinstance(top._value, Dual):
        return _bind_dual(call, args, level)
    if isinstance(top._value, Batch):
        flags = tuple([is_batch(arg, level) for arg in args])
        values = [to_handle(arg._value.value) if has else arg for arg, has in zip(args, flags, strict=True)]
        outs = bind(call.batched(Lanes(top._value.value.shape[0], flags)), values)
        return [new_handle(Batch(content(to_handle(out)), level)) for out in outs]
    return call.primal(args)


def _bind_dual(call: Call, args: list[Any], level: int) -> list[Any]:
    duals = [isinstance(a, Handle) and isinstance(a._value, Dual) and a._value.level == level for a in args]
    primals = [to_handle(a._value.primal) if dual else a for a, dual in zip(args, duals, strict=True)]
    tangents = [to_handle(a._value.tangent) if dual else None for a, dual in zip(args, duals, strict=True)]
    outs, derivatives = call.push(primals, tangents)
    results = []
    for y, t in zip(map(to_handle, outs), derivatives, strict=True):
        if t is not None and is_inexact(y._value):
            t = _fitted(to_handle(t), spec_of(y), f"{call.name}: the tangent of a result")
            y = new_handle(Dual(content(y), content(t), level))
        results.append(y)
    return results


def _fitted(g: Any, spec: Spec, what: str) -> Any:
    """A cotangent or tangent for a value of this shape and dtype: summed down if it was broadcast, cast.

    Raises `RuntimeError` if the shape does not fit.
    """
    shape = tuple(g.shape)
    if shape != spec.shape:
        try:
            fits = np.broadcast_shapes(shape, spec.shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(f"{what} - got {list(shape)} but expected shape compatible with {list(spec.shape)}")
        g = wrap(sum_to(g, spec.shape))
    if g._value.dtype.kind == "c" and spec.dtype.kind == "f":
        g = g.real
    return to_dtype(g, spec.dtype)


def is_at(x: Any, level: int) -> bool:
    """Whether `x` is tracked on the tape of `level`."""
    return isinstance(x, Handle) and x._node is not None and x._node.level == level


def stripped(x: Any, level: int) -> Any:
    """`x` as it is below the tape of `level`."""
    return strip(x) if is_at(x, level) else x


# On the tape


class CustomNode(Node):
    """The place on the tape of a call with a rule of its own: what the rule saved, and the way back."""

    __slots__ = ("arguments", "backward", "numpy", "operands", "results")

    def __init__(
        self,
        call: Any,
        args: Sequence[Any],
        outs: Sequence[Any],
        level: int,
        saved: Sequence[Handle],
        backward: Backward,
    ) -> None:
        edges = tuple([edge_of(a) if is_at(a, level) else None for a in args])
        super().__init__(call, edges, (None, *saved), (0, *map(version_of, saved)), level=level)
        self.operands = [(snapshot(a), version_of(a) if isinstance(a, Handle) else 0) for a in args]
        self.arguments = [None if edge is None else spec_of(a) for a, edge in zip(args, edges, strict=True)]
        self.results = [spec_of(y) if isinstance(y, Handle) else None for y in outs]
        self.backward = backward
        self.numpy = modes.numpy

    def pull(self, g: Any, lift: bool, create_graph: bool, gated: bool = False) -> Any:
        cotangents = [
            None if d is None else d if isinstance(d, Handle) else new_handle(d)
            for d in (g if type(g) is tuple else (g,))
        ]
        with numpy_promotion(self.numpy), enable_grad() if lift else no_grad():
            found = self.gradients(cotangents, lift, create_graph)
            grads = []
            for i, (d, spec) in enumerate(zip(found, self.arguments, strict=True)):
                if d is not None and spec is not None:
                    d = _fitted(to_handle(d), spec, f"Function {self.name()} returned an invalid gradient at index {i}")
                    if not lift:
                        d = d._value[...] if d._value.ndim else d._value[()]  # not an array that others hold
                    elif not create_graph:
                        d = stripped(d, self.level)
                grads.append(None if spec is None else d)
        return grads

    def gradients(self, cotangents: list[Any], lift: bool, create_graph: bool) -> Sequence[Any]:
        """Handles, or None, of the cotangents of all arguments."""
        saved: Sequence[Any] = self.handles(create_graph)[1:]
        backward = self.backward
        if create_graph:
            for i, (arg, version) in enumerate(self.operands):
                if isinstance(arg, Handle) and version_of(arg) != version:
                    self._modified(f"operand {i}", arg, version, version_of(arg))
            args = [arg for arg, _ in self.operands]
            _, saved, backward = self.op.forward(args, [edge is not None for edge in self.edges], self.level, True)
        return backward(saved, self.materialized(cotangents))

    def materialized(self, cotangents: list[Any]) -> list[Any]:
        """Zeros where no cotangent of a tensor arrived."""
        return [
            new_handle(np.zeros(spec.shape, spec.dtype)) if g is None and spec is not None else g
            for g, spec in zip(cotangents, self.results, strict=True)
        ]

    def release(self) -> None:
        self.saved = None
        self.operands = []


def attach_results(node: CustomNode, outs: Sequence[Any], shared: Sequence[Any]) -> list[Any]:
    """Handles on the results of a call at its node; writes to one that is also among `shared` are counted for both."""
    results = []
    for i, y in enumerate(outs):
        value = payload(stripped(y, node.level))
        handle = new_handle(value)
        if is_inexact(value):
            handle._node = node if len(outs) == 1 else Projection(node, i, len(outs))
            note(handle)
        if any(y is other for other in shared):
            handle._base = y if y._base is None else y._base
        results.append(handle)
    return results


# Calls by their kind of rule


class VjpCall(Call):
    """A call whose rule is a pair of functions, forward and backward."""

    def __init__(self, name: str, function: Callable[[list[Any]], list[Any]], rule: Rule) -> None:
        self.name = name
        self.function = function
        self.rule = rule

    def primal(self, args: list[Any]) -> list[Any]:
        return self.function(args)

    def forward(self, args: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        return self.rule(args, wanted, level, create_graph)

    def push(self, primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        raise TypeError(
            f"can't apply forward-mode autodiff (jvp) to a custom_vjp function: {self.name} states only how to pull "
            "back. Use reverse mode (pb.grad, pb.vjp, pb.jacrev), or state the rule with custom_jvp, which serves both."
        )

    def batched(self, lanes: Lanes) -> VjpCall:
        return VjpCall(self.name, batched_function(self.function, lanes), batched_rule(self.rule, lanes))


def batched_function(function: Callable[[list[Any]], list[Any]], lanes: Lanes) -> Callable[[list[Any]], list[Any]]:
    """`function` on values with the batch in front."""

    def run(values: list[Any]) -> list[Any]:
        with nested() as depth:
            return [lanes.leave(y, 2 * depth) for y in function(lanes.enter(values, 2 * depth))]

    return run


def batched_rule(rule: Rule, lanes: Lanes) -> Rule:
    """A forward rule on values with the batch in front."""

    def run(values: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        with nested() as depth:
            inside = 2 * depth
            outs, saved, backward = rule(lanes.enter(values, inside), wanted, level, create_graph)
            outs = [lanes.leave(y, inside) for y in outs]
            kept = Lanes(lanes.size, tuple([is_batch(x, inside) for x in saved]))
            saved = [to_handle(x._value.value) if has else x for x, has in zip(saved, kept.flags, strict=True)]
        every = Lanes(lanes.size, (True,) * len(outs))

        def pull(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
            with nested() as depth:
                found = backward(kept.enter(saved, 2 * depth), every.enter(cotangents, 2 * depth))
                return lanes.leave_cotangents(found, 2 * depth)

        return outs, saved, pull

    return run


class JvpCall(Call):
    """A call whose rule is a function of primals and tangents, linear in the tangents."""

    def __init__(
        self,
        name: str,
        function: Callable[[list[Any]], list[Any]],
        rule: Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]],
    ) -> None:
        self.name = name
        self.function = function
        self.rule = rule

    def primal(self, args: list[Any]) -> list[Any]:
        return self.function(args)

    def push(self, primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        return self.rule(primals, [_zeros(x) if t is None else t for x, t in zip(primals, tangents, strict=True)])

    def forward(self, args: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        """The rule is run with tangents that are leaves of the tape, and transposed by walking back to them."""
        directions = [_zeros(x) for x in args]
        goals = [d for d, need in zip(directions, wanted, strict=True) if need]
        for d in goals:
            d._node = LeafMark(level, next_number())
        outs, tangents = self.rule(args, directions)
        outs = list(map(to_handle, outs))
        pushed = [
            None
            if t is None or not is_inexact(y._value)
            else _fitted(to_handle(t), spec_of(y), f"{self.name}: the tangent")
            for y, t in zip(outs, tangents, strict=True)
        ]

        def backward(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
            pairs: list[Any] = [(t, g) for t, g in zip(pushed, cotangents, strict=True) if is_at(t, level)]
            raw = not create_graph and all(is_raw(h) for pair in pairs for h in pair)
            _, _, arrived = walk(
                [edge_of(t) for t, _ in pairs], [g._value if raw else g for _, g in pairs], goals, True, create_graph
            )
            found = iter(arrived)
            return [next(found) if need else None for need in wanted]

        return outs, [], backward

    def batched(self, lanes: Lanes) -> JvpCall:
        def rule(primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
            with nested() as depth:
                level = 2 * depth
                outs, derivatives = self.rule(lanes.enter(primals, level), lanes.enter(tangents, level))
                return [lanes.leave(y, level) for y in outs], [
                    None if t is None else lanes.leave(t, level) for t in derivatives
                ]

        return JvpCall(self.name, batched_function(self.function, lanes), rule)


def _zeros(x: Any) -> Any:
    handle = to_handle(x)
    return new_handle(np.zeros(tuple(handle.shape), handle._value.dtype))
