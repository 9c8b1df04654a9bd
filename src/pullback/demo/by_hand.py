"""Part 1: the gradients of two losses of two models, by hand, by differences and by pullback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pullback as pb
from pullback import nn
from pullback.demo.differences import differences
from pullback.demo.part import Part
from pullback.demo.peers import installed
from pullback.demo.rows import cars, patients

TITLE = "By hand, by differences, by pullback"
Array = Any  # a NumPy array, or the Tensor that stands for it while pullback runs the function


# The models and losses, in plain NumPy. Parameters are one vector: the weights, and the bias last.


def linear_mse(params: Array, X: Array, y: Array) -> Array:
    return np.square(X @ params[:-1] + params[-1] - y).mean()


def logistic_mse(params: Array, X: Array, y: Array) -> Array:
    p = 1 / (1 + np.exp(-(X @ params[:-1] + params[-1])))
    return np.square(p - y).mean()


def logistic_bce(params: Array, X: Array, y: Array) -> Array:
    z = X @ params[:-1] + params[-1]
    return np.mean(np.logaddexp(0, z) - y * z)  # −y log σ(z) − (1−y) log(1−σ(z)), in the form that never overflows


# Their gradients by hand.


def sigmoid(z: Array) -> Array:
    """σ(z), without overflow for either sign."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def through_model(dz: Array, X: Array) -> Array:
    """From the cotangent of z = X w + b to that of (w, b)."""
    return np.append(X.T @ dz, dz.sum())


def linear_mse_backward(params: Array, X: Array, y: Array) -> Array:
    z = X @ params[:-1] + params[-1]
    return through_model(2 * (z - y) / len(y), X)


def logistic_mse_backward(params: Array, X: Array, y: Array) -> Array:
    p = sigmoid(X @ params[:-1] + params[-1])
    dp = 2 * (p - y) / len(y)
    return through_model(dp * p * (1 - p), X)


def logistic_bce_backward(params: Array, X: Array, y: Array) -> Array:
    p = sigmoid(X @ params[:-1] + params[-1])
    return through_model((p - y) / len(y), X)  # dL/dp · σ'(z) = (p − y) / (p (1−p)) · p (1−p), the factors cancelled


# And wrong, as they are often written.


def wrong_point(params: Array, X: Array, y: Array) -> Array:
    """The sigmoid's derivative is taken at its output: σ'(p) instead of σ'(z) = p (1−p)."""
    p = sigmoid(X @ params[:-1] + params[-1])
    dp = 2 * (p - y) / len(y)
    return through_model(dp * sigmoid(p) * (1 - sigmoid(p)), X)


def wrong_mean(params: Array, X: Array, y: Array) -> Array:
    """The loss is a mean; the gradient is that of the sum."""
    p = sigmoid(X @ params[:-1] + params[-1])
    return through_model(2 * (p - y) * p * (1 - p), X)


def wrong_both(params: Array, X: Array, y: Array) -> Array:
    p = sigmoid(X @ params[:-1] + params[-1])
    return through_model(2 * (p - y) * sigmoid(p) * (1 - sigmoid(p)), X)


@dataclass(frozen=True)
class Case:
    """A model and a loss at one point, with a gradient written by hand."""

    name: str
    loss: Callable[[Array, Array, Array], Array]
    backward: Callable[[Array, Array, Array], Array]
    X: Array
    y: Array
    params: Array
    wrong: bool = False

    def loss_at(self, params: Array) -> Array:
        return self.loss(params, self.X, self.y)


def scaled_to(z: float, params: Array, X: Array) -> Array:
    """The parameters stretched until the score that is largest in the direction of z's sign is z."""
    scores = X @ params[:-1] + params[-1]
    return params * (z / (scores.max() if z > 0 else scores.min()))


def cases(quick: bool) -> list[Case]:
    """Every loss on real rows at ordinary parameters, at extreme ones, and with gradients that are wrong."""
    cars_X, mpg = cars("weight", "horsepower", "model_year")
    people_X, ill = patients()
    if quick:
        cars_X, mpg, people_X, ill = cars_X[:40], mpg[:40], people_X[:40], ill[:40]
    rng = np.random.default_rng(7)
    line = np.append(rng.normal(size=3), 20.0)
    scores = 0.4 * rng.normal(size=9)
    up, down = scaled_to(29, scores, people_X), scaled_to(-29, scores, people_X)
    return [
        Case("linear, MSE", linear_mse, linear_mse_backward, cars_X, mpg, line),
        Case("linear, MSE, weights × 1000", linear_mse, linear_mse_backward, cars_X, mpg, 1000 * line),
        Case("logistic, MSE", logistic_mse, logistic_mse_backward, people_X, ill, scores),
        Case("logistic, MSE, z up to 29", logistic_mse, logistic_mse_backward, people_X, ill, up),
        Case("logistic, BCE", logistic_bce, logistic_bce_backward, people_X, ill, scores),
        Case("logistic, BCE, z up to 29", logistic_bce, logistic_bce_backward, people_X, ill, up),
        Case("logistic, BCE, z down to −29", logistic_bce, logistic_bce_backward, people_X, ill, down),
        Case("wrong: σ' at the sigmoid's output", logistic_mse, wrong_point, people_X, ill, scores, wrong=True),
        Case("wrong: the mean forgotten", logistic_mse, wrong_mean, people_X, ill, scores, wrong=True),
        Case("wrong: both", logistic_mse, wrong_both, people_X, ill, scores, wrong=True),
    ]


def run(part: Part) -> None:
    part.say(
        "Mean squared error and binary cross-entropy of a linear model (fuel consumption, Auto-MPG) and a "
        "logistic one (diabetes, Pima), in plain NumPy. pullback differentiates the loss as it is written. "
        "Differences come with a bound on their own error, made of two step sizes and of the rounding of the "
        "loss: a gradient agrees if it lies within it."
    )
    compare_three_ways(part, cases(part.quick))
    compare_extremes(part)
    compare_peers(part, cases(part.quick))


def compare_three_ways(part: Part, all_cases: list[Case]) -> None:
    hand = part.table(
        "By hand against differences",
        ["model, loss, where", "loss", "∂/∂bias by hand", "by differences", "±"],
        note="error: of the worst entry of the gradient, in units of the differences' own error bound there.",
    )
    ours = part.table(
        "pullback against differences and against the hand",
        ["model, loss, where", "∂/∂bias by pullback", "against"],
        note="against differences: as above. Against the hand: relative to the largest entry of the gradient.",
    )
    for case in all_cases:
        at = (case.params, case.X, case.y)
        written = case.backward(*at)
        value, found = pb.value_and_grad(case.loss)(*at)
        numeric, bound = differences(case.loss_at, case.params)
        check = part.note(f"{case.name}: hand = differences", np.max(np.abs(written - numeric) / bound), 1, case.wrong)
        part.row(hand, case.name, value, written[-1], numeric[-1], f"{bound[-1]:.1e}", check=check)
        if not case.wrong:
            check = part.note(f"{case.name}: pullback = differences", np.max(np.abs(found - numeric) / bound), 1)
            part.row(ours, case.name, found[-1], "differences", check=check)
        check = part.check(f"{case.name}: pullback = hand", written, found, 1e-12, case.wrong)
        part.row(ours, case.name, found[-1], "hand", check=check)
    part.show(hand)
    part.show(ours)


# One row with a saturated sigmoid.


def textbook_bce(z: Any, y: Any) -> Any:
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def clamped_bce(z: Any, y: Any) -> Any:
    """The layers `Sigmoid` and `BCELoss` one after the other: the loss clamps its logarithms at −100."""
    return nn.functional.binary_cross_entropy(pb.sigmoid(z), y)


def stable_bce(z: Any, y: Any) -> Any:
    """`BCEWithLogitsLoss`: of the score, not of the probability."""
    return nn.functional.binary_cross_entropy_with_logits(z, y)


def exact_bce(z: float, y: float) -> Array:
    """Loss and slope by formulas that lose nothing at either end: log(1 + eˢ) and ±1/(1 + e⁻ˢ), with s = ∓z."""
    s = -z if y else z
    slope = float(sigmoid(np.float64(s)))
    return np.array([max(s, 0.0) + np.log1p(np.exp(-abs(s))), -slope if y else slope])


# dtype, score, outcome, and which of the three forms break down there
EXTREMES: list[tuple[Any, float, float, set[str]]] = [
    (pb.float32, 2.0, 0.0, set()),
    (pb.float32, 29.0, 0.0, {"textbook", "clamped"}),
    (pb.float32, -29.0, 1.0, {"clamped"}),
    (pb.float64, 29.0, 0.0, {"textbook", "clamped"}),
    (pb.float64, -29.0, 1.0, {"clamped"}),
    (pb.float64, 40.0, 0.0, {"textbook", "clamped"}),
    (pb.float64, -750.0, 1.0, {"textbook", "clamped"}),
]


def compare_extremes(part: Part) -> None:
    part.say(
        "One row, one score z. Where σ(z) rounds to 1, 1 − σ(z) has no digits left: the loss as it stands in the "
        "textbook is infinite, and its slope too, or NaN. Clamping the logarithms (Sigmoid, then BCELoss) keeps "
        "both finite, but the slope shrinks to a quarter, then to 0: the worst rows no longer teach anything. The "
        "loss of the score itself (BCEWithLogitsLoss) loses nothing at either end."
    )
    table = part.table(
        "Cross-entropy of one row",
        ["dtype", "z", "y", "written", "loss", "slope", "exact slope"],
        note="error: of loss or slope, whichever is worse, relative to the exact one. Allowed: 32 ε.",
    )
    for dtype, z, y, broken in EXTREMES:
        exact = exact_bce(z, y)
        for name, loss in (("textbook", textbook_bce), ("clamped", clamped_bce), ("stable", stable_bce)):
            score, outcome = pb.tensor([z], dtype=dtype, requires_grad=True), pb.tensor([y], dtype=dtype)
            with np.errstate(all="ignore"):  # the textbook's divisions by zero are the point here
                value = loss(score, outcome)
                value.backward()
            found = np.array([value.item(), score.grad.item()])
            error = np.max(np.abs(found - exact) / np.abs(exact))
            what = f"cross-entropy of one row, {name}, {dtype}, z = {z:g}"
            check = part.note(what, error, 32 * pb.finfo(dtype).eps, name in broken)
            part.row(table, str(dtype).split(".")[-1], z, int(y), name, *found, exact[1], check=check)
    part.show(table)


def compare_peers(part: Part, all_cases: list[Case]) -> None:
    peers = installed()
    if not peers:
        part.skip("comparison with PyTorch, JAX and TensorFlow (none is installed)")
        return
    table = part.table("pullback against other frameworks, float64", ["model, loss, where", "framework"])
    for case in all_cases:
        if case.wrong or case.loss is logistic_mse:
            continue
        kind = "mse" if case.loss is linear_mse else "bce"
        found = pb.grad(case.loss)(case.params, case.X, case.y)
        for name, gradient in peers.items():
            theirs = gradient(kind, case.X, case.y, case.params[:-1], case.params[-1])
            check = part.check(f"{case.name}: pullback = {name}", found, theirs, 1e-12)
            part.row(table, case.name, name, check=check)
    part.show(table)
