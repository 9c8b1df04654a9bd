"""Tools for parameters: as one vector and back, gradient clipping, calls with other parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pullback.nn.module import Module, replaced
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import modes, no_grad
from pullback.tensor.conversion import is_tensor
from pullback.tensor.dispatch import materialize
from pullback.tensor.inplace import bump
from pullback.tensor.joining import cat, stack
from pullback.tensor.matrix_norms import vector_norm

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "functional_call",
    "get_total_norm",
    "parameters_to_vector",
    "vector_to_parameters",
]


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, one after another, as one vector; differentiable."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Set the parameters to the parts of a vector, one after another."""
    if not is_tensor(vec):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        size = int(np.prod(parameter.shape, dtype=np.int64))
        parameter.data = vec.narrow(0, start, size).view_as(parameter).data
        start += size


def _gradients(parameters: Any) -> list[Any]:
    parameters = [parameters] if isinstance(parameters, Handle) else list(parameters)
    if modes.tracer is not None:
        for parameter in parameters:
            modes.tracer.reads_grad(parameter)
    return [parameter._grad for parameter in parameters if parameter._grad is not None]


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Any:
    """The `norm_type`-norm of all tensors as if they were one vector. Raises `RuntimeError` for one that is not finite
    if asked to.
    """
    tensors = [tensors] if isinstance(tensors, Handle) else list(tensors)
    if not tensors:
        return new_handle(np.asarray(0.0, np.float32))
    order = float(norm_type)
    if modes.tracer is not None:
        with no_grad():
            return vector_norm(stack([vector_norm(t, order).to(tensors[0].dtype) for t in tensors]), order)
    norms = [np.linalg.norm(t._value.ravel(), order) for t in tensors]
    total = np.asarray(np.linalg.norm(np.stack(norms), order), norms[0].dtype)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {order} for gradients from `parameters` is non-finite, so it cannot be clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return new_handle(total)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Scale the gradients, in place, by max_norm/total_norm where that is below 1."""
    if modes.tracer is not None:
        with no_grad():
            factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
            for gradient in _gradients(parameters):
                gradient.mul_(factor.to(gradient.dtype))
        return
    scale = float(max_norm) / (float(total_norm._value) + 1e-6)
    if not scale >= 1.0:
        for gradient in _gradients(parameters):
            array = materialize(gradient)
            np.multiply(array, array.dtype.type(scale), out=array)
            bump(gradient)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
    """Scale all gradients, in place, so that their norm as one vector is at most `max_norm`; returns what it was."""
    parameters = [parameters] if isinstance(parameters, Handle) else list(parameters)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Hold every element of all gradients, in place, between -clip_value and clip_value."""
    bound = float(clip_value)
    for gradient in _gradients(parameters):
        if modes.tracer is not None:
            with no_grad():
                gradient.clamp_(-bound, bound)
            continue
        array = materialize(gradient)
        np.clip(array, -bound, bound, out=array)
        bump(gradient)


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other tensors in the place of the parameters and buffers that are named.

    The module itself is not changed. What is shared under several names is replaced under all of them. Raises
    `ValueError` for a name the module doesn't have if `strict`, or two tensors for what is shared.

    >>> import pullback as pb
    >>> layer = pb.nn.Linear(2, 1, bias=False)
    >>> functional_call(layer, {"weight": pb.tensor([[1.0, 2.0]])}, pb.tensor([3.0, 4.0]))
    tensor([11.])
    """
    dicts = parameter_and_buffer_dicts
    given: dict[str, Any] = {}
    for names in [dicts] if isinstance(dicts, Mapping) else dicts:
        given |= names
    members = dict(module.named_parameters(remove_duplicate=False))
    members |= dict(module.named_buffers(remove_duplicate=False))
    unexpected = [name for name in given if name not in members]
    missing = [name for name in members if name not in given]
    if unexpected:
        raise KeyError(f"the module has no parameter or buffer {', '.join(map(repr, unexpected))}")
    if strict and missing:
        raise RuntimeError(f"Missing key(s): {', '.join(map(repr, missing))}.")
    new: dict[int, Any] = {}
    for name, value in given.items():
        if new.setdefault(id(members[name]), value) is not value:
            raise ValueError(f"functional_call got different values for {name!r}, which is shared with another name")
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    return replaced(module, new)(*args, **(kwargs or {}))
