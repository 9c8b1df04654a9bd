"""Other gradient checkers on the same functions and claims, with their default settings.

Each gets the function and the claim as it would from a user who writes in NumPy: PyTorch by an `autograd.Function`, JAX
by `custom_vjp` and `pure_callback`, autograd by `primitive` and `defvjp`, SciPy and numdifftools as functions of a
vector. A checker that raises has refuted the claim, whatever it raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from benchmarks.check.plant import Built
from benchmarks.check.score import Answer, Checker, cotangent_like

__all__ = ["PEERS"]

_LARGE: Final = 5_000  # inputs; a checker that differences each of them is not asked
_SCIPY: Final = (
    1e-6  # what SciPy's `check_derivative` may return; it gives a number and leaves the verdict to its caller
)
_NUMDIFFTOOLS: Final = 10.0  # times its own error estimate

Array = np.ndarray[Any, Any]


class _Pair:
    """A function and a claim of its gradient as functions of arrays: those of the claimed arguments."""

    def __init__(self, built: Built, args: tuple[Any, ...], seed: int) -> None:
        self.built, self.args = built, args
        self.calls = 0
        value = self.value(*self._arrays(args))
        self.shape, self.dtype = value.shape, value.dtype
        self.calls = 0
        given = built.claim(*(() if not built.subject.is_vjp else (np.ones(self.shape, self.dtype),)), *_fresh(args))
        count = len(given) if isinstance(given, tuple) else 1
        self.places = [i for i, x in enumerate(args) if np.asarray(x).dtype.kind in "fc"][:count]
        self.inputs = [np.array(args[i]) for i in self.places]
        self.size = sum(x.size for x in self.inputs)
        self.cotangent = cotangent_like(value, seed)

    def _arrays(self, args: tuple[Any, ...]) -> list[Array]:
        self.places = [i for i, x in enumerate(args) if np.asarray(x).dtype.kind in "fc"]
        return [np.array(args[i]) for i in self.places]

    def _full(self, arrays: tuple[Any, ...]) -> list[Any]:
        full = _fresh(self.args)
        for place, array in zip(self.places, arrays):
            full[place] = float(array) if isinstance(self.args[place], float) else np.array(array)
        return full

    def value(self, *arrays: Any) -> Array:
        self.calls += 1
        return np.asarray(self.built.f(*self._full(arrays)))

    def pull(self, cotangent: Any, *arrays: Any) -> list[Array]:
        """The claimed cotangents of the claimed arguments."""
        full = self._full(arrays)
        cotangent = np.array(cotangent, self.dtype)
        given = self.built.claim(cotangent, *full) if self.built.subject.is_vjp else self.built.claim(*full)
        pieces = given if isinstance(given, tuple) else (given,)
        made = [np.zeros_like(x) if g is None else np.asarray(g) for g, x in zip(pieces, self.inputs)]
        made = [g if x.dtype.kind == "c" else g.real for g, x in zip(made, self.inputs)]
        if self.built.subject.is_vjp:
            return made
        return [cotangent * g for g in made]

    # As functions of one vector of float64

    def vector(self) -> Array:
        return np.concatenate([_numbers(x) for x in self.inputs])

    def split(self, vector: Array) -> list[Array]:
        made, start = [], 0
        for x in self.inputs:
            size = x.size * (2 if x.dtype.kind == "c" else 1)
            piece = np.ascontiguousarray(vector[start : start + size])
            made.append((piece.view(complex) if x.dtype.kind == "c" else piece).reshape(x.shape).astype(x.dtype))
            start += size
        return made

    def along(self, vector: Array) -> float:
        """The inner product of the cotangent and the value."""
        return float(_numbers(self.cotangent) @ _numbers(self.value(*self.split(vector))))

    def gradient(self, vector: Array) -> Array:
        return np.concatenate(
            [_numbers(_fitting(g, x)) for g, x in zip(self.pull(self.cotangent, *self.split(vector)), self.inputs)]
        )


def _fresh(args: tuple[Any, ...]) -> list[Any]:
    return [x.copy() if isinstance(x, np.ndarray) else x for x in args]


def _numbers(array: Array) -> Array:
    array = np.ascontiguousarray(array)
    return (
        array.reshape(-1).view(array.real.dtype).astype(float)
        if array.dtype.kind == "c"
        else array.reshape(-1).astype(float)
    )


def _fitting(g: Array, x: Array) -> Array:
    if g.shape != x.shape:
        raise ValueError(f"the gradient has shape {g.shape}, the argument {x.shape}")
    return g.astype(x.dtype)


def _answer(pair: _Pair, run: Callable[[], bool]) -> Answer:
    try:
        return Answer("confirmed" if run() else "refuted", (), pair.calls)
    except TimeoutError:
        raise
    except Exception as error:  # a claim that makes it fail was not accepted
        return Answer("refuted", (), pair.calls, f"{type(error).__name__}: {str(error)[:300]}")


def _each_input(check: Callable[[_Pair], bool]) -> Checker:
    """A checker that differences every input."""

    def checker(built: Built, args: tuple[Any, ...], seed: int) -> Answer:
        pair = _Pair(built, args, seed)
        if pair.size > _LARGE:
            return Answer("undecided", text=f"it takes an evaluation of f for each of {pair.size} inputs")
        return _answer(pair, lambda: check(pair))

    return checker


def _torch(fast: bool) -> Checker:
    def checker(built: Built, args: tuple[Any, ...], seed: int) -> Answer:
        import torch

        pair = _Pair(built, args, seed)
        if pair.size > _LARGE and not fast:
            return Answer("undecided", text=f"it takes an evaluation of f for each of {pair.size} inputs")

        class Claimed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Any) -> Any:
                ctx.save_for_backward(*tensors)
                return torch.from_numpy(np.array(pair.value(*(t.detach().numpy() for t in tensors))))

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                found = pair.pull(g.resolve_conj().numpy(), *(t.detach().numpy() for t in ctx.saved_tensors))
                return tuple(torch.from_numpy(np.array(x)) for x in found)

        torch.manual_seed(seed)
        inputs = tuple(torch.from_numpy(x.copy()).requires_grad_() for x in pair.inputs)
        return _answer(pair, lambda: torch.autograd.gradcheck(Claimed.apply, inputs, fast_mode=fast))

    return checker


def _jax(built: Built, args: tuple[Any, ...], seed: int) -> Answer:
    import jax
    from jax.test_util import check_grads

    pair = _Pair(built, args, seed)

    def run() -> bool:
        with jax.enable_x64(True):
            shape = jax.ShapeDtypeStruct(pair.shape, pair.dtype)

            @jax.custom_vjp
            def f(*xs: Any) -> Any:
                return jax.pure_callback(lambda *arrays: pair.value(*map(np.array, arrays)), shape, *xs)

            def backward(xs: Any, g: Any) -> Any:  # JAX's cotangents are the conjugates of the others'
                shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in pair.inputs)

                def pull(g: Any, *arrays: Any) -> Any:
                    found = pair.pull(np.conj(np.array(g)), *map(np.array, arrays))
                    return tuple(np.conj(_fitting(d, x)) for d, x in zip(found, pair.inputs))

                return jax.pure_callback(pull, shapes, g, *xs)

            f.defvjp(lambda *xs: (f(*xs), xs), backward)
            check_grads(f, tuple(map(jax.numpy.asarray, pair.inputs)), order=1, modes=["rev"])
        return True

    logging.getLogger("jax._src.callback").setLevel(logging.CRITICAL)  # it prints what a wrong claim raises
    np.random.seed(seed)
    return _answer(pair, run)


def _scipy(pair: _Pair) -> bool:
    from scipy.optimize._numdiff import check_derivative

    def jacobian(vector: Array) -> Array:
        return pair.gradient(vector)

    return bool(check_derivative(pair.along, jacobian, pair.vector()) < _SCIPY)


def _autograd(built: Built, args: tuple[Any, ...], seed: int) -> Answer:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    pair = _Pair(built, args, seed)
    f = primitive(pair.value)

    def cotangent_of(i: int) -> Callable[..., Any]:  # its cotangents, like JAX's, are the conjugates of the others'
        return lambda y, *xs: lambda g: np.conj(_fitting(pair.pull(np.conj(g), *xs)[i], pair.inputs[i]))

    defvjp(f, *map(cotangent_of, range(len(pair.inputs))))
    np.random.seed(seed)
    inputs = [x.copy() if x.shape else x[()] for x in pair.inputs]
    return _answer(pair, lambda: check_grads(f, modes=["rev"], order=1)(*inputs) is None)


def _numdifftools(pair: _Pair) -> bool:
    import numdifftools

    x = pair.vector()
    found = numdifftools.Gradient(pair.along, full_output=True)(x)
    bound = _NUMDIFFTOOLS * np.abs(np.ravel(found.error_estimate))
    return bool(np.all(np.abs(np.ravel(found.estimate) - pair.gradient(x)) <= bound))


_ALL: Final[dict[str, tuple[str, Checker]]] = {
    "torch gradcheck (slow)": ("torch", _torch(fast=False)),
    "torch gradcheck (fast)": ("torch", _torch(fast=True)),
    "jax check_grads (x64)": ("jax", _jax),
    "scipy check_derivative": ("scipy", _each_input(_scipy)),
    "autograd check_grads": ("autograd", _autograd),
    "numdifftools, 10x its error estimate": ("numdifftools", _each_input(_numdifftools)),
}

PEERS: Final = {name: checker for name, (package, checker) in _ALL.items() if find_spec(package)}
