"""One program, run with pullback and with PyTorch under one name, and compared in everything a user can see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb

torch = pytest.importorskip("torch")


def data(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _tensors(t: Any, arrays: list[Any], dtype: str, grad: bool) -> list[Any]:
    made = []
    for a in arrays:
        a = np.asarray(a)
        x = t.tensor(a.astype(dtype) if a.dtype.kind == "f" else a)
        made.append(x.requires_grad_() if grad and a.dtype.kind == "f" else x)
    return made


def _parts(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def _numpy(x: Any) -> np.ndarray:
    return np.asarray(x.detach().resolve_conj().numpy() if isinstance(x, torch.Tensor) else x.detach().numpy())


def _close(mine: Any, theirs: Any, dtype: str, what: str) -> None:
    a, b = _numpy(mine), _numpy(theirs)
    assert a.shape == b.shape, what
    assert a.dtype == b.dtype, what
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=what)


def agree(f: Callable[..., Any], *arrays: Any, dtype: str = "float64", grad: bool = True, name: bool = True) -> None:
    """`f(t, *tensors)` gives the same values, dtypes, shapes, gradients and (if `name`) names of nodes for both `t`."""
    ours, theirs = _tensors(pb, list(arrays), dtype, grad), _tensors(torch, list(arrays), dtype, grad)
    mine, peers = _parts(f(pb, *ours)), _parts(f(torch, *theirs))
    assert len(mine) == len(peers)
    for a, b in zip(mine, peers, strict=True):
        if not isinstance(b, torch.Tensor):
            assert a == b
            continue
        _close(a, b, dtype, "value")
        assert a.requires_grad == b.requires_grad
        if name and b.grad_fn is not None:
            assert a.grad_fn is not None
            assert a.grad_fn.name() == b.grad_fn.name()
    if not grad:
        return
    roots = [(a, b) for a, b in zip(mine, peers, strict=True) if isinstance(b, torch.Tensor) and b.requires_grad]
    if not roots:
        return
    weights = [np.asarray(data(7 + i, *b.shape), _numpy(b).dtype) for i, (_, b) in enumerate(roots)]
    for t, side in ((pb, 0), (torch, 1)):
        total = sum((pair[side] * t.tensor(w)).sum() for pair, w in zip(roots, weights, strict=True))
        total.backward()
    for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
        if not y.requires_grad:
            continue
        if y.grad is None:
            assert x.grad is None or not _numpy(x.grad).any()
        else:
            assert x.grad is not None, f"no gradient of operand {i}"
            _close(x.grad, y.grad, dtype, f"gradient of operand {i}")


def same_error(f: Callable[..., Any], *arrays: Any, dtype: str = "float32", words: int = 3) -> None:
    """`f` fails for both with the same type of exception, the first words of its message alike."""
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever PyTorch raises)
        f(torch, *_tensors(torch, list(arrays), dtype, False))
    with pytest.raises(Exception) as mine:  # noqa: PT011
        f(pb, *_tensors(pb, list(arrays), dtype, False))
    # torch.linalg.LinAlgError is no class of ours: its base is what counts
    kind = RuntimeError if isinstance(theirs.value, torch.linalg.LinAlgError) else type(theirs.value)
    assert isinstance(mine.value, kind), (mine.value, theirs.value)
    first = [str(error.value).split()[:words] for error in (mine, theirs)]
    assert first[0] == first[1], (str(mine.value), str(theirs.value))
