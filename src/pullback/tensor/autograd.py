"""Gradients of tensors: `backward()`, `grad()`, and what a tensor shows of its place on the tape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pullback.tape.engine import accumulate_into_leaves, walk
from pullback.tape.node import Handle, LeafMark, edge_of, new_handle
from pullback.tape.state import enable_grad
from pullback.tensor.dispatch import is_raw

__all__ = ["backward", "grad"]

_ONE = {kind: kind(1) for kind in (np.float16, np.float32, np.float64, np.complex64, np.complex128)}


def _sequence(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, Handle | int | float) or value is None else tuple(value)


def _cotangents(roots: Sequence[Handle], gradients: Sequence[Any], lift: bool) -> list[Any]:
    """One cotangent for each root, checked, as arrays or (if `lift`) as handles."""
    if len(roots) != len(gradients):
        raise RuntimeError(f"got {len(roots)} tensors and {len(gradients)} gradients")
    found = []
    for root, gradient in zip(roots, gradients, strict=True):
        if root._node is None:
            raise RuntimeError(
                "element 0 of tensors does not require grad and does not have a grad_fn: nothing it was computed from "
                "has requires_grad=True, or it was computed under no_grad()"
            )
        shape = root.shape
        if gradient is None:
            if shape != () and np.prod(shape) != 1:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs: this one has shape "
                    f"{tuple(shape)}; reduce it (.sum(), .mean()) or pass gradient="
                )
            g: Any = _ONE[root._value.dtype.type] if shape == () else np.ones(shape, root._value.dtype)
            found.append(new_handle(g) if lift else g)
            continue
        if not isinstance(gradient, Handle):
            gradient = new_handle(np.asarray(gradient))
        if tuple(gradient.shape) != tuple(shape):
            raise RuntimeError(
                f"Mismatch in shape: the gradient has shape {tuple(gradient.shape)}, the output {tuple(shape)}"
            )
        if lift:
            found.append(gradient)
        else:
            value = gradient._value
            found.append(value if value.dtype == root._value.dtype else value.astype(root._value.dtype))
    return found


def _must_lift(roots: Iterable[Handle], gradients: Iterable[Any], create_graph: bool) -> bool:
    return create_graph or any(not is_raw(h) for h in (*roots, *gradients) if isinstance(h, Handle))


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to the `.grad` of the leaves they depend on.

    `grad_tensors` are the cotangents, of the tensors' shapes; a scalar needs none. `retain_graph` keeps what the graph
    saved for another pass; `create_graph` records the pass itself, for higher derivatives, and implies it. With
    `inputs` only those tensors' `.grad` are added to. Nothing is changed if an error is raised.
    """
    if grad_tensors is None and inputs is None and not create_graph and isinstance(tensors, Handle):
        one = _ONE.get(type(tensors._value))  # the usual case: the gradient of one number
        node: Any = tensors._node
        if one is not None and node is not None:
            edge = tensors if type(node) is LeafMark else node
            accumulate_into_leaves(walk((edge,), (one,), None, bool(retain_graph), False), False)
            return
    roots = _sequence(tensors)
    retain = create_graph if retain_graph is None else retain_graph
    gradients = _sequence(grad_tensors) if grad_tensors is not None else (None,) * len(roots)
    lift = _must_lift(roots, gradients, create_graph)
    cotangents = _cotangents(roots, gradients, lift)
    edges = [edge_of(x) for x in roots]
    goals = None if inputs is None else [edge_of(x) for x in _sequence(inputs)]
    if not lift:
        arrived = walk(edges, cotangents, goals, retain, False)
    else:
        with enable_grad():
            arrived = walk(edges, cotangents, goals, retain, create_graph)
    if inputs is not None:
        chosen = _sequence(inputs)
        for leaf in [leaf for leaf in arrived[0] if not any(leaf is x for x in chosen)]:
            del arrived[0][leaf]
        for x, g in zip(chosen, arrived[2], strict=True):
            if g is not None and not isinstance(x._node, LeafMark):
                _add_grad(x, g)
    accumulate_into_leaves(arrived, create_graph)


def _add_grad(x: Any, g: Any) -> None:
    g = g if isinstance(g, Handle) else new_handle(g)
    x._grad = g if x._grad is None else x._grad + g


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` (weighted by `grad_outputs`) with respect to each of `inputs`.

    Returns a tuple of Tensors with the inputs' shapes and dtypes; no `.grad` is touched. An input that the outputs
    don't depend on raises `RuntimeError`, or gives None with `allow_unused`, or zeros with `materialize_grads`.

    >>> import pullback as pb
    >>> x = pb.tensor(3.0, requires_grad=True)
    >>> (g,) = pb.autograd.grad(x**3, x, create_graph=True)
    >>> pb.autograd.grad(g, x)
    (tensor(18.),)
    """
    roots, sources = _sequence(outputs), _sequence(inputs)
    for i, x in enumerate(sources):
        if x._node is None:
            raise RuntimeError(f"One of the differentiated Tensors does not require grad: input {i}")
    gradients = _sequence(grad_outputs) if grad_outputs is not None else (None,) * len(roots)
    lift = _must_lift(roots, gradients, create_graph)
    cotangents = _cotangents(roots, gradients, lift)
    retain = create_graph if retain_graph is None else retain_graph
    edges, goals = [edge_of(x) for x in roots], [edge_of(x) for x in sources]
    if lift:
        with enable_grad():
            _, _, found = walk(edges, cotangents, goals, retain, create_graph)
    else:
        _, _, found = walk(edges, cotangents, goals, retain, False)
    results: list[Any] = []
    for i, (x, g) in enumerate(zip(sources, found, strict=True)):
        if g is None:
            if materialize_grads:
                g = np.zeros(x.shape, x._value.dtype)
            elif not allow_unused:
                raise RuntimeError(
                    f"One of the differentiated Tensors appears to not have been used in the graph: input {i}. "
                    "Set allow_unused=True if this is the desired behavior."
                )
        elif isinstance(g, np.ndarray):
            g = g.copy() if g.base is not None or any(g is c for c in cotangents) else g
        results.append(g if g is None or isinstance(g, Handle) else new_handle(g))
    return tuple(results)
