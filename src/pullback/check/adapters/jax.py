"""JAX: arrays, and functions with a hand-written `jax.custom_vjp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from pullback.check.adapters import Own, Written, is_inexact, referenced
from pullback.transforms.tree import flatten

__all__ = ["ADAPTER"]


def custom_rule(f: Any) -> Any:
    """The `jax.custom_vjp` that `f` is, `jax.jit` taken off; None if it is none."""
    import jax

    while not isinstance(f, jax.custom_vjp) and type(f).__module__.startswith("jaxlib") and hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    return f if isinstance(f, jax.custom_vjp) else None


class _Adapter:
    name = "jax"
    conjugates = True  # jax.grad of |z|² is 2 conj(z)

    def array(self, value: Any) -> np.ndarray[Any, Any]:
        array = np.array(value)
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16 and smaller ones

    def like(self, value: Any, array: np.ndarray[Any, Any]) -> Any:
        import jax.numpy as jnp

        is_small = np.dtype(value.dtype).kind == "V" and array.dtype == np.float32
        return jnp.asarray(array.reshape(value.shape).copy(), value.dtype if is_small else array.dtype)

    def make(self, array: np.ndarray[Any, Any]) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(array) if array.dtype != np.float64 else array  # which JAX makes float32 without x64

    def double(self) -> Any:
        import jax

        if jax.config.jax_enable_x64:
            return nullcontext()
        if hasattr(jax, "enable_x64"):
            return jax.enable_x64(True)
        from jax.experimental import enable_x64

        return enable_x64()

    def owns(self, f: Any) -> bool:
        return type(f).__module__.partition(".")[0] in ("jax", "jaxlib")

    def own(self, f: Any, args: Sequence[Any]) -> Own:
        return Own(f, tuple(args), self.vjp(f))

    def vjp(self, f: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        def autodiff(cotangent: Any, *args: Any) -> tuple[Any, ...]:
            leaves, tree = flatten(args)
            tracked = [i for i, x in enumerate(leaves) if is_inexact(x)]

            def inexact(*xs: Any) -> list[Any]:
                full = list(leaves)
                for i, x in zip(tracked, xs, strict=True):
                    full[i] = x
                return [y for y in flatten(f(*tree.unflatten(full)))[0] if is_inexact(y)]

            outs, pull = jax.vjp(inexact, *(leaves[i] for i in tracked))
            cotangents = [g for g in flatten(cotangent)[0] if is_inexact(g)]
            grads = pull([jax.numpy.asarray(g, y.dtype) for g, y in zip(cotangents, outs, strict=True)])
            found = dict(zip(tracked, grads, strict=True))
            return tree.unflatten([found.get(i) for i in range(len(leaves))])  # type: ignore[no-any-return]

        return autodiff

    def written(self, f: Any) -> Written | None:
        """The rule's functions, of the `custom_vjp` that f is, or of the first one that it refers to."""
        rule = next((r for r in map(custom_rule, [f, *referenced(f)]) if r is not None), None)
        if rule is None or rule.fwd is None or rule.bwd is None:
            return None

        def run(cotangent: Any, *args: Any) -> Any:
            _, residuals = rule.fwd(*args)
            return rule.bwd(*(args[i] for i in rule.nondiff_argnums), residuals, cotangent)

        return Written(getattr(rule, "__name__", "f"), rule.fwd, rule.bwd, run, whole=custom_rule(f) is rule)

    def stand_in(self, value: Any) -> Any:
        from pullback.check.adapters.jax_names import stand_in

        return stand_in(value)


ADAPTER = _Adapter()
