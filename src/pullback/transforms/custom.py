"""Functions with derivative rules of their own: `custom_vjp`, `custom_jvp` and `stop_gradient`."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from pullback.ops.control import stop_gradient as stop_gradient_op
from pullback.tape.node import Handle
from pullback.tape.state import modes, numpy_promotion
from pullback.transforms.calls import Call, JvpCall, Pulling, VjpCall, bind
from pullback.transforms.program import call
from pullback.transforms.tree import Tree, flatten, leaves_like, map_leaves

__all__ = ["custom_jvp", "custom_vjp", "stop_gradient"]


def stop_gradient(x: Any) -> Any:
    """The same values as constants: no derivative, of any mode or order, goes through.

    `x` is a nested container of Tensors, arrays and numbers; only Tensors need stopping.

    >>> import pullback as pb
    >>> pb.grad(lambda x: x * pb.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return map_leaves(lambda leaf: stop_gradient_op(leaf) if isinstance(leaf, Handle) else leaf, x)


class _Custom(ABC):
    """What the two decorators share: arguments that are not differentiated, containers, and names."""

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the function."""

    def __init__(self, function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.nondiff_argnums = tuple(nondiff_argnums)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, since the rules take them so."""
        if not kwargs:
            return args
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(
                f"{self.name}: keyword-only arguments can't be differentiated by a rule; make them positional"
            )
        return bound.args

    def _apply(self, args: tuple[Any, ...], make: Callable[[_Arguments, list[Tree]], Call]) -> Any:
        arguments = _Arguments(args, self.nondiff_argnums)
        if not any(isinstance(x, Handle) for x in arguments.leaves):
            return self.function(*args)
        out_trees: list[Tree] = []
        outs = bind(make(arguments, out_trees), arguments.leaves)
        return out_trees[-1].unflatten(outs)

    def _missing(self, rule: str) -> AttributeError:
        return AttributeError(f"No derivative rule defined for {self.name}: give one with {self.name}.{rule}")


class _Arguments:
    """The arguments of a call: those to differentiate as leaves, and how to put others in their place."""

    def __init__(self, args: tuple[Any, ...], nondiff_argnums: Sequence[int]) -> None:
        self.args = args
        fixed = {i % len(args) for i in nondiff_argnums} if args else set()
        self.static = [args[i] for i in sorted(fixed)]
        self.places = [i for i in range(len(args)) if i not in fixed]
        self.leaves: list[Any] = []
        self.trees: list[Tree] = []
        for i in self.places:
            found, tree = flatten(args[i])
            self.leaves += found
            self.trees.append(tree)

    def rebuild(self, leaves: Sequence[Any]) -> list[Any]:
        """The differentiable arguments with these leaves."""
        result = []
        start = 0
        for tree in self.trees:
            result.append(tree.unflatten(leaves[start : start + tree.size]))
            start += tree.size
        return result

    def full(self, leaves: Sequence[Any]) -> list[Any]:
        """All arguments, these leaves in the differentiable ones."""
        args = list(self.args)
        for i, x in zip(self.places, self.rebuild(leaves), strict=True):
            args[i] = x
        return args


class custom_vjp(_Custom):
    """A function whose reverse-mode derivative is stated by hand, as in JAX.

    `f.defvjp(forward, backward)`: `forward(*args)` gives `(f(*args), residuals)`; `backward(residuals, cotangent)` a
    tuple with the cotangent of each argument, a container like it, or None for zero. Arguments may be nested
    containers. Those named by `nondiff_argnums` are constants of any kind, and go to `backward` first. Higher
    derivatives differentiate both functions; forward mode raises `TypeError`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> @pb.custom_vjp
    ... def clip_gradient(x):
    ...     return x
    >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, g: (np.clip(g, -1.0, 1.0),))
    >>> pb.grad(lambda x: 5.0 * clip_gradient(x))(2.0)
    np.float64(1.0)
    """

    forward: Callable[..., Any] | None = None
    backward: Callable[..., Any] | None = None

    def defvjp(
        self,
        fwd: Callable[..., tuple[Any, Any]],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """State the rule."""
        if symbolic_zeros:
            raise NotImplementedError("custom_vjp: symbolic_zeros; cotangents that are zero come as zeros")
        self.forward, self.backward = fwd, bwd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.forward is None or self.backward is None:
            raise self._missing("defvjp(forward, backward)")
        return self._apply(self._positional(args, kwargs), self._call)

    def _call(self, arguments: _Arguments, out_trees: list[Tree]) -> Call:
        def function(leaves: list[Any]) -> list[Any]:
            outs, tree = flatten(call(self.function, arguments.full(leaves), {}))
            out_trees.append(tree)
            return outs

        def rule(leaves: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
            assert self.forward is not None
            numpy = modes.numpy
            pair = call(self.forward, arguments.full(leaves), {})
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(
                    f"the forward rule of {self.name} must return a pair (result, residuals), not {type(pair).__name__}"
                )
            outs, out_tree = flatten(pair[0])
            out_trees.append(out_tree)
            residuals, tree = flatten(pair[1])
            places = [i for i, x in enumerate(residuals) if isinstance(x, Handle)]

            def backward(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
                assert self.backward is not None
                kept = [None if isinstance(x, Handle) else x for x in constants]
                for i, x in zip(places, saved, strict=True):
                    kept[i] = x
                given = (*arguments.static, tree.unflatten(kept), out_tree.unflatten(cotangents))
                with numpy_promotion(numpy):
                    found = call(self.backward, given, {})
                return self._cotangents(found, arguments)

            saved = [residuals[i] for i in places]
            constants = [None if isinstance(x, Handle) else x for x in residuals]
            return outs, saved, backward

        return VjpCall(self.name, function, rule)

    def _cotangents(self, found: Any, arguments: _Arguments) -> list[Any]:
        count = len(arguments.trees)
        if not isinstance(found, tuple | list) or len(found) != count:
            got = f"{len(found)} elements" if isinstance(found, tuple | list) else type(found).__name__
            raise TypeError(
                f"the backward rule of {self.name} must return a tuple of {count}, one cotangent for each argument; "
                f"got {got}"
            )
        return [
            leaf
            for tree, value in zip(arguments.trees, found, strict=True)
            for leaf in leaves_like(tree, value, f"{self.name}: a cotangent must have its argument's structure")
        ]


class custom_jvp(_Custom):
    """A function whose forward-mode derivative is stated by hand, as in JAX; reverse mode follows from it.

    `@f.defjvp` on `rule(primals, tangents)`, two tuples, which gives `(f(*primals), tangent)`; the tangent is linear
    in the tangents. Those arguments that `nondiff_argnums` names are constants of any kind, and come first.
    `f.defjvps` states one rule `(tangent, result, *primals)` for each argument instead. Higher derivatives
    differentiate the rule.

    >>> import numpy as np
    >>> import pullback as pb
    >>> @pb.custom_jvp
    ... def log1pexp(x):
    ...     return np.log1p(np.exp(x))
    >>> @log1pexp.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), t / (1.0 + np.exp(-x))
    >>> pb.grad(log1pexp)(100.0), pb.jvp(log1pexp, (0.0,), (2.0,))[1]
    (np.float64(1.0), np.float64(1.0))
    """

    rule: Callable[..., Any] | None = None

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """State the rule; returns it, so that it can be a decorator."""
        if symbolic_zeros:
            raise NotImplementedError("custom_jvp: symbolic_zeros; tangents that are zero come as zeros")
        self.rule = jvp
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """State one rule for each argument, `(tangent, result, *primals) -> tangent of the result`, None for zero."""
        if self.nondiff_argnums:
            raise TypeError("defjvps does not go with nondiff_argnums; use defjvp")

        def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            result = self(*primals)
            total: Any = None
            for jvp, t in zip(jvps, tangents, strict=True):
                if jvp is not None:
                    term = jvp(t, result, *primals)
                    total = term if total is None else map_leaves(lambda a, b: a + b, total, term)
            return result, map_leaves(lambda y: y * 0.0, result) if total is None else total

        self.rule = rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.rule is None:
            raise self._missing("defjvp(rule)")
        return self._apply(self._positional(args, kwargs), self._call)

    def _call(self, arguments: _Arguments, out_trees: list[Tree]) -> Call:
        def function(leaves: list[Any]) -> list[Any]:
            outs, tree = flatten(call(self.function, arguments.full(leaves), {}))
            out_trees.append(tree)
            return outs

        def rule(primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
            assert self.rule is not None
            given = (*arguments.static, tuple(arguments.rebuild(primals)), tuple(arguments.rebuild(tangents)))
            pair = call(self.rule, given, {})
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(
                    f"the rule of {self.name} must return a pair (result, tangent), not {type(pair).__name__}"
                )
            outs, tree = flatten(pair[0])
            out_trees.append(tree)
            return outs, leaves_like(tree, pair[1], f"{self.name}: the tangent must have the structure of the result")

        return JvpCall(self.name, function, rule)
