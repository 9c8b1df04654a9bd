"""Expressions and programs written once, run with pullback and with PyTorch, and compared."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb

torch = pytest.importorskip("torch")


def evaluate(lib: Any, expression: str, **names: Any) -> Any:
    """The value of an expression written with `t` for the library, or its error."""
    scope = {
        "t": lib,
        "np": np,
        "math": math,
        "nan": math.nan,
        "inf": math.inf,
        **{k: v(lib) for k, v in names.items()},
    }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return eval(expression, scope)
        except Exception as error:
            return error


def outcome(lib: Any, program: Callable[[Any], Any]) -> Any:
    """The result of `program(lib)`, or its error."""
    try:
        return program(lib)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        return error


def agree(ours: Any, theirs: Any, scale: float = 4) -> None:
    """Errors that those who catch PyTorch's catch too; or equal results, of equal dtypes, shapes and tracking."""
    if isinstance(theirs, Exception):
        kind = RuntimeError if isinstance(theirs, RuntimeError) else type(theirs)
        assert isinstance(ours, kind), (ours, theirs)
        return
    if isinstance(ours, Exception):
        raise ours
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, pb.Tensor)
        assert (str(ours.dtype), ours.shape, ours.requires_grad) == (
            str(theirs.dtype),
            theirs.shape,
            theirs.requires_grad,
        )
        close(ours, theirs, scale)
    elif isinstance(theirs, tuple | list):
        assert isinstance(ours, type(theirs)) or isinstance(theirs, torch.Size)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            agree(mine, other, scale)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(theirs, torch.dtype | torch.device | torch.finfo | torch.iinfo):
        assert repr(ours) == repr(theirs)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs or (ours != ours and theirs != theirs)


def close(ours: Any, theirs: Any, scale: float = 4) -> None:
    """Equal up to a few units in the last place of their dtype."""
    mine = ours.detach().numpy()
    other = theirs.detach().resolve_conj().resolve_neg().numpy(force=True)
    if mine.dtype.kind in "fc":
        eps = float(np.finfo(mine.dtype).eps)
        np.testing.assert_allclose(mine, other, rtol=scale * eps, atol=scale * eps)
    else:
        np.testing.assert_array_equal(mine, other)


def same(expression: str, **names: Any) -> None:
    """Both libraries agree on an expression; `names` are functions of the library that make what it mentions."""
    agree(evaluate(pb, expression, **names), evaluate(torch, expression, **names))


def same_program(program: Callable[[Any], Any]) -> None:
    """Both libraries agree on a program, rounding of a few steps allowed for."""
    agree(outcome(pb, program), outcome(torch, program), scale=20)
