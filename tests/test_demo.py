"""The demo, in small: every part runs, every check passes, and a wrong gradient makes the run fail."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rich")
pytest.importorskip("matplotlib")
pytest.importorskip("pygraphviz")

from rich.console import Console

from pullback.demo import by_hand, descent, fields, network, peers, two_layers
from pullback.demo.__main__ import PARTS, main
from pullback.demo.differences import differences
from pullback.demo.part import Check, Part, distance


@pytest.fixture(autouse=True)
def _without_other_frameworks(monkeypatch):
    """Importing them takes longer than the demo; one test below compares with one of them."""
    monkeypatch.setattr(by_hand, "installed", dict)


def quick_part(tmp_path: Path, number: int = 1) -> Part:
    return Part(number, "test", tmp_path, Console(quiet=True), quick=True)


PICTURES = {
    1: set(),
    2: {"2-network.svg"},
    3: {"3-x2.svg", "3-cost.svg", "3-mpg-loss.svg", "3-valley.svg", "3-pima-loss.svg"},
    4: {"4-loss.svg"},
    5: {"5-field.svg"},
    6: set(),
}


@pytest.mark.parametrize("number", PARTS)
def test_a_part_passes_its_checks(tmp_path, number, capsys):
    if number == 4:
        pytest.importorskip("sklearn")
    assert main(["--quick", "--only", str(number), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "all as they must be" in printed
    assert "✗" not in printed
    assert {path.name for path in tmp_path.iterdir()} == PICTURES[number] | {"index.html"}
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert PARTS[number][0] in page
    assert page.count("<img") == len(PICTURES[number])
    assert "https:" not in page


def test_every_row_of_a_comparison_is_a_check(tmp_path, monkeypatch):
    part = quick_part(tmp_path)
    tables = []
    monkeypatch.setattr(part, "show", tables.append)
    by_hand.run(part)
    rows = [row for table in tables for row in table.rows]
    assert len(rows) == len(part.checks) > 30
    assert sum(check.wrong for check in part.checks) >= 6
    assert all(check.ok for check in part.checks)


# A wrong gradient


def planted(function):
    """The function with the largest entry of its result off by one part in a million."""

    def wrong(*args, **kwargs):
        result = np.array(function(*args, **kwargs), float)
        result.reshape(-1)[np.abs(result).argmax()] *= 1 + 1e-6
        return result

    return wrong


def test_a_wrong_hand_written_gradient_fails_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(by_hand, "logistic_bce_backward", planted(by_hand.logistic_bce_backward))
    assert main(["--quick", "--only", "1", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "Failed" in printed
    assert "FAILED" in printed
    assert "FAILED" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_planted_mistake_that_is_not_caught_fails_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(by_hand, "wrong_mean", by_hand.logistic_mse_backward)
    assert main(["--quick", "--only", "1", "--out", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("module", "name"),
    [(fields, "jacobian_by_autograd"), (descent, "newton")],
)
def test_a_wrong_result_fails_its_part(tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, name, planted(getattr(module, name)))
    part = quick_part(tmp_path)
    module.run(part)
    assert any(not check.ok for check in part.checks)


def test_a_wrong_cotangent_in_the_network_is_found(tmp_path, monkeypatch):
    right = network.by_hand

    def wrong(weights, x, t):
        values, cotangents = right(weights, x, t)
        return values, {**cotangents, "∂L/∂W1": cotangents["∂L/∂W1"].T.reshape(2, 4)}  # the transpose forgotten

    monkeypatch.setattr(network, "by_hand", wrong)
    part = quick_part(tmp_path)
    network.run(part)
    assert {check.what for check in part.checks if not check.ok} == {"∂L/∂W1, float32", "∂L/∂W1, float64"}


def test_a_wrong_two_layer_gradient_is_found(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    right = two_layers.backward

    def wrong(weights, X, t, kept):
        return right(weights, X, t, {**kept, "h": 1 - kept["h"]})

    monkeypatch.setattr(two_layers, "backward", wrong)
    part = quick_part(tmp_path)
    two_layers.run(part)
    failed = {check.what for check in part.checks if not check.ok}
    assert "W2 by hand = backward()" in failed
    assert "W2 by hand = differences" in failed


def test_an_error_in_a_part_fails_the_run_and_the_others_still_run(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no way")

    monkeypatch.setattr(by_hand, "cases", broken)
    assert main(["--quick", "--only", "1,5", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "no way" in printed
    assert "Jacobian" in printed


# What it is made of


def test_a_check_is_not_passed_by_nan():
    assert not Check("x", float("nan"), 1).ok
    assert Check("x", float("nan"), 1, wrong=True).ok
    assert Check("x", 1, 1).ok
    assert not Check("x", 1, 1, wrong=True).ok
    assert np.isnan(distance([1.0, np.nan], [1.0, 2.0]))
    assert distance([0.0, 1e-3], [0.0, 0.0]) == 1e-3
    assert distance([1.0, 2.5], [1.0, 2.0]) == 0.25
    with pytest.raises(ValueError, match="compared"):
        distance([1.0], [[1.0]])
    with pytest.raises(ValueError, match="nothing"):
        distance([], [])


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (np.exp, np.exp),
        (np.sin, np.cos),
        (lambda x: x**3, lambda x: 3 * x**2),
        (lambda x: 1e6 + x, lambda x: 1 + 0 * x),
    ],
)
def test_differences_bound_their_error_and_not_by_much_more(f, slope):
    x = np.linspace(-2, 3, 11)
    found, bound = differences(lambda x: f(x).sum(), x)
    assert (np.abs(found - slope(x)) <= bound).all()
    assert (bound < 1e-3).all()


def test_parts_are_named_by_their_numbers(capsys):
    for text in ("7", "0", "x", ""):
        with pytest.raises(SystemExit):
            main(["--only", text])
    assert "parts are numbers from 1 to 6" in capsys.readouterr().err


def test_what_is_missing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(two_layers, "find_spec", lambda name: None)
    assert main(["--quick", "--only", "4", "--out", str(tmp_path)]) == 0
    assert "skipped" in capsys.readouterr().out


def test_the_comparison_with_pytorch(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(by_hand, "installed", lambda: {"PyTorch": peers.by_torch})
    part = quick_part(tmp_path)
    by_hand.compare_peers(part, by_hand.cases(quick=True))
    assert len(part.checks) == 5
    assert all(check.ok for check in part.checks)
