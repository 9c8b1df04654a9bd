"""Ops against PyTorch on their own samples, values and gradients, real and complex; and what they save."""

import numpy as np
import pytest

import pullback as pb
from op_checks import TABLE, as_tuple, complexified, differentiable, is_inexact, like, raw
from pullback.ops.table import NONE, SPEC, VALUE
from test_ops import COMPLEX

torch = pytest.importorskip("torch")
F = torch.nn.functional


def one(function):
    """A reduction over one or several axes, `function(x, dim, keepdim)`; PyTorch takes an empty dim for all."""

    def run(x, axis, keepdims, **params):
        if axis == () and x.ndim:
            return x.abs() if function is torch.linalg.vector_norm else x
        return function(x, dim=axis, keepdim=keepdims, **params)

    return run


def over(function):
    """A reduction that PyTorch does along one axis only: over several, one after the other."""

    def run(x, axis, keepdims):
        for a in sorted(axis, reverse=True):
            x = function(x, dim=a, keepdim=keepdims)
        return x

    return run


def scan(function):
    def run(x, axis, reverse=False):
        return function(x.flip(axis), axis).flip(axis) if reverse else function(x, axis)

    return run


def number(function):
    """A function for which PyTorch wants tensors, also for numbers."""
    return lambda *xs: function(
        *(x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64) for x in xs)
    )


def pad(x, widths, value):
    return F.pad(x, [n for pair in reversed(widths) for n in pair], value=value)


def gather(x, *indices):
    return x[indices]


def update(x, v, index):
    y = x.clone()
    y[index] = v
    return y


def index_update(x, v, *indices):
    return x.index_put(indices, v)


def scatter_add(g, *indices, shape):
    return torch.zeros(shape, dtype=g.dtype).index_put(indices, g, accumulate=True)


def embed(g, index, shape):
    return update(torch.zeros(shape, dtype=g.dtype), g, index)


def diagonal_update(x, v, offset, axis1, axis2):
    return torch.diagonal_scatter(x, v, offset, axis1, axis2)


PEERS = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda a, b: a / b,
    "neg": torch.neg,
    "pow": lambda a, b: a**b,
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "copysign": torch.copysign,
    "lerp": torch.lerp,
    "deg2rad": torch.deg2rad,
    "rad2deg": torch.rad2deg,
    "ldexp": number(torch.ldexp),
    "where": torch.where,
    "maximum": number(torch.maximum),
    "minimum": number(torch.minimum),
    "clamp": torch.clamp,
    "nan_to_num": torch.nan_to_num,
    "logaddexp": torch.logaddexp,
    "logaddexp2": torch.logaddexp2,
    "xlogy": torch.xlogy,
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "logcumsumexp": scan(torch.logcumsumexp),
    "cumsum": scan(torch.cumsum),
    "cumprod": scan(torch.cumprod),
    "sum": one(torch.sum),
    "mean": one(torch.mean),
    "prod": over(torch.prod),
    "amax": one(torch.amax),
    "amin": one(torch.amin),
    "logsumexp": one(torch.logsumexp),
    "norm": one(torch.linalg.vector_norm),
    "var": one(torch.var),
    "std": one(torch.std),
    "reshape": torch.reshape,
    "transpose": lambda x, axes: x.permute(axes),
    "broadcast_to": lambda x, shape: x.expand(shape),
    "flip": lambda x, axis: x.flip(axis),
    "roll": lambda x, shift, axis: x.roll(shift, axis),
    "pad": pad,
    "concatenate": lambda *xs, axis: torch.cat(xs, axis),
    "stack": lambda *xs, axis: torch.stack(xs, axis),
    "split": lambda x, sizes, axis: torch.split(x, sizes, axis),
    "unbind": lambda x, axis: torch.unbind(x, axis),
    "diagonal": lambda x, offset, axis1, axis2: x.diagonal(offset, axis1, axis2),
    "diagonal_update": diagonal_update,
    "tril": torch.tril,
    "triu": torch.triu,
    "gather": gather,
    "scatter_add": scatter_add,
    "index_update": index_update,
    "matmul": torch.matmul,
    "mm": torch.mm,
    "mv": torch.mv,
    "dot": torch.dot,
    "einsum": lambda *xs, spec: torch.einsum(spec, *xs),
    "inv": torch.linalg.inv,
    "solve": torch.linalg.solve,
    "det": torch.linalg.det,
    "slogdet": lambda a: tuple(torch.linalg.slogdet(a)),
    "cholesky": torch.linalg.cholesky,
    "conj": lambda x: torch.conj(x).resolve_conj(),
    "identity": torch.clone,
} | {
    name: getattr(torch, name)
    for name in """
        floor ceil trunc round square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos
        atan sinh cosh tanh asinh acosh atanh sigmoid relu abs angle sgn sign real imag
    """.split()
}

# Where PyTorch has another answer, on samples of these numbers.
EXCEPT = {
    ("logcumsumexp", 2): "NaN for a leading -inf",
    ("index_update", 1): "of repeated indices each gets the gradient, not the last, whose value counts",
    ("det", 3): "0 for a singular matrix",
    ("cholesky", 2): "an imaginary diagonal, where the cotangent has one",
}

CASES = [
    pytest.param(TABLE[name], sample, id=f"{name}-{n}")
    for name in PEERS
    for n, sample in enumerate(TABLE[name].samples)
    if EXCEPT.get((name, n)) is None
]


def compare(op, sample):
    args = sample.make()
    chosen = differentiable(op, sample, args)
    theirs = [torch.tensor(x) if isinstance(x, np.ndarray | np.generic) else x for x in args]
    for i in chosen:
        theirs[i].requires_grad_()
    wanted = as_tuple(PEERS[op.name](*theirs, **sample.params))

    def f(*xs):
        full = list(args)
        for i, x in zip(chosen, xs, strict=True):
            full[i] = x
        return as_tuple(op(*full, **sample.params))

    values, pull = pb.vjp(f, *(args[i] for i in chosen))
    rng = np.random.default_rng(3)
    gs = tuple(like(rng, raw(y)) for y in values)
    for y, z in zip(values, wanted, strict=True):
        assert raw(y).dtype == z.detach().numpy().dtype
        np.testing.assert_allclose(raw(y), z.detach().numpy(), rtol=1e-12, atol=1e-13)
    parts = [(z, torch.tensor(g)) for z, g in zip(wanted, gs, strict=True) if z.requires_grad]
    found = torch.autograd.grad(
        [z for z, _ in parts], [theirs[i] for i in chosen], [g for _, g in parts], allow_unused=True
    )
    for mine, d in zip(pull(gs), found, strict=True):
        expected = np.zeros(raw(mine).shape) if d is None else d.resolve_conj().clone().numpy()
        np.testing.assert_allclose(raw(mine), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_real(op, sample):
    compare(op, sample)


@pytest.mark.parametrize(("op", "sample"), [case for case in CASES if case.values[0].name in COMPLEX])
def test_complex(op, sample):
    lifted = complexified(sample)
    if not any(is_inexact(x) and x.dtype.kind == "c" for x in lifted.make()):
        return
    kinds = {x.dtype.kind for x in lifted.make() if is_inexact(x)}
    assert kinds == {"c"}, "a sample that mixes real and complex operands"
    compare(op, lifted)


# What is kept for the backward pass: the result, then each operand


@pytest.mark.parametrize(
    ("name", "tracked", "kept"),
    [
        ("add", (True, True), (NONE, NONE, NONE)),
        ("sub", (True, True), (NONE, NONE, NONE)),
        ("mul", (True, True), (NONE, VALUE, VALUE)),
        ("mul", (True, False), (NONE, NONE, VALUE)),
        ("mul", (False, True), (NONE, VALUE, NONE)),
        ("div", (True, False), (NONE, NONE, VALUE)),
        ("where", (False, True, True), (NONE, VALUE, NONE, NONE)),
        ("exp", (True,), (VALUE, NONE)),
        ("tanh", (True,), (VALUE, NONE)),
        ("relu", (True,), (VALUE, NONE)),
        ("sin", (True,), (NONE, VALUE)),
        ("neg", (True,), (NONE, NONE)),
        ("floor", (True,), (NONE, NONE)),
        ("sum", (True,), (NONE, SPEC)),
        ("mean", (True,), (NONE, SPEC)),
        ("reshape", (True,), (NONE, SPEC)),
        ("transpose", (True,), (NONE, NONE)),
        ("slice", (True,), (NONE, SPEC)),
        ("pad", (True,), (NONE, NONE)),
        ("concatenate", (True, True), (NONE, SPEC, SPEC)),
        ("stack", (True, True), (NONE, NONE, NONE)),
        ("gather", (True, False), (NONE, SPEC, VALUE)),
        ("slice_update", (True, True), (NONE, NONE, SPEC)),
        ("matmul", (True, False), (NONE, SPEC, VALUE)),
        ("mm", (True, False), (NONE, NONE, VALUE)),
        ("mm", (True, True), (NONE, VALUE, VALUE)),
        ("dot", (False, True), (NONE, VALUE, NONE)),
        ("einsum", (True, False), (NONE, SPEC, VALUE)),
        ("einsum", (True,), (NONE, SPEC)),
        ("cumsum", (True,), (NONE, NONE)),
        ("inv", (True,), (VALUE, NONE)),
        ("cholesky", (True,), (VALUE, VALUE)),
    ],
)
def test_what_is_saved(name, tracked, kept):
    assert TABLE[name].needs(tracked) == kept
