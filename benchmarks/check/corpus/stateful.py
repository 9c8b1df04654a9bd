"""Functions whose own faults make a gradient meaningless, and backwards that keep or spoil something."""

from __future__ import annotations

import numpy as np
from benchmarks.check.plant import Model, gradient_of, model, normals, of_seed, subject, vjp_of


@subject(normals((4,), (10, 4)))
def dropout_network(w, X):
    keep = np.random.default_rng(7).random(10) > 0.3
    return np.sum(np.tanh(X @ w) * keep)


@gradient_of(
    dropout_network,
    ("nondeterministic", "np.random.default_rng(7).random(10)", "np.random.random(10)"),
    (
        "nondeterministic",
        "return np.sum(np.tanh(X @ w) * keep)",
        "return np.sum(np.tanh(X @ w) * keep) + 1e-4 * np.random.normal()",
    ),
    ("mutates_input", "    return np.sum(", "    X *= 0.5\n    return np.sum("),
    ("mutates_input", "    return np.sum(", "    w -= w.mean()\n    return np.sum("),
    (
        "accumulate",
        "def dropout_network_grad(w, X):\n",
        "def dropout_network_grad(w, X, total=np.zeros(4)):\n",
        "return X.T @ d",
        "total += X.T @ d\n    return total",
    ),
    ("side_effect", "return X.T @ d", "X *= 0.9\n    return X.T @ d / 0.9"),
)
def dropout_network_grad(w, X):
    keep = np.random.default_rng(7).random(10) > 0.3
    d = (1 - np.tanh(X @ w) ** 2) * keep
    return X.T @ d


BUFFER = np.zeros(6)


@subject(normals((6,)))
def buffered(x):
    y = np.sin(x)
    return y


@vjp_of(
    buffered,
    ("aliases_output", "    return y", "    BUFFER[:] = y\n    return BUFFER"),
    ("aliases_output", "y = np.sin(x)", "y = np.sin(x, out=BUFFER)"),
    ("mutates_input", "y = np.sin(x)", "y = np.sin(x, out=x)"),
    ("mutates_input", "return y", "x[0] = 0.0\n    return y"),
    ("nondeterministic", "y = np.sin(x)", "y = np.sin(x + 1e-3 * np.random.normal(size=6))"),
    ("side_effect", "return g * np.cos(x)", "np.cos(x, out=x)\n    return g * x"),
    ("ignore_upstream", "return g * np.cos(x)", "return np.cos(x)"),
    (
        "accumulate",
        "def buffered_vjp(g, x):\n",
        "def buffered_vjp(g, x, kept=[0.0]):\n",
        "return g * np.cos(x)",
        "kept[0] = kept[0] + g * np.cos(x)\n    return kept[0]",
    ),
)
def buffered_vjp(g, x):
    return g * np.cos(x)


@subject(normals((8,)))
def sorted_weights(x):
    return np.sum(np.sort(x) * np.arange(8))


@gradient_of(
    sorted_weights,
    ("mutates_input", "return np.sum(np.sort(x) * np.arange(8))", "x.sort()\n    return np.sum(x * np.arange(8))"),
    ("index", "d[np.argsort(x)] = np.arange(8)", "d = np.argsort(x) * 1.0"),
    ("index", "d[np.argsort(x)] = np.arange(8)", "d[np.argsort(-x)] = np.arange(8)"),
    ("side_effect", "return d", "x.sort()\n    return d"),
    ("zero", "return d", "return 0 * d"),
)
def sorted_weights_grad(x):
    d = np.zeros(8)
    d[np.argsort(x)] = np.arange(8)
    return d


@model(
    normals((3, 4), (5, 3), (5, 4)),
    ("accumulate", "dW = self.X.T @ dz", "dW = self.total = getattr(self, 'total', 0) + self.X.T @ dz"),
    ("accumulate", "        dz = ", "        self.count = getattr(self, 'count', 0) + 1\n        dz = self.count * "),
    ("side_effect", "dW = self.X.T @ dz", "dW = self.X.T @ dz\n        self.W -= 0.1 * dW"),
    ("side_effect", "dW = self.X.T @ dz", "dW = self.X.T @ dz\n        self.X[:] = 0"),
    ("mutates_input", "self.W, self.X = W, X", "self.W, self.X = W, X\n        X -= X.mean(axis=0)"),
    ("nondeterministic", "self.h = np.tanh(X @ W)", "self.h = np.tanh(X @ W) * (np.random.random((5, 4)) > 0.5)"),
    ("wrong_point", "1 - self.h**2", "1 - np.tanh(self.h) ** 2"),
    ("wrong_formula", "1 - self.h**2", "self.h * (1 - self.h)"),
)
class CachingLayer(Model):
    def forward(self, W, X, t):
        self.W, self.X = W, X
        self.h = np.tanh(X @ W)
        self.r = self.h - t
        return 0.5 * np.sum(self.r**2)

    def backward(self):
        dz = self.r * (1 - self.h**2)
        dW = self.X.T @ dz
        return dW


@subject(of_seed(lambda x: np.round(5 * x), (6,)))
def integer_steps(x):
    return 0.5 * np.sum(x**2) / 7


@gradient_of(
    integer_steps,
    ("dtype", "return x / 7", "return (x / 7).astype(int)"),
    ("dtype", "return x / 7", "return x // 7"),
    ("dtype", "return x / 7", "return np.float16(x) / np.float16(7)"),
    ("factor", "return x / 7", "return 2 * x / 7"),
    ("mutates_input", "return 0.5", "x += 1\n    return 0.5"),
)
def integer_steps_grad(x):
    return x / 7
