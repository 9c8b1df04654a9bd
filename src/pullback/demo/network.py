"""Part 2: a network from a PyTorch checkpoint, taken apart: values forward, cotangents backward, the graph."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pullback as pb
from pullback import nn
from pullback.demo.part import Part
from pullback.demo.rows import cars
from pullback.show import draw_graph, graph_tree

TITLE = "A network taken apart"
FEATURES = ("displacement", "horsepower", "weight", "acceleration")
FORD_PINTO = 166  # a car of 1975 that the network is not sure about: σ = 0.64
Array = NDArray[Any]


class Network(nn.Module):
    """4-2-1, sigmoid throughout: was this car built in the USA?"""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 2)
        self.output = nn.Linear(2, 1)

    def forward(self, x: Any) -> Any:
        return pb.sigmoid(self.output(pb.sigmoid(self.hidden(x))))


def load() -> Network:
    """The network with the weights of the checkpoint, which PyTorch wrote."""
    with as_file(files("pullback.demo") / "network.pth") as path:
        state = pb.load(path)
    model = Network()
    model.load_state_dict(state)
    return model


def sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


def by_hand(weights: dict[str, Array], x: Array, t: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every value forward, and every cotangent backward, in NumPy: `(values, cotangents)` by name."""
    W1, b1, W2, b2 = (weights[name] for name in ("hidden.weight", "hidden.bias", "output.weight", "output.bias"))
    z1 = W1 @ x + b1
    h = sigmoid(z1)
    z2 = W2 @ h + b2
    p = sigmoid(z2)
    loss = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    values = {"z1 = W1 x + b1": z1, "h = σ(z1)": h, "z2 = W2 h + b2": z2, "p = σ(z2)": p, "L = BCE(p, t)": loss}

    dp = (p - t) / (p * (1 - p))
    dz2 = dp * p * (1 - p)
    dW2, db2 = np.outer(dz2, h), dz2
    dh = W2.T @ dz2
    dz1 = dh * h * (1 - h)
    dW1, db1 = np.outer(dz1, x), dz1
    cotangents = {
        "∂L/∂p": dp, "∂L/∂z2": dz2, "∂L/∂W2": dW2, "∂L/∂b2": db2,
        "∂L/∂h": dh, "∂L/∂z1": dz1, "∂L/∂W1": dW1, "∂L/∂b1": db1, "∂L/∂x": W1.T @ dz1,
    }  # fmt: skip
    return values, cotangents


def by_backward(model: Network, x: Array, t: Array) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The same by the tape: tensors by name, those whose `.grad` is asked for by name, and the loss, its graph kept."""
    features = pb.tensor(x, requires_grad=True)
    z1 = model.hidden(features)
    h = pb.sigmoid(z1)
    z2 = model.output(h)
    p = pb.sigmoid(z2)
    loss = nn.functional.binary_cross_entropy(p, pb.tensor(t))
    inner = [z1, h, z2, p, loss]
    for tensor in inner[:-1]:
        tensor.retain_grad()
    loss.backward(retain_graph=True)
    values = dict(
        zip(("z1 = W1 x + b1", "h = σ(z1)", "z2 = W2 h + b2", "p = σ(z2)", "L = BCE(p, t)"), inner, strict=True)
    )
    sources = {
        "∂L/∂p": p, "∂L/∂z2": z2, "∂L/∂W2": model.output.weight, "∂L/∂b2": model.output.bias,
        "∂L/∂h": h, "∂L/∂z1": z1, "∂L/∂W1": model.hidden.weight, "∂L/∂b1": model.hidden.bias, "∂L/∂x": features,
    }  # fmt: skip
    return values, sources, loss


def run(part: Part) -> None:
    model = load()
    features, _ = cars(*FEATURES)
    x, t = features[FORD_PINTO], np.ones(1)
    part.say(
        "A 4-2-1 network, trained and saved by PyTorch (torch.save), read back by pb.load, which builds tensors "
        "and plain containers and runs nothing. It says from four measurements whether a car was built in the "
        "USA. One car, a Ford Pinto of 1975, goes through it; every number on the way is computed by hand as well."
    )
    part.code(repr(model))
    for dtype, bound in ((np.float32, 1e-6), (np.float64, 1e-14)):
        name = np.dtype(dtype).name
        model = load().double() if dtype is np.float64 else load()
        weights = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
        by_formula, back_by_formula = by_hand(weights, x.astype(dtype), t.astype(dtype))
        values, sources, loss = by_backward(model, x.astype(dtype), t.astype(dtype))
        forward = part.table(f"Forward, {name}", ["value", "by hand", "on the tape"])
        for key, expected in by_formula.items():
            found = values[key].detach().numpy()
            check = part.check(f"{key}, {name}", found, expected, bound)
            part.row(forward, key, numbers(expected), numbers(found), check=check)
        backward = part.table(f"Backward, {name}", ["cotangent", "by hand", "by backward()"])
        for key, expected in back_by_formula.items():
            found = sources[key].grad.numpy()
            check = part.check(f"{key}, {name}", found, expected, bound)
            part.row(backward, key, numbers(expected), numbers(found), check=check)
        part.show(forward)
        part.show(backward)
    part.say("The tape, from the loss back to the leaves, node by node (grad_fn.next_functions):")
    names = {"x": sources["∂L/∂x"], **dict(model.named_parameters())}
    part.code(graph_tree(loss, names))
    steps = walk(loss.grad_fn)
    part.say(f"Walked by hand: {' → '.join(steps)}")
    leaves = sum(step == "AccumulateGrad" for step in steps)
    part.row(
        walked := part.table("The graph", ["what", "found", "expected"]), "leaves", leaves, 5,
        check=part.check("leaves of the graph", leaves, 5, 0),
    )  # fmt: skip
    part.show(walked)
    part.picture(
        "2-network.svg", "The network's graph for one car: leaves in green with their gradients, operations in blue.",
        lambda path: draw_graph(loss, names, path), 900,
    )  # fmt: skip


def walk(node: Any) -> list[str]:
    """The names of the nodes behind `node`, each once, depth first."""
    seen: set[Any] = set()
    names = []
    stack = [node]
    while stack:
        found = stack.pop()
        if found is None or found in seen:
            continue
        seen.add(found)
        names.append(found.name().rpartition("::")[2])
        stack += [after for after, _ in reversed(found.next_functions)]
    return names


def numbers(array: Array) -> str:
    """An array on one line, the rows of a matrix apart by semicolons."""
    return "; ".join(", ".join(f"{a:.4g}" for a in row) for row in np.atleast_2d(array))
