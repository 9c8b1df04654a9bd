"""Loops over time and inside solvers, differentiated backwards by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.check.plant import (
    Model,
    entry_off,
    gradient_of,
    ignores_upstream,
    model,
    normals,
    of_seed,
    piles_up,
    subject,
    times,
    vjp_of,
)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


@model(
    of_seed(lambda W, U, b, x, t: (0.5 * W, U, b, x, t), (4, 4), (4, 3), (4,), (6, 3), (4,)),
    ("overwrite", "dW += np.outer", "dW = np.outer"),
    ("missing_term", "dh = self.W.T @ dz", "dh = 0 * dz"),
    ("wrong_point", "dz = dh * (1 - self.h[t + 1] ** 2)", "dz = dh * (1 - self.h[t] ** 2)"),
    ("index", "np.outer(dz, self.x[t])", "np.outer(dz, self.x[t - 1])"),
    ("transpose", "dh = self.W.T @ dz", "dh = self.W @ dz"),
    ("wrong_point", "dW += np.outer(dz, self.h[t])", "dW += np.outer(dz, self.h[t + 1])"),
    ("wrong_formula", "(1 - self.h[t + 1] ** 2)", "(1 - self.h[t + 1])"),
    ("side_effect", "        dh = self.h[-1] - self.t\n", "        dh = self.h[-1]\n        dh -= self.t\n"),
    ("missing_term", "in reversed(range(len(self.x)))", "in reversed(range(1, len(self.x)))"),
    ("zero", "return dW, dU, db", "return dW, dU, np.zeros_like(db)"),
)
class RecurrentNetwork(Model):
    def forward(self, W, U, b, x, t):
        self.W, self.x, self.t = W, x, t
        self.h = [np.zeros(4)]
        for row in x:
            self.h.append(np.tanh(W @ self.h[-1] + U @ row + b))
        return 0.5 * np.sum((self.h[-1] - t) ** 2)

    def backward(self):
        dW, dU, db = np.zeros((4, 4)), np.zeros((4, 3)), np.zeros(4)
        dh = self.h[-1] - self.t
        for t in reversed(range(len(self.x))):
            dz = dh * (1 - self.h[t + 1] ** 2)
            dW += np.outer(dz, self.h[t])
            dU += np.outer(dz, self.x[t])
            db += dz
            dh = self.W.T @ dz
        return dW, dU, db


@subject(normals((5,), (5,), (5,), (5,), (5,)))
def lstm_cell(f, i, o, u, c):
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
    return sigmoid(o) * np.tanh(new)


@vjp_of(
    lstm_cell,
    ("swapped_args", "return df, di, do, du, dc", "return di, df, do, du, dc"),
    ("swapped_args", "return df, di, do, du, dc", "return df, di, du, do, dc"),
    ("wrong_point", "dc = dnew * sf", "dc = dnew * sigmoid(sf)"),
    ("wrong_formula", "(1 - tn**2)", "(1 - tn)"),
    ("wrong_formula", "sf * (1 - sf)", "sf"),
    ("wrong_point", "si * (1 - tu**2)", "si * (1 - np.tanh(tu) ** 2)"),
    ("wrong_formula", "dnew * c * sf", "dnew * sf"),
    ("sign", "do = g * tn", "do = -g * tn"),
    ignores_upstream(),
)
def lstm_cell_vjp(g, f, i, o, u, c):
    sf, si, so, tu = sigmoid(f), sigmoid(i), sigmoid(o), np.tanh(u)
    tn = np.tanh(sf * c + si * tu)
    do = g * tn * so * (1 - so)
    dnew = g * so * (1 - tn**2)
    df = dnew * c * sf * (1 - sf)
    di = dnew * tu * si * (1 - si)
    du = dnew * si * (1 - tu**2)
    dc = dnew * sf
    return df, di, do, du, dc


@subject(normals((4, 4), (4,), (4,)))
def gru_update(W, h, x):
    z = sigmoid(W @ h + x)
    return (1 - z) * h + z * np.tanh(x)


@vjp_of(
    gru_update,
    ("missing_term", "dh = g * (1 - z) + W.T @ da", "dh = g * (1 - z)"),
    ("missing_term", "dh = g * (1 - z) + W.T @ da", "dh = W.T @ da"),
    ("sign", "dz = g * (np.tanh(x) - h)", "dz = g * (h - np.tanh(x))"),
    ("wrong_formula", "z * (1 - z)", "z * (1 + z)"),
    ("transpose", "np.outer(da, h)", "np.outer(h, da)"),
    ("overwrite", "dx = da + g * z * (1 - np.tanh(x) ** 2)", "dx = da\n    dx = g * z * (1 - np.tanh(x) ** 2)"),
    ignores_upstream(),
    times(1.0035, which=2),
)
def gru_update_vjp(g, W, h, x):
    z = sigmoid(W @ h + x)
    dz = g * (np.tanh(x) - h)
    da = dz * z * (1 - z)
    dh = g * (1 - z) + W.T @ da
    dx = da + g * z * (1 - np.tanh(x) ** 2)
    return np.outer(da, h), dh, dx


@subject(of_seed(lambda a, b, c: (0.1 * a, b, c, 0.05), (3, 3), (3,), (3,)))
def euler_steps(A, y0, target, h):
    y = y0
    for _ in range(20):
        y = y + h * (A @ y - 0.1 * y**3)
    return np.sum((y - target) ** 2)


@gradient_of(
    euler_steps,
    ("missing_term", " - 0.3 * y**2 * a", ""),
    ("missing_term", "a = a + 0.05 * (A.T @ a", "a = (A.T @ a"),
    ("transpose", "A.T @ a", "A @ a"),
    ("wrong_formula", "0.3 * y**2", "0.1 * y**2"),
    ("transpose", "np.outer(a, y)", "np.outer(y, a)"),
    ("overwrite", "dA += 0.05", "dA = 0.05"),
    ("wrong_point", "reversed(path[:-1])", "reversed(path[1:])"),
    ("factor", "a = 2 * (path[-1] - target)", "a = path[-1] - target"),
    ("swapped_args", "return dA, a, -2", "return dA, -a, -2"),
)
def euler_steps_grad(A, y0, target, h):
    path = [y0]
    for _ in range(20):
        y = path[-1]
        path.append(y + h * (A @ y - 0.1 * y**3))
    dA = np.zeros_like(A)
    a = 2 * (path[-1] - target)
    for y in reversed(path[:-1]):
        dA += 0.05 * np.outer(a, y)
        a = a + 0.05 * (A.T @ a - 0.3 * y**2 * a)
    return dA, a, -2 * (path[-1] - target)


@subject(normals((), ()))
def runge_kutta(k, y0):
    def rate(y):
        return -k * np.sin(y)

    y, h = y0, 0.1
    for _ in range(10):
        k1 = rate(y)
        k2 = rate(y + h / 2 * k1)
        k3 = rate(y + h / 2 * k2)
        k4 = rate(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y**2


@gradient_of(
    runge_kutta,
    ("swapped_args", "return 2 * y * s, 2 * y * u", "return 2 * y * u, 2 * y * s"),
    ("factor", "return 2 * y * s, 2 * y * u", "return y * s, y * u"),
    ("missing_term", "ds.append(-np.sin(at) - k * np.cos(at) * sa)", "ds.append(-k * np.cos(at) * sa)"),
    ("missing_term", "ds.append(-np.sin(at) - k * np.cos(at) * sa)", "ds.append(-np.sin(at))"),
    ("wrong_formula", "ds.append(-np.sin(at) - k * np.cos(at) * sa)", "ds.append(-np.sin(at) - k * np.sin(at) * sa)"),
    ("sign", "return 2 * y * s", "return -2 * y * s"),
)
def runge_kutta_grad(k, y0):
    y, s, u, h = y0, 0.0, 1.0, 0.1
    for _ in range(10):
        r, ds, du = [], [], []
        for c in (0.0, h / 2, h / 2, h):
            at = y + c * (r[-1] if r else 0.0)
            sa = s + c * (ds[-1] if ds else 0.0)
            ua = u + c * (du[-1] if du else 0.0)
            r.append(-k * np.sin(at))
            ds.append(-np.sin(at) - k * np.cos(at) * sa)
            du.append(-k * np.cos(at) * ua)
        w = np.array([1, 2, 2, 1]) * h / 6
        y, s, u = y + w @ r, s + w @ ds, u + w @ du
    return 2 * y * s, 2 * y * u


@subject(of_seed(lambda x: (np.abs(x) + 0.5,), (6,)))
def newton_root(x):
    y = 0.5 * (1 + x)
    for _ in range(30):
        y = 0.5 * (y + x / y)
    return np.sum(y**3)


@gradient_of(
    newton_root,
    ("wrong_formula", "0.5 / y", "1 / (2 * x)"),
    ("wrong_formula", "3 * y**2", "y**2"),
    ("wrong_point", "3 * y**2", "3 * x**2"),
    ("sign", "return 3", "return -3"),
    ("factor", "0.5 / y", "1 / y"),
    entry_off(1.0025, 1),
)
def newton_root_grad(x):
    y = np.sqrt(x)
    return 3 * y**2 * 0.5 / y


@subject(of_seed(lambda A, b: (0.2 * A, b), (4, 4), (4,)))
def fixed_point(A, b):
    z = np.zeros(4)
    for _ in range(80):
        z = np.tanh(A @ z + b)
    return np.sum(z)


@gradient_of(
    fixed_point,
    ("missing_term", "np.eye(4) - J.T", "np.eye(4)"),
    ("wrong_formula", "np.eye(4) - J.T", "np.eye(4) + J.T"),
    ("transpose", "np.eye(4) - J.T", "np.eye(4) - J"),
    ("transpose", "np.outer(db, z)", "np.outer(z, db)"),
    ("wrong_formula", "d = 1 - z**2", "d = 1 - z"),
    ("zero", "return np.outer(db, z), db", "return 0 * A, db"),
)
def fixed_point_grad(A, b):
    z = np.zeros(4)
    for _ in range(80):
        z = np.tanh(A @ z + b)
    d = 1 - z**2
    J = d[:, None] * A
    w = np.linalg.solve(np.eye(4) - J.T, np.ones(4))
    db = w * d
    return np.outer(db, z), db


@subject(normals((3,), (8, 3), (8,)))
def unrolled_descent(w0, X, y):
    w = w0
    for _ in range(5):
        w = w - 0.1 * X.T @ (X @ w - y) / len(y)
    return np.sum(w**2)


@gradient_of(
    unrolled_descent,
    ("missing_term", "a = a - 0.1 * X.T @ (X @ a) / len(y)", "a = a"),
    ("sum_for_mean", "X.T @ (X @ a) / len(y)", "X.T @ (X @ a)"),
    ("factor", "a = 2 * w", "a = w"),
    ("wrong_point", "a = 2 * w", "a = 2 * w0"),
    ("wrong_formula", "a - 0.1", "a + 0.1"),
    times(0.9955),
)
def unrolled_descent_grad(w0, X, y):
    w = w0
    for _ in range(5):
        w = w - 0.1 * X.T @ (X @ w - y) / len(y)
    a = 2 * w
    for _ in range(5):
        a = a - 0.1 * X.T @ (X @ a) / len(y)
    return a


@subject(of_seed(lambda a, x: (0.5 + 0.1 * a, x), (), (15,)))
def leaky_integrator(a, x):
    s, total = 0.0, 0.0
    for value in x:
        s = a * s + value
        total = total + s**2
    return total


@gradient_of(
    leaky_integrator,
    ("overwrite", "da += ds * states[t]", "da = ds * states[t]"),
    ("index", "da += ds * states[t]", "da += ds * states[t + 1]"),
    ("missing_term", "ds = a * ds + 2 * states[t + 1]", "ds = 2 * states[t + 1]"),
    ("index", "dx[t] = ds", "dx[len(x) - 1 - t] = ds"),
    ("wrong_formula", "2 * states[t + 1]", "2 * np.abs(states[t + 1])"),
    ("factor", "return da, dx", "return da / 2, dx / 2"),
    piles_up(),
)
def leaky_integrator_grad(a, x):
    states = [0.0]
    for value in x:
        states.append(a * states[-1] + value)
    da, ds, dx = 0.0, 0.0, np.zeros_like(x)
    for t in reversed(range(len(x))):
        ds = a * ds + 2 * states[t + 1]
        dx[t] = ds
        da += ds * states[t]
    return da, dx
