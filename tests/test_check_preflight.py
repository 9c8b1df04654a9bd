"""What is seen of a function and its backward before differences are taken, and how claims are read."""

from typing import Any

import numpy as np
import pytest

from pullback.check import GradientError, Report, check, check_vjp

X = np.array([0.3, -1.2, 2.1])


def cubes(x: Any) -> Any:
    return np.sum(x**3)


def cubes_grad(x: Any) -> Any:
    return 3 * x**2


def kinds(report: Report) -> list[str]:
    return [finding.kind for finding in report.findings]


def test_a_buffer_that_is_not_reset_is_named() -> None:
    kept = np.zeros(3)

    def piling(x: Any) -> Any:
        kept[...] += 3 * x**2
        return kept

    report = check(cubes, piling, X, seed=0)
    assert report.verdict == "refuted"
    assert kinds(report) == ["accumulate"]
    assert "returned twice the first (x): a buffer is not reset to zero" in report.findings[0].message
    assert report.findings[0].argument == "x"


def test_a_buffer_that_was_filled_before_is_named_too() -> None:
    kept = 6 * X**2

    def piling(x: Any) -> Any:
        kept[...] += 3 * x**2
        return kept.copy()

    report = check(cubes, piling, X, seed=0)
    assert kinds(report)[0] == "accumulate"
    assert "adds the same" in report.findings[0].message


def test_only_the_argument_that_piles_up_is_named() -> None:
    kept = [0.0]

    def piling(a: Any, b: Any) -> Any:
        kept[0] = kept[0] + np.sum(a)
        return b * np.ones(3), kept[0]

    report = check(lambda a, b: np.sum(a) * b, piling, X, 2.0, seed=0)
    assert (report.findings[0].kind, report.findings[0].argument) == ("accumulate", "b")


def test_a_backward_that_spoils_what_it_is_given() -> None:
    def spoils_argument(g: Any, x: Any) -> Any:
        found = g * np.cos(x)
        x *= 0.5
        return found

    def spoils_cotangent(g: Any, x: Any) -> Any:
        g *= np.cos(x)
        return g

    for vjp, what in ((spoils_argument, "its argument x"), (spoils_cotangent, "the cotangent it is given")):
        report = check_vjp(np.sin, vjp, X, seed=0)
        assert report.verdict == "refuted"
        assert kinds(report) == ["side_effect"]
        assert f"changes {what}" in report.findings[0].message


def test_a_backward_that_spoils_what_it_keeps() -> None:
    cache: dict[str, Any] = {}

    def f(x: Any) -> Any:
        cache["c"] = np.cos(x)
        return np.sin(x)

    def vjp(g: Any, x: Any) -> Any:
        cache["c"] *= g
        return cache["c"].copy()

    report = check_vjp(f, vjp, X, seed=0)
    assert (report.verdict, kinds(report)[0]) == ("refuted", "side_effect")


def test_a_backward_that_spoils_what_the_function_uses() -> None:
    weights = np.ones(3)

    def grad(x: Any) -> Any:
        found = weights.copy()
        weights[...] -= 0.1
        return found

    report = check(lambda x: np.sum(x * weights), grad, X, seed=0)
    assert (report.verdict, kinds(report)[0]) == ("refuted", "side_effect")


def test_a_backward_may_use_up_what_the_function_left() -> None:
    stack: list[Any] = []

    def f(x: Any) -> Any:
        stack.append(np.cos(x))
        return np.sin(x)

    assert check_vjp(f, lambda g, x: g * stack.pop(), X, seed=0).verdict == "confirmed"


def test_a_cotangent_that_is_not_used() -> None:
    report = check_vjp(np.sin, lambda g, x: np.cos(x), X, seed=0)
    assert (report.verdict, kinds(report)[0]) == ("refuted", "ignore_upstream")

    def vjp(g: Any, a: Any, b: Any) -> Any:
        return g * b, a

    report = check_vjp(lambda a, b: a * b, vjp, X, X + 1, seed=0)
    assert (report.findings[0].kind, report.findings[0].argument) == ("ignore_upstream", "b")


def test_a_scalar_function_is_given_a_cotangent_too() -> None:
    report = check_vjp(cubes, lambda g, x: 3 * x**2, X, seed=0)
    assert (report.verdict, kinds(report)[0]) == ("refuted", "ignore_upstream")


def test_a_function_that_is_random_is_not_decided() -> None:
    rng = np.random.default_rng(0)
    report = check(lambda x: cubes(x) + rng.standard_normal(), cubes_grad, X, seed=0)
    assert (report.verdict, kinds(report)) == ("undecided", ["nondeterministic"])
    report = check(lambda x: cubes(x) * (1 + 1e-15 * rng.standard_normal()), cubes_grad, X, seed=0)
    assert report.verdict == "confirmed"


def test_a_function_that_is_not_safe_to_call() -> None:
    def mutates(x: Any) -> Any:
        x *= 2
        return np.sum(x)

    buffer = np.zeros(3)

    def aliases(x: Any) -> Any:
        return np.sin(x, out=buffer)

    x = X.copy()
    report = check(mutates, lambda x: np.full(3, 2.0), x, seed=0)
    assert (report.verdict, kinds(report)) == ("undecided", ["mutates_input"])
    np.testing.assert_array_equal(x, X)
    report = check_vjp(aliases, lambda g, x: g * np.cos(x), X, seed=0)
    assert (report.verdict, kinds(report)) == ("undecided", ["aliases_output"])
    assert check_vjp(aliases, lambda g, x: -g * np.cos(x), X, seed=0).verdict == "refuted"


@pytest.mark.parametrize("cast", [lambda g: g.astype(np.float32), lambda g: g.astype(np.float32).astype(float)])
def test_single_precision_is_noticed(cast: Any) -> None:
    report = check(cubes, lambda x: cast(cubes_grad(x)), X, seed=0)
    assert (report.verdict, kinds(report)[0]) == ("refuted", "dtype")


def test_numbers_that_are_short_anyway_are_not_suspected() -> None:
    assert check(lambda x: np.sum(x**2), lambda x: (2 * x).astype(np.float32), np.array([1.0, 2.5, -3.0])).verdict == (
        "confirmed"
    )
    x = X.astype(np.float32)
    assert check(cubes, lambda x: 3 * x**2, x, seed=0).verdict == "confirmed"
    assert check(cubes, lambda x: 3 * x**2, x.astype(float), seed=0).verdict == "confirmed"


def test_claims_in_all_forms() -> None:
    def f(w: Any, b: Any, n: int) -> Any:
        return np.sum(w**2) * b * n

    w, b = X, 1.5
    dw, db = 6.0 * w * b, 3.0 * np.sum(w**2)
    claims: list[Any] = [
        (dw, db),
        (dw, db, None),
        [dw, db],
        {"w": dw, "b": db},
        {"dw": dw, "db": np.array([db])},
        {"grad_b": db},
        dw,
        (dw,),
        lambda *_: (dw.tolist(), db),
    ]
    for claim in claims:
        report = check(f, *(w, b, 3), grad=claim, seed=0)
        assert report.verdict == "confirmed", (claim, str(report))
        assert check(f, w, b, 3, grad=lambda *_: (dw, -db)).verdict == "refuted"
    assert check(lambda x: x[0] * x[1], lambda x: [x[1], x[0]], np.array([2.0, 3.0]), seed=0).verdict == "confirmed"
    assert check(lambda x: x[0] * x[1], lambda x: (x[1], x[0]), np.array([2.0, 3.0]), seed=0).verdict == "confirmed"


def test_claims_about_containers() -> None:
    def f(p: Any, s: float) -> Any:
        return np.sum(p["a"] * p["b"][0]) * s

    def grad(p: Any, s: float) -> Any:
        return {"b": [p["a"] * s], "a": p["b"][0] * s}, np.sum(p["a"] * p["b"][0])

    args = ({"a": X, "b": [X + 1]}, 2.0)
    assert check(f, grad, *args, seed=0).verdict == "confirmed"
    report = check(f, lambda p, s: ({"a": p["b"][0] * s}, None), *args, seed=0)
    assert (report.verdict, report.findings[0].kind) == ("refuted", "zero")
    with pytest.raises(ValueError, match="'c', which is not among"):
        check(f, lambda p, s: {"c": X}, *args)
    with pytest.raises(ValueError, match="should be the container that p is"):
        check(f, lambda p, s: (X, None), *args)
    assert check(lambda t: np.sum(t[0]) * t[1], lambda t: (t[1] * np.ones(3), np.sum(t[0])), (X, 2.0)).verdict == (
        "confirmed"
    )


def test_errors_say_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"write 3.0 for 3"):
        check(cubes, cubes_grad, 3)
    with pytest.raises(TypeError, match=r"array of shape \(3,\) of int64.*astype"):
        check(cubes, cubes_grad, np.arange(3))
    with pytest.raises(ValueError, match="use check_vjp"):
        check(lambda x: x**3, cubes_grad, X)
    with pytest.raises(ValueError, match="2 gradients, but the arguments with floats are x"):
        check(cubes, lambda x: (3 * x**2, 3 * x**2), X)
    with pytest.raises(ValueError, match="the gradients are for y, but the arguments are x"):
        check(cubes, lambda x: {"y": 3 * x**2}, X)
    with pytest.raises(TypeError, match="there is nothing to differentiate"):
        check(lambda x: int(np.sum(x)), cubes_grad, X)
    with pytest.raises(TypeError, match="the gradient of x is str"):
        check(cubes, lambda x: "3x²", X)


def test_the_report_knows_its_arguments() -> None:
    report = check(lambda w, b: np.sum(w) * b, lambda w, b: (b * np.ones((1, 3)), None), X, 2.0, seed=0)
    w, b = report.arguments
    assert (w["name"], w["shape"], w["claimed_shape"], w["expected"]) == ("w", [3], [1, 3], "[2., 2., 2.]")
    assert (b["name"], b["claimed"]) == ("b", "None")
    with pytest.raises(GradientError):
        report.raise_if_refuted()


def test_a_kink_is_a_finding_and_no_error() -> None:
    x = np.array([0.0, 1.0, -2.0])
    report = check(lambda x: np.sum(np.abs(x)), np.sign, x, seed=0)
    assert (report.verdict, kinds(report)) == ("confirmed", ["kink"])
    assert "x[0], with slopes -1 and 1: the claim is one of the conventions" in report.findings[0].message
    report = check(lambda x: np.sum(np.abs(x)), lambda x: np.sign(x) + 2 * (x == 0), x, seed=0)
    assert report.verdict == "refuted"
