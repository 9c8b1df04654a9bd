"""Layers and small networks, backwards written out with their caches."""

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
    nothing,
    of_seed,
    piles_up,
    single,
    spoils,
    subject,
    times,
    vjp_of,
)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


@model(
    normals((3, 5), (5,), (5, 1), (1,), (8, 3), (8, 1)),
    ("wrong_point", "dz = dh * (1 - h**2)", "dz = dh * (1 - np.tanh(h) ** 2)"),
    ("wrong_formula", "dz = dh * (1 - h**2)", "dz = dh * (1 - h)"),
    ("one_over_n", "2 * self.r / len(self.r)", "2 * self.r"),
    ("sum_for_mean", "db1 = dz.sum(axis=0)", "db1 = dz.mean(axis=0)"),
    ("factor", "dr = 2 * self.r", "dr = self.r"),
    ("sign", "dr = 2 * self.r", "dr = -2 * self.r"),
    (
        "accumulate",
        "    def forward",
        "    dW1 = 0\n\n    def forward",
        "dW1 = self.X.T @ dz",
        "dW1 = self.dW1 = self.dW1 + self.X.T @ dz",
    ),
    ("side_effect", "dW2 = h.T @ dr", "dW2 = h.T @ dr\n        self.W2 *= 0.9"),
    ("wrong_formula", "dh * (1 - h**2)", "dh * 1.0"),
    ("index", "dh = dr @ self.W2.T", "dh = dr @ self.W2[::-1].T"),
    ("zero", "return dW1, db1, dW2, db2", "return dW1, np.zeros_like(db1), dW2, db2"),
    ("broadcast", "db1 = dz.sum(axis=0)", "db1 = dz[0]"),
)
class TanhNetwork(Model):
    def forward(self, W1, b1, W2, b2, X, y):
        self.X, self.W2 = X, W2
        self.h = np.tanh(X @ W1 + b1)
        self.r = self.h @ W2 + b2 - y
        return np.mean(self.r**2)

    def backward(self):
        h = self.h
        dr = 2 * self.r / len(self.r)
        dW2 = h.T @ dr
        db2 = dr.sum(axis=0)
        dh = dr @ self.W2.T
        dz = dh * (1 - h**2)
        dW1 = self.X.T @ dz
        db1 = dz.sum(axis=0)
        return dW1, db1, dW2, db2


def with_labels(W1, b1, W2, b2, X, s):
    return W1, b1, W2, b2, X, (s > 0).astype(float)


@subject(of_seed(with_labels, (4, 6), (6,), (6,), (), (12, 4), (12,)))
def relu_classifier(W1, b1, W2, b2, X, t):
    z1 = X @ W1 + b1
    h1 = np.maximum(z1, 0)
    z2 = h1 @ W2 + b2
    yhat = sigmoid(z2)
    return -np.mean(t * np.log(yhat) + (1 - t) * np.log(1 - yhat))


@gradient_of(
    relu_classifier,
    ("wrong_point", "dz2 = dyhat * yhat * (1 - yhat)", "dz2 = dyhat * sigmoid(yhat) * (1 - sigmoid(yhat))"),
    ("wrong_formula", "dz2 = dyhat * yhat * (1 - yhat)", "dz2 = dyhat * (1 - yhat)"),
    ("one_over_n", "/ n\n    dz2", "\n    dz2"),
    ("wrong_formula", "dz1 = dh1 * (z1 > 0)", "dz1 = dh1"),
    ("wrong_formula", "(z1 > 0)", "(z1 < 0)"),
    ("wrong_formula", "(z1 > 0)", "z1 * (z1 > 0)"),
    ("missing_term", "(yhat - t) / (yhat * (1 - yhat))", "-t / yhat"),
    ("sum_for_mean", "np.sum(dz1, axis=0)", "np.mean(dz1, axis=0)"),
    ("wrong_point", "np.outer(dz2, W2)", "np.outer(dz2, W2 - 0.1 * dW2)"),
    ("zero", "return dW1, db1,", "return np.zeros_like(dW1), np.zeros_like(db1),"),
    ("sign", "(yhat - t)", "(t - yhat)"),
    times(1.001),
    piles_up(),
)
def relu_classifier_grad(W1, b1, W2, b2, X, t):
    n = len(t)
    z1 = X @ W1 + b1
    h1 = np.maximum(z1, 0)
    z2 = h1 @ W2 + b2
    yhat = sigmoid(z2)
    dyhat = (yhat - t) / (yhat * (1 - yhat)) / n
    dz2 = dyhat * yhat * (1 - yhat)
    dW2 = h1.T @ dz2
    db2 = np.sum(dz2)
    dh1 = np.outer(dz2, W2)
    dz1 = dh1 * (z1 > 0)
    dW1 = X.T @ dz1
    db1 = np.sum(dz1, axis=0)
    return dW1, db1, dW2, db2


@subject(normals((5, 5), (5,), (6, 5)))
def residual_block(W, b, x):
    return x + np.tanh(x @ W + b)


@vjp_of(
    residual_block,
    ("missing_term", "dx = g + dz @ W.T", "dx = dz @ W.T"),
    ("overwrite", "dx = g + dz @ W.T", "dx = g\n    dx = dz @ W.T"),
    ("missing_term", "dx = g + dz @ W.T", "dx = g"),
    ("transpose", "x.T @ dz", "(x.T @ dz).T"),
    ("transpose", "dz @ W.T", "dz @ W"),
    ("wrong_formula", "1 - h**2", "1 - h"),
    ("wrong_point", "1 - h**2", "1 - x**2"),
    ("broadcast", "dz.sum(axis=0)", "dz"),
    ignores_upstream(),
    times(-1.0, "sign", which=0),
)
def residual_block_vjp(g, W, b, x):
    h = np.tanh(x @ W + b)
    dz = g * (1 - h**2)
    dx = g + dz @ W.T
    return x.T @ dz, dz.sum(axis=0), dx


@subject(normals((4, 3), (3,), (7, 4)))
def linear_layer(W, b, x):
    return x @ W + b


@vjp_of(
    linear_layer,
    ("broadcast", "db = g.sum(axis=0)", "db = g"),
    ("sum_for_mean", "db = g.sum(axis=0)", "db = g.mean(axis=0)"),
    ("transpose", "dW = x.T @ g", "dW = g.T @ x"),
    ("zero", "db = g.sum(axis=0)", "db = None"),
    ("index", "dx = g @ W.T", "dx = g @ W.T[:, ::-1]"),
    ("factor", "dx = g @ W.T", "dx = 0.5 * g @ W.T"),
    ignores_upstream(),
    single(),
)
def linear_layer_vjp(g, W, b, x):
    dW = x.T @ g
    db = g.sum(axis=0)
    dx = g @ W.T
    return dW, db, dx


@subject(normals((5, 4)))
def softmax_rows(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@vjp_of(
    softmax_rows,
    ("missing_term", "(g - np.sum(g * s, axis=1, keepdims=True))", "g"),
    ("axis", "np.sum(g * s, axis=1, keepdims=True)", "np.sum(g * s, axis=0, keepdims=True)"),
    ("sum_for_mean", "np.sum(g * s, axis=1", "np.mean(g * s, axis=1"),
    ("wrong_formula", "s * (g -", "s * (1 - s) * (g -"),
    ("wrong_formula", "np.sum(g * s, axis=1, keepdims=True)", "np.sum(g, axis=1, keepdims=True)"),
    ("axis", "e / e.sum(axis=1, keepdims=True)", "e / e.sum(axis=0, keepdims=True)"),
    ignores_upstream(),
    spoils(1),
    times(2.0),
)
def softmax_rows_vjp(g, z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    s = e / e.sum(axis=1, keepdims=True)
    return s * (g - np.sum(g * s, axis=1, keepdims=True))


@subject(normals((6, 4), (4,), (4,)))
def layer_norm(x, gamma, beta):
    mean = x.mean(axis=1, keepdims=True)
    var = x.var(axis=1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(var + 1e-5) + beta


@vjp_of(
    layer_norm,
    ("missing_term", "- dxhat.mean(axis=1, keepdims=True) ", ""),
    ("missing_term", " - xhat * (dxhat * xhat).mean(axis=1, keepdims=True)", ""),
    ("sum_for_mean", "(dxhat * xhat).mean(axis=1, keepdims=True)", "(dxhat * xhat).sum(axis=1, keepdims=True)"),
    ("axis", "- dxhat.mean(axis=1, keepdims=True)", "- dxhat.mean(axis=0, keepdims=True)"),
    ("broadcast", "g.sum(axis=0)", "g"),
    ("wrong_formula", "std = np.sqrt(var + 1e-5)", "std = var + 1e-5"),
    ("wrong_formula", "dxhat = g * gamma", "dxhat = g"),
    ("swapped_args", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma"),
    ignores_upstream(),
)
def layer_norm_vjp(g, x, gamma, beta):
    mean = x.mean(axis=1, keepdims=True)
    var = x.var(axis=1, keepdims=True)
    std = np.sqrt(var + 1e-5)
    xhat = (x - mean) / std
    dgamma = (g * xhat).sum(axis=0)
    dbeta = g.sum(axis=0)
    dxhat = g * gamma
    dx = (dxhat - dxhat.mean(axis=1, keepdims=True) - xhat * (dxhat * xhat).mean(axis=1, keepdims=True)) / std
    return dx, dgamma, dbeta


@subject(normals((9, 3), (3,), (3,), (9, 3)))
def batch_norm_loss(x, gamma, beta, t):
    mu = np.mean(x, axis=0)
    xc = x - mu
    var = np.mean(xc**2, axis=0)
    out = gamma * xc / np.sqrt(var + 1e-5) + beta
    return 0.5 * np.sum((out - t) ** 2)


@gradient_of(
    batch_norm_loss,
    ("missing_term", "dxc = dxhat / std + 2 * xc * dvar / n", "dxc = dxhat / std"),
    ("missing_term", "dx = dxc + dmu / n", "dx = dxc"),
    ("sign", "dout = gamma * xhat + beta - t", "dout = t - gamma * xhat - beta"),
    ("sum_for_mean", "2 * xc * dvar / n", "2 * xc * dvar"),
    ("wrong_formula", "-0.5 * np.sum(dxhat * xc, axis=0) / std**3", "-0.5 * np.sum(dxhat * xc, axis=0) / std"),
    ("wrong_formula", "-0.5 * np.sum(dxhat * xc, axis=0) / std**3", "-np.sum(dxhat * xc, axis=0) / std**3"),
    ("zero", "return dx, dgamma, dbeta", "return dx, None, dbeta"),
    ("wrong_point", "(dout * xhat)", "(dout * xc)"),
    ("overwrite", "dx = dxc + dmu / n", "dx = dmu / n + 0 * dxc"),
    entry_off(1.5, 7),
)
def batch_norm_loss_grad(x, gamma, beta, t):
    n = len(x)
    mu = np.mean(x, axis=0)
    xc = x - mu
    std = np.sqrt(np.mean(xc**2, axis=0) + 1e-5)
    xhat = xc / std
    dout = gamma * xhat + beta - t
    dgamma = np.sum((dout * xhat), axis=0)
    dbeta = np.sum(dout, axis=0)
    dxhat = dout * gamma
    dvar = -0.5 * np.sum(dxhat * xc, axis=0) / std**3
    dxc = dxhat / std + 2 * xc * dvar / n
    dmu = -np.sum(dxc, axis=0)
    dx = dxc + dmu / n
    return dx, dgamma, dbeta


@subject(normals((5, 4), (6, 4), (6, 3)))
def attention(Q, K, V):
    S = Q @ K.T / np.sqrt(Q.shape[1])
    E = np.exp(S - S.max(axis=1, keepdims=True))
    P = E / E.sum(axis=1, keepdims=True)
    return P @ V


@vjp_of(
    attention,
    ("wrong_formula", "dS = dS / np.sqrt(Q.shape[1])", "dS = dS"),
    ("missing_term", "dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True))", "dS = P * dP"),
    ("axis", "np.sum(dP * P, axis=1, keepdims=True)", "np.sum(dP * P, axis=0, keepdims=True)"),
    ("index", "dV = P.T @ G", "dV = P.T[::-1] @ G"),
    ("swapped_args", "return dQ, dK, dV", "return dK[:5], np.vstack([dQ, dQ[:1]]), dV"),
    ("zero", "dK = dS.T @ Q", "dK = 0 * K"),
    ("sign", "dQ = dS @ K", "dQ = -dS @ K"),
    ignores_upstream(),
    times(1.003, which=0),
)
def attention_vjp(G, Q, K, V):
    S = Q @ K.T / np.sqrt(Q.shape[1])
    E = np.exp(S - S.max(axis=1, keepdims=True))
    P = E / E.sum(axis=1, keepdims=True)
    dV = P.T @ G
    dP = G @ V.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True))
    dS = dS / np.sqrt(Q.shape[1])
    dQ = dS @ K
    dK = dS.T @ Q
    return dQ, dK, dV


@subject(normals((12,), (3,)))
def convolve(x, k):
    out = np.zeros(len(x) - len(k) + 1)
    for i in range(len(k)):
        out = out + k[i] * x[i : i + len(out)]
    return out


@vjp_of(
    convolve,
    ("index", "dx[i : i + len(g)] += k[i] * g", "dx[i : i + len(g)] += k[len(k) - 1 - i] * g"),
    ("overwrite", "+= k[i] * g", "= k[i] * g"),
    ("index", "dk[i] = g @ x[i : i + len(g)]", "dk[len(k) - 1 - i] = g @ x[i : i + len(g)]"),
    ("swapped_args", "return dx, dk", "return np.resize(dk, 12), dx[:3]"),
    ("missing_term", "for i in range(len(k))", "for i in range(len(k) - 1)"),
    ("zero", "return dx, dk", "return dx, np.zeros(3)"),
    ignores_upstream(),
    entry_off(0.5, 3),
)
def convolve_vjp(g, x, k):
    dx, dk = np.zeros(len(x)), np.zeros(len(k))
    for i in range(len(k)):
        dx[i : i + len(g)] += k[i] * g
        dk[i] = g @ x[i : i + len(g)]
    return dx, dk


@model(
    normals((2, 6, 6), (3, 2, 3, 3), (3,), (3, 4, 4)),
    ("overwrite", "dx[:, i : i + 3, j : j + 3] +=", "dx[:, i : i + 3, j : j + 3] ="),
    ("broadcast", "db = self.d.sum(axis=(1, 2))", "db = self.d.sum(axis=2)"),
    ("sum_for_mean", "db = self.d.sum(axis=(1, 2))", "db = self.d.mean(axis=(1, 2))"),
    (
        "index",
        "dW += np.multiply.outer(self.d[:, i, j], patch)",
        "dW += np.multiply.outer(self.d[:, i, j], patch[:, ::-1, ::-1])",
    ),
    (
        "accumulate",
        "        dW = np.zeros_like(self.W)\n",
        "        dW = self.dW\n",
        "self.W = x, W",
        "self.W = x, W\n        self.dW = getattr(self, 'dW', np.zeros_like(W))",
    ),
    ("sign", "return dx, dW, db", "return dx, -dW, db"),
    ("zero", "return dx, dW, db", "return dx, dW, 0 * db"),
)
class Convolution2d(Model):
    def forward(self, x, W, b, t):
        self.x, self.W = x, W
        out = np.empty((3, 4, 4))
        for i in range(4):
            for j in range(4):
                out[:, i, j] = np.sum(W * x[:, i : i + 3, j : j + 3], axis=(1, 2, 3)) + b
        self.d = out - t
        return 0.5 * np.sum(self.d**2)

    def backward(self):
        dx = np.zeros_like(self.x)
        dW = np.zeros_like(self.W)
        for i in range(4):
            for j in range(4):
                patch = self.x[:, i : i + 3, j : j + 3]
                dW += np.multiply.outer(self.d[:, i, j], patch)
                dx[:, i : i + 3, j : j + 3] += np.tensordot(self.d[:, i, j], self.W, axes=1)
        db = self.d.sum(axis=(1, 2))
        return dx, dW, db


@subject(normals((3, 8)))
def max_pool(x):
    return x.reshape(3, 4, 2).max(axis=2)


@vjp_of(
    max_pool,
    ("index", "windows.argmax(axis=2)", "windows.argmin(axis=2)"),
    ("wrong_formula", "mask * g[:, :, None]", "np.ones((3, 4, 2)) * g[:, :, None]"),
    ignores_upstream(),
    spoils(1),
)
def max_pool_vjp(g, x):
    windows = x.reshape(3, 4, 2)
    mask = np.arange(2) == windows.argmax(axis=2)[:, :, None]
    return (mask * g[:, :, None]).reshape(3, 8)


@subject(normals((10,)))
def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@vjp_of(
    gelu,
    ("missing_term", "0.5 * (1 + t) + ", ""),
    ("wrong_formula", "(1 - t**2)", "(1 - t)"),
    ("wrong_formula", "3 * 0.044715", "0.044715"),
    ("wrong_formula", "u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)", "u = np.sqrt(2 / np.pi) * (x + 0.0447 * x**3)"),
    ("missing_term", "(1 + 3 * 0.044715 * x**2)", "1"),
    ignores_upstream(),
    single(),
)
def gelu_vjp(g, x):
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    t = np.tanh(u)
    du = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * du)


@subject(normals((8,)))
def swish(x):
    return x * sigmoid(x)


@vjp_of(
    swish,
    ("missing_term", "s + x * s * (1 - s)", "s"),
    ("missing_term", "s + x * s * (1 - s)", "x * s * (1 - s)"),
    ("wrong_point", "s = sigmoid(x)", "s = sigmoid(x * sigmoid(x))"),
    ("wrong_formula", "x * s * (1 - s)", "x * s"),
    ignores_upstream(),
    entry_off(0.9, 2, 5),
)
def swish_vjp(g, x):
    s = sigmoid(x)
    return g * (s + x * s * (1 - s))


TOKENS = np.array([2, 0, 2, 4, 1, 2])


@subject(normals((6, 3), (6, 3)))
def embedding(table, t):
    return 0.5 * np.sum((table[TOKENS] - t) ** 2)


@gradient_of(
    embedding,
    ("overwrite", "np.add.at(d, TOKENS, e)", "d[TOKENS] = e"),
    ("overwrite", "np.add.at(d, TOKENS, e)", "d[TOKENS] += e"),
    ("index", "np.add.at(d, TOKENS, e)", "np.add.at(d, TOKENS + 1, e)"),
    ("index", "np.add.at(d, TOKENS, e)", "d = e[TOKENS]"),
    ("sign", "e = table[TOKENS] - t", "e = t - table[TOKENS]"),
    piles_up(),
    times(1.009),
)
def embedding_grad(table, t):
    d = np.zeros_like(table)
    e = table[TOKENS] - t
    np.add.at(d, TOKENS, e)
    return d


@subject(normals((4, 3), (7, 4)))
def tied_autoencoder(W, X):
    H = np.tanh(X @ W)
    R = H @ W.T - X
    return np.sum(R**2) / len(X)


@gradient_of(
    tied_autoencoder,
    ("overwrite", "dW += X.T @ dZ", "dW = X.T @ dZ"),
    ("missing_term", "    dW += X.T @ dZ\n", ""),
    ("transpose", "dW = dR.T @ H", "dW = (H.T @ dR).reshape(4, 3)"),
    ("wrong_formula", "(1 - H**2)", "H"),
    ("one_over_n", "dR = 2 * R / len(X)", "dR = 2 * R"),
    ("factor", "dR = 2 * R / len(X)", "dR = R / len(X)"),
    ("wrong_point", "(1 - H**2)", "(1 - np.tanh(H) ** 2)"),
    nothing(),
)
def tied_autoencoder_grad(W, X):
    H = np.tanh(X @ W)
    R = H @ W.T - X
    dR = 2 * R / len(X)
    dW = dR.T @ H
    dH = dR @ W
    dZ = dH * (1 - H**2)
    dW += X.T @ dZ
    return dW


@subject(normals((10,)))
def quantized(x):
    return np.round(4 * np.tanh(x)) / 4 + 0.1 * x


@vjp_of(
    quantized,
    ("ste", "return 0.1 * g", "return 0.1 * g + g * (1 - np.tanh(x) ** 2)"),
    ("ste", "return 0.1 * g", "return 0.1 * g + g"),
    ("factor", "return 0.1 * g", "return 0.2 * g"),
    nothing(),
    ignores_upstream(),
)
def quantized_vjp(g, x):
    return 0.1 * g


@subject(normals((9,)))
def hard_sigmoid_loss(x):
    return np.sum(np.clip(0.5 + 0.4 * x, 0.0, 1.0) ** 2)


@gradient_of(
    hard_sigmoid_loss,
    ("ste", "0.8 * c * inside", "0.8 * c"),
    ("wrong_formula", "0.8 * c * inside", "0.8 * inside"),
    ("factor", "0.8 * c", "0.4 * c"),
    ("wrong_formula", "0.8 * c * inside", "0.8 * c * ~inside"),
    entry_off(1.007, 0, 1, 2, 3, 4, 5, 6, 7, 8),
)
def hard_sigmoid_loss_grad(x):
    c = np.clip(0.5 + 0.4 * x, 0.0, 1.0)
    inside = (c > 0) & (c < 1)
    return 0.8 * c * inside


@subject(normals((6, 4), (6,)))
def sign_activation(x, g0):
    return np.sum(np.sign(x), axis=1) * g0 + np.sum(x**2, axis=1)


@vjp_of(
    sign_activation,
    ("ste", "dx = 2 * x * g[:, None]", "dx = 2 * x * g[:, None] + (g * g0)[:, None]"),
    ("zero", "dx = 2 * x * g[:, None]", "dx = 0 * x"),
    ("wrong_formula", "dx = 2 * x * g[:, None]", "dx = 2 * np.abs(x) * g[:, None]"),
    ignores_upstream(),
)
def sign_activation_vjp(g, x, g0):
    dx = 2 * x * g[:, None]
    return dx, np.sum(np.sign(x), axis=1) * g


@subject(normals((5,), (8, 5)))
def binary_weights(w, X):
    return np.sum(np.tanh(X @ np.sign(w))) + 0.5 * w @ w


@gradient_of(
    binary_weights,
    ("ste", "dw = w", "dw = w + X.T @ d"),
    ("ste", "dw = w", "dw = w + (X.T @ d) * (np.abs(w) <= 1)"),
    ("zero", "dw = w", "dw = 0 * w"),
    ("wrong_point", "np.outer(d, np.sign(w))", "np.outer(d, w)"),
    ("sign", "return dw, dX", "return dw, -dX"),
)
def binary_weights_grad(w, X):
    d = 1 - np.tanh(X @ np.sign(w)) ** 2
    dw = w
    dX = np.outer(d, np.sign(w))
    return dw, dX


@subject(normals((8,)))
def staircase(x):
    return np.sum(x * np.floor(3 * x) + np.clip(x, -0.5, 0.5) * np.cos(x))


@gradient_of(
    staircase,
    ("ste", "np.floor(3 * x)", "np.floor(3 * x) + 3 * x"),
    ("ste", "inside * np.cos(x)", "np.cos(x)"),
    ("wrong_formula", "- np.clip(x, -0.5, 0.5) * np.sin(x)", "+ np.clip(x, -0.5, 0.5) * np.cos(x)"),
    ("missing_term", " - np.clip(x, -0.5, 0.5) * np.sin(x)", ""),
)
def staircase_grad(x):
    inside = np.abs(x) < 0.5
    return np.floor(3 * x) + inside * np.cos(x) - np.clip(x, -0.5, 0.5) * np.sin(x)
