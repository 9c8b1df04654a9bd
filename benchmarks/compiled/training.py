"""Compiled calls of scalars, and training steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import torch
from benchmarks.compiled.work import (
    ELEMENTARY,
    Program,
    Work,
    compiled_program,
    compiled_training,
    cross_entropy_jax,
    jax_program,
    jax_training,
    torch_program,
    value_and_grad_torch,
)
from benchmarks.steps import Array, descent_step, network_step, set_parameters

import pullback as pb

__all__ = ["WORK"]

RATE: Final = 1e-2


# A scalar


def quadratic(x: Any) -> Any:
    return x * x + 4 * x


def descent(xp: Any, compiled: Callable[..., Any], value: float) -> Program:
    x = xp.tensor(value, requires_grad=True)
    return Program(compiled(descent_step(xp, x)), lambda: x)


def descent_update(value_and_grad: Callable[..., Any]) -> Callable[..., Any]:
    def update(x: Any) -> Any:
        y, slope = value_and_grad(quadratic)(x)
        return x - RATE * slope, y

    return update


def descent_jax(value: float) -> Program:
    return jax_training(descent_update(jax.value_and_grad), jnp.float32(value))


def descent_compiled(value: float) -> Program:
    return compiled_training(descent_update(value_and_grad_torch), torch.tensor(value))


# Networks: a layer's weights are (out, in), as PyTorch keeps them; functions get them transposed, as JAX's users do


@dataclass(frozen=True)
class Training:
    """Steps of an optimiser on layers with an activation between them: names of classes in `nn` and `optim`."""

    activation: str
    loss: str
    optimizer: str
    rate: float

    def closure(
        self, xp: Any, compiled: Callable[..., Any], x: Array, t: Array, *values: Array, **settings: Any
    ) -> Program:
        """The step with modules, an optimiser and `backward`, of pullback or PyTorch."""
        modules: list[Any] = []
        for weight in values[::2]:
            modules += [getattr(xp.nn, self.activation)()] if modules else []
            modules.append(xp.nn.Linear(weight.shape[1], weight.shape[0]))
        model = xp.nn.Sequential(*modules)
        set_parameters(xp, model, values)
        criterion = getattr(xp.nn, self.loss)()
        optimizer = getattr(xp.optim, self.optimizer)(model.parameters(), lr=self.rate, **settings)
        step = compiled(network_step(lambda x, t: criterion(model(x), t), optimizer))
        return Program(partial(step, xp.tensor(x), xp.tensor(t)), lambda: list(model.parameters()))

    def pullback(self, *arrays: Array) -> Program:
        return self.closure(pb, pb.jit, *arrays)

    def torch(self, *arrays: Array) -> Program:
        return self.closure(torch, lambda step: step, *arrays, fused=True)

    def function(self, xp: Any, value_and_grad: Callable[..., Any]) -> Callable[..., Any]:
        """The step as a function of the weights and the optimiser's state, of JAX or PyTorch."""
        activation, criterion = FUNCTIONS[xp][self.activation], FUNCTIONS[xp][self.loss]

        def loss_of(weights: list[Any], x: Any, t: Any) -> Any:
            for i in range(0, len(weights), 2):
                x = (activation(x) if i else x) @ weights[i] + weights[i + 1]
            return criterion(x, t)

        def update(state: Any, x: Any, t: Any) -> Any:
            weights, moments = state
            loss, gradients = value_and_grad(loss_of)(weights, x, t)
            return UPDATES[self.optimizer](xp, self.rate, weights, gradients, moments), loss

        return update

    def jax(self, x: Array, t: Array, *values: Array) -> Program:
        state = self.initial(jnp, values)
        return _in_torch_layout(jax_training(self.function(jnp, jax.value_and_grad), state, x, t))

    def compiled(self, x: Array, t: Array, *values: Array) -> Program:
        """One graph, which beats a compiled loss with a compiled `optimizer.step`."""
        state = self.initial(torch, values)
        return _in_torch_layout(compiled_training(self.function(torch, value_and_grad_torch), state, x, t))

    def initial(self, xp: Any, values: Sequence[Array]) -> Any:
        weights = [xp.asarray(value.T.copy()) for value in values]
        zeros = [[xp.zeros_like(w) for w in weights] for _ in range(2)]
        return weights, () if self.optimizer == "SGD" else (xp.asarray(np.float32(0)), *zeros)


def _in_torch_layout(program: Program) -> Program:
    """With weights transposed in what `state` returns, which is without moments."""
    return program._replace(state=lambda: [w.T if w.ndim == 2 else w for w in program.state()[0]])


def sgd(xp: Any, rate: float, weights: list[Any], gradients: list[Any], moments: Any) -> Any:
    return [w - rate * g for w, g in zip(weights, gradients, strict=True)], moments


def adam(xp: Any, rate: float, weights: list[Any], gradients: list[Any], moments: Any) -> Any:
    """Kingma and Ba, Adam: a method for stochastic optimization (2015), algorithm 1, with PyTorch's defaults."""
    count, first, second = moments
    count = count + 1
    first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
    size, scale = rate / (1 - 0.9**count), 1 / xp.sqrt(1 - 0.999**count)
    moved = zip(weights, first, second, strict=True)
    return [w - size * m / (xp.sqrt(v) * scale + 1e-8) for w, m, v in moved], (count, first, second)


def logistic_jax(logits: Any, t: Any) -> Any:
    return jnp.mean(jax.nn.softplus(logits) - t * logits)


UPDATES: Final = {"SGD": sgd, "Adam": adam}
FUNCTIONS: Final = {
    jnp: {
        "Sigmoid": jax.nn.sigmoid,
        "ReLU": jax.nn.relu,
        "CrossEntropyLoss": cross_entropy_jax,
        "BCEWithLogitsLoss": logistic_jax,
    },
    torch: {
        "Sigmoid": torch.sigmoid,
        "ReLU": torch.relu,
        "CrossEntropyLoss": torch.nn.functional.cross_entropy,
        "BCEWithLogitsLoss": torch.nn.functional.binary_cross_entropy_with_logits,
    },
}


def layers(rng: np.random.Generator, *widths: int) -> list[Array]:
    """Weights and biases of linear layers, float32."""
    return [
        values.astype("float32")
        for m, n in pairwise(widths)
        for values in (rng.standard_normal((n, m)) / np.sqrt(m), rng.standard_normal(n) / np.sqrt(m))
    ]


def batch(size: int, *widths: int) -> tuple[Array, ...]:
    """A batch, its classes and a network's parameters."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((size, widths[0])).astype("float32")
    return x, rng.integers(0, widths[-1], size), *layers(rng, *widths)


def labelled(size: int, width: int) -> tuple[Array, ...]:
    """A batch, labels 0 and 1 as a column, and the parameters of one linear layer."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((size, width)).astype("float32")
    return x, rng.integers(0, 2, (size, 1)).astype("float32"), *layers(rng, width, 1)


def network_flops(per_parameter: int) -> Callable[..., float]:
    """Forward and backward products, two for the first layer and three for others; the update of each parameter."""

    def flops(size: int, *widths: int) -> float:
        entries = [m * n for m, n in pairwise(widths)]
        products = 2 * size * (2 * entries[0] + 3 * sum(entries[1:]))
        return products + per_parameter * (sum(entries) + sum(widths[1:])) + 2 * ELEMENTARY * size * sum(widths[1:])

    return flops


def moment_bytes(size: int, *widths: int) -> int:
    """Adam's two moments, read and written, float32."""
    return 16 * sum((m + 1) * n for m, n in pairwise(widths))


LOGISTIC: Final = Training("Sigmoid", "BCEWithLogitsLoss", "SGD", 1e-2)
SMALL: Final = Training("Sigmoid", "CrossEntropyLoss", "SGD", 1e-2)
LARGE: Final = Training("ReLU", "CrossEntropyLoss", "Adam", 1e-3)

WORK: Final = [
    Work(
        "call", "call of a scalar function", 0.1, (), (),
        inputs=lambda: (3.0,),
        flops=lambda: 3,
        pullback=lambda x: Program(partial(pb.jit(quadratic), x)),
        jax=lambda x: jax_program(quadratic, np.float32(x)),
        torch=lambda x: torch_program(quadratic, x),
        compiled=lambda x: compiled_program(quadratic, x),
    ),
    Work(
        "descent", "scalar descent step", 0.1, (), (),
        inputs=lambda: (3.0,),
        flops=lambda: 8,
        pullback=lambda x: descent(pb, pb.jit, x),
        jax=descent_jax,
        torch=lambda x: descent(torch, lambda step: step, x),
        compiled=descent_compiled,
    ),
    Work(
        "logistic", "logistic regression step, 768×8, SGD", 0.4, (768, 8), (12, 3),
        inputs=labelled,
        flops=lambda size, width: network_flops(2)(size, width, 1),
        pullback=LOGISTIC.pullback, jax=LOGISTIC.jax, torch=LOGISTIC.torch, compiled=LOGISTIC.compiled,
    ),
    Work(
        "network", "30-16-2 network step, batch 32, SGD", 0.3, (32, 30, 16, 2), (6, 5, 4, 3),
        inputs=batch,
        flops=network_flops(2),
        pullback=SMALL.pullback, jax=SMALL.jax, torch=SMALL.torch, compiled=SMALL.compiled,
    ),
    Work(
        "adam", "784-128-10 network step, batch 64, Adam", 0.8, (64, 784, 128, 10), (6, 5, 4, 3),
        inputs=batch,
        flops=network_flops(13),
        pullback=LARGE.pullback, jax=LARGE.jax, torch=LARGE.torch, compiled=LARGE.compiled,
        state_bytes=moment_bytes,
    ),
]  # fmt: skip
