"""`pullback.func`: the transforms of functions, under the names of `torch.func`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback.transforms import reverse
from pullback.transforms.forward import jvp
from pullback.transforms.reverse import ArgNums, grad, hessian, jacfwd, jacrev, vjp
from pullback.transforms.vmap import vmap

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp", "vmap"]


def grad_and_value(
    f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """A function that gives the gradient of a scalar function, and its value; see `pb.value_and_grad`."""
    both = reverse.value_and_grad(f, argnums, has_aux)

    def run(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        value, gradient = both(*args, **kwargs)
        return gradient, value

    return run
