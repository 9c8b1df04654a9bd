"""Programs written with NumPy: protocols, promotion, writing in place, what is refused, methods, the namespace."""

from pathlib import Path

import numpy as np
import pytest

import pullback as pb
from numpy_calls import OPERANDS
from numpy_tools import assert_same, leaves
from pullback.tape.state import numpy_promotion

# The protocols


def mse(weights, x, y):
    return np.square(np.subtract(x @ weights, y)).mean()


def test_a_plain_function_is_differentiated_unchanged():
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal(3)
    gradient = pb.grad(mse)(w, x, y)
    assert type(gradient) is np.ndarray
    np.testing.assert_allclose(gradient, 2 / 5 * x.T @ (x @ w - y), rtol=1e-12)


def test_gradients_equal_autograd():
    autograd = pytest.importorskip("autograd")
    import autograd.numpy as anp

    rng = np.random.default_rng(3)
    parameters = [(rng.standard_normal((4, 5)), rng.standard_normal(5)), (rng.standard_normal((5, 3)), np.zeros(3))]
    inputs = rng.standard_normal((6, 4))

    def loss(module):
        def run(parameters):
            outputs = inputs
            for i, (w, b) in enumerate(parameters):
                outputs = module.dot(module.tanh(outputs) if i else outputs, w) + b
            return -module.mean(outputs - module.log(module.sum(module.exp(outputs), axis=1, keepdims=True)))

        return run

    found, expected = pb.grad(loss(np))(parameters), autograd.grad(loss(anp))(parameters)
    for pair in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-12, atol=1e-15)


def test_scipy_minimizes_with_the_gradient():
    optimize = pytest.importorskip("scipy.optimize")

    def rosenbrock(x):
        return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    result = optimize.minimize(rosenbrock, np.zeros(4), jac=pb.grad(rosenbrock), method="BFGS", tol=1e-9)
    assert result.success
    np.testing.assert_allclose(result.x, np.ones(4), atol=1e-6)


def test_loops_conditions_and_writes_in_place():
    def program(x):
        y = np.zeros_like(x)
        y[0] = x[0]
        for i in range(1, len(x)):
            y[i] = y[i - 1] * x[i] if x[i] > 0 else y[i - 1] - x[i]
        y *= 2
        np.add(y, x, out=y)
        return np.sum(y) / x.size

    x = np.array([1.0, 2.0, -3.0, 0.5])
    h = 1e-6
    expected = [(program(x + h * e) - program(x - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(pb.grad(program)(x), expected, rtol=1e-8)


def test_an_element_read_is_a_value_not_a_view():
    def program(x):
        y = np.zeros_like(x)
        y[0] = x[0]
        kept = y[0]
        y[0] = 5 * x[1]
        return kept * x[1]

    np.testing.assert_array_equal(pb.grad(program)(np.array([3.0, 4.0])), [4.0, 3.0])


@pytest.mark.parametrize(
    "combine",
    [
        lambda a, b: a + b,
        lambda a, b: b - a,
        lambda a, b: a * b,
        lambda a, b: b / a,
        lambda a, b: b**a,
        lambda a, b: np.maximum(a, b),
        lambda a, b: np.hypot(b, a),
        lambda a, b: a @ b,
    ],
)
def test_arrays_and_tensors_mix_on_either_side(combine):
    a, b = np.array([1.5, 2.5, 0.5]), np.array([0.7, 1.2, 3.0])
    gradient = pb.grad(lambda x, y: np.sum(combine(x, y)), (0, 1))(a, b)
    assert isinstance(combine(a, pb.asarray(b)), pb.Tensor)
    np.testing.assert_allclose(pb.grad(lambda x: np.sum(combine(x, b)))(a), gradient[0])
    np.testing.assert_allclose(pb.grad(lambda y: np.sum(combine(a, y)))(b), gradient[1])


def test_programs_that_write_run_in_every_mode():
    def program(x):
        y = np.zeros_like(x)
        for i in range(3):
            y[i] = x[i] ** 2 * x[i - 1]
        np.add.at(y, [0, 0], x[1:])
        np.sin(y, out=y)
        return np.sum(y)

    x = np.array([0.3, -0.4, 0.5])
    gradient = pb.grad(program)(x)
    h = 1e-6
    np.testing.assert_allclose(gradient, [(program(x + h * e) - program(x - h * e)) / (2 * h) for e in np.eye(3)], 1e-7)
    np.testing.assert_allclose(pb.jacfwd(program)(x), gradient, rtol=1e-12)
    np.testing.assert_allclose(pb.vmap(pb.grad(program))(np.stack([x, -x]))[0], gradient, rtol=1e-12)
    hessian = [(pb.grad(program)(x + h * e) - pb.grad(program)(x - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(pb.hessian(program)(x), hessian, rtol=1e-6, atol=1e-8)


# Element types


def dtype_in_numpy_code(f, *args):
    """The dtype of what f gives inside a transform of NumPy arguments."""
    return pb.vjp(f, *args)[0].dtype


single, double = np.ones(2, np.float32), np.ones(2)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: x + double, single),
        (lambda x: double - x, single),
        (lambda x: x * 2.0, single),
        (lambda x: x * np.float64(2.0), single),
        (lambda x: np.float64(2.0) * x, single),
        (lambda x: x * single, np.float64(2.0)),
        (lambda x: single * x, np.float64(2.0)),
        (lambda x: x.sum() * single, double),
        (lambda x: x * np.arange(2), single),
        (lambda x: np.arange(2) * x, single),
        (lambda x: (x > 0) * 0.1, single),
        (lambda x: np.where(x > 0, x, 0.1), single),
        (lambda x: np.argmax(x) / 3, single),
        (lambda x: np.sqrt(np.argmax(x)), single),
        (lambda x: x @ np.ones((2, 2)), single),
        (lambda x: np.ones((2, 2)) @ x, single),
        (lambda x: np.dot(x, 2.0), single),
        (lambda x: (x > 0).mean(), single),
        (lambda x: np.mean(x.astype(np.float16)), single),
        (lambda x: x**2, single),
        (lambda x: np.float_power(x, 2), single),
        (lambda x: np.stack([x, double]), single),
    ],
)
def test_operators_promote_as_numpy_in_numpy_code(f, x):
    assert dtype_in_numpy_code(f, x) == f(x).dtype


def test_operators_promote_as_pytorch_elsewhere():
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    assert (x * np.float64(2)).dtype == (np.float64(2) * x).dtype == pb.float32
    assert (x * pb.tensor(2.0, dtype=pb.float64)).dtype == pb.float32
    assert (x + np.ones(2)).dtype == (np.ones(2) + x).dtype == pb.float64
    assert np.multiply(x, pb.tensor(2.0, dtype=pb.float64)).dtype == pb.float64


def test_the_promotion_ends_with_the_function():
    with pytest.raises(ZeroDivisionError):
        pb.grad(lambda x: 1 / 0)(1.0)
    assert ((pb.ones(2) > 0) * 0.1).dtype == pb.float32


# where=, out=, methods of universal functions


def test_where_keeps_what_is_left_out_from_the_gradient():
    x = np.array([4.0, 0.0, -1.0])
    with np.errstate(all="raise"):
        found = pb.grad(lambda x: np.sum(np.log(x, where=x > 0, out=np.zeros_like(x))))(x)
        quotient = pb.grad(lambda x: np.sum(np.divide(1.0, x, where=x != 0)))(x)
    np.testing.assert_array_equal(found, [0.25, 0.0, 0.0])
    np.testing.assert_array_equal(quotient, [-1 / 16, 0.0, -1.0])


def test_out_is_written_and_returned():
    def program(x):
        y = np.ones_like(x)
        z = np.multiply(x, 3.0, out=y)
        assert z is y
        np.sum(x, out=y[1:2].reshape(()))
        return np.sum(y * x)

    np.testing.assert_allclose(pb.grad(program)(np.array([1.0, 2.0])), [6.0 + 2.0, 3.0 + 2.0])


def test_out_must_be_able_to_hold_the_result():
    x = pb.tensor([1.5, 2.5])
    with pytest.raises(TypeError, match="Cannot cast output from"):
        np.add(x, 1.0, out=pb.tensor([0, 0]))
    leaf = pb.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        np.add(x, 1.0, out=leaf)


def test_writing_into_an_array_would_lose_the_gradient():
    x = pb.tensor([1.0, 2.0], dtype=pb.float64, requires_grad=True)
    array = np.zeros(2)
    with pytest.raises(TypeError, match="gradient would be lost"):
        np.add(x, 1.0, out=array)
    with pytest.raises(TypeError, match="gradient would be lost"):
        array += x
    with pytest.raises(TypeError, match="gradient would be lost"):
        array[1:] += x[1:]
    with pytest.raises(TypeError, match="gradient would be lost"):
        np.add.at(array, [0, 1], x)
    with pytest.raises(RuntimeError, match=r"tensor\.detach\(\)"):
        array[:] = x
    assert array.tolist() == [0.0, 0.0]
    array += x.detach()
    assert array.tolist() == [1.0, 2.0]


_PLAIN = [np.zeros(3), np.zeros((2, 3))]  # in a list, where a program's names don't lead to them


def _fill_one(x):
    _PLAIN[0][0] = x[0]
    return x.sum()


def _fill_row(x):
    _PLAIN[1][1] = x
    return x.sum()


def _fill_all(x):
    _PLAIN[0].fill(x[0])
    return x.sum()


@pytest.mark.parametrize(
    "f", [_fill_one, _fill_row, _fill_all, lambda x: x.__array__().sum(), lambda x: np.float64(x[0])]
)
@pytest.mark.parametrize(
    "transform", [pb.grad, pb.jacfwd, pb.hessian, lambda f: lambda x: pb.vmap(f)(np.stack([x, x]))]
)
def test_numpy_code_that_needs_an_array_is_told_what_to_write(transform, f):
    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"np\.stack.*pb\.numpy\.zeros\(shape\)") as caught:
        transform(f)(x)
    assert caught.value.__cause__ is None
    assert any(entry.path == Path(__file__) for entry in caught.traceback[1:])  # it points at the user's line


def test_other_value_errors_are_left_alone():
    def raises(x):
        try:
            float("x")
        except ValueError as error:
            raise ValueError("mine") from error

    with pytest.raises(ValueError, match="mine") as caught:
        pb.grad(raises)(1.0)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.array([x, x]), lambda x: np.sum([x, x])])
def test_making_an_array_of_a_tracked_tensor_raises(convert):
    with pytest.raises(RuntimeError, match="Use tensor"):
        convert(pb.tensor([1.0], requires_grad=True))


def test_at_adds_once_for_each_time_an_index_occurs():
    def program(x):
        y = np.zeros(3, like=x)
        np.add.at(y, [0, 2, 0], x)
        np.subtract.at(y, 1, x[0])
        np.multiply.at(y, [2], x[:1])
        return np.sum(y * np.array([1.0, 10.0, 100.0]))

    x = np.array([2.0, 3.0, 5.0])
    np.testing.assert_allclose(pb.grad(program)(x), [1 - 10 + 300, 200, 1])
    y = pb.ones(3)
    np.multiply.at(y, [0, 0, 2], [2.0, 3.0, 5.0])
    assert y.tolist() == [6.0, 1.0, 5.0]


# What is refused


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x, _=0: np.linalg.qr(np.stack([x, x]), "raw"), r"numpy\.linalg\.qr with mode='raw'"),
        (lambda x, _=0: np.packbits(x), r"numpy\.packbits"),
    ],
)
def test_a_function_not_covered_is_named(f, name):
    x = pb.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match=name + r".* has no derivative in pullback yet.*detach\(\).*custom_vjp"):
        f(x, x) if isinstance(f, np.ufunc) else f(x)


def test_foreign_universal_functions_are_named():
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError, match=r"'obl_cv'.*has no derivative"):
        special.obl_cv(1.0, 2.0, pb.tensor([1.0]))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: np.sum(x, axis=5), np.exceptions.AxisError),
        (lambda x: np.transpose(x, (0, 0)), ValueError),
        (lambda x: np.reshape(x, 5), ValueError),
        (lambda x: np.concatenate([x, x[:, 0]]), ValueError),
        (lambda x: np.stack([x, x[0]]), ValueError),
        (lambda x: np.split(x, 2, axis=1), ValueError),
        (lambda x: np.squeeze(x, 0), ValueError),
        (lambda x: np.matmul(x, x), ValueError),
        (lambda x: np.dot(x, x), ValueError),
        (lambda x: np.linalg.inv(x), np.linalg.LinAlgError),
        (lambda x: np.max(x, where=x > 0), ValueError),
        (lambda x: np.average(x, weights=np.ones(3)), TypeError),
        (lambda x: np.bitwise_and(x, 1), TypeError),
        (lambda x: np.add(x, np.ones(4)), ValueError),
        (lambda x: np.clip(x, 0, 1, out=np.zeros((2, 3), int)), TypeError),
        (lambda x: np.broadcast_to(x, (3, 3)), ValueError),
        (lambda x: np.where(x > 0, x), ValueError),
    ],
)
def test_misuse_raises_as_numpy_does(call, error):
    x = np.ones((2, 3))
    with pytest.raises(error):
        call(x)
    with pytest.raises(error), numpy_promotion(True):
        call(pb.asarray(x))


# Methods


def test_methods_mean_what_numpy_means_in_numpy_code():
    x = OPERANDS["cube"]
    for f in [
        lambda x: x.std(),
        lambda x: x.var(axis=1),
        lambda x: x.std(ddof=1),
        lambda x: x.max(1),
        lambda x: x.min(axis=(0, 2)),
        lambda x: x.transpose(1, 0, 2),
        lambda x: x.transpose((2, 0, 1)),
        lambda x: x.transpose(),
        lambda x: x[0].transpose(0, 1),
        lambda x: x.repeat(2),
        lambda x: x.repeat(2, axis=1),
        lambda x: x.cumsum(),
        lambda x: x.prod(axis=0),
        lambda x: x.take([1, 0], axis=2),
        lambda x: divmod(x, 0.7)[0] + divmod(x, 0.7)[1] ** 2,
        lambda x: divmod(2.0, x)[1],
        lambda x: x.compress([True, False, True], axis=1),
        lambda x: x.compress(np.arange(24) % 3 == 0),
        lambda x: x.round(1),
        lambda x: x.flatten(),
        lambda x: x.ravel(),
        lambda x: x.flatten("F"),
        lambda x: x.sum(axis=1, keepdims=True),
        lambda x: x.mean(axis=-1),
        lambda x: x.reshape(2, 12),
        lambda x: x.ptp() if hasattr(x, "ptp") else np.ptp(x),
        lambda x: x.dot(x[0, 0]),
        lambda x: x.argsort(axis=0) * 1.0,
        lambda x: x.astype(np.float32),
        lambda x: x.copy(),
        lambda x: x.T,
        lambda x: x.swapaxes(0, 1),
        lambda x: x.diagonal(1),
        lambda x: x.trace(),
        lambda x: x.squeeze(),
        lambda x: x.clip(0),
        lambda x: x / x.size,
        lambda x: x.argmax(axis=1) * 1.0,
        lambda x: (x > 0).any(axis=0) * x,
    ]:
        assert_same(pb.vjp(f, x)[0], np.asarray(f(x))[()])

    h = 1e-6
    for f in [
        lambda x: x.sum(axis=1, where=x > 0),
        lambda x: x.sum(where=x > 0.3, initial=2.0),
        lambda x: x.mean(axis=0, where=x > x.min()),
        lambda x: x.max(axis=1, where=x < 0.5, initial=0.1),
        lambda x: x.reshape(4, 6, order="F"),
        lambda x: x.reshape((6, -1), order="F"),
        lambda x: x.item(3) * x.item(1, 2, 3) * x,
        lambda x: x.conj() + x.conjugate() * x.imag + x.real,
        lambda x: x.view() * len(x.tobytes()) + x.itemsize + x.nbytes + x.strides[0],
        lambda x: x.argpartition(2, axis=1)[:, 2] * 1.0,
        lambda x: np.stack([v * v for v in x.flat]),
        lambda x: x.flat[5:9] * x.flat[3] + x.flat[[1, 2, 2, -1]],
        lambda x: np.array(x.tolist()) * x,
        lambda x: x.searchsorted(0.5) * 1.0 if x.ndim == 1 else x.ravel(order="F"),
    ]:
        assert_same(pb.vjp(f, x)[0], np.asarray(f(x))[()])
        weights = np.random.default_rng(0).standard_normal(np.shape(f(x)))
        if len(x.flat) and "item" not in f.__code__.co_names and "tolist" not in f.__code__.co_names:
            direction = np.random.default_rng(1).standard_normal(x.shape)
            slope = (np.sum(f(x + h * direction) * weights) - np.sum(f(x - h * direction) * weights)) / (2 * h)
            found = np.sum(pb.grad(lambda x, f=f, weights=weights: np.sum(f(x) * weights) + 0 * x.sum())(x) * direction)
            assert found == pytest.approx(slope, rel=1e-6, abs=1e-6)

    def sorted_in_place(x):
        y = x.copy()
        assert y.sort() is None
        y.fill(2.0) if y.size == 0 else None
        return y

    assert_same(pb.vjp(sorted_in_place, x)[0], np.sort(x))


def test_methods_that_write():
    def program(x):
        y = x.copy()
        y.flat[1:3] = x[0, :2] ** 2
        y.flat[5] = x[1, 0]
        y.put([0, 4], x[0, 1] * x[1, 2])
        z = x * 2
        z.partition(1, axis=1)
        w = np.zeros_like(x)
        w.flat = [x[0, 0], x[0, 1]]
        return np.sum(y * OPERANDS["y"]) + np.sum(z[:, 1] ** 3) + round(x, 1).sum() + np.sum(w**2 * OPERANDS["x"])

    x, h = OPERANDS["x"], 1e-6
    basis = np.eye(6).reshape(6, 2, 3)

    def plain(x):  # NumPy's arrays know no round()
        y = x.copy()
        y.flat[1:3] = x[0, :2] ** 2
        y.flat[5] = x[1, 0]
        y.put([0, 4], x[0, 1] * x[1, 2])
        z = np.sort(x * 2, axis=1)
        w = np.resize(x[0, :2], (2, 3))
        return np.sum(y * OPERANDS["y"]) + np.sum(z[:, 1] ** 3) + np.sum(w**2 * OPERANDS["x"])

    slope = np.array([(plain(x + h * e) - plain(x - h * e)) / (2 * h) for e in basis]).reshape(2, 3)
    np.testing.assert_allclose(pb.grad(program)(x), slope, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(pb.jacfwd(program)(x), slope, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(pb.vmap(pb.grad(program))(np.stack([x, x]))[0], slope, rtol=1e-6, atol=1e-7)


def test_methods_mean_what_pytorch_means_elsewhere():
    x = pb.tensor([[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]])
    assert x.max(dim=1).values.tolist() == [3.0, 6.0]
    assert x.transpose(0, 1).shape == (3, 2)
    assert x.transpose().shape == (3, 2)
    assert x.repeat(1, 2).shape == (2, 6)
    assert x.std().item() == pytest.approx(np.std(x.numpy(), ddof=1))
    assert x.sort(dim=1).values.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert x.size() == pb.Size((2, 3))
    assert x.size(-1) == 3
    assert x.size == 6


# The namespace


def test_the_namespace_is_a_module():
    import pullback.numpy as pnp
    from pullback.numpy.linalg import det

    assert pnp is pb.numpy
    assert pnp.pi == np.pi
    assert pnp.float32 is np.float32
    assert pnp.newaxis is None
    assert pnp.abs is pnp.absolute
    assert "sin" in dir(pnp)
    assert det(np.eye(2)).item() == 1.0
    with pytest.raises(AttributeError):
        pnp.nothing_of_the_kind  # noqa: B018


def test_arrays_of_the_namespace_are_filled_and_differentiated():
    import pullback.numpy as pnp

    def program(x):
        y = pnp.zeros(3)
        for i in range(3):
            y[i] = x * i
        rows = pnp.array([[x, 1.0], [2.0, x * x]])
        return pnp.sum(y) + pnp.linalg.det(rows)

    assert pb.grad(program)(2.0) == pytest.approx(3 + 3 * 2.0**2)


def test_complex_functions():
    """The gradient of a real function of z is df/d(Re z) + i df/d(Im z), as in PyTorch."""
    z = np.array([1.0 + 2.0j, -0.5 + 0.25j])

    def f(z):
        return np.sum(np.abs(np.exp(z) * np.conj(z)) ** 2) + np.sum(np.angle(z)) + np.real(np.vdot(z, z))

    h = 1e-6
    expected = []
    for unit in np.eye(2):
        re, im = ((f(z + h * u * unit) - f(z - h * u * unit)) / (2 * h) for u in (1, 1j))
        expected.append(re + 1j * im)
    np.testing.assert_allclose(pb.grad(f)(z), expected, rtol=1e-7)


def slopes(program, x):
    """The derivative by central differences."""
    found = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-6
        found[i] = (program(x + step) - program(x - step)) / 2e-6
    return found


@pytest.mark.parametrize(
    "write",
    [
        lambda y: y[...].__imul__(y),
        lambda y: y[::-1].__imul__(y),
        lambda y: y[1:].__imul__(y[:-1]),
        lambda y: np.flip(y, (0,)).__imul__(y[::-1]),
    ],
)
def test_a_write_may_read_the_memory_that_it_changes(write):
    def program(x):
        y = x / (x + 1)
        write(y)
        z = y[::-1]
        z[...] *= z
        return np.sum(np.tanh(y))

    x = np.array([1.5, 0.5, 2.0])
    for gradient in (pb.grad(program), pb.jit(pb.grad(program))):
        np.testing.assert_allclose(gradient(x), slopes(program, x), rtol=1e-7)


def test_methods_take_axes_and_dtypes_as_numpys():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(pb.grad(lambda x: np.sum(x.sum(axis=()) * x.mean(axis=())))(x), 2 * x)
    np.testing.assert_array_equal(pb.grad(lambda x: np.sum((x - (x > 2)) * ((x > 2) - x)))(x), 2 * ((x > 2) - x))
    assert pb.jit(lambda n: n.sum(axis=0))(np.ones((2, 2), np.uint8)).dtype == np.uint64
    small = np.array([0, 1, 5, 200], np.uint8)
    np.testing.assert_array_equal(pb.jit(lambda n: np.clip(n, -1, 3))(small), np.clip(small, -1, 3))
    np.testing.assert_array_equal(pb.jit(lambda n: np.clip(n, 2, 300))(small), np.clip(small, 2, 300))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_differences_of_rows_of_any_length(dtype):
    for columns in (2, 3, 4, 5, 8, 9):
        x = np.arange(6.0 * columns).reshape(6, columns) ** 2 / 50
        wanted = slopes(lambda x: np.sum(np.diff(x, axis=1) ** 3), x)
        found = pb.grad(lambda x: np.sum(np.diff(x, axis=1) ** 3))(x.astype(dtype))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
