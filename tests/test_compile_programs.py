"""Random programs, compiled, against the same programs run eagerly and by plain NumPy.

More of them: PULLBACK_EXAMPLES=20000 pytest tests/test_compile_programs.py
"""

import os
import warnings
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import pullback as pb
from random_programs import programs

EXAMPLES = int(os.environ.get("PULLBACK_EXAMPLES", "0"))


def bounded(examples):
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def compiled_source(source: str) -> Any:
    scope: dict[str, Any] = {"np": np, "pb": pb}
    exec(source, scope)
    return scope["program"]


def plain(x):
    return x.detach().numpy() if isinstance(x, pb.Tensor) else x


def same(mine, wanted, what, precise, slack=1.0):
    """Equal, up to rounding at the scale of what a program computes; `precise`: in float64 throughout."""
    assert len(mine) == len(wanted)
    for a, b in zip(mine, wanted, strict=True):
        assert isinstance(a, pb.Tensor) is isinstance(b, pb.Tensor), f"{what}: {type(a)} for {type(b)}"
        a, b = np.asarray(plain(a)), np.asarray(plain(b))
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{what}: {a.dtype}{a.shape} for {b.dtype}{b.shape}"
        if b.dtype.kind == "f":
            tol = slack * (1e-10 if precise else 1e-4)
            scale = max(1.0, float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)))
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol * scale, err_msg=what)
        else:
            np.testing.assert_array_equal(a, b, err_msg=what)


def copies(arrays, tensors=False):
    return [pb.tensor(x.copy()) if tensors else x.copy() for x in arrays]


def run(f, args):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of nothing
        return f(*args)


@bounded(300)
@given(programs())
def test_numpy_programs(p):
    source = p.finish()
    f = compiled_source(source)
    args = copies(p.inputs)
    wanted = run(f, args)
    g = pb.jit(f)
    for _ in range(2):  # compiled, and again the short way
        again = [x.copy() for x in p.inputs]
        mine = run(g, again)
        same(mine, wanted, f"compiled\n{source}", p.precise)
        same(again, args, f"arguments after the call\n{source}", p.precise)


@bounded(200)
@given(programs(tensors=True))
def test_tensor_programs(p):
    source = p.finish()
    f = compiled_source(source)
    args = copies(p.inputs, True)
    wanted = run(f, args)
    g = pb.jit(f)
    for _ in range(2):
        again = copies(p.inputs, True)
        mine = run(g, again)
        same(mine, wanted, f"compiled\n{source}", p.precise)
        same(again, args, f"arguments after the call\n{source}", p.precise)


def total(f, tensors):
    """A number from the float results of a program."""

    def loss(*args):
        parts = [y for y in f(*args) if y.dtype.kind == "f"] if not tensors else f(*args)
        if tensors:
            return sum((pb.tanh(y).mean() for y in parts if y.is_floating_point() and y.numel()), pb.zeros(()))
        return sum((np.sum(np.tanh(y)) for y in parts), 0.0 * np.sum(args[0]))

    return loss


@bounded(200)
@given(programs(floats=True), st.booleans())
def test_gradients_of_numpy_programs(p, both):
    source = p.finish()
    loss = total(compiled_source(source), False)
    gradient = pb.value_and_grad(loss) if both else pb.grad(loss)
    try:
        wanted = run(gradient, copies(p.inputs))
    except RuntimeError as error:  # the array that is differentiated must not be written
        assume("read-only" not in str(error))
        raise
    mine = run(pb.jit(gradient), copies(p.inputs))
    same(mine if both else [mine], wanted if both else [wanted], f"gradient\n{source}", p.precise, 10)


@bounded(150)
@given(programs(tensors=True, floats=True))
def test_backward_of_tensor_programs(p):
    source = p.finish()
    loss = total(compiled_source(source), True)

    def step(first, *rest):
        leaf = first.detach().clone().requires_grad_()
        value = loss(leaf * 1, *rest)
        if not value.requires_grad:
            return (value,)
        value.backward()
        return value.detach(), leaf.grad if leaf.grad is not None else pb.zeros_like(leaf)

    try:
        wanted = run(step, copies(p.inputs, True))
    except RuntimeError as error:  # what a node has saved was written, or an op without a derivative
        assume("modified by an inplace operation" not in str(error))
        raise
    mine = run(pb.jit(step), copies(p.inputs, True))
    same(mine, wanted, f"backward\n{source}", p.precise, 10)
