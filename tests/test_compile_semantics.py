"""What a compiled function means: the same as the function, down to special values, types, memory, state and errors."""

import copy
import dataclasses
import functools
import gc
import os
import pickle
import queue
import threading
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.nn import functional as F
from pullback.tape.state import modes

X = np.array([1.0, 2.0, 3.0])


def identical(mine, wanted):
    assert type(mine) is type(wanted)
    if isinstance(wanted, tuple | list):
        assert len(mine) == len(wanted)
        for a, b in zip(mine, wanted, strict=True):
            identical(a, b)
        return
    a, b = np.asarray(mine), np.asarray(wanted)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    np.testing.assert_array_equal(a, b)
    if b.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(a), np.signbit(b))


def check(f, *args, **kwargs):
    """The compiled function gives what the function does, the first time and again."""
    g = pb.jit(f)
    with np.errstate(all="ignore"):
        wanted = f(*args, **kwargs)
        for _ in range(2):
            identical(g(*args, **kwargs), wanted)


# Numbers

SPECIAL = [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, 2.5, -2.5]
TINY = {"float64": [5e-324, 1.7e308], "float32": [1e-45, 3e38]}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "function",
    """abs sign floor ceil rint trunc sqrt negative square isnan isinf isfinite signbit nan_to_num argmax argmin max min
    nanmax any all diff logical_not reciprocal""".split(),
)
def test_special_values(function, dtype):
    check(lambda x: getattr(np, function)(x), np.array(SPECIAL + TINY[dtype], dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("function", "exp log sin tanh log1p expm1 cbrt sum prod mean cumsum arctan cosh".split())
def test_special_values_up_to_rounding(function, dtype):
    x = np.array(SPECIAL + TINY[dtype], dtype)
    f = lambda x: getattr(np, function)(x)  # noqa: E731
    with np.errstate(all="ignore"):
        wanted = f(x)
    np.testing.assert_allclose(pb.jit(f)(x), wanted, rtol=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "function",
    """add multiply divide remainder floor_divide fmod copysign equal less less_equal heaviside nextafter
    logical_and""".split(),
)
def test_special_pairs(function, dtype):
    x = np.array(SPECIAL + TINY[dtype], dtype)
    check(lambda x, y: getattr(np, function)(x, y), x[:, None], x)


@pytest.mark.parametrize("function", ["maximum", "minimum", "fmax", "fmin"])
def test_ties_and_nans_of_extremes(function):
    x = np.array([0.0, 1, -1, np.inf, -np.inf, np.nan])  # which zero NumPy takes of two depends on the machine
    check(lambda x, y: getattr(np, function)(x, y), x[:, None], x)


@pytest.mark.parametrize("dtype", "int64 int32 int8 uint8 uint16 uint64 bool".split())
def test_integers_wrap_divide_and_shift_as_numpys(dtype):
    limits = [True, False] if dtype == "bool" else [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1, 2, 3, 7]
    a = np.array(limits, dtype)

    def pairs(x, y):
        found = [x + y, x * y, np.divide(x, y), np.maximum(x, y), x & y, x | y, x ^ y, x == y, x < y]
        if dtype != "bool":
            found += [x - y, x // y, x % y, np.fmod(x, y), x << (y & 7), x >> (y & 7), np.power(x, y & 7)]
        return tuple(found)

    def ones(x):
        found = [np.sum(x), np.prod(x), np.max(x), np.argmax(x), np.cumsum(x), np.invert(x), np.square(x), np.abs(x)]
        found += [x.sum(), x.astype(np.float32), x.astype(np.uint8), x.astype(bool), np.sort(x)]
        return tuple(found if dtype == "bool" else [*found, -x, np.sign(x)])

    check(pairs, a[:, None], a)
    check(ones, a)


@pytest.mark.parametrize("number", [1.5, np.float64(1.5), np.float32(1.5), 2, True, np.int8(3), np.bool_(True)])
def test_numbers_promote_as_numpys(number):
    for x in (X, X.astype(np.float32), np.arange(3), np.arange(3, dtype=np.int8), np.array(2.0)):
        f = lambda a, x: (a * x, a + x)  # noqa: E731
        for mine, wanted in zip(pb.jit(f)(number, x), f(number, x), strict=True):
            assert mine.dtype == wanted.dtype
            np.testing.assert_array_equal(mine, wanted)


# Results


class Pair(NamedTuple):
    first: object
    second: object


@dataclasses.dataclass
class Data:
    first: object
    second: object


def test_results_keep_their_containers():
    found = pb.jit(lambda x: {"a": x + 1, "b": [x, (x * 2, None, "text", 3)]})(X)
    assert list(found) == ["a", "b"]
    assert type(found["b"]) is list
    assert found["b"][1][1:] == (None, "text", 3)
    pair = pb.jit(lambda p: Pair(p.second, p.first))(Pair(X, X + 1))
    assert type(pair) is Pair
    identical(pair.first, X + 1)
    data = pb.jit(lambda d: Data(d.second, d.first))(Data(X, 2.0))
    assert type(data) is Data
    identical(data.second, X)
    assert pb.jit(lambda x: None)(X) is None
    assert pb.jit(lambda x: ())(X) == ()
    assert isinstance(pb.jit(lambda x: x * 2)(pb.tensor(1.0)), pb.Tensor)
    assert type(pb.jit(lambda x: np.sum(x))(X)) is np.float64
    assert isinstance(pb.jit(lambda: pb.randn(3))(), pb.Tensor)


def test_programs_see_shapes_and_lengths():
    check(lambda x: x * len(x) + x.shape[0] + x.size + x.ndim, X)
    check(lambda x: [y * 2 for y in x][1], X)
    check(lambda x: x * 2 if isinstance(x, np.ndarray) else x * 3, X)
    check(lambda x, axis: np.sum(x, axis=axis), np.ones((2, 3)), 1)
    identical(pb.jit(np.sum)(np.ones((2, 3)), axis=0), np.full(3, 2.0))


# Memory

CUBE = np.arange(24.0).reshape(2, 3, 4)
LAYOUTS = {
    "C": CUBE,
    "transposed": CUBE.T,
    "reversed": CUBE[:, ::-1],
    "strided": CUBE[::2, :, ::3],
    "fortran": np.asfortranarray(CUBE),
    "swapped": CUBE.astype(">f8"),
    "broadcast": np.broadcast_to(CUBE[0], (2, 3, 4)),
    "empty": CUBE[:0],
    "unaligned": np.frombuffer(b"1" + CUBE.tobytes(), np.uint8)[1:].view("f8").reshape(2, 3, 4),
    "0-dim": np.array(3.0),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_arguments(name):
    x = LAYOUTS[name]

    def f(x):
        return x * 2 + np.sum(x), np.sum(x, axis=0) if x.ndim else x * x

    g = pb.jit(f)
    for argument in (x, np.array(x, "f8", order="C"), x, pb.tensor(np.array(x, "f8"))):
        for mine, wanted in zip(g(argument), f(np.asarray(x, "f8")), strict=True):
            np.testing.assert_array_equal(np.asarray(mine), wanted)


@pytest.mark.parametrize("name", ["transposed", "reversed", "strided", "fortran", "swapped"])
def test_writes_reach_arguments_of_any_layout(name):
    def f(x):
        x += 1
        x[0] = 7
        return np.sum(x)

    mine = LAYOUTS[name].copy(order="K") if name != "strided" else CUBE.copy()[::2, :, ::3]
    wanted = mine.copy(order="K")
    g = pb.jit(f)
    for _ in range(2):
        assert g(mine) == f(wanted)
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_what_numpy_means_otherwise_runs_as_it_is():
    masked = np.ma.array([1.0, 2, 3], mask=[0, 1, 0])
    assert pb.jit(lambda a: np.sum(a))(masked) == 4
    matrix = np.array([[1.0, 2], [3, 4]]).view(np.matrix)
    np.testing.assert_array_equal(pb.jit(lambda a: a * a)(matrix), matrix @ matrix)
    dates = np.array(["2020-01-01"], "M8[D]")
    assert pb.jit(lambda a: a)(dates) is dates


def test_writes_change_the_callers_memory():
    def f(a):
        a += 1
        a[0] = 7
        return a.sum()

    for make in (X.copy, lambda: np.arange(6.0)[::2], lambda: pb.tensor(X)):
        mine, wanted, g = make(), make(), pb.jit(f)
        for _ in range(2):
            identical(np.asarray(g(mine)), np.asarray(f(wanted)))
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(wanted))
    tensor = pb.tensor(X)
    view = tensor[1:]
    pb.jit(f)(tensor)
    assert view.tolist() == [3.0, 4.0]
    assert tensor._version > 0


def test_read_only_arguments_are_not_written():
    def f(a):
        a += 1
        return a

    g = pb.jit(f)
    for first in (True, False):
        x = X.copy()
        x.flags.writeable = False
        with pytest.raises((ValueError, RuntimeError), match="read-only"):
            g(x)
        np.testing.assert_array_equal(x, X)
        if first:
            g(X.copy())


def test_overlapping_writes_use_old_values():
    def f(a):
        a[1:] = a[:-1] + a[1:]
        a[:] = a[::-1]
        a[::2] *= a[::2][::-1]

    mine, wanted, g = X.copy(), X.copy(), pb.jit(f)
    for _ in range(3):
        g(mine)
        f(wanted)
        np.testing.assert_array_equal(mine, wanted)


def test_arguments_exchange_their_contents():
    def swap(a, b):
        kept = a.copy()
        a[...] = b
        b[...] = kept

    a, b, g = X.copy(), X * 10, pb.jit(swap)
    g(a, b)
    np.testing.assert_array_equal(a, X * 10)
    g(a, b)
    np.testing.assert_array_equal(a, X)


ALIASES = {
    "same": lambda z: (z, z),
    "ahead": lambda z: (z[1:], z[:-1]),
    "behind": lambda z: (z[:-1], z[1:]),
    "apart": lambda z: (z[:1], z[2:]),
}


@pytest.mark.parametrize("make", [np.array, pb.tensor], ids=["array", "tensor"])
@pytest.mark.parametrize("alias", ALIASES)
def test_arguments_that_share_memory(alias, make):
    def f(a, b):
        a += 1
        b *= 2
        return a * b

    g = pb.jit(f)
    separate = make([1.0, 2.0])[: len(ALIASES[alias](make(X))[0])]
    g(separate, separate * 1)  # compiled for arguments apart
    mine, wanted = ALIASES[alias](make(X)), ALIASES[alias](make(X))
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(g(*mine)), np.asarray(f(*wanted)))
        for a, b in zip(mine, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


# Errors


def test_a_condition_names_the_line_and_what_to_write():
    def f(x):
        if x > 0:
            return x
        return -x

    for x in (1.0, np.array(1.0), pb.tensor(1.0)):
        with pytest.raises(TypeError, match=r"if x > 0(?s:.*)pb\.where"):
            pb.jit(f)(x)


@pytest.mark.parametrize(
    "needs",
    [float, int, bool, complex, lambda x: x.item(), lambda x: [1, 2, 3][x], lambda x: list(range(x)), np.nonzero],
)
def test_numbers_known_only_when_the_code_runs(needs):
    with pytest.raises(TypeError):
        pb.jit(lambda x: needs(x))(pb.tensor(1.5))
    assert modes.tracer is None


def test_integers_that_are_needed_are_static():
    for f in (float, int, bool, lambda n: list(range(n)), lambda n: [1, 2, 3][n]):
        assert pb.jit(lambda n, f=f: f(n))(2) == f(2)
    g = pb.jit(lambda x, n: np.zeros(n) + x[0])
    assert [g(X, n).shape for n in (2, 4, 2)] == [(2,), (4,), (2,)]
    h = pb.jit(lambda x, n: x * n)
    identical([h(X, 2), h(X, 5)], [X * 2, X * 5])
    assert h.cache_info().currsize == 1


def test_masks_as_indices_are_refused():
    with pytest.raises(IndexError, match=r"pb\.where"):
        pb.jit(lambda x: x[x > 1])(X)


def test_indices_out_of_bounds():
    for index in (5, -4):
        with pytest.raises(IndexError, match="out of bounds"):
            pb.jit(lambda a, i=index: a[i])(X)
    for f in (lambda a, i: a[i], lambda a, i: np.take(a, i)):
        g = pb.jit(f)
        identical(g(X, np.array([0, 2])), X[[0, 2]])
        with pytest.raises(IndexError, match="out of bounds"):
            g(X, np.array([0, 7]))
        identical(g(X, np.array([0, -1])), X[[0, -1]])


def test_errors_while_tracing_leave_the_cache_clean():
    g = pb.jit(lambda a, b: a @ b)
    with pytest.raises((RuntimeError, ValueError)):
        g(np.ones((2, 3)), np.ones((2, 3)))
    assert g.cache_info().currsize == 0
    identical(g(np.ones((2, 3)), np.ones((3, 2))), np.full((2, 2), 3.0))


def test_errors_while_tracing_restore_the_state():
    net = nn.Linear(2, 2)
    optimizer = pb.optim.Adam(net.parameters(), lr=0.1)
    before = [p.detach().clone() for p in net.parameters()]

    def step(x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()
        with pb.no_grad():
            net.weight.mul_(2).zero_()
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        pb.jit(step)(pb.ones(3, 2))
    assert modes.tracer is None
    assert modes.grad
    for p, kept in zip(net.parameters(), before, strict=True):
        assert isinstance(p._value, np.ndarray)
        assert p.tolist() == kept.tolist()
        assert p.grad is None
        assert p.is_leaf
    net(pb.ones(3, 2)).sum().backward()
    optimizer.step()


# What is found outside


def test_variables_of_enclosing_functions():
    k, w = 2.0, np.ones(3)

    def helper(x):
        return x * k

    g = pb.jit(lambda x: helper(x) + w)
    identical(g(X), X * 2 + 1)
    k = 3.0
    identical(g(X), X * 3 + 1)
    w = np.full(3, 5.0)
    identical(g(X), X * 3 + 5)
    w[0] = 7
    identical(g(X), X * 3 + w)


GLOBAL = np.ones(3)


def test_global_variables():
    global GLOBAL
    g = pb.jit(lambda x: x * GLOBAL)
    for value in (np.ones(3), np.full(3, 2.0), 3.0):
        GLOBAL = value
        identical(g(X), X * value)


def test_defaults_keywords_methods_and_partials():
    def f(a, b=2.0, *args, c=3.0, **rest):
        return a * b + c + sum(args) + rest.get("z", 0)

    g = pb.jit(f)
    for args, kwargs in (
        ((X,), {}),
        ((X, 3.0), {}),
        ((X,), {"b": 4.0}),
        ((X, 1.0, X, X), {"c": X, "z": X}),
        ((), {"a": X}),
    ):
        identical(g(*args, **kwargs), f(*args, **kwargs))
    identical(pb.jit(functools.partial(lambda a, b: a - b, 5.0))(X), 5 - X)

    class Scaled:
        def __init__(self, k):
            self.k = k

        @pb.jit
        def method(self, x):
            return x * self.k

        def plain(self, x):
            return x + self.k

        @staticmethod
        @pb.jit
        def static(x):
            return x * 2

        def __call__(self, x):
            return x - self.k

    a, b = Scaled(2.0), Scaled(3.0)
    identical([a.method(X), b.method(X), a.method(X), Scaled.static(X)], [X * 2, X * 3, X * 2, X * 2])
    bound, called = pb.jit(a.plain), pb.jit(a)
    identical([bound(X), called(X)], [X + 2, X - 2])
    a.k = 10.0
    identical(bound(X), X + 10)


def test_static_arguments():
    def f(x, n, mode="a", flag=None):
        return np.reshape(x, (n, 1)) if mode == "a" else x * (1 if flag is None else 2)

    g = pb.jit(f)
    for args in ((3,), (3, "b"), (3, "b", ()), (1, "b"), (3, "a")):
        identical(g(X, *args), f(X, *args))
    power = pb.jit(lambda x, n: sum(x**i for i in range(n)), static_argnums=1)
    identical([power(X, 2), power(X, 3)], [1 + X, 1 + X + X**2])


def test_the_cache_is_bounded_and_counts():
    g = pb.jit(lambda x: x + 1, maxsize=3)
    for n in (1, 2, 3, 4, 1):
        identical(g(np.ones(n)), np.full(n, 2.0))
    info = g.cache_info()
    assert (info.misses, info.maxsize, info.currsize) == (5, 3, 3)
    g.clear_cache()
    assert g.cache_info().currsize == 0


def test_a_warning_names_the_argument_that_changes():
    g = pb.jit(lambda first, x: x + 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(1, 14):
            g(0.0, np.ones(n))
    assert [w.category for w in caught] == [pb.RecompilationWarning]
    assert "float64[8]" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_threads_share_a_compiled_function():
    g = pb.jit(lambda a, b: np.tanh(a @ b).sum(axis=0))
    rng = np.random.default_rng(0)
    pairs = [(rng.standard_normal((20 + i % 3, 20)), rng.standard_normal((20, 20))) for i in range(6)]
    wrong = []

    def work(a, b):
        for _ in range(100):
            if not np.allclose(g(a, b), np.tanh(a @ b).sum(axis=0)):
                wrong.append(a.shape)

    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert g.cache_info().currsize == 3


def test_compiled_functions_call_compiled_functions():
    @pb.jit
    def power(n, x):
        return x if n == 0 else x * power(n - 1, x)

    np.testing.assert_allclose(power(3, X), X**4)
    inner = pb.jit(lambda x: x * 2)
    identical(pb.jit(lambda x: inner(x) + inner(x + 1))(X), X * 2 + (X + 1) * 2)
    identical(pb.jit(pb.jit(lambda x: x + 1))(X), X + 1)


def test_modules_as_functions_and_their_modes():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5))
    x = pb.ones(5, 3)
    g = pb.jit(net)
    with pb.no_grad():
        assert (g(x) == 0).any()
        net.eval()
        np.testing.assert_allclose(g(x).numpy(), net(x).numpy(), rtol=1e-6)
        net[0].weight = nn.Parameter(net[0].weight * 2)
        np.testing.assert_allclose(g(x).numpy(), net(x).numpy(), rtol=1e-6)
        net.train()
        assert (g(x) == 0).any()


def test_random_numbers_are_the_eager_ones():
    for f in (lambda x: F.dropout(x, 0.5, True), lambda x: x + pb.randn(100), lambda x: x * pb.rand_like(x)):
        runs = []
        for g in (pb.jit(f), pb.jit(f), f):
            pb.manual_seed(3)
            runs.append([g(pb.ones(100)).tolist() for _ in range(3)])
        assert runs[0] == runs[1] == runs[2]
        assert runs[0][0] != runs[0][1]


def test_writes_to_what_is_found_outside():
    """In-place methods that don't read a traced value are part of the program too."""
    state, count = pb.zeros(3), pb.zeros((), dtype=pb.int64)

    def f(x):
        count.add_(1)
        state.mul_(0.5).add_(x)
        state[0] = 7
        state.clamp_(max=6.0)
        kept = state.clone()
        state.sub_(1)
        return kept * count

    def eager(x, state, n):
        state = state * 0.5 + x
        state[0] = 7
        state = np.minimum(state, 6)
        return state - 1, state * n

    g, wanted = pb.jit(f), np.zeros(3, np.float32)
    for n in range(1, 5):
        found = g(pb.tensor(X * n))
        wanted, result = eager((X * n).astype(np.float32), wanted, n)
        np.testing.assert_allclose(found.numpy(), result, rtol=1e-6)
        np.testing.assert_allclose(state.numpy(), wanted, rtol=1e-6)
        assert count.item() == n
    for method in (lambda t: t.zero_(), lambda t: t.fill_(2.0), lambda t: t.copy_(pb.full((3,), 4.0))):
        t = pb.ones(3)

        def h(x, t=t, method=method):
            method(t)
            return x * t

        g, expected = pb.jit(h), method(pb.ones(3)).numpy()
        for _ in range(3):
            t.add_(1)
            np.testing.assert_array_equal(g(pb.ones(3)).numpy(), expected)
            np.testing.assert_array_equal(t.numpy(), expected)


def resident():
    """Bytes of this process in memory, where that can be read."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def test_a_thread_that_meets_a_tensor_while_it_is_traced_is_told():
    w = pb.tensor([1.0, 2.0])
    seen = queue.SimpleQueue()

    def elsewhere():
        for double in (lambda: w * 2, lambda: w.repeat(2)):
            try:
                seen.put(double())
            except (RuntimeError, AttributeError) as error:
                seen.put(str(error))

    @pb.jit
    def f(x):
        y = x * w
        if seen.empty():
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        return y

    assert f(pb.ones(2)).tolist() == [1.0, 2.0]
    assert "another thread is compiling" in seen.get(timeout=10)
    assert "another thread is compiling" in seen.get(timeout=10)
    elsewhere()
    assert seen.get(timeout=10).tolist() == [2.0, 4.0]


def test_copies_compile_for_themselves():
    f = pb.jit(np.sin, maxsize=3)
    f(1.0)
    for twin in (copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
        assert twin.cache_info() == (0, 0, 3, 0)
        assert twin(1.0) == f(1.0)


def test_leaks():
    """Compiled functions that are dropped, or dropped from a cache, leave nothing behind. More of them:
    PULLBACK_COMPILATIONS=100000 pytest -k leaks tests/test_compile_semantics.py
    """

    def compile_some(n):
        g = pb.jit(lambda x, k: np.sin(x) * k + n, maxsize=2)
        for size in (1, 2, 3):
            g(np.ones(size), 2.0)

    def measure():
        gc.collect()
        return len(gc.get_objects()), resident()

    for n in range(20):
        compile_some(n % 4)
    objects, memory = measure()
    for n in range(int(os.environ.get("PULLBACK_COMPILATIONS", "1000")) // 3):
        compile_some(n % 4)
    found, used = measure()
    assert found - objects < 200
    assert used - memory < 8_000_000
