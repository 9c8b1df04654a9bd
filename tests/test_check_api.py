"""The checks' forms: `pb.check` in its ways of being called, tangents, Jacobians, Hessians, several versions of one
function.
"""

import importlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.check
from pullback.check import GradientError, Report, check, check_hessian, check_jacobian, check_jvp

X = np.array([0.3, -1.2, 2.0])
Y = np.array([1.5, 0.4, -0.7])


def cubes(x: Any) -> Any:
    return np.sum(x**3)


def product(x: Any, y: Any) -> Any:
    return np.sum(np.sin(x) * y)


# The name


def test_the_package_is_called_as_its_function() -> None:
    assert pb.check(cubes, lambda x: 3 * x**2, X).verdict == "confirmed"
    assert pullback.check.check is check
    assert importlib.import_module("pullback.check").Report is Report
    assert pb.check.check_vjp is pb.check_vjp
    assert importlib.import_module("pullback.check.report").GradientError is GradientError
    with pytest.raises(GradientError, match=r"3 times|factor|wrong"):
        pb.check(cubes, lambda x: x**2, X).raise_if_refuted()


# The forms of a call


@pytest.mark.parametrize(
    ("f", "args", "grad", "verdict"),
    [
        (cubes, (lambda x: 3 * x**2, X), None, "confirmed"),
        (cubes, (3 * X**2, X), None, "confirmed"),
        (cubes, (2 * X**2, X), None, "refuted"),
        (cubes, (None, X), None, "refuted"),
        (cubes, (X,), None, "confirmed"),
        (cubes, (X,), lambda x: 3 * x**2, "confirmed"),
        (cubes, (X,), 2 * X**2, "refuted"),
        (product, ((np.cos(X) * Y, np.sin(X)), X, Y), None, "confirmed"),
        (product, ((np.sin(X), np.cos(X) * Y), X, Y), None, "refuted"),
        (product, (X, Y), None, "confirmed"),
        (product, (X, Y), lambda x, y: (np.cos(x) * y, np.sin(x)), "confirmed"),
        (lambda *xs: sum(np.sum(x * x) for x in xs), ((2 * X, 2 * Y), X, Y), None, "confirmed"),
        (lambda x, y=2.0: np.sum(x * y), (X, 3.0), None, "confirmed"),
        (np.multiply, (X, Y), None, "confirmed"),
        (np.prod, (X[::-1] * 0, X), None, "refuted"),
    ],
)
def test_the_claim_is_told_from_the_arguments(f: Any, args: Any, grad: Any, verdict: str) -> None:
    given = {} if grad is None else {"grad": grad}
    assert pb.check(f, *args, **given, seed=1).verdict == verdict


def test_two_readings_are_refused() -> None:
    def f(x: Any, y: Any = 1.0) -> Any:
        return np.sum(x * y)

    with pytest.raises(TypeError, match=r"two ways.*grad=claim"):
        pb.check(f, np.ones(3), X)
    assert pb.check(f, X, grad=np.ones(3))


def test_no_claim_takes_any_result() -> None:
    assert pb.check(lambda x: {"a": np.outer(x, x), "b": (x.sum(), np.exp(1j * x))}, X)


def test_custom_rules_of_pullback() -> None:
    @pb.custom_vjp
    def scaled(x: Any, y: Any) -> Any:
        return np.sin(x) * y

    scaled.defvjp(lambda x, y: (scaled(x, y), (x, y)), lambda r, g: (g * np.cos(r[0]) * r[1], -g * np.sin(r[0])))
    report = pb.check(scaled, X, Y)
    assert report.verdict == "refuted"
    assert (report.findings[0].kind, report.findings[0].argument) == ("sign", "y")
    assert pb.check(
        lambda x: pb.tensor([1.0, 2.0], dtype=pb.float64) @ x.exp(), pb.tensor([0.1, 0.2], dtype=pb.float64)
    )


# Tangents


def pushed(x: Any, y: Any, dx: Any, dy: Any) -> Any:
    return np.cos(x) * dx * y + np.sin(x) * dy


@pytest.mark.parametrize(
    "jvp",
    [
        pushed,
        lambda primals, tangents: pushed(*primals, *tangents),
        lambda x, y, dx, dy: (np.sin(x) * y, pushed(x, y, dx, dy)),
        lambda primals, tangents: pb.jvp(lambda x, y: np.sin(x) * y, primals, tangents),
    ],
)
def test_a_right_jvp(jvp: Any) -> None:
    assert check_jvp(lambda x, y: np.sin(x) * y, jvp, X, Y)


@pytest.mark.parametrize(
    ("jvp", "kind", "argument"),
    [
        (lambda x, y, dx, dy: np.cos(x) * dx * y, "zero", "y"),
        (lambda x, y, dx, dy: np.cos(x) * dx * y - np.sin(x) * dy, "sign", "y"),
        (lambda x, y, dx, dy: 2 * np.cos(x) * dx * y + np.sin(x) * dy, "factor", "x"),
        (lambda x, y, dx, dy: np.sin(x) * dx * y + np.sin(x) * dy, "entry", "x"),
    ],
)
def test_a_wrong_jvp(jvp: Any, kind: str, argument: str) -> None:
    report = check_jvp(lambda x, y: np.sin(x) * y, jvp, X, Y)
    assert report.verdict == "refuted"
    assert (report.findings[0].kind, report.findings[0].argument) == (kind, argument)
    assert str(report).startswith("tangent of")


def test_a_jvp_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 numbers, and its claimed tangent has 2"):
        check_jvp(np.sin, lambda x, dx: dx[:2], X)


def test_a_complex_jvp() -> None:
    z = X + 1j * Y
    assert check_jvp(lambda z: z * z, lambda z, dz: 2 * z * dz, z)
    assert not check_jvp(lambda z: z * z, lambda z, dz: 2 * z.conj() * dz, z)


# Jacobians

A = np.array([[1.0, -2.0, 0.5], [0.3, 1e-5, 0.4]])


def layer(x: Any) -> Any:
    return np.tanh(A @ x)


J = pb.jacobian(layer)(X)


def field(x: Any) -> Any:
    return np.array([x[0] * x[1], x[1] ** 2 * x[2], np.sin(x[2])])


F = pb.jacobian(field)(X)


def with_entry(matrix: Any, i: int, j: int, factor: float) -> Any:
    changed = matrix.copy()
    changed[i, j] *= factor
    return changed


@pytest.mark.parametrize("claim", [J, pb.jacobian(layer), pb.jacfwd(layer)])
def test_a_right_jacobian(claim: Any) -> None:
    assert check_jacobian(layer, claim, X)


@pytest.mark.parametrize(
    ("f", "claim", "kind", "words"),
    [
        (layer, with_entry(J, 1, 2, 1.001), "entry", r"result\[1\] by x\[2\] is claimed"),
        (layer, with_entry(J, 1, 1, 3.0), "entry", r"result\[1\] by x\[1\] is claimed"),  # small beside the others
        (layer, -J, "sign", "the Jacobian has the wrong sign"),
        (layer, 0 * J, "zero", "the Jacobian is zero"),
        (layer, J / 3, "one_over_n", "3 is a size"),
        (layer, J.T.copy(), "transpose", r"shape \(3, 2\), and should have \(2, 3\)"),
        (field, F.T.copy(), "transpose", "is transposed"),
        (field, F[::-1].copy(), "index", "rows of the Jacobian are in reverse"),
        (field, np.roll(F, 1, axis=1), "index", "columns of the Jacobian are shifted by 1"),
        (field, F * [[1], [2], [1]], "factor", r"row of the result\[1\] is 2 times"),
    ],
)
def test_a_wrong_jacobian(f: Any, claim: Any, kind: str, words: str) -> None:
    report = check_jacobian(f, claim, X, seed=3)
    assert report.verdict == "refuted"
    assert report.findings[0].kind == kind
    assert re.search(words, str(report))


def test_jacobians_of_several_arguments_and_results() -> None:
    def f(x: Any, s: Any) -> Any:
        return x * s, np.sum(x) + s

    claim = pb.jacobian(f, argnums=(0, 1))
    assert check_jacobian(f, claim, X, 2.0)
    (a, b), (c, d) = claim(X, 2.0)
    report = check_jacobian(f, ((a, b), (c, -d)), X, 2.0)
    assert [(x.kind, x.argument) for x in report.findings if x.index is not None] == [("entry", "s")]
    with pytest.raises(ValueError, match="2 results and 2 arguments make 4"):
        check_jacobian(f, (a, b, c), X, 2.0)


def test_results_of_all_sizes() -> None:
    scale = np.array([1e-8, 1.0, 1e8])
    claim = np.diag(scale * np.cos(X))
    assert check_jacobian(lambda x: scale * np.sin(x), claim, X)
    claim[0, 0] *= 1.001
    report = check_jacobian(lambda x: scale * np.sin(x), claim, X)
    assert [x.index for x in report.findings if x.index is not None] == [(0,)]


def test_few_evaluations_find_a_wrong_column_among_many() -> None:
    x = np.random.default_rng(0).standard_normal(20_000)
    claim = np.stack([np.cos(x), 2 * x])
    claim[0, 7_777] *= 1.01
    report = check_jacobian(lambda x: np.array([np.sum(np.sin(x)), np.sum(x * x)]), claim, x)
    assert [(f.kind, f.index) for f in report.findings] == [("entry", (7_777,))]
    assert report.evaluations < 1_000


# Hessians


def energy(x: Any) -> Any:
    return np.sum(x**3) + x[0] * x[1] * x[2]


def opaque(x: Any) -> Any:
    """The same, out of the tape's sight."""
    return energy(np.array([float(v) for v in x.tolist()]))


H = pb.hessian(energy)(X)


@pytest.mark.parametrize("f", [energy, opaque])
@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        (H, None),
        (-H, "sign"),
        (H / 2, "factor"),
        (H + 1e-3 * np.outer([1, 0, 0], [0, 1, 0]) + 1e-3 * np.outer([0, 1, 0], [1, 0, 0]), "entry"),
        (H + 1e-3 * np.outer([1, 0, 0], [0, 1, 0]), "entry"),
    ],
)
def test_hessians(f: Any, claim: Any, kind: str | None) -> None:
    report = check_hessian(f, claim, X, seed=5)
    if kind is None:
        assert report.verdict == "confirmed"
    else:
        assert report.verdict == "refuted"
        assert report.findings[0].kind == kind
        assert {f.index for f in report.findings if f.claimed is not None} <= {(0,), (1,), (2,)}


def test_hessians_of_several_arguments() -> None:
    def f(x: Any, s: Any) -> Any:
        return np.sum(x * x) * s

    claim = pb.hessian(f, argnums=(0, 1))
    assert check_hessian(f, claim, X, 2.0)
    (a, b), (_, d) = claim(X, 2.0)
    report = check_hessian(f, ((a, b), (2 * b, d)), X, 2.0)
    assert report.verdict == "refuted"
    assert "a Hessian is symmetric, and this one is not" in str(report)
    with pytest.raises(ValueError, match="it has no Hessian"):
        check_hessian(layer, H, X)


# Several versions


def test_versions_that_agree_and_one_that_does_not() -> None:
    @pb.custom_vjp
    def exp(x: Any) -> Any:
        return np.exp(x)

    exp.defvjp(lambda x: (exp(x), x), lambda x, g: (g * x,))
    versions: dict[str, Callable[..., Any]] = {
        "numpy": lambda x, s: np.sum(np.exp(x)) * s,
        "pullback": lambda x, s: x.exp().sum() * s,
        "numpy custom": lambda x, s: np.sum(exp(x)) * s,
    }
    found = pb.compare_gradients(versions, X, 2.0, seed=1)
    assert not found
    assert found.odd == ["numpy custom"]
    assert {(d.first, d.second, d.what) for d in found.differences} == {
        ("numpy", "numpy custom", "x"),
        ("pullback", "numpy custom", "x"),
    }
    assert [v.verdict for v in found.versions] == ["confirmed", "confirmed", "refuted"]
    assert "numpy custom" in str(found)
    assert "differs" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["odd"] == ["numpy custom"]
    del versions["numpy custom"]
    assert pb.compare_gradients(versions, X, 2.0)


def test_versions_that_are_different_functions() -> None:
    found = pb.compare_gradients({"a": cubes, "b": lambda x: 1.001 * np.sum(x**3)}, X)
    assert not found
    assert found.odd == ["a", "b"]  # nothing says who is right
    assert [d.what for d in found.differences] == ["value", "x"]


def test_a_version_that_does_not_run_is_a_result() -> None:
    def broken(x: Any) -> Any:
        raise RuntimeError("no such thing")

    found = pb.compare_gradients({"a": cubes, "b": broken}, X)
    assert not found
    assert "RuntimeError: no such thing" in str(found)
