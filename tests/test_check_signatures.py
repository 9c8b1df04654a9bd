"""What the claimed numbers give away: the kind that is named first, for faults planted in simple gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pullback.check import Finding, Report, check, check_vjp, explain, neighbours, signatures

RNG = np.random.default_rng(7)
X = RNG.standard_normal((6, 4))
S = RNG.standard_normal((4, 4))
V = RNG.standard_normal(4)
Z = RNG.standard_normal(4) + 1j * RNG.standard_normal(4)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers, and nothing else."""
    monkeypatch.setattr(explain, "explainers", lambda: [signatures.explain])


def kinds(report: Report) -> list[str]:
    return [finding.kind for finding in report.findings]


def mean_square(w: Any, X: Any, y: Any) -> Any:
    return np.mean((X @ w - y) ** 2)


def mean_square_grad(w: Any, X: Any, y: Any) -> Any:
    return 2 * X.T @ (X @ w - y) / len(y)


Y = RNG.standard_normal(6)


def quartic(x: Any) -> Any:
    return np.sum(x**4) + np.sum(x * x[::-1] ** 2)


def quartic_grad(x: Any) -> Any:
    return 4 * x**3 + x[::-1] ** 2 + 2 * x * x[::-1]


FAULTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "negated": ("sign", lambda g: -g),
    "doubled": ("factor", lambda g: 2 * g),
    "three halves": ("factor", lambda g: 1.5 * g),
    "slightly larger": ("factor", lambda g: 1.003 * g),
    "transposed": ("transpose", lambda g: g.T),
    "reversed": ("index", lambda g: g[::-1]),
    "rolled": ("index", lambda g: np.roll(g, 1, axis=1)),
    "shifted": ("index", lambda g: np.vstack([g[1:], 0 * g[:1]])),
    "permuted": ("index", lambda g: g[:, [2, 0, 3, 1]]),
    "one entry off": ("entry", lambda g: g * np.where(np.arange(16).reshape(4, 4) == 6, 1.01, 1.0)),
    "one entry zero": ("entry", lambda g: g * np.where(np.arange(16).reshape(4, 4) == 6, 0.0, 1.0)),
    "zeros": ("zero", lambda g: 0 * g),
    "None": ("zero", lambda g: (None,)),
    "integers": ("dtype", lambda g: g.astype(int)),
    "rounded": ("dtype", lambda g: np.round(g)),
    "single": ("dtype", lambda g: g.astype(np.float32).astype(float)),
    "a column too many": ("broadcast", lambda g: g[None]),
    "flat": ("broadcast", lambda g: g.ravel()),
    "without a regulariser": ("missing_term", lambda g: g - 0.3 * S),
    "without an L1 penalty": ("missing_term", lambda g: g - 0.3 * np.sign(S)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_becomes_of_a_gradient(fault: str) -> None:
    kind, change = FAULTS[fault]
    report = check(lambda x: 3 * quartic(x), lambda x: change(3 * quartic_grad(x)), S, seed=1)
    assert report.verdict == "refuted"
    assert kinds(report)[0] == kind, str(report)


def test_a_ratio_of_single_numbers_is_no_explanation() -> None:
    """Any two numbers have one; -1, 2 or 1/2 may still be meant."""

    def claimed(ratio: float) -> Report:
        return check(
            lambda x, b: np.sum(np.sin(x)) * b, lambda x, b: (b * x, ratio * np.sum(np.sin(x))), V, 0.7, seed=1
        )

    def score(report: Report) -> float:
        return max(finding.score for finding in report.findings if finding.kind == "factor")

    assert score(claimed(0.5641)) < 0.3
    assert score(claimed(2.0)) > 0.3


def test_a_ratio_away_from_a_kink_is_seen() -> None:
    x = np.array([0.5, 0.0, -1.0, 2.0])
    report = check(lambda x: np.sum(3 * np.abs(x) + x), lambda x: 0.996 * (3 * np.sign(x) + 1), x, seed=1)
    assert kinds(report)[0] == "factor"


def test_the_n_of_a_mean_is_recognised() -> None:
    for ratio in (6.0, 1 / 6):
        report = check(mean_square, lambda *a, r=ratio: r * mean_square_grad(*a), V, X, Y, seed=1)
        assert kinds(report)[0] == "one_over_n", str(report)
        assert "6 is the size of what is summed" in report.findings[0].message


def test_the_length_of_one_axis_is_told_from_all_of_them() -> None:
    def f(x: Any) -> Any:
        return np.tanh(x).mean(axis=1)

    def vjp(g: Any, x: Any) -> Any:
        return g[:, None] * (1 - np.tanh(x) ** 2)

    report = check_vjp(f, vjp, X, seed=1)
    assert kinds(report)[0] == "sum_for_mean", str(report)


def test_a_bias_that_is_averaged() -> None:
    def f(x: Any, b: Any) -> Any:
        return np.sum(np.sin(x + b))

    def grad(x: Any, b: Any) -> Any:
        g = np.cos(x + b)
        return g, g.mean(axis=0)

    report = check(f, grad, X, V, seed=1)
    assert kinds(report)[0] == "sum_for_mean"
    assert report.findings[0].argument == "b"
    report = check(f, lambda x, b: (np.cos(x + b), np.cos(x + b)), X, V, seed=1)
    assert kinds(report)[0] == "broadcast"
    assert "not summed over the axes (0,)" in report.findings[0].message
    report = check(f, lambda x, b: (np.cos(x + b), np.cos(x + b)[2]), X, V, seed=1)
    assert kinds(report)[0] == "broadcast"


def test_exchanged_gradients() -> None:
    def f(a: Any, b: Any) -> Any:
        return np.sum(a**2 * np.exp(b))

    report = check(f, lambda a, b: (a**2 * np.exp(b), 2 * a * np.exp(b)), V, V[::-1] + 1, seed=1)
    assert kinds(report)[0] == "swapped_args"
    report = check(
        lambda A, B: np.sum(A @ B), lambda A, B: (A.sum(0)[:, None] + 0 * B, B.sum(1) + 0 * A), X, X.T, seed=1
    )
    assert kinds(report)[0] == "swapped_args"


def test_another_cotangent() -> None:
    def f(x: Any) -> Any:
        return np.sin(x)

    for kind, taken in {
        "ignore_upstream": np.ones_like,
        "index": lambda g: g[::-1],
        "transpose": lambda g: g.T,
    }.items():
        report = check_vjp(f, lambda g, x, taken=taken: taken(g) * np.cos(x), S, seed=1)
        assert kinds(report)[0] == kind, str(report)


def test_complex_gradients() -> None:
    def f(z: Any) -> Any:
        return np.sum(np.abs(z) ** 2 + np.real(z**2))

    def true(z: Any) -> Any:
        return 2 * z + 2 * np.conj(z)

    def g(z: Any) -> Any:
        return 2 * z + 1j * np.conj(z)

    def h(z: Any) -> Any:
        return np.sum(np.abs(z) ** 2 + np.imag(z**2) / 2)

    assert check(f, true, Z, seed=1).verdict == "confirmed"
    for change in (np.conj, lambda g: g.real + 0j):
        report = check(h, lambda z, change=change: change(g(z)), Z, seed=1)
        assert kinds(report)[0] == "conj", str(report)
    report = check(lambda x: np.sum(np.cos(x)), lambda x: -np.sin(x) + 0.1j, V, seed=1)
    assert (report.verdict, "conj" in kinds(report)) == ("refuted", True)


def test_straight_through() -> None:
    report = check_vjp(lambda x: np.round(x * 4), lambda g, x: 4 * g, V, seed=1)
    assert kinds(report)[0] == "ste"
    assert "round" in report.findings[0].message
    report = check_vjp(lambda x: np.clip(x, -0.5, 0.5), lambda g, x: g, np.array([-1.0, 0.1, 0.3, 2.0]), seed=1)
    assert kinds(report)[0] == "ste"


def test_a_path_around() -> None:
    def f(x: Any) -> Any:
        return x + np.tanh(x) ** 2

    report = check_vjp(f, lambda g, x: g * 2 * np.tanh(x) * (1 - np.tanh(x) ** 2), V, seed=1)
    assert kinds(report)[0] == "missing_term"


def test_what_is_not_finite_is_said() -> None:
    x = np.array([0.5, 0.0, 2.0])
    with np.errstate(all="ignore"):
        report = check(lambda x: np.sum(x**2), lambda x: 2 * x**2 / x, x, seed=1)
    assert report.verdict == "refuted"
    assert any("is nan in 1 entries" in finding.message for finding in report.findings), str(report)


def test_small_numbers_are_not_lost_beside_large_ones() -> None:
    c = np.logspace(-4, 8, 9)
    x = RNG.standard_normal(9)
    off = np.where(np.arange(9) == 1, 1.5, 1.0)
    report = check(lambda x: np.sum(c * np.sin(x)), lambda x: c * np.cos(x) * off, x, seed=1)
    assert report.verdict == "refuted"
    assert kinds(report)[0] == "entry", str(report)
    assert report.findings[0].index == (1,)


def test_many_numbers_without_a_second_opinion() -> None:
    """A function that the tape can't run: only the entries that were differenced are known."""

    def f(x: Any) -> Any:
        total = np.zeros(1)
        for value in x.tolist():
            total += value**3
        return float(total[0])

    report = check(f, lambda x: -3 * x**2, RNG.standard_normal(40) + 2, seed=1)
    assert kinds(report)[0] == "sign"
    report = check(f, lambda x: 6 * x**2, RNG.standard_normal(40) + 2, seed=1)
    assert kinds(report)[0] == "factor"


def test_the_simplest_goes_first_and_each_kind_once() -> None:
    found = explain.ranked(
        [
            Finding("factor", "a", score=0.9),
            Finding("sign", "b", score=1.0),
            Finding("factor", "c", score=1.0, line="f.py:3"),
            Finding("sign", "d", score=1.0, line="f.py:4"),
        ]
    )
    assert [(f.kind, f.message, f.line) for f in found] == [("sign", "b", "f.py:4"), ("factor", "c", "f.py:3")]


def test_a_constant_ratio_goes_before_an_edit_that_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "explainers", lambda: [signatures.explain, neighbours.explain])
    for ratio, kind in ((-1.0, "sign"), (0.5, "factor"), (0.997, "factor")):
        report = check(lambda x: np.sum(np.exp(x)), lambda x, r=ratio: r * np.exp(x), V, seed=1)
        assert kinds(report)[0] == kind, str(report)
    report = check(lambda x: np.sum(np.exp(x) * x), lambda x: np.exp(x), V, seed=1)
    assert kinds(report)[0] in ("missing_term", "overwrite"), str(report)
    assert report.findings[0].line is not None
