"""What the test suites of other libraries, run on pullback, found wrong in it."""

import numpy as np
import pytest

import pullback as pb


@pytest.mark.parametrize("upper", [False, True])
def test_the_triangle_that_numpy_reads_gets_the_gradient(upper):
    """The exact derivative by each element, of Hermitian matrices too: 0 for those that are not read."""
    letter, rng = "U" if upper else "L", np.random.default_rng(0)
    half = rng.standard_normal((4, 4))
    a, weights = half @ half.T + 4 * np.eye(4), rng.standard_normal((4, 4))
    functions = [
        lambda a: np.linalg.eigvalsh(a, letter) @ weights[0],
        lambda a: np.linalg.eigh(a, letter)[0] @ weights[1],
        lambda a: np.sum(np.linalg.cholesky(a, upper=upper) * weights),
    ]
    for f in functions:
        found = pb.grad(f)(a)
        read = np.triu(np.ones((4, 4))) if upper else np.tril(np.ones((4, 4)))
        np.testing.assert_array_equal(found[read == 0], 0)
        for _ in range(3):
            v = rng.standard_normal((4, 4))
            slope = (f(a + 1e-6 * v) - f(a - 1e-6 * v)) / 2e-6
            np.testing.assert_allclose(np.sum(found * v), slope, rtol=1e-6)


def test_arrays_of_the_other_byte_order_are_operands():
    x, foreign = np.arange(4.0).reshape(2, 2), np.ones((2, 2)).astype(">f8")
    for f in (
        lambda x: np.matmul(x, foreign),
        lambda x: np.dot(foreign, x),
        lambda x: x + foreign,
        lambda x: foreign / x,
    ):
        value, pull = pb.vjp(f, x + 1)
        np.testing.assert_array_equal(value, f(x + 1))
        assert pull(np.ones((2, 2)))[0].dtype == np.float64


def test_a_number_is_a_line_where_numpy_says_so():
    x = np.array(2.0)
    for f in (
        lambda x: np.repeat(x, 3, axis=0),
        lambda x: np.repeat(x, (2,), axis=-1),
        lambda x: np.sum(x, axis=0),
        lambda x: np.cumsum(x, axis=0),
    ):
        value, pull = pb.vjp(f, x)
        np.testing.assert_array_equal(value, f(x))
        assert pull(np.ones_like(value))[0] == np.size(value)
    with pytest.raises(np.exceptions.AxisError):
        pb.grad(lambda x: np.repeat(x, 3, axis=1).sum())(x)


def test_the_axes_of_a_vector_may_be_one_integer():
    np.testing.assert_array_equal(pb.grad(lambda x: np.transpose(x, 0) @ np.arange(3.0))(np.ones(3)), np.arange(3.0))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1,)])
def test_fused_kernels_meet_numbers_and_nothing(shape):
    x = np.full(shape, 0.5)
    functions = [np.arccos, np.arcsin, np.reciprocal, np.abs, lambda x: x / (x + 1), lambda x: np.arctan2(x, x + 1)]
    for f in [*functions, lambda x: x**1.5, lambda x: np.maximum(x, 0.1), np.square, np.sqrt]:
        value, pull = pb.vjp(f, x)
        slope = (f(np.array(0.5 + 1e-6)) - f(np.array(0.5 - 1e-6))) / 2e-6
        np.testing.assert_allclose(pull(np.ones_like(value))[0], np.full(shape, slope), rtol=1e-6)
