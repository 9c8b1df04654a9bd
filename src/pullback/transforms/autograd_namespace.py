"""`pullback.autograd`: PyTorch's module of this name."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from pullback.tape.node import AccumulateGrad, Handle, Node
from pullback.tape.state import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_enabled,
    is_grad_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from pullback.tensor.autograd import backward
from pullback.tensor.autograd import grad as _grad
from pullback.tensor.core import Tensor
from pullback.transforms import function, functional
from pullback.transforms.function import Function
from pullback.transforms.vmap import vmap

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "graph",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]

Variable = Tensor
graph = SimpleNamespace(Node=Node, AccumulateGrad=AccumulateGrad)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` (weighted by `grad_outputs`) with respect to each of `inputs`.

    Returns a tuple of Tensors with the inputs' shapes and dtypes; no `.grad` is touched. An input that the outputs
    don't depend on raises `RuntimeError`, or gives None with `allow_unused`, or zeros with `materialize_grads`. With
    `is_grads_batched`, `grad_outputs` have a batch in front, and so have the gradients: rows of the Jacobian in one
    pass.

    >>> import pullback as pb
    >>> x = pb.tensor(3.0, requires_grad=True)
    >>> (g,) = pb.autograd.grad(x**3, x, create_graph=True)
    >>> pb.autograd.grad(g, x)
    (tensor(18.),)
    """
    if not is_grads_batched:
        return _grad(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads)
    if grad_outputs is None:
        raise RuntimeError("is_grads_batched=True needs grad_outputs with a batch in front")
    gradients: Sequence[Any] = (grad_outputs,) if isinstance(grad_outputs, Handle) else grad_outputs
    result: tuple[Any, ...] = vmap(
        lambda *gs: _grad(outputs, inputs, gs, retain_graph, create_graph, allow_unused, materialize_grads)
    )(*gradients)
    return result
