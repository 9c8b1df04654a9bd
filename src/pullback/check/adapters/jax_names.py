"""JAX programs on pullback's tape: `jax.numpy` is NumPy there, and the common names of `jax`, `jax.nn` and `jax.lax`
have their equivalents here. Of a `custom_vjp` or `custom_jvp` only the function is run; `jit` is taken off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, Final

import numpy as np

from pullback.check.adapters.names import Namespace, dotted, root
from pullback.tape.node import new_handle
from pullback.transforms.program import as_program
from pullback.transforms.tree import flatten, map_leaves

__all__ = ["stand_in"]


def stand_in(value: Any) -> Any:
    """What a program on the tape sees of an object of JAX's."""
    import jax

    if isinstance(value, ModuleType):
        if value.__name__ in ("jax.numpy", "jax.numpy.linalg", "jax.numpy.fft"):
            inner = value.__name__.partition("jax.numpy")[2].lstrip(".")
            return as_program(dotted(np, inner) if inner else np)
        if value.__name__.startswith("jax.scipy"):
            return dotted(root(), value.__name__.partition(".")[2])
        return Namespace(value, value.__name__.partition(".")[2], _table(), _named)
    if isinstance(value, jax.Array):
        array = np.asarray(value)
        return new_handle(array.astype(np.result_type(array, np.float64))) if array.dtype.kind in "fc" else array
    if isinstance(value, jax.custom_vjp | jax.custom_jvp):
        return as_program(value.fun)
    if callable(value):
        return _function(value)
    return NotImplemented


def _named(path: str, value: Any) -> Any:
    """What stands for `jax.<path>`, which is in no table."""
    if path.startswith("numpy."):
        return as_program(dotted(np, path.removeprefix("numpy.")))
    if path.startswith("scipy."):
        return dotted(root(), path)
    raise AttributeError(f"pullback has nothing in place of jax.{path}")


def _function(value: Any) -> Any:
    """What stands for a function that was imported by its own name, or that `jit` made."""
    module = getattr(value, "__module__", None) or ""
    name = getattr(value, "__name__", "")
    if module == "jax.numpy" or module.startswith("jax._src.numpy"):
        return as_program(getattr(np, name)) if hasattr(np, name) else NotImplemented
    for place in ("nn", "lax", ""):
        found = _table().get(f"{place}.{name}".lstrip(".")) if module.startswith("jax") else None
        if found is not None:
            return found
    inner = getattr(value, "__wrapped__", None)
    is_jitted = type(value).__module__.startswith("jaxlib") and isinstance(inner, FunctionType)
    return as_program(inner) if is_jitted else NotImplemented


def _loop(lower: int, upper: int, body: Callable[..., Any], init: Any) -> Any:
    for i in range(int(lower), int(upper)):
        init = as_program(body)(i, init)
    return init


def _while(cond: Callable[..., Any], body: Callable[..., Any], init: Any) -> Any:
    while as_program(cond)(init):
        init = as_program(body)(init)
    return init


def _scan(f: Callable[..., Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False) -> Any:
    leaves = flatten(xs)[0]
    count = len(leaves[0]) if leaves else length
    assert count is not None
    outs = []
    for i in reversed(range(count)) if reverse else range(count):
        init, y = as_program(f)(init, map_leaves(lambda x, i=i: x[i], xs))
        outs.append(y)
    pieces = [flatten(y)[0] for y in (outs[::-1] if reverse else outs)]
    tree = flatten(outs[0])[1]
    return init, tree.unflatten([as_program(np.stack)(list(column)) for column in zip(*pieces, strict=True)])


def _cond(pred: Any, yes: Callable[..., Any], no: Callable[..., Any], *operands: Any) -> Any:
    return as_program(yes if pred else no)(*operands)


_SAME: Final = "grad value_and_grad vmap jacobian jacrev jacfwd hessian vjp jvp checkpoint"
_NN: Final = (
    "relu sigmoid softplus silu gelu elu leaky_relu selu celu softmax log_softmax relu6 hardtanh softsign mish glu "
    "logsigmoid"
)
_LAX: Final = {
    **{name: name for name in "sin cos tan exp log sqrt tanh abs sign floor ceil maximum minimum expm1 log1p".split()},
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "neg": "negative",
    "pow": "power",
    "dot": "dot",
    "max": "maximum",
    "min": "minimum",
    "square": "square",
    "reshape": "reshape",
    "transpose": "transpose",
}


@functools.cache
def _table() -> dict[str, Any]:
    """What stands for the common names of JAX's."""
    pb = root()
    table: dict[str, Any] = {name: getattr(pb, name) for name in _SAME.split()}
    table |= {"jit": lambda f, **_: as_program(f), "custom_vjp": lambda f: as_program(f)}
    table |= {f"nn.{name}": getattr(pb.nn.functional, name) for name in _NN.split() if hasattr(pb.nn.functional, name)}
    table |= {"nn.swish": pb.nn.functional.silu, "nn.log_sigmoid": pb.nn.functional.logsigmoid}
    table |= {"nn.gelu": lambda x, approximate=True: pb.nn.functional.gelu(x, "tanh" if approximate else "none")}
    table |= {"nn.softmax": lambda x, axis=-1: pb.softmax(x, axis)}
    table |= {"nn.log_softmax": lambda x, axis=-1: pb.log_softmax(x, axis)}
    table |= {"nn.tanh": pb.tanh, "nn.logsumexp": pb.scipy.special.logsumexp}
    table |= {f"lax.{name}": getattr(pb.numpy, ours) for name, ours in _LAX.items()}
    table |= {"lax.rsqrt": pb.rsqrt, "lax.logistic": pb.sigmoid, "lax.stop_gradient": pb.stop_gradient}
    table |= {"lax.fori_loop": _loop, "lax.while_loop": _while, "lax.scan": _scan, "lax.cond": _cond}
    return table | {"lax.select": pb.numpy.where}
