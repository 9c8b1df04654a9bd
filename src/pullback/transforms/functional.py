"""`pullback.autograd.functional`: derivatives of functions of Tensors, with PyTorch's signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.tape.engine import reach
from pullback.tape.node import Handle, edge_of, new_handle
from pullback.tape.state import enable_grad
from pullback.tensor.autograd import grad
from pullback.transforms.forward import jvp as _forward
from pullback.transforms.vmap import vmap

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

_STRICT = "This is not allowed in strict mode."
_NEEDS_V = (
    "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
)


def _as_tuple(x: Any, what: str, name: str) -> tuple[bool, tuple[Any, ...]]:
    """Whether `x` is a tuple, and it as one. Raises `TypeError` if anything in it is not a Tensor."""
    is_tuple = isinstance(x, tuple)
    found = x if is_tuple else (x,)
    for i, item in enumerate(found):
        if not isinstance(item, Handle):
            where = f"value at index {i}" if is_tuple else f"given {what}"
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the {where} has type "
                f"{type(item)}."
            )
    return is_tuple, found


def _unpack(is_tuple: bool, found: Sequence[Any]) -> Any:
    return tuple(found) if is_tuple else found[0]


def _arguments(inputs: Any, name: str, create_graph: bool) -> tuple[bool, list[Any]]:
    """New tensors for the inputs, tracked: derivatives are with respect to them, and nothing else that `func` uses."""
    is_tuple, found = _as_tuple(inputs, "inputs", name)
    return is_tuple, [x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in found]


def _constants(found: Sequence[Any], create_graph: bool) -> list[Any]:
    return list(found) if create_graph else [x.detach() for x in found]


def _weights(v: Any, like: Sequence[Any], like_is_tuple: bool, message: str, name: str) -> list[Any]:
    """The vector `v`, checked against what it goes with; ones if it is None and that is one number."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(message)
        return [new_handle(np.ones(tuple(like[0].shape), like[0]._value.dtype))]
    _, found = _as_tuple(v, "v", name)
    if len(found) != len(like):
        if like_is_tuple:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(found)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (item, x) in enumerate(zip(found, like, strict=True)):
        if item.shape != x.shape:
            where = f"Entry {i} in " if like_is_tuple else ""
            raise RuntimeError(f"{where}v has invalid size: should be {x.shape} but got {item.shape}.")
    return list(found)


def _check_outputs(outs: Sequence[Any], xs: Sequence[Any], strict: bool) -> None:
    """Raise `RuntimeError` in strict mode if a result depends on none of the inputs, or not on all of them."""
    if not strict:
        return
    for i, y in enumerate(outs):
        if not y.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed "
                "in a differentiable manner from the input when running in strict mode."
            )
    for j, x in enumerate(xs):
        if not any(_depends(y, x) for y in outs):
            raise RuntimeError(f"The output of the user-provided function is independent of input {j}. {_STRICT}")


def _depends(y: Any, x: Any) -> bool:
    root, goal = edge_of(y), edge_of(x)
    return root is goal or bool(reach([root], [goal]))


def _gradients(outs: Sequence[Any], xs: Sequence[Any], vs: Sequence[Any], create_graph: bool) -> list[Any]:
    """The cotangents of `xs`, zeros where a result does not depend on them."""
    pairs = [(y, v) for y, v in zip(outs, vs, strict=True) if y.requires_grad]
    if not pairs:
        return [new_handle(np.zeros(tuple(x.shape), x._value.dtype)) for x in xs]
    roots, weights = zip(*pairs, strict=True)
    return list(grad(roots, xs, weights, retain_graph=True, create_graph=create_graph, materialize_grads=True))


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`func(*inputs)` and the product of `v` with its Jacobian, which has the shapes of the inputs.

    `v` has the shapes of the results; it may be None for a single number. With `create_graph` the results can be
    differentiated; with `strict` a result that does not depend on an input raises `RuntimeError`.

    >>> import pullback as pb
    >>> pb.autograd.functional.vjp(lambda x: x**2, pb.tensor([1.0, 3.0]), pb.tensor([1.0, 1.0]))[1]
    tensor([2., 6.])
    """
    with enable_grad():
        is_tuple, xs = _arguments(inputs, "vjp", create_graph)
        out_is_tuple, outs = _as_tuple(func(*xs), "outputs of the user-provided function", "vjp")
        _check_outputs(outs, xs, strict)
        message = (
            "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
        )
        vs = _weights(v, outs, out_is_tuple, message, "vjp")
        found = _gradients(outs, xs, vs, create_graph)
    return _unpack(out_is_tuple, _constants(outs, create_graph)), _unpack(is_tuple, _constants(found, create_graph))


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """`func(*inputs)` and the product of its Jacobian with `v`, which has the shapes of the results.

    `v` has the shapes of the inputs; it may be None for a single number. One pass of forward mode. Options as `vjp`'s.

    >>> import pullback as pb
    >>> pb.autograd.functional.jvp(lambda x: x**2, pb.tensor([1.0, 3.0]), pb.tensor([1.0, 1.0]))[1]
    tensor([2., 6.])
    """
    out_is_tuple = False
    with enable_grad():
        is_tuple, xs = _arguments(inputs, "jvp", create_graph)
        vs = _weights(v, xs, is_tuple, _NEEDS_V, "jvp")
        if strict:
            _check_outputs(_as_tuple(func(*xs), "outputs of the user-provided function", "jvp")[1], xs, strict)

        def run(*args: Any) -> tuple[Any, ...]:
            nonlocal out_is_tuple
            out_is_tuple, outs = _as_tuple(func(*args), "outputs of the user-provided function", "jvp")
            return outs

        outs, tangents = _forward(run, tuple(xs), tuple(vs))
    return _unpack(out_is_tuple, _constants(outs, create_graph)), _unpack(
        out_is_tuple, _constants(tangents, create_graph)
    )


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func`: for each result and each input a Tensor of shape `result.shape + input.shape`.

    A Tensor if both are single, a tuple over the inputs or over the results, or a tuple (results) of tuples (inputs).
    One backward pass batched over the elements of each result, or with `strategy="forward-mode"` one forward pass
    batched over those of each input (`vectorize` is implied). Options as `vjp`'s.

    >>> import pullback as pb
    >>> pb.autograd.functional.jacobian(lambda x: x**2, pb.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise ValueError(f'Expected strategy to be either "forward-mode" or "reverse-mode", not {strategy!r}.')
    with enable_grad():
        is_tuple, xs = _arguments(inputs, "jacobian", create_graph)
        out_is_tuple, outs = _as_tuple(func(*xs), "outputs of the user-provided function", "jacobian")
        _check_outputs(outs, xs, strict)
        if strategy == "reverse-mode":
            rows = [_rows(y, xs, create_graph) for y in outs]
        else:
            columns = [_columns(func, xs, i) for i in range(len(xs))]
            rows = [list(row) for row in zip(*columns, strict=True)]
    return _unpack(out_is_tuple, [_unpack(is_tuple, _constants(row, create_graph)) for row in rows])


def _basis(x: Any) -> Any:
    """The unit vectors of the space of `x`, along a new first axis."""
    size = x.numel()
    return new_handle(np.eye(size, dtype=x._value.dtype).reshape(size, *x.shape))


def _rows(y: Any, xs: Sequence[Any], create_graph: bool) -> list[Any]:
    found = vmap(lambda g: _gradients([y], xs, [g], create_graph))(_basis(y))
    return [block.reshape((*y.shape, *x.shape)) for block, x in zip(found, xs, strict=True)]


def _columns(func: Callable[..., Any], xs: Sequence[Any], i: int) -> list[Any]:
    """The derivatives of all results with respect to input `i`."""

    def run(x: Any) -> tuple[Any, ...]:
        return _as_tuple(func(*xs[:i], x, *xs[i + 1 :]), "outputs of the user-provided function", "jacobian")[1]

    found = vmap(lambda t: _forward(run, (xs[i],), (t,))[1], out_axes=-1)(_basis(xs[i]))
    return [block.reshape((*block.shape[:-1], *xs[i].shape)) for block in found]


def _single_number(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        out = func(*args)
        if not isinstance(out, Handle):
            raise RuntimeError(f"The function given to {name} should return a single Tensor")
        if out.numel() != 1:  # type: ignore[attr-defined]
            raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
        return out

    return run


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function of one number: a Tensor, or a tuple of tuples over the inputs.

    Options as `jacobian`'s.

    >>> import pullback as pb
    >>> pb.autograd.functional.hessian(lambda x: (x**3).sum(), pb.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    is_tuple, _ = _as_tuple(inputs, "inputs", "hessian")
    single = _single_number(func, "hessian")

    def gradient(*args: Any) -> tuple[Any, ...]:
        found = jacobian(lambda *xs: single(*xs).reshape(()), args, create_graph=True, strict=strict)
        if strict:
            for i, g in enumerate(found):
                if not g.requires_grad:
                    raise RuntimeError(
                        "While computing the hessian, found that the jacobian of the user-provided function with "
                        f"respect to input {i} is independent of the input. {_STRICT}"
                    )
        return found  # type: ignore[no-any-return]

    found = jacobian(
        gradient, inputs if is_tuple else (inputs,), create_graph=create_graph, strategy=outer_jacobian_strategy
    )
    return _unpack(is_tuple, [_unpack(is_tuple, row) for row in found])


def _product(
    name: str, func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple[Any, Any]:
    """The value of `func`, and its Hessian times `v`: the gradient of the gradient's product with `v`."""
    with enable_grad():
        is_tuple, xs = _arguments(inputs, name, create_graph)
        vs = _weights(v, xs, is_tuple, _NEEDS_V, name)
        value = _single_number(func, name)(*xs)
        _check_outputs([value], xs, strict)
        slopes = _gradients([value], xs, [new_handle(np.ones(tuple(value.shape), value._value.dtype))], True)
        found = _gradients(slopes, xs, vs, create_graph)
    return _constants([value], create_graph)[0], _unpack(is_tuple, _constants(found, create_graph))


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of a function of one number, and `v` times its Hessian, by two backward passes. Options as `vjp`'s."""
    return _product("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of a function of one number, and its Hessian times `v`, by two backward passes. Options as `vjp`'s.

    >>> import pullback as pb
    >>> pb.autograd.functional.hvp(lambda x: (x**3).sum(), pb.tensor([1.0, 2.0]), pb.tensor([1.0, 0.0]))[1]
    tensor([6., 0.])
    """
    return _product("hvp", func, inputs, v, create_graph, strict)
