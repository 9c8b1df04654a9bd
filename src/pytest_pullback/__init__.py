"""What pytest loads of pullback: the option `--gradients`, and the fixture `check_gradient`.

pytest imports this module in every run where pullback is installed, so it stands beside the package, not in it: neither
pullback nor NumPy is imported until one of the two is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pullback", "gradients checked by pullback")
    group.addoption(
        "--gradients",
        action="store_true",
        help="collect the gradients that `pullback check` finds in the files and folders (notebooks, too) as tests",
    )
    group.addoption("--gradients-seed", type=int, default=0, metavar="N", help="seed of their arguments and directions")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("gradients"):
        from pullback.cli import pytest_plugin

        config.pluginmanager.register(pytest_plugin, "pullback-gradients")


@pytest.fixture
def check_gradient() -> Callable[..., Any]:
    """`check_gradient(f, grad, *args)` asserts that `grad` is the gradient of `f` at `args`, and gives the report.

    Raises `pullback.check.GradientError` if the gradient is not confirmed.
    """
    from pullback.cli.pytest_plugin import assert_gradient

    return assert_gradient
