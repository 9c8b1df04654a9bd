"""A training step written with pullback, run by JAX on a mesh of four devices: the batch is divided among them.

Run it with `python examples/sharded.py`. The four devices are parts of this machine's processor; on a machine with
several GPUs or TPUs the same program divides the batch among those.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import pullback as pb


def loss(parameters, x, labels):
    """The cross entropy of a network with one hidden layer."""
    (w1, b1), (w2, b2) = parameters
    hidden = np.tanh(x @ w1 + b1)
    scores = hidden @ w2 + b2
    top = scores.max(axis=1, keepdims=True)
    log_sums = np.log(np.sum(np.exp(scores - top), axis=1)) + top[:, 0]
    return np.mean(log_sums - np.sum(scores * labels, axis=1))


def step(parameters, x, labels, rate=0.5):
    """One step of gradient descent: the new parameters and the loss."""
    value, slopes = pb.value_and_grad(loss)(parameters, x, labels)
    new = [tuple(p - rate * s for p, s in zip(*layer)) for layer in zip(parameters, slopes)]
    return new, value


def data(rng, rows):
    """Points on a plane, and whether each is inside a ring, as one-hot rows."""
    x = rng.uniform(-2, 2, (rows, 2))
    inside = np.abs(np.hypot(*x.T) - 1.2) < 0.4
    return x.astype(np.float32), np.eye(2, dtype=np.float32)[inside.astype(int)]


def main():
    rng = np.random.default_rng(0)
    x, labels = data(rng, 512)
    start = [
        (0.8 * rng.standard_normal((2, 32), np.float32), np.zeros(32, np.float32)),
        (0.3 * rng.standard_normal((32, 2), np.float32), np.zeros(2, np.float32)),
    ]

    devices = jax.devices()
    mesh = Mesh(np.array(devices), ("batch",))
    divided, everywhere = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    exported = pb.export_jax(step)
    sharded = jax.jit(exported, in_shardings=(everywhere, divided, divided), out_shardings=everywhere)
    alone = jax.jit(exported)

    many, one = jax.device_put(start, everywhere), jax.device_put(start, devices[0])
    batch = jax.device_put((x, labels), divided)
    print(f"{len(devices)} devices, each with {batch[0].addressable_shards[0].data.shape[0]} of {len(x)} rows")
    for n in range(201):
        # One step at a time: the devices share this processor's threads, and meet within a step to add up gradients.
        many, loss_of_many = jax.block_until_ready(sharded(many, *batch))
        one, loss_of_one = jax.block_until_ready(alone(one, x, labels))
        if n % 50 == 0:
            print(f"step {n:3}: loss {float(loss_of_many):.6f} on all, {float(loss_of_one):.6f} on one")
    for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one)):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    print("the parameters are equal to rounding")


if __name__ == "__main__":
    main()
