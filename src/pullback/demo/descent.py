"""Part 3: descent on two curves, a line fitted to fuel consumption, a probability fitted to diabetes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pullback as pb
from pullback.demo.part import Part
from pullback.demo.rows import CAR_FEATURES, PATIENT_FEATURES, cars, patients
from pullback.show import contour_path, descent_path, loss_curves

TITLE = "Descent"
Array = NDArray[np.float64]
Loss = Callable[[Any], Any]


def run(part: Part) -> None:
    part.say(
        "Gradient descent, written once with tensors as in a PyTorch lesson and once with GradientTape as in a "
        "TensorFlow lesson: on two curves whose minimum is known from paper, and on two models whose best parameters "
        "are known by other means."
    )
    descend_curves(part)
    fit_line(part)
    fit_probability(part)


def by_tensors(loss: Loss, start: Any, rate: float, steps: int) -> tuple[Array, Array, Array]:
    """Gradient descent as in a PyTorch lesson: where it ended, the losses, and the points it came through."""
    params = pb.tensor(start, dtype=pb.float64, requires_grad=True)
    losses, visited = [], []
    for _ in range(steps):
        value = loss(params)
        value.backward()
        losses.append(value.item())
        visited.append(params.detach().numpy().copy())
        with pb.no_grad():
            params -= rate * params.grad
        params.grad.zero_()
    return params.detach().numpy(), np.array(losses), np.array(visited)


def by_tape(loss: Loss, start: Any, rate: float, steps: int) -> tuple[Array, Array, Array]:
    """The same as in a TensorFlow lesson."""
    params = pb.Variable(np.asarray(start, float))
    losses, visited = [], []
    for _ in range(steps):
        visited.append(np.array(params.numpy()))
        with pb.GradientTape() as tape:
            value = loss(params)
        losses.append(float(value))
        params.assign_sub(rate * tape.gradient(value, params))
    return np.array(params.numpy()), np.array(losses), np.array(visited)


WAYS = {"tensors": by_tensors, "GradientTape": by_tape}


CURVES: list[tuple[str, str, Loss, float]] = [  # file, name, function, where its slope is 0
    ("3-x2.svg", "x² + 4x", lambda x: x * x + 4 * x, -2.0),
    ("3-cost.svg", "750/x + 10x", lambda x: 750 / x + 10 * x, 75**0.5),
]


def descend_curves(part: Part) -> None:
    start, rate, steps = 3.0, 0.1, 150
    table = part.table(
        f"Descent on two curves: {steps} steps at rate {rate} from x = {start:g}",
        ["f(x)", "way", "arrived at", "minimum"],
        note="error: of the point arrived at, relative to the minimum found on paper (f′ = 0).",
    )
    paths = {}
    for file, name, f, minimum in CURVES:
        for way, descend in WAYS.items():
            arrived, _, paths[file] = descend(f, start, rate, steps)
            check = part.check(f"{name} by {way}", arrived, minimum, 1e-12)
            part.row(table, name, way, float(arrived), minimum, check=check)
    part.show(table)
    for file, name, f, minimum in CURVES:
        draw = partial(descent_path, f, paths[file], f"Descent on {name}", minimum=minimum)
        part.picture(file, f"Descent on {name}: every step, from the hollow point to the orange one.", draw)


def fit_line(part: Part) -> None:
    X, mpg = cars()
    design = np.column_stack([X, np.ones(len(X))])
    best, *_ = np.linalg.lstsq(design, mpg)
    lowest = float(np.square(design @ best - mpg).mean())

    def loss(params: Any) -> Any:
        return ((design_tensor @ params - mpg_tensor) ** 2).mean()

    design_tensor, mpg_tensor = pb.tensor(design), pb.tensor(mpg)
    steepest = float(np.linalg.eigvalsh(2 * design.T @ design / len(X))[-1])
    part.say(
        f"Fuel consumption of {len(X)} cars from {len(CAR_FEATURES)} measurements (Auto-MPG), standardised. "
        "Descent at the rate 1/λ, λ the largest eigenvalue of the Hessian, against least squares in closed form."
    )
    table = part.table(
        "Linear regression", ["way", "steps", "mean squared error", "bias", "weight", "model_year"],
        note="error: of all parameters, relative to the largest. Mean squared error in (miles per gallon)².",
    )  # fmt: skip
    curves = {}
    steps = 4000
    for way, descend in WAYS.items():
        found, losses, _ = descend(loss, np.zeros(7), 1 / steepest, steps)
        curves[way] = losses[:60]
        check = part.check(f"linear regression by {way} = least squares", found, best, 1e-9)
        part.row(table, way, steps, losses[-1], found[-1], found[3], found[5], check=check)
    part.show(table)
    part.picture(
        "3-mpg-loss.svg", "Linear regression: the first 60 steps, and the optimum.",
        lambda path: loss_curves(curves, "Fuel consumption: mean squared error", path, log=True, best=lowest),
    )  # fmt: skip
    draw_valley(part)


def draw_valley(part: Part) -> None:
    """Two parameters, weight in tonnes and not standardised: the valley is long, and descent crosses it."""
    table_X, mpg = cars("weight", "mpg")
    tonnes = 1.35 + 0.385 * table_X[:, 0]
    design = np.column_stack([tonnes, np.ones(len(mpg))])
    best, *_ = np.linalg.lstsq(design, mpg)
    design_tensor, mpg_tensor = pb.tensor(design), pb.tensor(mpg)

    def loss(params: Any) -> Any:
        return ((design_tensor @ params - mpg_tensor) ** 2).mean()

    steepest = float(np.linalg.eigvalsh(2 * design.T @ design / len(mpg))[-1])
    _, _, slow = by_tensors(loss, [0.0, 0.0], 1 / steepest, 200)
    _, _, rash = by_tensors(loss, [0.0, 0.0], 1.9 / steepest, 200)

    def height(slope: Array, bias: Array) -> Array:
        return np.asarray(np.square(slope[..., None] * tonnes + bias[..., None] - mpg).mean(-1))

    part.picture(
        "3-valley.svg",
        "One measurement, as it is: the loss is a long valley. A large step crosses it, a small one creeps along it.",
        lambda path: contour_path(
            height, {"rate 1.9/λ": rash, "rate 1/λ": slow}, "mpg ≈ slope · tonnes + bias", path,
            labels=("slope (miles per gallon per tonne)", "bias"), minimum=(float(best[0]), float(best[1])), log=True,
        ),
    )  # fmt: skip


def newton(loss: Loss, start: Array, steps: int = 12) -> Array:
    """Newton's method, with `pb.grad` and `pb.hessian` of a NumPy function."""
    params: Any = start
    gradient, hessian = pb.grad(loss), pb.hessian(loss)
    for _ in range(steps):
        params = params - np.linalg.solve(hessian(params), gradient(params))
    return np.asarray(params)


def fit_probability(part: Part) -> None:
    X, ill = patients()
    design = np.column_stack([X, np.ones(len(X))])

    def loss(params: Any) -> Any:
        z = design @ params
        return np.mean(np.logaddexp(0, z) - ill * z)

    best = newton(loss, np.zeros(9))
    lowest = float(loss(best))
    rate = 4 / float(np.linalg.eigvalsh(design.T @ design / len(X))[-1])  # the Hessian is at most a quarter of this
    part.say(
        f"The probability of diabetes of {len(X)} women from {len(PATIENT_FEATURES)} measurements (Pima), "
        "standardised: the loss is a NumPy function, followed downhill by tensors, by GradientTape and by "
        "Newton's method (pb.grad and pb.hessian), to where the slope is zero."
    )
    table = part.table(
        "Logistic regression", ["way", "steps", "cross-entropy", "bias", "glucose", "bmi", "against"],
        note="error: of all parameters, relative to the largest.",
    )  # fmt: skip
    slope = float(np.abs(design.T @ (1 / (1 + np.exp(-design @ best)) - ill)).max() / len(X))
    check = part.note("logistic regression: slope at Newton's point", slope, 1e-14)
    part.row(table, "Newton", 12, lowest, best[-1], best[1], best[5], "slope = 0", check=check)
    curves = {}
    steps = 1500
    for way, descend in WAYS.items():
        found, losses, _ = descend(loss, np.zeros(9), rate, steps)
        curves[way] = losses[:60]
        check = part.check(f"logistic regression by {way} = Newton", found, best, 1e-9)
        part.row(table, way, steps, losses[-1], found[-1], found[1], found[5], "Newton", check=check)
    if find_spec("sklearn"):
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(X, ill)
        theirs = np.append(model.coef_, model.intercept_)
        check = part.check("logistic regression: Newton = scikit-learn", best, theirs, 1e-9)
        part.row(
            table, "scikit-learn", int(model.n_iter_[0]), float(loss(theirs)), theirs[-1], theirs[1], theirs[5],
            "Newton", check=check,
        )  # fmt: skip
    else:
        part.skip("comparison with LogisticRegression (scikit-learn is not installed)")
    part.show(table)
    part.picture(
        "3-pima-loss.svg", "Logistic regression: the first 60 steps, and the optimum.",
        lambda path: loss_curves(curves, "Diabetes: cross-entropy", path, best=lowest),
    )  # fmt: skip
