"""Logistic regression with its gradient by hand.

pullback check examples/logistic.py
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sigmoid_prime(z):
    s = sigmoid(z)
    return s * (1 - s)


def loss(w, b, X, y, penalty=0.1):
    """The mean cross entropy of labels y (0 or 1) given the rows of X, and a ridge penalty on the weights."""
    z = X @ w + b
    return np.mean(np.logaddexp(0, z) - y * z) + penalty / 2 * np.sum(w**2)


def loss_grad(w, b, X, y, penalty=0.1):
    error = (sigmoid(X @ w + b) - y) / len(y)
    dw = X.T @ error + penalty * w
    db = np.sum(error)
    return dw, db


def fit(X, y, steps=500, rate=0.5):
    w, b = np.zeros(X.shape[1]), 0.0
    for _ in range(steps):
        dw, db = loss_grad(w, b, X, y)
        w, b = w - rate * dw, b - rate * db
    return w, b
