"""Planted faults of hand-written backwards, and the change of the true backward that explains them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pullback.check.case import Case
from pullback.check.compare import Outcome
from pullback.check.neighbours import explain
from pullback.check.problem import Problem, numbers_of
from pullback.check.record import record

RNG = np.random.default_rng(3)
X, Y, W, B = RNG.normal(size=(7, 4)), (RNG.random(7) > 0.5) * 1.0, RNG.normal(size=4), 0.3
A, V, Z = RNG.normal(size=(5, 5)), RNG.normal(size=5), RNG.normal(size=(6, 4))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def logistic(w: Any, b: Any) -> Any:
    z = X @ w + b
    p = sigmoid(z)
    return np.mean((p - Y) ** 2)


def logistic_grad(w: Any, b: Any, slope: Callable[[Any, Any], Any] = lambda z, p: p * (1 - p)) -> Any:
    z = X @ w + b
    p = sigmoid(z)
    d = 2 * (p - Y) * slope(z, p) / len(Y)
    return X.T @ d, d.sum()


def ridge(w: Any, b: Any) -> Any:
    return np.mean((X @ w + b - Y) ** 2) + 0.1 * np.sum(w**2)


def ridge_grad(w: Any, b: Any) -> Any:
    r = X @ w + b - Y
    return 2 * X.T @ r / len(Y) + 0.2 * w, 2 * np.mean(r)


def quadratic(x: Any) -> Any:
    return np.sum(np.tanh(A @ x))


def softmax_loss(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    s = e / e.sum(axis=1, keepdims=True)
    return np.sum(np.sin(s))


def softmax_grad(z: Any, axis: int = 1) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    s = e / e.sum(axis=1, keepdims=True)
    g = np.cos(s)
    return s * (g - np.sum(g * s, axis=axis, keepdims=True))


def loop(w: Any) -> Any:
    h = np.zeros(5)
    for t in range(4):
        h = np.tanh(w @ h + t * V)
    return np.sum(h)


def loop_grad(w: Any, slope: Callable[[Any], Any] = lambda h: 1 - h * h) -> Any:
    hs = [np.zeros(5)]
    for t in range(4):
        hs.append(np.tanh(w @ hs[-1] + t * V))
    g, dw = np.ones(5), np.zeros_like(w)
    for t in reversed(range(4)):
        d = g * slope(hs[t + 1])
        dw += np.outer(d, hs[t])
        g = w.T @ d
    return dw


def picked(x: Any) -> Any:
    return np.sum(np.sin(x)[np.array([1, 3, 1, 0])] ** 2)


def picked_overwritten(x: Any) -> Any:
    i = np.array([1, 3, 1, 0])
    d = np.zeros_like(x)
    d[i] = 2 * np.sin(x)[i]
    return d * np.cos(x)


def rounded(x: Any) -> Any:
    return np.sum(np.round(x) * x)


def clipped(x: Any) -> Any:
    return np.sum(np.clip(2 * x, -1, 1) * V)


def scaled(c: Any, x: Any) -> Any:
    return np.sum(np.exp(c * x))


def normalised(x: Any) -> Any:
    centred = x - x.mean(axis=0)
    return np.sum(np.sin(centred))


def case_of(f: Callable[..., Any], args: tuple[Any, ...], claim: Any, cotangent: Any = None) -> Case:
    problem = Problem(f, args)
    u = np.ones(1) if cotangent is None else numbers_of(cotangent)
    run = record(problem, u)
    assert run is not None
    given = claim(*args)
    pieces = given if isinstance(given, tuple) else (given,)
    vector = np.concatenate([numbers_of(np.asarray(g)) for g in pieces])
    truth = run.gradient(run.true, problem.x.size)
    return Case(problem, u, vector, np.arange(problem.x.size), truth, Outcome("refuted"))


CASES: dict[str, tuple[str, Any, tuple[Any, ...], Any]] = {
    "formula of a sigmoid": ("wrong_formula", logistic, (W, B), lambda w, b: logistic_grad(w, b, lambda z, p: 1 - p)),
    "sigmoid at its output": (
        "wrong_point",
        logistic,
        (W, B),
        lambda w, b: logistic_grad(w, b, lambda z, p: sigmoid(p) * (1 - sigmoid(p))),
    ),
    "no regulariser": (
        "missing_term",
        ridge,
        (W, B),
        lambda w, b: (ridge_grad(w, b)[0] - 0.2 * w, ridge_grad(w, b)[1]),
    ),
    "a bias forgotten": ("wrong_point", ridge, (W, B), lambda w, b: (ridge_grad(w, 0.0)[0], ridge_grad(w, 0.0)[1])),
    "no transpose": ("transpose", quadratic, (V,), lambda x: A @ (1 - np.tanh(A @ x) ** 2)),
    "1 - y for 1 - y²": ("wrong_formula", quadratic, (V,), lambda x: A.T @ (1 - np.tanh(A @ x))),
    "sum over the other axis": ("axis", softmax_loss, (Z,), lambda z: softmax_grad(z, 0)),
    "every turn of a loop": ("wrong_formula", loop, (A,), lambda w: loop_grad(w, lambda h: 1 - h)),
    "indices assigned": ("overwrite", picked, (V,), picked_overwritten),
    "indices shifted": ("index", np.sin, (V,), lambda x: np.roll(np.cos(x), 1)),
    "straight through round": ("ste", rounded, (3 * V,), lambda x: np.round(x) + x),
    "straight through clip": ("ste", clipped, (V,), lambda x: 2 * V),
    "first entry for a sum": (
        "broadcast",
        scaled,
        (np.array([0.4]), V),
        lambda c, x: ((x * np.exp(c * x))[:1], c * np.exp(c * x)),
    ),
    "mean along the other axis": (
        "axis",
        normalised,
        (Z,),
        lambda x: np.cos(x - x.mean(0)) - np.cos(x - x.mean(0)).mean(1, keepdims=True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fault_is_named(name: str) -> None:
    kind, f, args, claim = CASES[name]
    cotangent = np.ones(5) if f is np.sin else None
    found = explain(case_of(f, args, claim, cotangent))
    assert found
    assert found[0].kind == kind
    assert found[0].score >= 0.9
    assert all(a.score > b.score for a, b in pairwise(found))


def test_message_names_the_line_and_the_step() -> None:
    _, f, args, claim = CASES["no transpose"]
    (finding, *_) = explain(case_of(f, args, claim))
    assert finding.line is not None
    assert finding.line.endswith(f":{f.__code__.co_firstlineno + 1}")
    assert finding.step == "A @ x"
    assert finding.message.startswith("your gradient is what comes out if ")


def test_two_faults() -> None:
    def claim(w: Any, b: Any) -> Any:
        dw, db = ridge_grad(w, b)
        return dw - 0.2 * w, -db

    found = explain(case_of(ridge, (W, B), claim))
    assert {"missing_term", "sign"} <= {finding.kind for finding in found}
    assert found[0].score < 0.95


def test_conjugate() -> None:
    z = RNG.normal(size=4) + 1j * RNG.normal(size=4)
    w = RNG.normal(size=4) + 1j * RNG.normal(size=4)
    g = RNG.normal(size=4) + 1j * RNG.normal(size=4)
    found = explain(case_of(lambda x: w * x, (z,), lambda x: w * g, g))
    assert found[0].kind == "conj"


@pytest.mark.parametrize("claim", [ridge_grad, lambda w, b: (RNG.normal(size=4), 1.0)])
def test_no_explanation_is_made_up(claim: Any) -> None:
    assert explain(case_of(ridge, (W, B), claim)) == []


def test_nothing_is_raised() -> None:
    def fails(x: Any) -> Any:
        raise RuntimeError("no")

    problem = Problem(fails, (V,))
    nowhere = np.full(5, np.nan)
    assert explain(Case(problem, np.ones(1), V, np.arange(5), nowhere, Outcome("refuted"))) == []


def test_tangents_are_adjoint_to_the_walk() -> None:
    problem = Problem(softmax_loss, (Z,))
    run = record(problem, np.ones(1))
    assert run is not None
    t = RNG.normal(size=problem.x.size)
    tangents = run.tangents([[part.array(t) for part in problem.parts]])
    ahead = float(tangents[run.nodes[-1]][0, 0])
    assert np.isclose(run.gradient(run.true, problem.x.size) @ t, ahead, rtol=1e-10)
    assert np.allclose(run.gradient(run.true, problem.x.size), softmax_grad(Z).ravel(), rtol=1e-10)
