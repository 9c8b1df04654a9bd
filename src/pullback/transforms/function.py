"""`autograd.Function`: an operation whose forward and backward are written by hand, as in PyTorch."""

from __future__ import annotations

import copy
import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.control import identity
from pullback.tape.node import (
    Handle,
    LeafMark,
    Node,
    Projection,
    edge_of,
    is_inexact,
    new_handle,
    note,
    payload,
    version_of,
)
from pullback.tape.state import enable_grad, modes, nested, no_grad
from pullback.tensor.dispatch import is_raw
from pullback.tensor.inplace import move
from pullback.transforms.calls import (
    Call,
    CustomNode,
    Lanes,
    Pulling,
    VjpCall,
    batched_function,
    batched_rule,
    bind,
    is_at,
    stripped,
)
from pullback.transforms.lifting import to_handle

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx:
    """What `forward` leaves for `backward`: saved tensors, and any attributes of its own."""

    needs_input_grad: tuple[bool, ...] = ()
    _saved: tuple[Any, ...] | None = ()
    _to_save: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _constant: tuple[Any, ...] = ()
    _materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep inputs, results or other tensors (or None) for `backward`, which finds them in `saved_tensors`.

        Writes to them in place are noticed, and raise an error in backward.
        """
        for i, x in enumerate(tensors):
            if not isinstance(x, Handle) and x is not None:
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type {type(x).__name__}; "
                    "keep other values as attributes of ctx"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for `jvp`."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept. Raises `RuntimeError` if it was freed by a backward pass."""
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). Pass retain_graph=True to the first backward if you need them again."
            )
        return self._saved

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs `forward` has written in place; they must be among its results."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which results are constants."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros (the default) or None for results through which no gradient came."""
        self._materialize = bool(value)


class Function:
    """An operation with a derivative written by hand: subclass it with static methods `forward` and `backward`.

    `forward(ctx, *args)` computes the results, unrecorded; `backward(ctx, *gradients)` gives one gradient, or None,
    for each argument. With `setup_context(ctx, inputs, output)` forward takes no ctx. `jvp(ctx, *tangents)`, if given,
    serves forward mode. Use it as `MyFunction.apply(*args)`. A backward written with tensor operations can be
    differentiated again.

    >>> import pullback as pb
    >>> class Square(pb.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * g
    >>> x = pb.tensor(3.0, requires_grad=True)
    >>> y = Square.apply(x)
    >>> y.backward()
    >>> x.grad
    tensor(6.)
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results from the arguments."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep what backward needs; if overridden, `forward` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The tangents of the results from those of the arguments."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` on the arguments and put its results on the tape."""
        if kwargs:
            own = () if cls.setup_context is not Function.setup_context else (None,)  # ctx
            bound = inspect.signature(cls.forward).bind(*own, *args, **kwargs)
            bound.apply_defaults()
            args = bound.args[len(own) :]
        call = FunctionCall(cls)
        results = bind(call, list(args))
        return tuple(results) if call.is_tuple else results[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. "
            f"Make forward and backward static and call {type(self).__name__}.apply(...)."
        )


class FunctionCall(Call):
    """One application of a `Function`, whose arguments are those of `apply`."""

    def __init__(self, function: type[Function]) -> None:
        self.function = function
        self.name = function.__name__
        self.is_tuple = False

    def run(self, ctx: FunctionCtx, args: Sequence[Any]) -> list[Any]:
        """The results of `forward`, in a list."""
        function = self.function
        if function.setup_context is not Function.setup_context:
            result = function.forward(*args)
            function.setup_context(ctx, tuple(args), result)
        else:
            result = function.forward(ctx, *args)
        self.is_tuple = isinstance(result, tuple)
        return list(result) if isinstance(result, tuple) else [result]

    def primal(self, args: list[Any]) -> list[Any]:
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple([isinstance(x, Handle) and x._node is not None for x in args])
        return self.run(ctx, args)

    def record(self, args: list[Any], level: int) -> list[Any]:
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple([is_at(arg, level) for arg in args])
        raw = all(not isinstance(arg, Handle) or is_raw(arg) for arg in args)
        # Plain arrays: forward sees the very arguments, unrecorded. Else the levels below must go on recording.
        inner = args if raw else [stripped(arg, level) for arg in args]
        with no_grad() if raw else enable_grad():
            outs = self.run(ctx, inner)
        for below, arg in zip(inner, args, strict=True):
            if any(below is x for x in ctx._dirty) and type(arg._node) is LeafMark:
                raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
        node = FunctionNode(self, args, inner, outs, level, ctx)
        return node.attach(args, inner, outs)

    def forward(self, args: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        """The rule under `vmap`: like `record`, but what is saved is listed, and the tape is the caller's affair."""
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(wanted)
        outs = self.run(ctx, args)
        places = [i for i, x in enumerate(ctx._to_save) if x is not None]
        count = len(args)

        def backward(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
            own = copy.copy(ctx)
            values = [None] * len(ctx._to_save)
            for i, x in zip(places, saved, strict=True):
                values[i] = x
            own._saved = tuple(values)
            return _gradients(self.function, own, cotangents, count)

        return outs, [ctx._to_save[i] for i in places], backward

    def push(self, primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        ctx = FunctionCtx()
        ctx.needs_input_grad = (False,) * len(primals)
        outs = self.run(ctx, primals)
        if ctx._to_save and not ctx._saved:
            ctx._saved = ctx._to_save
        directions = [
            new_handle(np.zeros(tuple(x.shape), x._value.dtype))
            if t is None and isinstance(x, Handle) and ctx._materialize
            else t
            for x, t in zip(primals, tangents, strict=True)
        ]
        found = self.function.jvp(ctx, *directions)
        return outs, list(found) if isinstance(found, tuple | list) else [found]

    def batched(self, lanes: Lanes) -> Call:
        return _BatchedFunctionCall(self, lanes)


class _BatchedFunctionCall(VjpCall):
    """A `Function` applied to the elements of a batch; its forward and backward run on batched tensors."""

    def __init__(self, call: FunctionCall, lanes: Lanes) -> None:
        super().__init__(call.name, batched_function(call.primal, lanes), batched_rule(call.forward, lanes))
        self.call = call
        self.lanes = lanes

    def push(self, primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        lanes = self.lanes
        with nested() as depth:
            level = 2 * depth
            moving = Lanes(
                lanes.size, tuple(has and t is not None for has, t in zip(lanes.flags, tangents, strict=True))
            )
            outs, found = self.call.push(lanes.enter(primals, level), moving.enter(tangents, level))
            return [lanes.leave(y, level) for y in outs], [None if t is None else lanes.leave(t, level) for t in found]


def _gradients(function: type[Function], ctx: FunctionCtx, cotangents: Sequence[Any], count: int) -> list[Any]:
    """What `backward` gives, one for each argument.

    Raises `RuntimeError`, worded as PyTorch's, for another number, or what is neither a Tensor nor None.
    """
    found = function.backward(ctx, *cotangents)
    grads = list(found) if isinstance(found, tuple | list) else [found]
    if len(grads) < count or any(g is not None for g in grads[count:]):
        raise RuntimeError(
            f"function {function.__name__}Backward returned an incorrect number of gradients "
            f"(expected {count}, got {len(grads)})"
        )
    for g in grads:
        if g is not None and not isinstance(g, Handle):
            raise RuntimeError(f"expected Variable or None (got {type(g).__name__})")
    return grads[:count]


class _SavedResult:
    """A result that was saved, without its handle, which would keep the node, and the node it."""

    __slots__ = ("handle", "index", "value", "version")

    def __init__(self, index: int, value: Any) -> None:
        self.index = index
        self.value = value
        self.settle(None)

    def settle(self, handle: Any) -> None:
        """Take note of the handle that the result got."""
        self.handle = None if handle is None else weakref.ref(handle)
        self.version = 0 if handle is None else version_of(handle)


class FunctionNode(CustomNode):
    """The place on the tape of a `Function`."""

    __slots__ = ("constants", "ctx", "order")

    ctx: FunctionCtx
    order: list[_SavedResult | int]  # the saved tensors in order: results, and the places of others in `saved`

    def __init__(
        self, call: FunctionCall, args: list[Any], inner: list[Any], outs: list[Any], level: int, ctx: FunctionCtx
    ) -> None:
        super().__init__(call, args, outs, level, [], _unused)
        self.operands = []
        self.constants = tuple([not isinstance(a, Handle) for a in args])
        self.ctx = ctx
        self.order = []
        handles: list[Any] = []
        for x in ctx._to_save:
            index = -1 if x is None else next((i for i, y in enumerate(outs) if x is y), -1)
            argument = (
                None if x is None else next((a for a, below in zip(args, inner, strict=True) if x is below), None)
            )
            if index >= 0 and (argument is None or any(x is y for y in ctx._dirty)):
                self.order.append(_SavedResult(index, payload(stripped(x, level))))
            else:
                handles.append(x if argument is None else argument)
                self.order.append(len(handles))
        self.saved = (None, *handles)
        self.versions = (0, *[0 if x is None else version_of(x) for x in handles])
        ctx._to_save = ()

    def place(self, index: int) -> Node:
        """The place of one of the results."""
        count = len(self.results)
        return self if count == 1 else Projection(self, index, count)

    def attach(self, args: list[Any], inner: list[Any], outs: list[Any]) -> list[Any]:
        """The results of `forward` at this node: an input that was written moves there, a new tensor is put there."""
        dirty, constant = self.ctx._dirty, self.ctx._constant
        self.ctx._dirty = self.ctx._constant = ()
        results = []
        for i, y in enumerate(outs):
            if not isinstance(y, Handle):
                results.append(y)
                continue
            argument = next((a for a, below in zip(args, inner, strict=True) if y is below), None)
            value = payload(stripped(y, self.level))
            if any(y is x for x in constant) or not is_inexact(value):
                handle = stripped(y, self.level) if argument is None else new_handle(value)
            elif argument is not None and any(y is x for x in dirty):
                handle = argument
                with enable_grad():
                    move(handle, new_handle(value, self.place(i)))
            else:
                handle = y if argument is None and y._node is None else new_handle(value)
                handle._node = self.place(i)
                if argument is not None:
                    handle._base = argument if argument._base is None else argument._base
                note(handle)
            for saved in self.order:
                if isinstance(saved, _SavedResult) and saved.index == i:
                    saved.settle(handle)
            results.append(handle)
        return results

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept. Raises `RuntimeError` if it was freed."""
        return self.unpack(True)

    def gradients(self, cotangents: list[Any], lift: bool, create_graph: bool) -> Sequence[Any]:
        # Without `lift` nothing is recorded, and backward may see the tensors as they were.
        saved = self.unpack(create_graph or not lift)
        ctx = copy.copy(self.ctx)  # results lead back here: the node's own context must not keep them
        ctx._saved = saved
        gs = self.materialized(cotangents) if ctx._materialize else cotangents
        grads = _gradients(self.op.function, ctx, gs, len(self.constants))
        for i, (g, is_constant) in enumerate(zip(grads, self.constants, strict=True), 1):
            if g is not None and is_constant:
                raise RuntimeError(
                    f"function {self.name()} returned a gradient different than None at position {i}, "
                    "but the corresponding forward input was not a Variable"
                )
        return grads

    def unpack(self, tracked: bool) -> tuple[Any, ...]:
        """The saved tensors, in order."""
        handles = self.handles(tracked)
        values: list[Any] = []
        for item in self.order:
            if isinstance(item, int):
                values.append(handles[item])
                continue
            holder = None if item.handle is None else item.handle()
            if holder is not None and version_of(holder) != item.version:
                self._modified(f"result {item.index}", holder, item.version, version_of(holder))
            values.append(new_handle(item.value, self.place(item.index) if tracked else None))
        return tuple(values)

    def release(self) -> None:
        if self.order:
            super().release()
            self.order = []


def _unused(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
    raise AssertionError("a FunctionNode calls its context's backward")


class _TwiceError(Node):
    """The place on the tape of what a `once_differentiable` backward gave."""

    __slots__ = ()

    def name(self) -> str:
        return "DelayedError"

    def pull(self, g: Any, lift: bool, create_graph: bool, gated: bool = False) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for a `backward` that can't be differentiated in turn: an attempt raises `RuntimeError`."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *args: Any) -> Any:
        with no_grad():
            found = backward(ctx, *args)
        tracked = [x for x in args if isinstance(x, Handle) and x._node is not None]
        if not modes.grad or not tracked:
            return found
        node = _TwiceError(identity, tuple(map(edge_of, tracked)), (), None, level=tracked[0].level >> 1)
        marked = [
            new_handle(payload(to_handle(g)), node) if isinstance(g, Handle) else g
            for g in (found if isinstance(found, tuple) else (found,))
        ]
        return tuple(marked) if isinstance(found, tuple) else marked[0]

    return wrapper
