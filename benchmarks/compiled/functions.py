"""Functions of arrays and their derivatives, in NumPy for pullback and in their own names for the peers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final

import jax
import jax.numpy as jnp
import jax.scipy
import numpy as np
import scipy.special
import torch
from benchmarks.compiled.work import (
    ELEMENTARY,
    Work,
    compiled_program,
    cross_entropy_jax,
    jax_program,
    pullback_program,
    torch_program,
    value_and_grad_torch,
)
from benchmarks.steps import Array

import pullback as pb

__all__ = ["WORK"]

# Elementwise


def wave(xp: Any, x: Any) -> Any:
    return xp.sum(xp.tanh(x) * xp.exp(-(x**2)) + xp.sin(x))


def wave_work(dtype: str) -> Work:
    return Work(
        f"wave{dtype[-2:]}", f"gradient of Σ tanh(x)·exp(−x²)+sin(x), 10⁶, {dtype}", 0.25, (1_000_000,), (37,),
        inputs=lambda n: (np.random.default_rng(0).standard_normal(n).astype(dtype),),
        flops=lambda n: (3 * ELEMENTARY + 7) * n,  # tanh, exp, cos
        pullback=lambda x: pullback_program(pb.grad(partial(wave, np)), x),
        jax=lambda x: jax_program(jax.grad(partial(wave, jnp)), x),
        torch=lambda x: torch_program(torch.func.grad(partial(wave, torch)), x),
        compiled=lambda x: compiled_program(torch.func.grad(partial(wave, torch)), x),
        dtype=dtype,
    )  # fmt: skip


def price(xp: Any, erf: Any, s: Any, k: Any, t: Any, r: Any, sigma: Any) -> Any:
    """A European call: Black and Scholes, The pricing of options and corporate liabilities (1973), equation 13."""

    def normal(x: Any) -> Any:
        return 0.5 * (1 + erf(x / math.sqrt(2)))

    spread = sigma * xp.sqrt(t)
    upper = (xp.log(s / k) + (r + sigma**2 / 2) * t) / spread
    return s * normal(upper) - k * xp.exp(-r * t) * normal(upper - spread)


def greeks(xp: Any, erf: Any, grad: Any, jvp: Any) -> Callable[..., Any]:
    """Price, delta, gamma, vega, ∂/∂t (theta with the sign turned) and rho of each option."""
    of_each = partial(price, xp, erf)

    def all_greeks(s: Any, k: Any, t: Any, r: Any, sigma: Any) -> Any:
        def first_order(s: Any) -> Any:
            return grad(lambda *args: xp.sum(of_each(*args)), (0, 2, 3, 4))(s, k, t, r, sigma)

        (delta, theta, rho, vega), (gamma, *_) = jvp(first_order, (s,), (xp.ones_like(s),))
        return of_each(s, k, t, r, sigma), delta, gamma, vega, theta, rho

    return all_greeks


def options(n: int) -> tuple[Array, ...]:
    """Spot, strike, years, rate and volatility."""
    rng = np.random.default_rng(0)
    ranges = ((80, 120), (80, 120), (0.2, 2), (0.01, 0.05), (0.1, 0.5))
    return tuple(rng.uniform(low, high, n) for low, high in ranges)


# Rows


def cross_entropy(logits: Any, t: Any) -> Any:
    return np.mean(scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(t)), t])


def logits(rows: int, classes: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, classes)).astype("float32"), rng.integers(0, classes, rows)


def layer_norm(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
    centered = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centered**2, axis=-1, keepdims=True)
    return centered / xp.sqrt(variance + 1e-5) * gamma + beta


def layer_norm_torch(x: Any, gamma: Any, beta: Any) -> Any:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta)


def forward_backward(vjp: Any, f: Callable[..., Any]) -> Callable[..., Any]:
    """The result of `f`, and the cotangents of its arguments for a given one of the result."""

    def both(cotangent: Any, *args: Any) -> Any:
        y, pull = vjp(f, *args)
        return y, *pull(cotangent)

    return both


def recorded(f: Callable[..., Any]) -> Callable[..., Any]:
    """`forward_backward` by PyTorch's tape."""

    def both(cotangent: Any, *args: Any) -> Any:
        leaves = [x.detach().requires_grad_() for x in args]
        y = f(*leaves)
        return y, *torch.autograd.grad(y, leaves, cotangent)

    return both


def rows(n: int, width: int) -> tuple[Array, ...]:
    """Cotangent, x, gamma, beta."""
    rng = np.random.default_rng(0)
    shapes = ((n, width), (n, width), (width,), (width,))
    return tuple(rng.standard_normal(shape).astype("float32") for shape in shapes)


# Attention: x (batch, tokens, width), queries, keys and values by one product, then heads, then the output layer


def attention(scaled_dot_product: Callable[..., Any], heads: int) -> Callable[..., Any]:
    def block(x: Any, w_in: Any, b_in: Any, w_out: Any, b_out: Any) -> Any:
        size, tokens, width = x.shape
        parts = (x @ w_in + b_in).reshape(size, tokens, 3, heads, width // heads)
        mixed = scaled_dot_product(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
        return mixed.reshape(size, tokens, width) @ w_out + b_out

    return block


def scaled_dot_product(q: Any, k: Any, v: Any) -> Any:
    """(batch, tokens, heads, each) in and out: Vaswani et al., Attention is all you need (2017), equation 1."""
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    weights = scipy.special.softmax(scores, axis=-1)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


def scaled_dot_product_torch(q: Any, k: Any, v: Any) -> Any:
    operands = (part.transpose(1, 2) for part in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(*operands).transpose(1, 2)


def tokens(size: int, length: int, heads: int, width: int) -> tuple[Any, ...]:
    """Heads, cotangent, x, and the two layers."""
    rng = np.random.default_rng(0)
    shapes = ((size, length, width), (size, length, width), (width, 3 * width), (3 * width,), (width, width), (width,))
    scales = (1.0, 1.0, width**-0.5, width**-0.5, width**-0.5, width**-0.5)
    return heads, *((rng.standard_normal(s) * scale).astype("float32") for s, scale in zip(shapes, scales, strict=True))


# The Gaussian mixture


def log_likelihood(
    xp: Any, logsumexp: Any, factors_of: Any, alphas: Any, means: Any, icf: Any, x: Any, gamma: float = 1.0, m: int = 0
) -> Any:
    """Log-posterior of a Gaussian mixture with a Wishart prior.

    Srajer, Kukelova and Fitzgibbon, A benchmark of selected algorithmic differentiation tools on some problems in
    computer vision and machine learning (2018), section 4.1; the objective GMM of ADBench and GradBench. `alphas` (k,)
    are log-weights, `means` (k, d), `icf` (k, d(d+1)/2) the inverse covariances' factors: logarithms of their diagonal,
    then the columns below it; `x` (n, d). `factors_of` makes (k, d, d) of `icf`.
    """
    (k, d), n = means.shape, x.shape[0]
    scale_logs = xp.sum(icf[:, :d], axis=1)
    factors = factors_of(icf, d)
    whitened = xp.einsum("kij,nkj->nki", factors, x[:, None, :] - means)
    terms = logsumexp(alphas + scale_logs - 0.5 * xp.sum(whitened**2, axis=2), 1)
    dof = d + m + 1
    log_gammas = d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma(0.5 * (dof - j)) for j in range(d))
    normalizer = dof * d * (math.log(gamma) - 0.5 * math.log(2)) - log_gammas
    prior = 0.5 * gamma**2 * xp.sum(factors**2) - m * xp.sum(scale_logs) - k * normalizer
    return -0.5 * n * d * math.log(2 * math.pi) + xp.sum(terms) - n * logsumexp(alphas, 0) + prior


def below_diagonal(d: int) -> tuple[Array, Array]:
    """Rows and columns below the diagonal, column after column."""
    columns, rows = np.triu_indices(d, 1)
    return rows, columns


def factors_numpy(icf: Any, d: int) -> Any:
    rows, columns = below_diagonal(d)
    factors = np.zeros((len(icf), d, d))
    factors[:, rows, columns] = icf[:, d:]
    factors[:, np.arange(d), np.arange(d)] = np.exp(icf[:, :d])
    return factors


def log_likelihood_numpy(alphas: Any, means: Any, icf: Any, x: Any) -> Any:
    return log_likelihood(np, scipy.special.logsumexp, factors_numpy, alphas, means, icf, x)


def factors_jax(icf: Any, d: int) -> Any:
    rows, columns = below_diagonal(d)
    factors = jnp.zeros((len(icf), d, d)).at[:, rows, columns].set(icf[:, d:])
    return factors.at[:, jnp.arange(d), jnp.arange(d)].set(jnp.exp(icf[:, :d]))


def factors_torch(icf: Any, d: int) -> Any:
    rows, columns = map(torch.from_numpy, below_diagonal(d))
    factors = torch.zeros(len(icf), d, d, dtype=icf.dtype).index_put(
        (torch.arange(len(icf))[:, None], rows, columns), icf[:, d:]
    )
    return factors + torch.diag_embed(torch.exp(icf[:, :d]))


def mixture(n: int, d: int, k: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(0)
    shapes = ((k,), (k, d), (k, d * (d + 1) // 2), (n, d))
    return tuple(rng.standard_normal(shape) for shape in shapes)


# The Hessian of a network's loss, times a vector


def network_loss(xp: Any, x: Any, y: Any, parameters: Sequence[Any]) -> Any:
    """Mean squared error of a network with tanh between its layers; parameters are weights and biases in turn."""
    for i in range(0, len(parameters), 2):
        x = (xp.tanh(x) if i else x) @ parameters[i] + parameters[i + 1]
    return xp.mean((x - y) ** 2)


def forward_over_reverse(xp: Any, grad: Any, jvp: Any) -> Callable[..., Any]:
    def product(x: Any, y: Any, parameters: Any, vector: Any) -> Any:
        return jvp(grad(partial(network_loss, xp, x, y)), (parameters,), (vector,))[1]

    return product


def product_pullback(x: Any, y: Any, parameters: Any, vector: Any) -> Any:
    return pb.hvp(partial(network_loss, np, x, y), (parameters,), (vector,))


def regression(size: int, *widths: int) -> tuple[Any, ...]:
    """Inputs, targets, parameters and a vector like them."""
    rng = np.random.default_rng(0)
    shapes = [shape for m, n in pairwise(widths) for shape in ((m, n), (n,))]
    parameters = tuple(rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in shapes)
    x, y = rng.standard_normal((size, widths[0])), rng.standard_normal((size, widths[-1]))
    return x, y, parameters, tuple(rng.standard_normal(shape) for shape in shapes)


def product_flops(size: int, *widths: int) -> float:
    """Products: three for the first layer, whose input has no tangent, eight for the others."""
    entries = [m * n for m, n in pairwise(widths)]
    return 2 * size * (3 * entries[0] + 8 * sum(entries[1:])) + ELEMENTARY * size * sum(widths[1:-1])


WORK: Final = [
    wave_work("float32"),
    wave_work("float64"),
    Work(
        "xent", "softmax cross-entropy and gradient, 4096×1000, float32", 0.6, (4096, 1000), (7, 5),
        inputs=logits,
        flops=lambda n, c: (ELEMENTARY + 4) * n * c,
        pullback=lambda z, t: pullback_program(pb.value_and_grad(cross_entropy), z, t),
        jax=lambda z, t: jax_program(jax.value_and_grad(cross_entropy_jax), z, t),
        torch=lambda z, t: torch_program(value_and_grad_torch(torch.nn.functional.cross_entropy), z, t),
        compiled=lambda z, t: compiled_program(value_and_grad_torch(torch.nn.functional.cross_entropy), z, t),
    ),
    Work(
        "layernorm", "layer norm forward and backward, 4096×768, float32", 0.6, (4096, 768), (6, 5),
        inputs=rows,
        flops=lambda n, d: 17 * n * d,
        pullback=lambda *args: pullback_program(forward_backward(pb.vjp, partial(layer_norm, np)), *args),
        jax=lambda *args: jax_program(forward_backward(jax.vjp, partial(layer_norm, jnp)), *args),
        torch=lambda *args: torch_program(recorded(layer_norm_torch), *args),
        compiled=lambda *args: compiled_program(forward_backward(torch.func.vjp, layer_norm_torch), *args),
    ),
    Work(
        "gmm", "Gaussian mixture gradient, n = 1000, d = 10, K = 25", 0.6, (1000, 10, 25), (9, 3, 2),
        inputs=mixture,
        flops=lambda n, d, k: n * k * (3 * d * (d + 1) + 4 * d + 2 * ELEMENTARY),
        pullback=lambda *args: pullback_program(pb.grad(log_likelihood_numpy, argnums=(0, 1, 2)), *args),
        jax=lambda *args: jax_program(
            jax.grad(partial(log_likelihood, jnp, jax.nn.logsumexp, factors_jax), argnums=(0, 1, 2)), *args
        ),
        torch=lambda *args: torch_program(
            torch.func.grad(partial(log_likelihood, torch, torch.logsumexp, factors_torch), argnums=(0, 1, 2)), *args
        ),
        compiled=lambda *args: compiled_program(
            torch.func.grad(partial(log_likelihood, torch, torch.logsumexp, factors_torch), argnums=(0, 1, 2)), *args
        ),
        dtype="float64",
    ),
    Work(
        "hvp", "Hessian-vector product, tanh network 32-64-64-1, batch 128", 0.5, (128, 32, 64, 64, 1), (5, 4, 3, 3, 1),
        inputs=regression,
        flops=product_flops,
        pullback=lambda *args: pullback_program(product_pullback, *args),
        jax=lambda *args: jax_program(forward_over_reverse(jnp, jax.grad, jax.jvp), *args),
        torch=lambda *args: torch_program(forward_over_reverse(torch, torch.func.grad, torch.func.jvp), *args),
        compiled=lambda *args: compiled_program(forward_over_reverse(torch, torch.func.grad, torch.func.jvp), *args),
        dtype="float64",
    ),
    Work(
        "options", "Black-Scholes prices and all Greeks, 10⁶ options, float64", 0.3, (1_000_000,), (23,),
        inputs=options,
        flops=lambda n: (5 * ELEMENTARY + 50) * n,  # log, two exp, two erf; sqrt counts as arithmetic
        pullback=lambda *args: pullback_program(greeks(np, scipy.special.erf, pb.grad, pb.jvp), *args),
        jax=lambda *args: jax_program(greeks(jnp, jax.scipy.special.erf, jax.grad, jax.jvp), *args),
        torch=lambda *args: torch_program(greeks(torch, torch.erf, torch.func.grad, torch.func.jvp), *args),
        compiled=lambda *args: compiled_program(greeks(torch, torch.erf, torch.func.grad, torch.func.jvp), *args),
        dtype="float64",
    ),
    Work(
        "attention", "attention forward and backward, batch 8, 128 tokens, 4 heads, width 128", 1.0,
        (8, 128, 4, 128), (2, 5, 2, 6),
        inputs=tokens,
        flops=lambda b, n, heads, d: 3 * (8 * b * n * d * d + 4 * b * n * n * d) + ELEMENTARY * b * heads * n * n,
        pullback=lambda heads, *args: pullback_program(
            forward_backward(pb.vjp, attention(scaled_dot_product, heads)), *args
        ),
        jax=lambda heads, *args: jax_program(
            forward_backward(jax.vjp, attention(jax.nn.dot_product_attention, heads)), *args
        ),
        torch=lambda heads, *args: torch_program(recorded(attention(scaled_dot_product_torch, heads)), *args),
        compiled=lambda heads, *args: compiled_program(
            forward_backward(torch.func.vjp, attention(scaled_dot_product_torch, heads)), *args
        ),
    ),
]  # fmt: skip
