"""Every op in the table on every one of its samples: the tests are generated from the table."""

import pytest

from op_checks import (
    SAMPLE_CHECKS,
    TABLE,
    check_batched_derivatives,
    check_dtype,
    check_entry,
    check_jvp,
    check_second_order,
    check_shape,
    check_vjp,
    complexified,
    is_inexact,
)

CASES = [pytest.param(op, sample, id=f"{op.name}-{n}") for op in TABLE.values() for n, sample in enumerate(op.samples)]


@pytest.mark.parametrize("op", TABLE.values(), ids=lambda op: op.name)
def test_entry(op):
    check_entry(op)


@pytest.mark.parametrize(("op", "sample"), CASES)
@pytest.mark.parametrize("check", SAMPLE_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_sample(check, op, sample):
    check(op, sample)


TYPED = [case for case in CASES if case.values[0].name != "cast"]  # whose business is another dtype


@pytest.mark.parametrize(("op", "sample"), TYPED)
def test_float32(op, sample):
    check_dtype(op, sample, "float32", 1e-4)


# LAPACK and the FFT have no half precision, complex numbers have none, nor has NumPy's random access to it in these.
NO_HALF = {
    "cosine_transform",
    "sine_transform",
    "eigh",
    "eigvalsh",
    "eig",
    "svd",
    "svdvals",
    "qr",
    "lu_factor",
    "solve_triangular",
    "pinv",
    "matrix_exp",
    "matrix_log",
    "matrix_sqrt",
    "sylvester",
    "fft",
    "rfft",
    "view_as_complex",
    "inv",
    "solve",
    "det",
    "slogdet",
    "cholesky",
    "cofactor",
    "cofactor_slope",
}


@pytest.mark.parametrize(("op", "sample"), [case for case in TYPED if case.values[0].name not in NO_HALF])
def test_float16(op, sample):
    args = sample.make()
    if any(is_inexact(x) and x.dtype.kind == "c" for x in args):
        return  # there is no complex32
    check_dtype(op, sample, "float16", 2e-2)


# Complex numbers. Every op that NumPy defines for them is right for them: the derivative over the reals, both modes.

COMPLEX = """
    add sub mul div neg pow square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan
    sinh cosh tanh asinh acosh atanh sigmoid lerp where abs angle sgn
    real imag conj identity reshape transpose broadcast_to sum mean prod var std norm flip roll concatenate split unbind
    stack slice embed slice_update gather scatter_add index_update diagonal diag_embed diagonal_update tril triu
    cumsum cumprod recurrence fft irfft matmul mm mv dot einsum inv solve det slogdet cofactor cofactor_slope
    eig eigvalsh svdvals lu_factor solve_triangular matrix_exp matrix_log matrix_sqrt sylvester pinv
""".split()


@pytest.mark.parametrize(("op", "sample"), [case for case in CASES if case.values[0].name in COMPLEX])
@pytest.mark.parametrize("check", [check_shape, check_jvp, check_vjp, check_second_order, check_batched_derivatives])
def test_complex(check, op, sample):
    check(op, complexified(sample))
