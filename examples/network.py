"""A network of two layers with its backward by hand. One line of the backward is wrong.

pullback check examples/network.py
"""

import numpy as np


class Network:
    """Two dense layers with tanh between them, and the mean squared error."""

    def __init__(self, n_in, n_hidden, n_out, seed=0):
        rng = np.random.default_rng(seed)
        self.W1 = rng.standard_normal((n_in, n_hidden)) / np.sqrt(n_in)
        self.b1 = np.zeros(n_hidden)
        self.W2 = rng.standard_normal((n_hidden, n_out)) / np.sqrt(n_hidden)
        self.b2 = np.zeros(n_out)

    def forward(self, x):
        self.x = x
        self.z = x @ self.W1 + self.b1
        self.h = np.tanh(self.z)
        return self.h @ self.W2 + self.b2

    def loss(self, x, target):
        self.error = self.forward(x) - target
        return np.mean(self.error**2)

    def backward(self):
        dout = 2 * self.error / self.error.size
        self.dW2 = self.h.T @ dout
        self.db2 = dout.sum(axis=0)
        dh = dout @ self.W2.T
        dz = dh * (1 - self.z**2)
        self.dW1 = self.x.T @ dz
        self.db1 = dz.sum(axis=0)

    def step(self, x, target, rate=0.1):
        value = self.loss(x, target)
        self.backward()
        for name in ("W1", "b1", "W2", "b2"):
            setattr(self, name, getattr(self, name) - rate * getattr(self, "d" + name))
        return value
