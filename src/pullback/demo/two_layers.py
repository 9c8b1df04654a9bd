"""Part 4: a two-layer network by hand, compared with autograd and differences, then trained with nn and optim."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

import pullback as pb
from pullback import nn, optim
from pullback.data import DataLoader, TensorDataset
from pullback.demo.differences import differences
from pullback.demo.part import Part
from pullback.demo.rows import standardise
from pullback.show import loss_curves

TITLE = "A two-layer network by hand"
Array = NDArray[np.float64]
Weights = dict[str, Array]


def forward(weights: Mapping[str, Array], X: Array, t: Array) -> tuple[Array, dict[str, Array]]:
    """Sigmoid, softmax, mean cross-entropy: the loss, and what the way back needs. X (n, d), t (n,) class numbers."""
    h = 1 / (1 + np.exp(-(X @ weights["W1"] + weights["b1"])))
    z = h @ weights["W2"] + weights["b2"]
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(t)), t].mean(), {"h": h, "p": np.exp(log_p)}


def backward(weights: Mapping[str, Array], X: Array, t: Array, kept: Mapping[str, Array]) -> Weights:
    """The gradients of the loss, by hand."""
    h = kept["h"]
    dz = kept["p"].copy()
    dz[np.arange(len(t)), t] -= 1
    dz /= len(t)
    da = dz @ weights["W2"].T * h * (1 - h)
    return {"W1": X.T @ da, "b1": da.sum(0), "W2": h.T @ dz, "b2": dz.sum(0)}


def by_autograd(weights: Weights, X: Array, t: Array) -> Weights:
    """The same gradients by backward()."""
    leaves = {name: pb.tensor(w, requires_grad=True) for name, w in weights.items()}
    h = pb.sigmoid(pb.tensor(X) @ leaves["W1"] + leaves["b1"])
    z = h @ leaves["W2"] + leaves["b2"]
    nn.functional.cross_entropy(z, pb.tensor(t)).backward()
    return {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def by_torch(weights: Weights, X: Array, t: Array) -> Weights:
    import torch

    leaves = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    h = torch.sigmoid(torch.tensor(X) @ leaves["W1"] + leaves["b1"])
    torch.nn.functional.cross_entropy(h @ leaves["W2"] + leaves["b2"], torch.tensor(t)).backward()
    return {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def run(part: Part) -> None:
    if not find_spec("sklearn"):
        part.skip(
            "the whole part: its data come with scikit-learn, which is not installed (pip install 'pullback[demo]')"
        )
        return
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    X, t = standardise(data.data), data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(X))
    held_out, train = order[: len(X) // 4], order[len(X) // 4 :]
    compare(part, X[train], t[train])
    fit(part, X[train], t[train], X[held_out], t[held_out])


def compare(part: Part, X: Array, t: Array) -> None:
    rng = np.random.default_rng(1)
    hidden = 4 if part.quick else 16
    weights = {
        "W1": rng.normal(size=(30, hidden)) / np.sqrt(30), "b1": 0.1 * rng.normal(size=hidden),
        "W2": rng.normal(size=(hidden, 2)) / np.sqrt(hidden), "b2": 0.1 * rng.normal(size=2),
    }  # fmt: skip
    part.say(
        f"Breast-cancer data ({len(X)} rows of 30 measurements to learn from): a hidden layer of {hidden} "
        "sigmoids, softmax, cross-entropy, with forward and backward written in NumPy, in float64."
    )
    written = backward(weights, X, t, forward(weights, X, t)[1])
    ways = {"backward()": by_autograd(weights, X, t)}
    if find_spec("torch"):
        ways["PyTorch"] = by_torch(weights, X, t)
    else:
        part.skip("comparison with PyTorch (not installed)")
    table = part.table(
        "The gradient of each parameter, by hand", ["parameter", "shape", "largest entry", "against"],
        note="error: relative to the largest entry; for differences, of the worst entry in units of their own bound.",
    )  # fmt: skip
    for name, gradient in written.items():
        shape, largest = str(gradient.shape), float(np.abs(gradient).max())
        for way, found in ways.items():
            check = part.check(
                f"{name} by hand = {way}", gradient, found[name], 1e-15 if way == "backward()" else 1e-14
            )
            part.row(table, name, shape, largest, way, check=check)

        def loss(w: Array, name: str = name) -> float:
            return float(forward({**weights, name: w}, X, t)[0])

        numeric, bound = differences(loss, weights[name])
        check = part.note(f"{name} by hand = differences", np.max(np.abs(gradient - numeric) / bound), 1)
        part.row(table, name, shape, largest, "differences", check=check)
    part.show(table)


def fit(part: Part, X: Array, t: Array, held_out_X: Array, held_out_t: Array) -> None:
    from tqdm import tqdm

    pb.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 16), nn.Sigmoid(), nn.Linear(16, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loss_function = nn.CrossEntropyLoss()
    rows = TensorDataset(pb.tensor(X, dtype=pb.float32), pb.tensor(t))
    loader = DataLoader(rows, batch_size=32, shuffle=True)
    test_X, test_t = pb.tensor(held_out_X, dtype=pb.float32), pb.tensor(held_out_t)
    part.say("The same network with nn and optim: Adam, batches of 32, float32.")
    part.code(repr(model))
    learned, unseen = [], []
    epochs = 15 if part.quick else 40
    with tqdm(range(epochs), desc="training", unit="epoch", disable=part.quick) as progress:
        for _ in progress:
            total = 0.0
            for batch, target in loader:
                optimizer.zero_grad()
                loss = loss_function(model(batch), target)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(batch)
            learned.append(total / len(X))
            with pb.no_grad():
                unseen.append(loss_function(model(test_X), test_t).item())
            progress.set_postfix(loss=f"{learned[-1]:.4f}", refresh=False)
    with pb.no_grad():
        right = (model(test_X).argmax(1) == test_t).numpy().mean()
    table = part.table(
        "Trained",
        ["epochs", "loss", "loss, held-out rows", "right, held-out rows"],
        note="error: the share that is wrong.",
    )
    check = part.note("held-out rows: share wrong", 1 - float(right), 0.05)
    part.row(table, epochs, learned[-1], unseen[-1], f"{right:.1%} of {len(held_out_t)}", check=check)
    part.show(table)
    part.picture(
        "4-loss.svg", "Cross-entropy by epoch, on the rows learned from and on the rows held out.",
        lambda path: loss_curves({"learned from": learned, "held out": unseen}, "Breast cancer: cross-entropy", path),
    )  # fmt: skip
