"""Every op in the table, compiled, on all of its samples: values and derivatives equal the eager ones up to rounding.

All samples of an op are compiled as one function, its derivatives on them as another: compiling is what takes time.
"""

import numpy as np
import pytest

import pullback as pb
from op_checks import ARRAY, TABLE, as_tuple, complexified, differentiable, is_inexact, like, raw, restricted
from test_ops import COMPLEX, NO_HALF

OPS = [pytest.param(op, id=op.name) for op in TABLE.values()]
SMOOTH = [case for case in OPS if case.values[0].family != "nondifferentiable"]
SECOND = """
    mul div pow exp log sin tanh sigmoid softplus erf where maximum lerp sum mean prod var norm logsumexp softmax cumsum
    cumprod matmul dot einsum solve inv slogdet cholesky slice slice_update gather scatter_add index_update concatenate
    layer_norm conv fft
""".split()

# float: the rounding of a few operations, of ill-conditioned samples and of other summation orders
TOLERANCE = {"float64": 1e-11, "float32": 3e-4, "float16": 2e-2, "complex128": 1e-11, "complex64": 3e-4}


def converted(x, dtype):
    """An operand in another precision; integers and bools as they are."""
    if not is_inexact(x):
        return x
    kind = np.result_type(dtype, "complex64") if x.dtype.kind == "c" else np.dtype(dtype)
    return np.asarray(x).astype(kind)[()] if isinstance(x, np.generic) else x.astype(kind)


def jobs(op, dtype, samples=None):
    """For each sample: the operands, the places of the arrays among them, and the op as a function of these."""
    found = []
    for sample in samples or op.samples:
        args = [converted(x, dtype) for x in sample.make()]
        places = [i for i, x in enumerate(args) if isinstance(x, ARRAY)]

        def f(*xs, args=args, places=places, sample=sample):
            full = list(args)
            for i, x in zip(places, xs, strict=True):
                full[i] = x
            return as_tuple(op(*full, **sample.params))

        found.append((f, [args[i] for i in places]))
    return found


def together(jobs):
    """One function for several: of the list of their arguments."""

    def program(lists):
        return [f(*xs) for (f, _), xs in zip(jobs, lists, strict=True)]

    return program, [xs for _, xs in jobs]


def same(mine, wanted, op):
    for n, (found, expected) in enumerate(zip(mine, wanted, strict=True)):
        for a, b in zip(as_tuple(found), as_tuple(expected), strict=True):
            x, y = raw(a), raw(b)
            what = f"{op.name}, number {n}"
            assert (x.shape, x.dtype) == (y.shape, y.dtype), what
            if y.dtype.kind in "fc":
                tol = TOLERANCE[y.dtype.name]
                scale = max(1.0, float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0)))
                np.testing.assert_allclose(x, y, rtol=tol, atol=tol * scale, err_msg=what)
            else:
                np.testing.assert_array_equal(x, y, err_msg=what)


def check(op, jobs):
    program, lists = together(jobs)
    with np.errstate(all="ignore"):
        wanted = program(lists)
    same(pb.jit(program)(lists), wanted, op)


def derivatives(op, dtype, samples=None, second=False):
    """The gradients and the tangents of an op on its samples, as jobs."""
    found = []
    for sample in samples or op.samples:
        args = [converted(x, dtype) for x in sample.make()]
        chosen = differentiable(op, sample, args)
        if not chosen:
            continue
        f = restricted(op, sample, args, chosen)
        rng = np.random.default_rng(7)
        xs = [args[i] for i in chosen]
        ts = [like(rng, x) for x in xs]
        with np.errstate(all="ignore"):
            gs = [like(rng, raw(y)) for y in f(*xs)]
        n, m = len(xs), 2 * len(xs)

        def both(*all, f=f, n=n, m=m):
            xs, ts, gs = all[:n], all[n:m], all[m:]
            return (*pb.jvp(f, xs, ts)[1], *pb.vjp(f, *xs)[1](tuple(gs)))

        def hessian(*all, f=f, n=n, m=m):
            xs, ts, gs = all[:n], all[n:m], all[m:]
            pulled = lambda *xs: tuple(pb.vjp(f, *xs)[1](tuple(gs)))  # noqa: E731
            return pb.jvp(pulled, xs, ts)[1]

        found.append((hessian if second else both, [*xs, *ts, *gs]))
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", OPS)
def test_value(op, dtype):
    check(op, jobs(op, dtype))


@pytest.mark.parametrize("op", SMOOTH)
def test_derivatives(op):
    check(op, derivatives(op, "float64"))


@pytest.mark.parametrize("op", [case for case in SMOOTH if case.id not in NO_HALF][::4])
def test_derivatives_float32(op):
    check(op, derivatives(op, "float32"))


@pytest.mark.parametrize("op", [case for case in SMOOTH if case.id in SECOND])
def test_second_derivatives(op):
    check(op, derivatives(op, "float64", second=True))


@pytest.mark.parametrize("op", [case for case in SMOOTH if case.id in COMPLEX])
def test_complex(op):
    samples = [complexified(sample) for sample in op.samples]
    check(op, jobs(op, "float64", samples) + derivatives(op, "float64", samples))


@pytest.mark.parametrize("op", [case for case in OPS if case.id not in {*NO_HALF, "cast"}])
def test_float16(op):
    check(op, jobs(op, "float16", [s for s in op.samples if not any(np.iscomplexobj(x) for x in s.make())]))
