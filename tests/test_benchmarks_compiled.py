"""The programs of benchmarks/compiled at small sizes: pullback's, compiled, give JAX's numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.compiled import functions, training
from benchmarks.compiled.work import Work, numbers, same

WORK = {work.name: work for work in (*training.WORK, *functions.WORK)}


def results(work: Work, framework: str) -> list[np.ndarray]:
    """What the third step returns, and the state after it."""
    program = getattr(work, framework)(*work.inputs(*work.tiny))
    for _ in range(2):
        program.step()
    return numbers((program.step(), program.state()))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func.jvp
@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("framework", ["pullback", "torch"])
def test_agrees_with_jax(name: str, framework: str):
    work = WORK[name]
    with jax.enable_x64(True):
        expected = results(work, "jax")
    found = results(work, framework)
    assert [a.dtype for a in found[1:]] == [a.dtype for a in expected[1:]]
    assert same(found, expected, work.rtol)


@pytest.mark.parametrize("name", [name for name, work in WORK.items() if work.sizes])
def test_more_work_at_the_full_size(name: str):
    work = WORK[name]
    assert work.flops(*work.sizes) > work.flops(*work.tiny) > 0
    assert work.state_bytes(*work.sizes) >= work.state_bytes(*work.tiny)


def test_wrong_numbers_are_seen():
    a = np.array([1.0, 1e-3])
    assert same([a], [a * (1 + 1e-11)], 1e-10)
    assert not same([a], [a + np.array([0, 1e-6])], 1e-10)
    assert not same([a], [a[None]], 1e-10)
    assert not same([a], [a, a], 1e-10)
    assert not same([np.array([np.nan])], [np.array([1.0])], 1e-4)
