"""`pytest --gradients`: what `pullback check` finds in a file, as tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pullback.check.collect import Result, collect, examine, is_worth_running
from pullback.check.pairs import Pair
from pullback.check.report import GradientError, Report
from pullback.check.run import check
from pullback.cli.load import LoadError, load, python_of
from pullback.cli.present import explanation

__all__ = ["GradientFile", "GradientItem", "assert_gradient", "pytest_collect_file"]


@pytest.hookimpl(trylast=True)  # pytest imports its own test modules first, with its assertions
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> GradientFile | None:
    if file_path.suffix not in (".py", ".ipynb") or not is_worth_running(python_of(file_path)):
        return None
    return GradientFile.from_parent(parent, path=file_path)


class GradientFile(pytest.File):
    """A file with gradients in it."""

    def collect(self) -> Iterator[GradientItem]:
        try:
            pairs = collect(load(self.path))
        except LoadError as error:
            raise self.CollectError(str(error)) from error
        for pair in pairs:
            yield GradientItem.from_parent(self, name=f"gradient[{pair.name}]", pair=pair)


class NotConfirmed(AssertionError):
    """A gradient that was refuted, or left undecided."""

    def __init__(self, result: Result) -> None:
        super().__init__("\n".join(explanation(result)))


class GradientItem(pytest.Item):
    """A gradient as a test: passed if it is confirmed, skipped if it can't be checked."""

    def __init__(self, *, pair: Pair, **options: Any) -> None:
        super().__init__(**options)
        self.pair = pair

    def runtest(self) -> None:
        result = examine(self.pair, self.config.getoption("gradients_seed"))
        if result.verdict == "unusable":
            pytest.skip(result.message)
        if result.verdict != "confirmed":
            raise NotConfirmed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The explanation; of an error that is none of the gradient's, what pytest shows."""
        if isinstance(excinfo.value, NotConfirmed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, max(self.pair.line - 1, 0), self.name


def assert_gradient(f: Callable[..., Any], grad: Any, *args: Any, seed: int | None = None) -> Report:
    """Check `grad` as the gradient of `f` at `args`. Raises `GradientError` if it is not confirmed."""
    __tracebackhide__ = True
    report = check(f, *args, grad=grad, seed=seed)
    if not report:
        raise GradientError(report)
    return report
