"""What a piece of work is, and how a function or an update becomes a program of each framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from benchmarks.steps import Array
from benchmarks.timing import Step

import pullback as pb

__all__ = [
    "ELEMENTARY",
    "Program",
    "Work",
    "compiled_program",
    "compiled_training",
    "cross_entropy_jax",
    "jax_program",
    "jax_training",
    "numbers",
    "pullback_program",
    "same",
    "torch_program",
    "value_and_grad_torch",
]

ELEMENTARY: Final = 10  # flops that an exp, log, sin, tanh or erf counts for: a polynomial and its range reduction


class Program(NamedTuple):
    """`step` computes and waits for the result; `state` gives what it has written so far."""

    step: Step
    state: Callable[[], Any] = tuple


@dataclass(frozen=True)
class Work:
    """One row of the table. `inputs` and `flops` take the sizes, the builders of programs take the inputs.

    `target` bounds the ratio of pullback's time to the best peer's. `flops` counts what any program must compute:
    products as multiplications and additions, elementary functions as `ELEMENTARY`. `state_bytes`, of the sizes, is
    what must be read besides the inputs and the results.
    """

    name: str
    title: str
    target: float
    sizes: tuple[int, ...]
    tiny: tuple[int, ...]
    inputs: Callable[..., tuple[Any, ...]]
    flops: Callable[..., float]
    pullback: Callable[..., Program]
    jax: Callable[..., Program]
    torch: Callable[..., Program]
    compiled: Callable[..., Program]
    dtype: str = "float32"
    state_bytes: Callable[..., int] = lambda *sizes: 0

    @property
    def rtol(self) -> float:
        """By how much of an array's largest entry two frameworks' entries may differ."""
        return 1e-4 if self.dtype == "float32" else 1e-10


# Programs of functions: arrays in, arrays out


def pullback_program(f: Callable[..., Any], *args: Any) -> Program:
    compiled = pb.jit(f)
    return Program(lambda: compiled(*args))


def jax_program(f: Callable[..., Any], *args: Any) -> Program:
    compiled = jax.jit(f)
    placed = jax.tree.map(jnp.asarray, args)
    return Program(lambda: jax.block_until_ready(compiled(*placed)))


def _tensors(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return tuple(map(_tensors, tree))
    return torch.tensor(tree)


def torch_program(f: Callable[..., Any], *args: Any) -> Program:
    tensors = _tensors(args)
    return Program(lambda: f(*tensors))


def compiled_program(f: Callable[..., Any], *args: Any) -> Program:
    return torch_program(torch.compile(f), *args)


# Programs of updates: (state, *data) -> (state, loss)


def jax_training(update: Callable[..., Any], state: Any, *data: Any) -> Program:
    """The state is donated: its buffers hold the next one."""
    compiled = jax.jit(update, donate_argnums=0)
    placed = jax.tree.map(jnp.asarray, data)
    state = jax.tree.map(jnp.array, state)

    def step() -> Any:
        nonlocal state
        state, loss = jax.block_until_ready(compiled(state, *placed))
        return loss

    return Program(step, lambda: state)


def compiled_training(update: Callable[..., Any], state: Any, *data: Any) -> Program:
    compiled = torch.compile(update)
    tensors = _tensors(data)

    def step() -> Any:
        nonlocal state
        state, loss = compiled(state, *tensors)
        return loss

    return Program(step, lambda: state)


# What the frameworks name otherwise


def value_and_grad_torch(f: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.func.grad_and_value` with JAX's order of results."""

    def both(*args: Any) -> Any:
        gradient, value = torch.func.grad_and_value(f)(*args)
        return value, gradient

    return both


def cross_entropy_jax(logits: Any, t: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), t[:, None], axis=1))


# Results


def numbers(tree: Any) -> list[Array]:
    """Copies of the arrays in nested tuples and lists, of any framework."""
    if isinstance(tree, tuple | list):
        return [array for branch in tree for array in numbers(branch)]
    return [np.array(tree.detach().numpy() if hasattr(tree, "detach") else tree)]


def same(results: Sequence[Array], expected: Sequence[Array], rtol: float) -> bool:
    """Whether shapes agree, and entries to within `rtol` of the largest in their array."""
    return len(results) == len(expected) and all(
        a.shape == b.shape and bool(np.all(np.abs(a - b) <= rtol * np.max(np.abs(b), initial=1e-30)))
        for a, b in zip(results, expected, strict=True)
    )
