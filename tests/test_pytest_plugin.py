"""`pytest --gradients`, and the fixture `check_gradient`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

RIGHT = "def f(x): return x**3\ndef df(x): return 3 * x**2\n"
WRONG = "def g(x):\n    return x**3\ndef dg(x):\n    return 2 * x**2\n"


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_gradients_are_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(model=RIGHT + WRONG, script="raise RuntimeError('not to be run')")
    result = run(pytester, "--gradients", "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*model.py::gradient[[]f[]] PASSED*", "*model.py::gradient[[]g[]] FAILED*"])
    result.stdout.fnmatch_lines(["*gradient of g: REFUTED*", "*factor*", "*is claimed*"])
    assert "Traceback" not in (text := result.stdout.str())
    assert "def runtest" not in text


def test_one_of_them_is_chosen_by_its_name(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(model=RIGHT + WRONG)
    run(pytester, "--gradients", f"{path}::gradient[f]").assert_outcomes(passed=1)


def test_nothing_is_collected_without_the_option(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(model=WRONG)
    run(pytester).assert_outcomes()


def test_the_tests_of_a_file_stay_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_model=RIGHT + "def test_f():\n    a = f(2.0)\n    assert a == 9.0\n")
    result = run(pytester, "--gradients")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*assert 8.0 == 9.0*"])  # with pytest's own view of an assertion


def test_a_notebook_and_a_file_that_raises(pytester: pytest.Pytester) -> None:
    cell = {"cell_type": "code", "source": WRONG}
    pytester.path.joinpath("lesson.ipynb").write_text(json.dumps({"cells": [cell]}))
    run(pytester, "--gradients").assert_outcomes(failed=1)
    pytester.makepyfile(broken=RIGHT + "1 / 0")
    result = run(pytester, "--gradients")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*broken.py:3: ZeroDivisionError*"])


def test_what_cannot_be_checked_is_skipped(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(model="def f(c): return c.a\ndef df(c): return 1.0\n")
    result = run(pytester, "--gradients", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*def pullback_inputs_f(): return*"])


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import numpy as np
        import pytest

        def test_right(check_gradient):
            assert check_gradient(np.sum, np.ones_like, np.ones(3)).verdict == "confirmed"

        def test_wrong(check_gradient):
            check_gradient(lambda x: np.sum(x**2), lambda x: x, np.ones(3), seed=1)
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([">*check_gradient(lambda x*", "E*GradientError: gradient of <lambda>: REFUTED*"])
    assert "def assert_gradient" not in result.stdout.str()


def test_a_plain_run_loads_nothing_of_pullback(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import sys

        def test_it():
            assert "pytest_pullback" in sys.modules
            assert not {"pullback", "numpy"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_the_plugin_alone_imports_nothing() -> None:
    code = "import sys, pytest_pullback; assert not {'pullback', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
