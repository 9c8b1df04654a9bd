"""pullback's own Tensors, and its tape as the claim; also for functions of plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from pullback.check.adapters import Own, Written, is_inexact, referenced
from pullback.tape.node import Handle, new_handle
from pullback.transforms.custom import custom_vjp
from pullback.transforms.program import as_program
from pullback.transforms.reverse import vjp
from pullback.transforms.tree import flatten

__all__ = ["ADAPTER"]


class _Adapter:
    name = "pullback"
    conjugates = False

    def array(self, value: Any) -> np.ndarray[Any, Any]:
        return np.array(value.detach().numpy())

    def like(self, value: Any, array: np.ndarray[Any, Any]) -> Any:
        return new_handle(array.reshape(tuple(value.shape)).copy())

    def make(self, array: np.ndarray[Any, Any]) -> Any:
        return new_handle(array.copy())

    def double(self) -> Any:
        return nullcontext()

    def owns(self, f: Any) -> bool:
        return isinstance(f, custom_vjp)

    def own(self, f: Any, args: Sequence[Any]) -> Own:
        return Own(f, tuple(args), self.vjp(f))

    def vjp(self, f: Callable[..., Any]) -> Callable[..., Any]:
        def tape(cotangent: Any, *args: Any) -> tuple[Any, ...]:
            leaves, tree = flatten(args)
            tracked = [i for i, x in enumerate(leaves) if is_inexact(x)]

            def inexact(*xs: Any) -> list[Any]:
                full = list(leaves)
                for i, x in zip(tracked, xs, strict=True):
                    full[i] = x
                return [y for y in flatten(as_program(f)(*tree.unflatten(full)))[0] if is_inexact(y)]

            _, pull = vjp(inexact, *(_alone(leaves[i]) for i in tracked))
            grads = pull([g for g in flatten(cotangent)[0] if is_inexact(g)])
            found = dict(zip(tracked, grads, strict=True))
            return tree.unflatten([found.get(i) for i in range(len(leaves))])  # type: ignore[no-any-return]

        return tape

    def written(self, f: Any) -> Written | None:
        rule = next((r for r in (f, *referenced(f)) if isinstance(r, custom_vjp)), None)
        if rule is None or rule.forward is None or rule.backward is None:
            return None
        forward, backward = rule.forward, rule.backward

        def run(cotangent: Any, *args: Any) -> Any:
            _, residuals = forward(*args)
            return backward(*(args[i] for i in rule.nondiff_argnums), residuals, cotangent)

        return Written(rule.name, forward, backward, run, whole=f is rule)

    def stand_in(self, value: Any) -> Any:
        return value.function if isinstance(value, custom_vjp) else NotImplemented


def _alone(x: Any) -> Any:
    """A Tensor without its past."""
    return new_handle(x._value) if isinstance(x, Handle) else x


ADAPTER = _Adapter()
