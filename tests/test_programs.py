"""NumPy programs as people write them: arrays made and written inside a function that is being differentiated."""

import builtins
import copy
import functools
import math
import threading
import traceback
from math import sin as sine

import numpy as np
import pytest
from numpy import exp as exponential
from numpy import zeros
from numpy.testing import assert_allclose

import pullback as pb
from pullback.tape.memory import Lent

X = np.array([0.3, -0.7, 1.1, 0.9])
WEIGHTS = np.array([1.0, 2.0, 3.0, 4.0])
BUFFER = np.zeros(4)
COUNT = 0


def differences(f, x):
    """The gradient of f by central differences; f may write to its argument."""
    slopes = np.zeros_like(x)
    for i in range(x.size):
        for sign in (1, -1):
            y = x.copy()
            y[i] += sign * 1e-6
            slopes[i] += sign * float(f(y)) / 2e-6
    return slopes


# Writes


def fills_elements(x):
    out = np.zeros(4)
    for i in range(4):
        out[i] = np.sin(x[i]) * x[i - 1]
    return np.sum(out**2)


def fills_rows_of_a_grid(x):
    u = np.empty((6, 4))
    u[0] = x
    for t in range(5):
        u[t + 1] = np.sin(u[t]) * u[t] + 0.1 * u[max(t - 1, 0)]
    return np.sum(u**2)


def fills_columns(x):
    u = np.zeros((4, 80))
    u[:, 0] = x
    for t in range(79):  # more columns than are told apart one by one
        u[:, t + 1] = np.sin(u[:, t]) * 1.01
    return np.sum(u**2)


def burgers(x):
    u = x * 1.0
    for _ in range(5):
        u[1:-1] = u[1:-1] - 0.1 * u[1:-1] * (u[2:] - u[:-2])
    return np.sum(u**2)


def writes_its_argument(x):
    x[0] = x[1] * x[2]
    x *= 2
    x[1:] += x[:-1] * x[1:]
    return np.sum(x * x)


def writes_what_was_saved(x):
    y = np.exp(x)
    z = y * y
    y[0] = 0
    y += z
    return np.sum(y * z)


def writes_through_a_view(x):
    a = x * 2
    v = a[1:]
    w = v * v
    v[0] = x[3]
    v *= 3
    return np.sum(a * a) + np.sum(w * a[1:])


def updates_a_scalar(x):
    y = x[0]
    z = y
    y += x[1]  # a NumPy scalar: y is another number now, z is not
    return z * y * np.sum(x)


def every_way_to_write(x):
    a = np.zeros(4)
    np.add.at(a, [0, 0, 1], x[:3])
    np.multiply(a, x, out=a)
    b = np.ones((2, 2))
    b[[0, 1], [1, 0]] = x[:2]
    b[b > 0.5] = x[3]
    b.flat[0] = x[2]
    c = np.zeros_like(x)
    c[...] = x
    c[::-1] -= x**2
    d = np.full((2,), x[0])
    d[-1] = 3.0
    return np.sum(a) + np.sum(b**2) + np.prod(c + 3) + np.sum(d**2)


def makes_arrays_of_tracked_values(x):
    a = np.array([x[0], x[1] * 2, 1.0])
    b = np.asarray([[x[2], 0.0], [0.0, x[3]]])
    c = np.r_[a, x[1], 2.0]
    d = np.linspace(x[0], x[1], 5)
    return np.sum(a**2) + np.linalg.det(b) + np.prod(c) + np.sum(d * d) + np.max(np.stack([a, a[::-1]]))


def writes_parts_of_complex_numbers(x):
    z = np.zeros(4, complex)
    z.real[1] = x[0]
    z.imag = x**2
    z.real *= x[2]
    w = np.exp(1j * x)
    w.real = w.imag * x
    np.imag(w)[:2] += x[:2]
    return np.sum(np.abs(z) ** 2) + (w * w).real.sum()


def writes_elements_through_dots(x):
    a = x.copy()
    v = a[0, ...]
    v[...] = x[1] ** 2
    u = a.reshape(2, 2)[1, 1, ...]
    u += 3 * x[0]
    v *= 2
    with np.nditer(a, op_flags=["readwrite"]) as elements:
        for element in elements:
            element[...] = element * element
    return np.sum(a**2) + v * sum(i * w for (i,), w in np.ndenumerate(a))


def takes_items(x):
    rows = np.outer(x, x).tolist()
    shown = f"{x[0]:.3f} {x[1].item():8.2e}"
    assert shown
    return sum(v**2 for v in x.tolist()) * x.item(1) + rows[0][1] * rows[2][3]


def copies(x):
    a, b, c = copy.deepcopy(x), copy.copy(x), np.tile(x, 1)
    b[0], c[1] = 3.0, x[0]
    a *= 2
    return np.sum(a * b * c) + np.sum(x)


def stacks_constants(x):
    b = np.full(4, 2.0)
    return np.sum(np.array([x[0], b[1] ** 2, 3.0]) * np.stack([x[1], b[0], x[2]]))


WRITERS = [
    fills_elements,
    fills_rows_of_a_grid,
    fills_columns,
    burgers,
    writes_its_argument,
    writes_what_was_saved,
    writes_through_a_view,
    updates_a_scalar,
    every_way_to_write,
    makes_arrays_of_tracked_values,
    writes_parts_of_complex_numbers,
    writes_elements_through_dots,
    takes_items,
    copies,
    stacks_constants,
]


# Functions and what they find their names in


def helper(x):
    out = np.empty(4)
    for i in range(4):
        out[i] = np.cos(x[i])
    return out


def calls_a_helper(x):
    return np.sum(helper(x) * x) + sum(map(square_in_place, [x[0], x[1]]))


def square_in_place(x):
    out = np.zeros(1)
    out[0] = x * x
    return out[0]


def uses_imported_names(x):
    out = zeros(4)
    out[:] = exponential(x)
    return np.sum(out) * sine(x[0]) + math.hypot(x[0], 2.0) + math.log(x[2], 2.0) + math.atan2(x[0], x[3])


def imports_inside(x):
    import numpy
    import numpy.linalg as la
    from numpy.linalg import norm

    out = numpy.zeros((2, 2))
    out[0, 0], out[1, 1], out[0, 1] = x[0], x[1], norm(x)
    return la.det(out) + out.sum()


def has_defaults(x, k=WEIGHTS, *, s=WEIGHTS):
    out = np.zeros(4)
    out[:] = x
    out *= k
    return np.sum(out * s)


def copies_a_global_array(x):
    a = WEIGHTS.copy()
    a *= x
    a[0] += math.exp(x[0])
    return a.sum()


def writes_a_global_array(x):
    BUFFER[:] = x
    BUFFER[0] *= x[1]
    return BUFFER.sum()


def counts_its_calls(x):
    global COUNT
    COUNT += 1
    return np.sum(x**2)


def doubled(f):
    @functools.wraps(f)
    def wrapper(*args):
        return 2 * f(*args)

    return wrapper


@doubled
def decorated(x):
    out = np.zeros(4)
    out[...] = x
    return np.prod(out)


def closure(k):
    total = 0

    def f(x, n=4):
        nonlocal total
        total += 1
        out = np.zeros(n)
        for i in range(n):
            out[i] = k * x[i] + depth(i)
        return out.sum()

    def depth(i):
        return 0 if i == 0 else 1 + depth(i - 1)

    return f, lambda: total


def uses_generators_and_lambdas(x):
    def parts():
        for i in range(4):
            out = np.zeros(2)
            out[i % 2] = x[i]
            yield out

    return sum((p * p).sum() for p in parts()) + (lambda v: np.sum(np.array([v[0], v[1]])))(x)


def draws_random_numbers(x):
    a = np.random.RandomState(0).randn(4)
    a[0] = x[0]
    b = np.random.default_rng(0).normal(size=4)
    b[1] = x[2]
    return np.sum(a) + np.sum(b) * a[0]


class Model:
    scale = 2.0

    def __init__(self):
        self.weights = np.array([1.0, 2.0, 3.0, 4.0])
        self.calls = 0

    def hidden(self, x):
        out = np.zeros(4)
        out[:] = x * self.weights
        return out

    @staticmethod
    def first(x):
        out = np.ones(2)
        out[0] = x[0]
        return out.sum()

    @classmethod
    def scaled(cls, x):
        out = np.zeros(1)
        out[0] = cls.scale * x[1]
        return out[0]

    @property
    def pair(self):
        return np.zeros(2)

    def loss(self, x):
        self.calls += 1
        pair = self.pair
        pair[1] = x[3]
        return self.hidden(x).sum() + self.first(x) + self.scaled(x) + pair.sum() ** 2

    def __call__(self, x):
        return self.loss(x) ** 2


MODEL = Model()


def uses_an_object(x):
    return MODEL.loss(x) * x[0]


@functools.cache
def kernel(n):
    return np.ones(n)


class Solver:
    def __init__(self):
        self.state, self.model, self.helper = np.zeros(4), Model(), helper

    def energy(self, x):
        self.state[:] = np.sin(x)
        self.state[0] += self.model.hidden(x).sum()
        return np.sum(self.helper(self.state) * self.state)


SOLVER = Solver()


def reads_attributes(x):
    return SOLVER.energy(x) * SOLVER.energy(x + 1)


def writes_what_a_cache_gave(x):
    kernel(4)[0] = x[0]
    return np.sum(kernel(4) * x)


FINDERS = [
    calls_a_helper,
    uses_imported_names,
    imports_inside,
    has_defaults,
    functools.partial(has_defaults, k=WEIGHTS**2),
    copies_a_global_array,
    decorated,
    closure(2.0)[0],
    uses_generators_and_lambdas,
    draws_random_numbers,
    MODEL.loss,
    MODEL,
    uses_an_object,
    reads_attributes,
    writes_what_a_cache_gave,
]


def named(f):
    return getattr(f, "__name__", type(f).__name__)


@pytest.mark.parametrize("f", WRITERS + FINDERS, ids=named)
def test_derivatives_in_every_mode(f):
    x = X + (1 if f is uses_imported_names else 0)
    before = x.copy()
    expected = differences(f, x)
    value = f(x.copy())
    got, gradient = pb.value_and_grad(f)(x)
    assert type(gradient) is np.ndarray
    assert_allclose(got, value)
    assert_allclose(gradient, expected, rtol=2e-6, atol=1e-7)
    t = np.array([0.4, -1.3, 0.2, 0.7])
    value, slope = pb.jvp(f, (x,), (t,))
    assert_allclose(slope, expected @ t, rtol=2e-6, atol=1e-7)
    assert_allclose(pb.hessian(f)(x), pb.jacrev(pb.grad(f))(x), atol=1e-10)
    batch = np.stack([x, x + 0.1])
    assert_allclose(pb.vmap(f)(batch), [f(row.copy()) for row in batch])
    assert_allclose(pb.vmap(pb.grad(f))(batch)[0], gradient, atol=1e-12)
    assert_allclose(x, before, err_msg="the caller's array was written")


def test_a_global_array_is_one_array_throughout_a_call():
    assert_allclose(pb.grad(writes_a_global_array)(X), [X[1], X[0] + 1, 1.0, 1.0])
    assert type(BUFFER) is np.ndarray


def test_globals_and_closures_are_the_originals():
    start = COUNT
    pb.grad(counts_its_calls)(X)
    pb.grad(counts_its_calls)(X)
    assert start + 2 == COUNT
    f, total = closure(3.0)
    pb.grad(f)(X)
    assert total() == 1
    before = MODEL.calls
    pb.grad(MODEL.loss)(X)
    assert before + 1 == MODEL.calls
    assert type(MODEL.weights) is np.ndarray


STATE = np.zeros(4)


def rebinds_a_global(x):
    global STATE
    STATE = x * 2
    STATE[0] = x[1]
    return np.sum(STATE**2)


@pytest.mark.parametrize("transform", [pb.grad, pb.hessian, lambda f: lambda x: pb.jvp(f, (x,), (x,))])
def test_a_global_that_a_program_assigns_stays_an_array(transform):
    transform(rebinds_a_global)(X)
    assert type(STATE) is np.ndarray
    assert_allclose(STATE, [X[1], *2 * X[1:]])


def test_a_global_keeps_its_array_where_there_are_no_numbers():
    before = STATE
    pb.vmap(rebinds_a_global)(np.stack([X, X]))
    assert STATE is before


def test_the_tangent_of_a_constant_is_zero():
    assert_allclose(pb.jvp(lambda x: np.stack([x, np.float64(3.0)]), (1.0,), (1.0,))[1], [1.0, 0.0])
    x = pb.tensor(1.0)
    assert pb.jvp(lambda x: pb.stack([x, pb.tensor(3.0)]), (x,), (x,))[1].tolist() == [1.0, 0.0]


def test_a_function_sees_its_globals_as_they_are_when_it_runs(monkeypatch):
    f = pb.grad(calls_a_helper)
    first = f(X)
    monkeypatch.setitem(globals(), "helper", lambda x: np.ones(4))
    assert_allclose(f(X), first - pb.grad(lambda x: np.sum(np.cos(x) * x))(X) + 1)


def test_functions_that_leave_the_transform_are_ordinary_again():
    kept = []

    def f(x):
        def inner():
            return np.zeros(2)

        kept.append(inner)
        return np.sum(x)

    pb.grad(f)(X)
    assert type(kept[0]()) is np.ndarray


def test_integer_arrays_and_numbers_stay_plain():
    seen = []

    def f(x):
        order = np.argsort([3.0, 1.0, 2.0])
        seen.extend([np.arange(3), np.zeros(2, dtype=int), np.sqrt(2.0), np.array(["a"]), np.pi, order])
        for i in np.arange(2):
            x[i] = x[i] * 2
        assert isinstance(x, np.ndarray)
        assert not isinstance(3.0, np.ndarray)
        return x[order].sum()

    assert_allclose(pb.grad(f)(X), [2.0, 2.0, 1.0, 0.0])
    assert [type(v) for v in seen] == [np.ndarray, np.ndarray, np.float64, np.ndarray, float, np.ndarray]


def test_errors_keep_the_users_line_and_leave_nothing_behind():
    def f(x):
        out = np.zeros(3)
        out[0] = x[0]
        return out[7]

    for _ in range(3):
        with pytest.raises(IndexError) as caught:
            pb.grad(f)(X)
        frame = traceback.extract_tb(caught.value.__traceback__)
        assert any(entry.line == "return out[7]" for entry in frame)
    assert type(np.zeros(2)) is np.ndarray
    assert builtins.__import__("numpy") is np


def test_threads_have_programs_of_their_own():
    results = {}

    def work(k):
        def f(x):
            out = np.zeros(4)
            for i in range(4):
                out[i] = x[i] ** k
            return out.sum()

        results[k] = [pb.grad(f)(X + 2) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, found in results.items():
        for gradient in found:
            assert_allclose(gradient, k * (X + 2) ** (k - 1))


class Holder:
    __slots__ = ("array",)


def test_what_cannot_be_seen_says_what_to_write():
    holder = Holder()
    holder.array = np.zeros(4)

    def writes_a_plain_array(x):
        holder.array[0] = x[0]
        return x.sum()

    with pytest.raises(TypeError, match=r"np\.stack|pb\.numpy\.zeros"):
        pb.grad(writes_a_plain_array)(X)
    for take in (float, int, complex, np.float64, lambda v: v.__array__()):
        with pytest.raises(TypeError, match="gradient"):
            pb.grad(lambda x, take=take: x[0] * take(x[1]))(X)
    with pytest.raises(TypeError, match="one number"):
        pb.grad(lambda x: math.sin(x))(X)


def test_a_long_time_loop_moves_no_memory():
    steps = 3000

    def f(x):
        u = np.zeros((steps, 4))
        u[0] = x
        start = u.detach().numpy().__array_interface__["data"][0]
        for t in range(steps - 1):
            u[t + 1] = np.sin(u[t])
        assert u.detach().numpy().__array_interface__["data"][0] == start
        return np.sum(u[-1])

    x, slope = X, np.ones(4)
    for _ in range(steps - 1):
        slope, x = slope * np.cos(x), np.sin(x)
    assert_allclose(pb.grad(f)(X), slope, rtol=1e-12)


def test_lent_parts():
    a = np.zeros((8, 8))
    lent = Lent()
    lent.add(a[0])
    lent.add(a[1])
    assert len(lent.runs) == 1
    assert lent.reads(a[1, 3:])
    assert not lent.reads(a[2])
    lent.add(a[:, 3])
    assert lent.reads(a[5])
    assert not lent.reads(a[5, :3])
    assert not lent.reads(a[2:, 4])


def test_results_are_the_callers_own():
    y = pb.vjp(lambda x: x, X)[0]
    y[0] = 5.0
    assert X[0] == 0.3
    value, pull = pb.vjp(np.exp, X)
    expected = np.exp(X)
    value[:] = 0
    assert_allclose(pull(np.ones(4))[0], expected)


def test_equal_gradients_do_not_share_memory():
    for x in (X, pb.tensor(X)):
        a, b = pb.grad(lambda x, y: (x + y).sum(), (0, 1))(x, x)
        assert a is not b
        assert not np.shares_memory(np.asarray(a), np.asarray(b))


def test_rules_of_a_users_own_are_programs_too():
    @pb.custom_vjp
    def cubes(x):
        out = np.zeros(4)
        for i in range(4):
            out[i] = x[i] ** 3
        return out

    def forward(x):
        return cubes(x), x

    def backward(x, g):
        out = np.zeros(4)
        for i in range(4):
            out[i] = 3 * x[i] ** 2 * g[i]
        return (out,)

    cubes.defvjp(forward, backward)
    assert_allclose(pb.grad(lambda x: np.sum(cubes(x)))(X), 3 * X**2)
    assert_allclose(pb.jacobian(pb.grad(lambda x: np.sum(cubes(x))))(X), np.diag(6 * X))

    @pb.custom_jvp
    def doubles(x):
        out = np.zeros(4)
        out[:] = 2 * x
        return out

    @doubles.defjvp
    def rule(primals, tangents):
        out = np.zeros(4)
        out[:] = 2 * tangents[0]
        return doubles(primals[0]), out

    assert_allclose(pb.jvp(doubles, (X,), (X,))[1], 2 * X)
    assert_allclose(pb.grad(lambda x: np.sum(doubles(x)))(X), np.full(4, 2.0))


def test_math_functions_on_numbers():
    names = (
        "sin cos tan asin acos atan sinh cosh tanh asinh atanh exp expm1 log log1p log2 log10 sqrt cbrt exp2 fabs "
        "degrees radians"
    ).split()
    for name in names:
        function = getattr(math, name)
        slope = pb.grad(lambda x, name=name: getattr(math, name)(x))(0.4)
        assert_allclose(slope, (function(0.4 + 1e-6) - function(0.4 - 1e-6)) / 2e-6, rtol=1e-7, err_msg=name)
    assert pb.grad(lambda x: math.pow(x, 3) * math.floor(x) + math.copysign(x, -1.0))(2.5) == 3 * 2.5**2 * 2 - 1
    assert_allclose(pb.grad(lambda x: math.acosh(x))(2.0), 1 / math.sqrt(3))
    assert math.isnan(float("nan"))
