"""Functions of pullback as functions of PyTorch, with gradients either way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.tape.node import new_handle, strip
from pullback.tape.state import no_grad
from pullback.transforms.lifting import run_program, to_handle
from pullback.transforms.reverse import vjp
from pullback.transforms.tree import Tree, flatten

__all__ = ["as_torch"]

_KINDS: Final = "biufc"
_INEXACT: Final = "fc"


def as_torch(f: Callable[..., Any], compile: Callable[[Callable[..., Any]], Any] | None = None) -> Callable[..., Any]:
    """`f` as a function of PyTorch's tensors, which PyTorch differentiates by pullback's derivative of `f`.

    It takes nested containers of `torch.Tensor`s on the CPU, and gives tensors in the containers of f's result; what is
    no tensor (numbers, strings) goes to f as it is. f sees the memory of a tensor as a Tensor of pullback, with
    PyTorch's promotion of dtypes, and may not write to it; a result's memory becomes that of the tensor returned,
    unless it is an argument's, which is copied.

    Gradients flow to those arguments that require one, and may be differentiated again (`create_graph=True`), at the
    cost of running f once more. Integer and boolean results are not differentiable. `compile` is applied to f first.
    Raises `TypeError` for a tensor that NumPy can't see: on another device, sparse, or of another dtype (bfloat16), and
    `ValueError` where f writes to an argument.

    >>> import numpy as np
    >>> import torch
    >>> from pullback.compile.export.torch import as_torch
    >>> f = as_torch(lambda x: np.sum(np.sin(x) ** 2))
    >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
    >>> f(x).backward()
    >>> x.grad
    tensor([0.0000, 0.9093])
    """
    run = f if compile is None else compile(f)

    @functools.wraps(f, updated=())
    def function(*args: Any, **kwargs: Any) -> Any:
        import torch

        leaves, tree = flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        tensors = [leaves[i] for i in places]
        for tensor in tensors:
            _check(tensor)
        run_of_it = _Run(run, leaves, tree, places)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            outs = _function().apply(run_of_it, *tensors)
        else:
            outs = run_of_it.forward([_to_numpy(tensor) for tensor in tensors], ())[0]
        return run_of_it.out_tree.unflatten(outs)

    return function


class _Run:
    """One call of a function: its arguments, some of which are tensors, and the containers of its result."""

    def __init__(self, f: Callable[..., Any], leaves: Sequence[Any], tree: Tree, places: Sequence[int]) -> None:
        self.f = f
        self.leaves = leaves
        self.tree = tree
        self.places = places
        self.out_tree: Tree
        self.smooth: list[int] = []  # the numbers of the results that have a derivative

    def outs(self, arrays: Sequence[Any]) -> list[Any]:
        """The leaves of f's result, at Tensors in the places of the tensors."""
        leaves = list(self.leaves)
        for i, array in zip(self.places, arrays, strict=True):
            leaves[i] = array
        args, kwargs = self.tree.unflatten(leaves)
        found, self.out_tree = flatten(run_program(self.f, args, kwargs, leaves))
        outs = [to_handle(out) for out in found]
        self.smooth = [i for i, out in enumerate(outs) if out._value.dtype.kind in _INEXACT]
        return outs

    def forward(self, arrays: Sequence[Any], active: Sequence[int]) -> tuple[list[Any], Callable[..., Any] | None]:
        """The results as PyTorch's tensors, and the way back to the `active` ones of the arrays, if there are any."""
        if active:
            rest: list[Any]

            def inexact(*primals: Any) -> tuple[list[Any], list[Any]]:
                given = [new_handle(array) for array in arrays]
                for i, primal in zip(active, primals, strict=True):
                    given[i] = primal
                outs = self.outs(given)
                return [outs[i] for i in self.smooth], [out for i, out in enumerate(outs) if i not in self.smooth]

            values, pull, rest = vjp(inexact, *(new_handle(arrays[i]) for i in active), has_aux=True)
        else:
            with no_grad():
                outs = self.outs([new_handle(_read_only(array)) for array in arrays])
            values, pull = [outs[i] for i in self.smooth], None
            rest = [out for i, out in enumerate(outs) if i not in self.smooth]
        smooth, others = iter(values), iter(rest)
        ordered = [next(smooth if i in self.smooth else others) for i in range(self.out_tree.size)]
        return [_to_torch(strip(out)._value, arrays) for out in ordered], pull


@functools.cache
def _function() -> Any:
    """The `torch.autograd.Function` that runs a `_Run` and the way back."""
    import torch

    class PullbackFunction(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, run: _Run, *tensors: Any) -> Any:
            ctx.set_materialize_grads(False)
            ctx.run, ctx.active = run, [i for i, needed in enumerate(ctx.needs_input_grad[1:]) if needed]
            outs, ctx.pull = run.forward([_to_numpy(tensor) for tensor in tensors], ctx.active)
            ctx.smooth = run.smooth
            ctx.shapes = [(outs[i].shape, outs[i].dtype) for i in run.smooth]
            ctx.mark_non_differentiable(*(out for i, out in enumerate(outs) if i not in run.smooth))
            ctx.save_for_backward(*tensors)
            return tuple(outs)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            tensors = ctx.saved_tensors  # raises if one was changed in place since
            given = [grads[i] for i in ctx.smooth]
            cotangents = [
                torch.zeros(shape, dtype=dtype) if g is None else g
                for g, (shape, dtype) in zip(given, ctx.shapes, strict=True)
            ]
            if torch.is_grad_enabled():
                found = _pulled(ctx.run, ctx.active)(list(tensors), cotangents)
            else:
                pulled = ctx.pull([new_handle(_to_numpy(g)) for g in cotangents])
                found = [_to_torch(strip(d)._value, ()) for d in pulled]
            slopes: list[Any] = [None] * len(tensors)
            for i, d in zip(ctx.active, found, strict=True):
                slopes[i] = d
            return None, *slopes

    return PullbackFunction


def _pulled(run: _Run, active: Sequence[int]) -> Callable[..., Any]:
    """The way back as a function of PyTorch's tensors, to be differentiated in turn."""

    def pulled(arrays: list[Any], cotangents: list[Any]) -> list[Any]:
        def inexact(*primals: Any) -> list[Any]:
            again = _Run(run.f, run.leaves, run.tree, run.places)
            outs = again.outs(list((dict(enumerate(arrays)) | dict(zip(active, primals, strict=True))).values()))
            return [outs[i] for i in again.smooth]

        return list(vjp(inexact, *(arrays[i] for i in active))[1](cotangents))

    return as_torch(pulled)


# Between the libraries, through DLPack


def _check(tensor: Any) -> None:
    """Raise `TypeError` for a tensor that NumPy can't see."""
    import torch

    if tensor.device.type != "cpu":
        raise TypeError(f"as_torch: expected tensors on the CPU, this one is on {tensor.device}; move it by .cpu()")
    if tensor.layout is not torch.strided:
        raise TypeError(f"as_torch: expected dense tensors, this one is {tensor.layout}; convert it by .to_dense()")
    try:
        known = np.dtype(str(tensor.dtype).removeprefix("torch.")).kind in _KINDS
    except TypeError:
        known = False
    if not known:
        raise TypeError(f"as_torch: NumPy has no {tensor.dtype}; convert the tensor, by .float() for example")


def _to_numpy(tensor: Any) -> Any:
    """An array on the memory of a tensor."""
    return np.from_dlpack(tensor.detach().resolve_conj().resolve_neg())


def _read_only(array: Any) -> Any:
    array = array.view()
    array.flags.writeable = False
    return array


def _to_torch(value: Any, arguments: Sequence[Any]) -> Any:
    """A tensor on the memory of a result, or of a copy if that is not its own."""
    import torch

    array = np.asarray(value)
    shared = any(np.may_share_memory(array, argument) for argument in arguments)
    if shared or not array.flags.writeable or min(array.strides, default=1) <= 0:
        array = np.array(array)
    return torch.from_dlpack(array)
