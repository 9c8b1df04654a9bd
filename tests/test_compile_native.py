"""Native code: our own matrix product, divisions by inverses, loops that are joined, and threads."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.compile import native
from pullback.compile.fusion import Nest
from pullback.compile.llvm import engine, gemm, products, threads
from pullback.compile.llvm.builder import Emitter, Number, quotient
from pullback.compile.nodes import Contraction, is_lowered

WORD = ctypes.c_int64
GEMM = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, WORD, WORD, ctypes.c_void_p, WORD, WORD, ctypes.c_void_p, *[WORD] * 4, ctypes.c_void_p
)


@pytest.fixture
def several() -> Iterator[Callable[[int], None]]:
    yield native.set_num_threads
    native.set_num_threads(1)


def laid_out(rng: np.random.Generator, rows: int, columns: int, how: str, dtype: str) -> Any:
    """A matrix by rows, by columns, or with gaps, backwards."""
    if how == "rows":
        return rng.standard_normal((rows, columns)).astype(dtype)
    if how == "columns":
        return rng.standard_normal((columns, rows)).astype(dtype).T
    return rng.standard_normal((2 * rows, 3 * columns)).astype(dtype)[::-2, ::3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (2, 3, 4), (14, 32, 16), (15, 33, 17), (64, 128, 300), (300, 513, 260), (10, 10, 1000), (450, 7, 90)],
)
def test_gemm(sizes: tuple[int, int, int], dtype: str) -> None:
    rng = np.random.default_rng(0)
    m, n, k = sizes
    work = np.full(gemm.workspace(np.dtype(dtype), m, n, k) + 128, 255, np.uint8)
    start = -work.ctypes.data % 64
    size = np.dtype(dtype).itemsize
    run = GEMM(gemm.address(np.dtype(dtype)))
    for one in ("rows", "columns", "gaps"):
        for other in ("rows", "columns", "gaps"):
            a, b = laid_out(rng, m, k, one, dtype), laid_out(rng, k, n, other, dtype)
            c = np.full((m + 1, n + 3), np.nan, dtype)
            strides = [[s // size for s in x.strides] for x in (a, b)]
            run(
                a.ctypes.data,
                *strides[0],
                b.ctypes.data,
                *strides[1],
                c.ctypes.data,
                n + 3,
                m,
                n,
                k,
                work[start:].ctypes.data,
            )
            exact = a.astype(np.float64) @ b.astype(np.float64)
            np.testing.assert_allclose(c[:m, :n], exact, atol=8 * k * np.finfo(dtype).eps)
            assert np.isnan(c[m]).all()
            assert np.isnan(c[:, n:]).all()
            assert (work[start + gemm.workspace(np.dtype(dtype), m, n, k) :] == 255).all()


def test_products_by_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 1)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 40, 30)), rng.standard_normal((3, 50, 30))

    def f(a: Any, b: Any) -> Any:
        return a @ b.transpose(0, 2, 1), b[0] @ a[0].T, a[0].T @ b[1].T[:, :40].T

    compiled = pb.jit(f)
    for mine, wanted in zip(compiled(a, b), f(a, b), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12, atol=1e-12)
    assert compiled.version(a, b).native.module.routines == {"dgemm"}


def test_blas_is_left_alone_with_what_its_integers_lack() -> None:
    rows, columns = (4, 8, 5), (5, 1, 1)
    assert products._blas_takes(Contraction((), rows, columns, (8, 1, 5)))
    assert not products._blas_takes(Contraction((), rows, columns, (1 << 31, 1, 5)))
    assert not products._blas_takes(Contraction((), (4, 1 << 31, 5), columns, (8, 1, 5)))
    assert not products._blas_takes(Contraction((), (4, 16, 5), columns, (8, 2, 5)))


def test_a_dtype_has_one_product_whoever_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def compiled(ir: str) -> Any:
        time.sleep(0.01)
        made.append(ir)
        return engine.load("define void @run() { ret void }")

    monkeypatch.setattr(gemm, "_codes", {})
    monkeypatch.setattr(gemm, "_compiled", compiled)
    with ThreadPoolExecutor(4) as pool:
        addresses = set(pool.map(lambda _: gemm.address(np.dtype("float32")), range(8)))
    assert len(addresses) == len(made) == 1


# Calls


def test_an_effect_without_numbers_is_run() -> None:
    rng = np.random.default_rng(0)
    compiled = pb.jit(lambda x: (x + 1, rng.normal(size=(0, 3))))
    assert compiled(np.zeros(2))[1].shape == (0, 3)
    assert len(compiled.version(np.zeros(2)).native.module.calls) == 1


def test_numbers_of_another_byte_order_are_not_lowered() -> None:
    assert is_lowered(np.dtype("i4"))
    assert not is_lowered(np.dtype("i4").newbyteorder("S"))


# Divisions


def test_divisors_too_large_for_the_dtype() -> None:
    assert (pb.jit(lambda x: x / 1e300)(np.ones(40, np.float32)) == 0).all()


def divided(y: float, xs: Any, variable: bool) -> Any:
    """xs / y as `quotient` writes it, for a constant or for a number that is only known when the code runs."""
    kind = {"float32": "float", "float64": "double"}[xs.dtype.name]
    emit = Emitter()
    result = quotient(emit, Number(emit, "%x", xs.dtype), Number(emit, "%y", xs.dtype) if variable else y)
    lines = "\n".join(emit.lines)
    ir = "\n".join(
        [
            *sorted(emit.declared),
            f"define void @run(ptr %px, ptr %py, ptr %out) {{ %x = load {kind}, ptr %px",
            f"  %y = load {kind}, ptr %py",
            lines,
            f"  store {result!r}, ptr %out",
            "  ret void }",
        ]
    )
    code = engine.load(ir)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(code.address)
    out, divisor = np.empty_like(xs), np.array(y, xs.dtype)
    for i in range(len(xs)):
        run(xs[i:].ctypes.data, divisor.ctypes.data, out[i:].ctypes.data)
    return out


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("y", [3.0, -7.0, 768.0, 2**0.5, 0.1, 1e-300, 1e-40, 1e38, 5e-324, 0.0, np.inf, np.nan, 49.0])
def test_quotients_are_those_of_divisions(y: float, dtype: str, variable: bool) -> None:
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    special = [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny]
    xs = np.concatenate([special, rng.standard_normal(3000), np.exp(rng.uniform(-30, 30, 3000))]).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = xs / np.dtype(dtype).type(y)
    np.testing.assert_allclose(divided(y, xs, variable), wanted, rtol=0, atol=info.smallest_subnormal)


def test_rows_divided_by_what_is_near_the_ends() -> None:
    x = np.random.default_rng(0).standard_normal((6, 40))
    y = np.array([[0.0], [np.inf], [5e-324], [1e-308], [1e308], [3.0]])
    compiled = pb.jit(lambda x, y: x * 1e-300 / y)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(compiled(x, y), x * 1e-300 / y)


# Loops


def nests(f: Any, *args: Any) -> list[Any]:
    """The outermost loops of a compiled function."""
    return [part for item in f.version(*args).native.module.program.items for part in item if isinstance(part, Nest)]


def test_groups_begun_apart_are_one_loop() -> None:
    def f(x: Any, y: Any) -> Any:
        a, b = np.exp(x), np.sin(y)
        return a + b, a * b, np.sum(x * y)

    x, y = np.random.default_rng(0).standard_normal((2, 200))
    compiled = pb.jit(f)
    for mine, wanted in zip(compiled(x, y), f(x, y), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-13)
    assert len(nests(compiled, x, y)) == 1


def test_what_a_group_between_needs_stays_in_order() -> None:
    """sin(x − Σx) needs the whole sum of what the first loop computes, and is read with it again."""

    def f(x: Any) -> Any:
        a = np.exp(x)
        total = np.sum(a)
        b = np.sin(a / total)
        return a * b + np.sum(b) * a

    x = np.random.default_rng(0).standard_normal(100)
    np.testing.assert_allclose(pb.jit(f)(x), f(x), rtol=1e-13)


def test_one_element_in_each_row() -> None:
    def loss(x: Any, i: Any) -> Any:
        return np.sum(x[np.arange(len(i)), i] ** 2) + np.sum(np.exp(x))

    x = np.random.default_rng(0).standard_normal((50, 7))
    i = np.random.default_rng(1).integers(-7, 7, 50)
    compiled = pb.jit(pb.grad(loss))
    np.testing.assert_allclose(compiled(x, i), pb.grad(loss)(x, i), rtol=1e-13)
    assert len(nests(compiled, x, i)) == 1
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(x, np.full(50, 7))


# Threads


def programs() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((1500, 200)), rng.standard_normal(300_000).astype("float32")
    left, right = rng.standard_normal((400, 130)), rng.standard_normal((130, 300))
    batch = rng.standard_normal((9, 100, 130))

    def softmax_loss(x: Any) -> Any:
        return np.mean(np.log(np.sum(np.exp(x - np.max(x, axis=1, keepdims=True)), axis=1)))

    def columns(x: Any) -> Any:
        return np.sum(x, axis=0), np.max(x, axis=0), np.sum(x), np.any(x > 4, axis=0), np.prod(1 + x * 1e-3, axis=0)

    return {
        "elements": (pb.value_and_grad(lambda v: np.sum(np.tanh(v) + np.sin(v))), (v,)),
        "rows": (pb.value_and_grad(softmax_loss), (x,)),
        "columns": (columns, (x,)),
        "places": (lambda x, i: (x[np.arange(len(x)), i] * 2, x + 1), (x, rng.integers(0, 200, 1500))),
        "product": (lambda a, b: a @ b, (left, right)),
        "transposed": (lambda a, b: (b.T @ a.T) + 1, (left, right)),
        "batch": (lambda a, b: a @ b, (batch, right)),
    }


@pytest.mark.skipif(not threads.can_split(), reason="one processor")
@pytest.mark.parametrize("name", programs())
def test_threads_share_loops(name: str, several: Callable[[int], None]) -> None:
    f, args = programs()[name]
    compiled = pb.jit(f)
    one = compiled(*args)
    assert compiled.version(*args).native.module.shared
    for n in (2, 3, 100):
        several(n)
        assert native.get_num_threads() == n
        more = compiled(*args)
        for mine, wanted in zip(*(r if isinstance(r, tuple) else (r,) for r in (more, one)), strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=1e-5 if np.asarray(mine).dtype == np.float32 else 1e-10)


def test_errors_of_threads_are_raised(several: Callable[[int], None]) -> None:
    compiled = pb.jit(lambda x, i: np.exp(x) * x[np.arange(len(x)), i][:, None])
    x, i = np.zeros((2000, 200)), np.zeros(2000, int)
    several(2)
    assert compiled(x, i).shape == x.shape
    for place in (0, 1999):
        i[place] = 200
        with pytest.raises(IndexError, match="out of bounds"):
            compiled(x, i)
        i[place] = 0
    assert (compiled(x, i) == 0).all()


def test_number_of_threads() -> None:
    assert native.get_num_threads() == 1
    with pytest.raises(ValueError, match="at least 1"):
        native.set_num_threads(0)
