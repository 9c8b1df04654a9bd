"""The examples in the docstrings run and give what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import pullback as pb

_NOT_RUN = ("pullback.demo",)
MODULES = [
    info.name
    for info in pkgutil.walk_packages(pb.__path__, "pullback.")
    if not info.name.startswith(_NOT_RUN) and not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    with np.printoptions():
        result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not result.failed
