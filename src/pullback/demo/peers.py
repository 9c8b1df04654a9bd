"""The same gradients by the other frameworks, where they are installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["installed"]

Array = NDArray[np.float64]
# (kind of loss: "mse" or "bce", features, targets, weights, bias) -> the gradient, that of the bias last
Gradient = Callable[[str, Array, Array, Array, Array], Array]


def by_torch(kind: str, X: Array, y: Array, w: Array, b: Array) -> Array:
    import torch
    from torch.nn import functional as F

    weights, bias = (torch.tensor(p, requires_grad=True) for p in (w, b))
    z = torch.tensor(X) @ weights + bias
    loss = (F.mse_loss if kind == "mse" else F.binary_cross_entropy_with_logits)(z, torch.tensor(y))
    loss.backward()
    return np.append(weights.grad.numpy(), bias.grad.numpy())


def by_jax(kind: str, X: Array, y: Array, w: Array, b: Array) -> Array:
    import jax
    import jax.numpy as jnp

    def loss(weights: Any, bias: Any) -> Any:
        z = X @ weights + bias
        return jnp.mean((z - y) ** 2 if kind == "mse" else jnp.logaddexp(0, z) - y * z)

    with jax.enable_x64(True):
        dw, db = jax.grad(loss, argnums=(0, 1))(jnp.asarray(w), jnp.asarray(b))
        return np.append(dw, db)


def by_tensorflow(kind: str, X: Array, y: Array, w: Array, b: Array) -> Array:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow talks while it is imported
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf

    weights, bias = tf.Variable(w[:, None]), tf.Variable(b)
    with tf.GradientTape() as tape:
        z = tf.squeeze(tf.constant(X) @ weights, 1) + bias
        each = (z - y) ** 2 if kind == "mse" else tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z)
        loss = tf.reduce_mean(each)
    dw, db = tape.gradient(loss, (weights, bias))
    return np.append(dw.numpy(), db.numpy())


def installed() -> dict[str, Gradient]:
    """The frameworks that are here, by name."""
    known: dict[str, tuple[str, Gradient]] = {
        "PyTorch": ("torch", by_torch),
        "JAX": ("jax", by_jax),
        "TensorFlow": ("tensorflow", by_tensorflow),
    }
    return {name: gradient for name, (module, gradient) in known.items() if find_spec(module)}
