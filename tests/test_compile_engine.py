"""Loading native code, entering it from Python, calling back, and keeping it on disk.

The kernels are written by hand in IR: `run(buffers, arena, context)`, as the compiler emits them.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.compile.llvm import blas, callback, engine, entry, store
from pullback.compile.llvm.entry import Input, Output, make_entry
from pullback.tape.node import LEAF
from pullback.values.shape import Spec

F4, F8, I8, B1 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool)
MISS = object()
HEAD = "define i32 @run(ptr %buffers, ptr %arena, ptr %context) {\nstart:\n"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests never touch the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "pullback-cache"
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(params=["native", "slow"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`make_entry`, as it is here and as it is where objects are laid out in another way."""
    if request.param == "slow":
        monkeypatch.setattr(entry, "is_native", lambda: False)
    return make_entry


def pointers(n: int) -> str:
    """IR that loads the first `n` buffers into %b0, %b1, ..."""
    return "".join(
        f"  %at{k} = getelementptr ptr, ptr %buffers, i64 {k}\n  %b{k} = load ptr, ptr %at{k}\n" for k in range(n)
    )


def loop(count: int, body: str) -> str:
    """IR of a loop over %i, and then the return of 0."""
    return (
        "  br label %loop\nloop:\n  %i = phi i64 [ 0, %start ], [ %next, %loop ]\n"
        + body
        + f"  %next = add nuw nsw i64 %i, 1\n  %end = icmp eq i64 %next, {count}\n"
        "  br i1 %end, label %exit, label %loop\nexit:\n  ret i32 0\n}\n"
    )


def add(count: int, kind: str = "double") -> str:
    """b2[i] = b0[i] + b1[i]"""
    body = ""
    for k in range(3):
        body += f"  %p{k} = getelementptr {kind}, ptr %b{k}, i64 %i\n"
    body += f"  %x = load {kind}, ptr %p0\n  %y = load {kind}, ptr %p1\n"
    body += f"  %z = {'fadd' if kind in ('double', 'float') else 'add'} {kind} %x, %y\n  store {kind} %z, ptr %p2\n"
    return HEAD + pointers(3) + loop(count, body)


def copy(nbytes: int, count: int = 1) -> str:
    """Output k is a copy of input k, each of `nbytes`."""
    text = "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n" + HEAD + pointers(2 * count)
    for k in range(count):
        text += f"  call void @llvm.memcpy.p0.p0.i64(ptr %b{count + k}, ptr %b{k}, i64 {nbytes}, i1 false)\n"
    return text + "  ret i32 0\n}\n"


def resident() -> int:
    """Memory in use, in bytes; the tests of leaks need /proc."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory in use is read from /proc")


def growth(step: Callable[[], object], times: int) -> float:
    """How many bytes each call of `step` leaves behind."""
    for _ in range(times // 4):
        step()
    before = resident()
    for _ in range(times):
        step()
    return (resident() - before) / times


# -- the engine -------------------------------------------------------------------------------------------------------


def test_load_gives_a_function_its_text_and_its_timings() -> None:
    code = engine.load("define i64 @twice(i64 %x) {\n %y = add i64 %x, %x\n ret i64 %y\n}", "twice")
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address)(21) == 42
    assert "define" in code.ir
    assert "twice" in code.asm
    assert all(step > 0 for step in code.timings)
    assert bytes.fromhex(f"{code.address:016x}")[::-1] not in code.object


def test_loops_are_vectorised_for_the_host() -> None:
    assert "x double>" in engine.load(add(64)).ir
    assert "x double>" not in engine.load(add(64), vectorize=False).ir


def test_an_object_links_again_without_its_source() -> None:
    code = engine.load("define i64 @run(i64 %x) {\n %y = mul i64 %x, 3\n ret i64 %y\n}")
    again = engine.link(code.object)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(again.address)(14) == 42
    assert again.timings.optimize == 0
    with pytest.raises(ValueError, match="linked from an object"):
        _ = again.ir
    assert (
        "mul"
        in engine.link(code.object, ir="define i64 @run(i64 %x, i64 %y) {\n %z = mul i64 %x, %y\n ret i64 %z\n}").ir
    )


def test_imports_are_symbols_not_numbers_in_the_code() -> None:
    text = "@far = external global i64\n@PyFloat_Type = external global i8\ndeclare i64 @near(i64)\n"
    text += "define i64 @run(ptr %x) {\n %at = getelementptr i64, ptr %x, i64 1\n %type = load ptr, ptr %at\n"
    text += " %is = icmp eq ptr %type, @PyFloat_Type\n %one = zext i1 %is to i64\n %far = load i64, ptr @far\n"
    text += " %near = call i64 @near(i64 %far)\n %sum = add i64 %one, %near\n ret i64 %sum\n}"
    number = ctypes.c_int64(20)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: 2 * x)
    near = ctypes.cast(function, ctypes.c_void_p).value
    assert near is not None
    code = engine.load(text, imports={"far": ctypes.addressof(number), "near": near})
    run = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.py_object)(code.address)
    assert (run(1.0), run("no float")) == (41, 40)
    other = ctypes.c_int64(1)
    again = engine.link(code.object, imports={"far": ctypes.addressof(other), "near": near})
    assert ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.py_object)(again.address)(1.0) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define i32 @run() { ret i64 0 }", "doesn't match function result type"),
        ("define i32 @run() { %x = add i32 %x, 1\n ret i32 %x }", "Only PHI nodes may reference their own value"),
        ("declare i32 @nowhere()\ndefine i32 @run() { %x = call i32 @nowhere()\n ret i32 %x }", "exports no nowhere,"),
        ("define i32 @other() { ret i32 0 }", r"Symbols not found: \[ run \]"),
    ],
)
def test_what_cannot_be_loaded_is_said(text: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        engine.load(text)


def test_what_is_no_object_is_not_linked() -> None:
    with pytest.raises(RuntimeError, match="not recognized as a valid object"):
        engine.link(b"no object")


@needs_proc
def test_dropped_code_is_freed() -> None:
    text = copy(8) + "@table = constant [4096 x i64] zeroinitializer\n"
    image = engine.load(text).object
    assert len(image) > 4096 * 8
    assert growth(lambda: engine.link(image), 1000) < 500
    # LLVM's pass builder leaves 1.5 KB behind, which llvmlite cannot free.
    assert growth(lambda: engine.load(copy(8)), 200) < 6000


def test_threads_compile_at_once() -> None:
    found: dict[int, int] = {}

    def work(k: int) -> None:
        for _ in range(5):
            code = engine.load(f"define i64 @run(i64 %x) {{\n %y = add i64 %x, {k}\n ret i64 %y\n}}")
            found[k] = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address)(1000)

    in_threads([lambda k=k: work(k) for k in range(4)])  # type: ignore[misc]
    assert found == {k: 1000 + k for k in range(4)}


def in_threads(works: Sequence[Callable[[], object]]) -> None:
    """Run all at once; an exception in one is raised here."""
    failed: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]


# -- entering ---------------------------------------------------------------------------------------------------------


def entry_of(text: str, inputs: Sequence[Input], outputs: Sequence[Output], **options: Any) -> Any:
    code = engine.load(text, imports=options.pop("imports", {}))
    return options.pop("make", make_entry)(code.address, inputs, outputs, miss=MISS, keep=code, **options)


@pytest.mark.skipif(sys.implementation.name != "cpython" or sys.maxsize < 2**32, reason="another layout of objects")
def test_cpython_is_entered_natively() -> None:
    assert entry.is_native() == getattr(sys, "_is_gil_enabled", lambda: True)()
    assert type(entry_of(HEAD + "  ret i32 0\n}", [], [])) is type(len)


@pytest.mark.parametrize(("dtype", "kind"), [("f8", "double"), ("f4", "float"), ("i4", "i32"), ("u1", "i8")])
def test_arrays_in_and_out(make: Callable[..., Any], dtype: str, kind: str) -> None:
    spec = (np.dtype(dtype), (2, 3))
    f = entry_of(add(6, kind), [Input("array", *spec)] * 2, [Output("array", *spec)], make=make, single=True)
    x = np.arange(6).reshape(2, 3).astype(dtype)
    y = f(x, 2 * x)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, 3 * x, strict=True)
    assert y.flags.owndata
    assert y.flags.c_contiguous
    assert y.flags.writeable
    assert f(x, x) is not f(x, x)


NUMBERS = "?bBhHiIlLqQefdFD"


@pytest.mark.parametrize("char", NUMBERS)
def test_numpy_scalars_in_and_out(make: Callable[..., Any], char: str) -> None:
    dtype = np.dtype(char)
    f = entry_of(
        copy(dtype.itemsize, 3),
        [Input("scalar", dtype), Input("array", dtype), Input("tensor", dtype)],
        [Output("scalar", dtype), Output("array", dtype), Output("tensor", dtype)],
        make=make,
    )
    x, y, z = (dtype.type(k) for k in (1, 0, 3))
    a, b, c = f(x, np.array(y), pb.tensor(z))
    assert (type(a), a) == (dtype.type, x)
    assert type(b) is np.ndarray
    assert (b.shape, b.dtype, b[()]) == ((), dtype, y)
    assert type(c) is pb.Tensor
    assert (type(c._value), c._value) == (dtype.type, z)
    assert f(x, y, pb.tensor(z)) is MISS


def test_python_numbers(make: Callable[..., Any]) -> None:
    kinds = [("float", F8), ("int", I8), ("bool", B1)]
    f = entry_of(
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
        + HEAD
        + pointers(6)
        + "".join(
            f"  call void @llvm.memcpy.p0.p0.i64(ptr %b{3 + k}, ptr %b{k}, i64 {size}, i1 false)\n"
            for k, size in enumerate((8, 8, 1))
        )
        + "  ret i32 0\n}\n",
        [Input(*kind) for kind in kinds],
        [Output("scalar", dtype) for _, dtype in kinds],
        make=make,
    )
    for args in [(1.5, -3, True), (float("inf"), 2**63 - 1, False), (-0.0, -(2**63), True)]:
        results = f(*args)
        assert results == args
        assert [type(r) for r in results] == [np.float64, np.int64, np.bool]
    assert np.isnan(f(float("nan"), 0, True)[0])
    misses = [
        (1, 0, True),
        (np.float64(1), 0, True),
        (1.0, 2**63, True),
        (1.0, -(2**63) - 1, True),
        (1.0, True, True),
        (1.0, np.int64(1), True),
        (1.0, 0, 1),
        (1.0, 0, np.True_),
        (1.0, 0, None),
    ]
    assert [f(*args) for args in misses] == [MISS] * len(misses)


def test_shapes_with_zeros_and_many_axes(make: Callable[..., Any]) -> None:
    for shape in [(0,), (3, 0, 2), (1,) * 20]:
        f = entry_of(copy(8), [Input("array", F8, shape)], [Output("array", F8, shape)], make=make, single=True)
        x = np.zeros(shape)
        if x.size:
            np.testing.assert_array_equal(f(x + 4), x + 4)
        else:
            g = entry_of(
                HEAD + "  ret i32 0\n}",
                [Input("array", F8, shape)],
                [Output("array", F8, shape)],
                make=make,
                single=True,
            )
            assert g(x).shape == shape


class Subclass(np.ndarray):
    pass


def unpickled(dtype: str) -> np.dtype[Any]:
    """An equal dtype that is another object."""
    import pickle

    found: np.dtype[Any] = pickle.loads(pickle.dumps(np.dtype(dtype)))
    return found


X = np.arange(6.0).reshape(2, 3)
OTHERS: dict[str, Any] = {
    "list": X.tolist(),
    "float": 1.0,
    "none": None,
    "subclass": X.view(Subclass),
    "dtype": X.astype(np.float32),
    "integers": X.astype(np.int64),
    "byte order": X.astype(">f8"),
    "shape": X.reshape(3, 2),
    "wider numbers": X.astype(complex),
    "rank": X.reshape(6),
    "fewer axes": X[:, 0].copy(),
    "no axes": np.array(1.0),
    "more axes": X.reshape(2, 3, 1),
    "Fortran order": np.asfortranarray(X),
    "strides": np.arange(12.0).reshape(2, 6)[:, ::2],
    "unaligned": np.frombuffer(bytes(1 + 48), np.uint8)[1:].view(np.float64).reshape(2, 3),
    "tensor": pb.tensor(X),
    "array of objects": X.astype(object),
}


@pytest.mark.parametrize("other", list(OTHERS))
def test_an_array_that_is_not_as_expected_is_a_miss(make: Callable[..., Any], other: str) -> None:
    f = entry_of(add(6), [Input("array", F8, (2, 3))] * 2, [Output("array", F8, (2, 3))], make=make)
    assert f(X, OTHERS[other]) is MISS
    assert f(OTHERS[other], X) is MISS
    assert f(X, X) is not MISS


def test_the_number_of_arguments(make: Callable[..., Any]) -> None:
    f = entry_of(add(6), [Input("array", F8, (2, 3))] * 2, [Output("array", F8, (2, 3))], make=make)
    assert f() is MISS
    assert f(X) is MISS
    assert f(X, X, X) is MISS
    with pytest.raises(TypeError):
        f(X, y=X)


def test_what_may_differ_matches(make: Callable[..., Any]) -> None:
    f = entry_of(add(6), [Input("array", F8, (2, 3))] * 2, [Output("array", F8, (2, 3))], make=make, single=True)
    other = X.view(unpickled("f8"))
    assert other.dtype is not X.dtype
    fixed = X.copy()
    fixed.flags.writeable = False
    part = np.arange(24.0).reshape(4, 6)[1:2, 2:5].copy()
    for y in (other, fixed, np.vstack([part, part])):
        np.testing.assert_array_equal(f(X, y), X + y)


def test_tensors(make: Callable[..., Any]) -> None:
    f = entry_of(add(6), [Input("tensor", F8, (2, 3))] * 2, [Output("tensor", F8, (2, 3))], make=make, single=True)
    x = pb.tensor(X)
    y = f(x, x)
    assert type(y) is pb.Tensor
    np.testing.assert_array_equal(y.numpy(), 2 * X, strict=True)
    assert vars(y) == {"_value": y._value, "_version": 0, "_base": None}
    assert not y.requires_grad
    assert f(x, X) is MISS
    assert f(x, pb.tensor(X.T.copy())) is MISS
    assert f(x, pb.tensor(np.float64(1))) is MISS
    assert f(x, pb.tensor(X).requires_grad_()) is MISS
    assert f(x, pb.nn.Parameter(x, requires_grad=False)) is MISS
    assert f(x, object.__new__(pb.Tensor)) is MISS
    doubled = y + y
    np.testing.assert_array_equal(doubled.numpy(), 4 * X)


def test_leaves_and_parameters(make: Callable[..., Any]) -> None:
    spec = Input("tensor", F8, (2, 3), node=LEAF, classes=(pb.Tensor, pb.nn.Parameter))
    f = entry_of(add(6), [spec, spec], [Output("array", F8, (2, 3))], make=make, single=True)
    x, p = pb.tensor(X).requires_grad_(), pb.nn.Parameter(X)
    np.testing.assert_array_equal(f(x, p), 2 * X)
    assert f(x, pb.tensor(X)) is MISS
    assert f(x, x * 2) is MISS


def test_writing_in_place(make: Callable[..., Any]) -> None:
    shape = (4,)
    f = entry_of(
        add(4),
        [Input("array", F8, shape, writable=True), Input("array", F8, shape)],
        [Output("none", F8, shape, input=0)],
        make=make,
    )
    x, y = np.arange(4.0), np.ones(4)
    assert f(x, y) == ()
    np.testing.assert_array_equal(x, np.arange(4.0) + 1)
    whole = np.arange(6.0)
    assert f(whole[:4], whole[2:]) is MISS  # memory that is written and read elsewhere
    assert f(x, x) is MISS
    np.testing.assert_array_equal(whole, np.arange(6.0))
    assert f(y, x) == ()
    x.flags.writeable = False
    assert f(x, y) is MISS
    whole = np.arange(8.0)
    assert f(whole[:4], whole[4:]) == ()  # side by side
    assert f(whole[4:], whole[:4]) == ()
    np.testing.assert_array_equal(whole, [4, 6, 8, 10, 8, 11, 14, 17])
    g = entry_of(
        add(4),
        [Input("array", F8, shape), Input("array", F8, shape, writable=True)],
        [Output("none", F8, shape, input=1)],
        make=make,
    )
    assert g(y, y) is MISS
    assert g(y, np.zeros(4)) == ()


def test_a_number_is_not_written(make: Callable[..., Any]) -> None:
    f = entry_of(copy(8), [Input("tensor", F8, writable=True)], [Output("none", F8, input=0)], make=make)
    assert f(pb.tensor(np.float64(1))) is MISS
    array = object.__new__(pb.Tensor)
    array._value = np.array(1.0)
    assert f(array) == ()


def test_several_results_in_order(make: Callable[..., Any]) -> None:
    outputs = [Output("array", F8), Output("none", F8), Output("scalar", F8), Output("tensor", F8)]
    f = entry_of(copy(8, 4), [Input("float", F8)] * 4, outputs, make=make)
    a, c, d = f(1.0, 2.0, 3.0, 4.0)
    assert (float(a), float(c), float(d)) == (1.0, 3.0, 4.0)
    assert [type(r) for r in (a, c, d)] == [np.ndarray, np.float64, pb.Tensor]
    none = entry_of(HEAD + "  ret i32 0\n}", [], [], make=make)
    assert none() == ()


@pytest.mark.parametrize(
    ("inputs", "outputs", "single", "message"),
    [
        ([Input("number", F8)], [], False, "an input's kind is one of"),
        ([Input("array", np.dtype("S3"))], [], False, "takes and gives numbers of native byte order"),
        ([Input("array", np.dtype(">f8"))], [], False, "of native byte order, not >f8"),
        ([], [Output("array", np.dtype(np.clongdouble))], False, "of native byte order, not"),
        ([Input("float", F4)], [], False, "a Python float is given to the code as float64"),
        ([Input("scalar", F8, (1,))], [], False, "has no shape"),
        ([], [Output("float", F8)], False, "an output's kind is one of"),
        ([], [Output("scalar", F8, (2,))], False, "has no shape"),
        ([Input("array", F8)], [Output("array", F8, (), 0)], False, "only an output of kind 'none'"),
        ([Input("array", F8)], [Output("none", F8, (), 0)], False, "isn't writable"),
        ([Input("array", F8, (), True)], [Output("none", F8, (1,), 0)], False, "another array"),
        ([], [Output("array", F8)] * 2, True, "exactly one output"),
        ([], [Output("none", F8)], True, "exactly one output"),
    ],
)
def test_contracts_that_make_no_sense(inputs: list[Input], outputs: list[Output], single: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_entry(0, inputs, outputs, single=single)


def test_errors_of_the_code_are_raised(make: Callable[..., Any]) -> None:
    text = '@message = constant [4 x i8] c"why\\00"\n@PyExc_KeyError = external global ptr\n'
    text += "declare void @PyErr_SetString(ptr, ptr)\n" + HEAD + pointers(1)
    text += (
        "  %x = load double, ptr %b0\n  %bad = fcmp olt double %x, 0.0\n  br i1 %bad, label %fail, label %fine\nfail:\n"
    )
    text += (
        "  %type = load ptr, ptr @PyExc_KeyError\n  call void @PyErr_SetString(ptr %type, ptr @message)\n  ret i32 -1\n"
    )
    text += "fine:\n  ret i32 0\n}"
    outputs = [Output("array", F8, (3,)), Output("scalar", F8), Output("tensor", F8, (2,)), Output("scalar", B1)]
    f = entry_of(text, [Input("float", F8)], outputs, make=make, arena_bytes=128)
    for _ in range(3):
        with pytest.raises(KeyError, match="why"):
            f(-1.0)
        assert len(f(1.0)) == 4


# -- arenas, threads and the GIL --------------------------------------------------------------------------------------

WHERE = (
    HEAD + pointers(1) + "  %number = ptrtoint ptr %arena to i64\n  store i64 %number, ptr %b0\n"
    "  store i64 7, ptr %arena\n  ret i32 0\n}\n"
)


def test_the_arena_is_aligned_and_used_again(make: Callable[..., Any]) -> None:
    f = entry_of(WHERE, [], [Output("scalar", I8)], make=make, single=True, arena_bytes=100_000)
    first = f()
    assert first % 64 == 0
    assert all(f() == first for _ in range(100))


def test_scratch_outputs_lie_behind_the_arena(make: Callable[..., Any]) -> None:
    text = HEAD + pointers(3)
    for k in range(3):
        text += f"  %n{k} = ptrtoint ptr %{'arena' if k == 2 else f'b{k}'} to i64\n"
        text += f"  %p{k} = getelementptr i64, ptr %b2, i64 {k}\n  store i64 %n{k}, ptr %p{k}\n"
    outputs = [Output("none", F8, (3,)), Output("none", F8, (3,)), Output("array", I8, (3,))]
    first, second, arena = entry_of(text + "  ret i32 0\n}", [], outputs, make=make, single=True, arena_bytes=100)()
    assert (first - arena, second - arena) == (128, 192)


def test_a_nested_call_has_an_arena_of_its_own(make: Callable[..., Any]) -> None:
    text = callback.call_ir() + HEAD + pointers(1)
    text += "  %number = ptrtoint ptr %arena to i64\n  store i64 %number, ptr %b0\n"
    text += "  %status = call i32 @pb.callback(ptr %context, i64 0, ptr %buffers)\n  ret i32 %status\n}"
    seen: list[int] = []

    def again(_: int) -> None:
        if len(seen) < 2:
            seen.append(0)  # twice, on the way in
            seen.append(int(f()))

    f = entry_of(text, [], [Output("scalar", I8)], make=make, single=True, arena_bytes=4096, context=(again,))
    own = f()
    inner = [number for number in seen if number]
    assert len({own, *inner}) == 3
    assert all(number % 64 == 0 for number in inner)
    assert f() == own


# Waits for b0[0] to change (some seconds at most), and says whether it has.
WAIT = (
    HEAD + pointers(2) + "  br label %loop\nloop:\n  %i = phi i64 [ 0, %start ], [ %next, %loop ]\n"
    "  %x = load atomic i64, ptr %b0 monotonic, align 8\n  %changed = icmp ne i64 %x, 0\n  %next = add i64 %i, 1\n"
    "  %late = icmp eq i64 %next, 20000000000\n  %stop = or i1 %changed, %late\n"
    "  br i1 %stop, label %exit, label %loop\nexit:\n  store i64 %x, ptr %b1\n  ret i32 0\n}\n"
)


def test_other_threads_run_while_the_gil_is_released(make: Callable[..., Any]) -> None:
    f = entry_of(
        WAIT,
        [Input("array", I8, (1,))],
        [Output("scalar", I8)],
        make=make,
        single=True,
        release_gil=True,
        arena_bytes=64,
    )
    flag = np.zeros(1, np.int64)
    timer = threading.Timer(0.05, lambda: flag.fill(5))
    timer.start()
    assert f(flag) == 5
    timer.join()


def test_threads_call_at_once(make: Callable[..., Any]) -> None:
    text = HEAD + pointers(2) + "  %x = load i64, ptr %b0\n  br label %loop\nloop:\n"
    text += "  %i = phi i64 [ 0, %start ], [ %next, %again ]\n  %p = getelementptr i64, ptr %arena, i64 %i\n"
    text += "  store volatile i64 %x, ptr %p\n  br label %again\nagain:\n  %next = add i64 %i, 1\n"
    text += "  %end = icmp eq i64 %next, 2000\n  br i1 %end, label %sum, label %loop\nsum:\n"
    text += "  %j = phi i64 [ 0, %again ], [ %after, %sum ]\n  %s = phi i64 [ 0, %again ], [ %t, %sum ]\n"
    text += "  %q = getelementptr i64, ptr %arena, i64 %j\n  %y = load volatile i64, ptr %q\n  %t = add i64 %s, %y\n"
    text += "  %after = add i64 %j, 1\n  %last = icmp eq i64 %after, 2000\n  br i1 %last, label %exit, label %sum\n"
    text += "exit:\n  store i64 %t, ptr %b1\n  ret i32 0\n}"
    f = entry_of(
        text, [Input("int", I8)], [Output("scalar", I8)], make=make, single=True, arena_bytes=16000, release_gil=True
    )

    def work(k: int) -> None:
        for _ in range(300):
            assert f(k) == 2000 * k

    in_threads([lambda k=k: work(k) for k in range(4)])  # type: ignore[misc]


# -- nothing leaks ----------------------------------------------------------------------------------------------------


def test_references_are_given_back() -> None:
    code = engine.load(copy(8, 4))
    outputs = [Output("array", F8), Output("scalar", F8), Output("tensor", F8), Output("none", F8)]
    inputs = [Input("array", F8), Input("scalar", F8), Input("tensor", F8), Input("int", I8)]

    class Context:
        pass

    context, miss = Context(), Context()
    f = make_entry(code.address, inputs, outputs, 64, (context,), miss, keep=code)
    good = (np.array(1.0), np.float64(2.5), pb.tensor(np.float64(3.5)), 10**9)
    bad = (*good[:3], "no")
    watched = [*good, bad[3], good[2]._value, F8, np.ndarray, pb.Tensor, np.float64, context, miss, code, None, 0]
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(1000):
        assert len(f(*good)) == 3
        assert f(*bad) is miss
    after = [sys.getrefcount(thing) for thing in watched]
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 50
    held = sys.getrefcount(context), sys.getrefcount(miss), sys.getrefcount(code)
    del f
    assert sys.getrefcount(context) == held[0] - 1
    assert (sys.getrefcount(miss), sys.getrefcount(code)) < held[1:]


@needs_proc
def test_calls_and_entries_leave_nothing_behind() -> None:
    code = engine.load(copy(8, 3))
    inputs = [Input("array", F8, (1,)), Input("float", F8), Input("tensor", F8, (1,))]
    outputs = [Output("array", F8, (1,)), Output("scalar", F8), Output("tensor", F8, (1,))]
    f = make_entry(code.address, inputs, outputs, 1 << 16, (), MISS)
    x, t = np.ones(1), pb.tensor(np.ones(1))
    assert growth(lambda: f(x, 2.0, t), 50_000) < 4
    assert growth(lambda: f(x, 2, t), 50_000) < 4
    assert growth(lambda: make_entry(code.address, inputs, outputs, 1 << 16, (x,), MISS)(x, 2.0, t), 5000) < 40


@needs_proc
def test_errors_and_callbacks_leave_nothing_behind() -> None:
    text = callback.call_ir() + HEAD + "  %status = call i32 @pb.callback(ptr %context, i64 0, ptr %buffers)\n"
    text += "  ret i32 %status\n}"
    code = engine.load(text)
    outputs = [Output(kind, F8, (3,) if kind != "scalar" else ()) for kind in ("array", "tensor", "scalar")]

    def fails(address: int) -> None:
        raise LookupError

    depth = 0

    def nests(address: int) -> object:
        nonlocal depth
        depth += 1
        if depth % 2:
            nesting()  # whose arena is taken
        return [address]

    failing, nesting = (make_entry(code.address, [], outputs, 100, (function,), MISS) for function in (fails, nests))

    def fail() -> None:
        with pytest.raises(LookupError):
            failing()

    assert growth(fail, 10_000) < 10
    assert growth(nesting, 20_000) < 5


# -- calling back -----------------------------------------------------------------------------------------------------


def callback_entry(evaluate: Any, args: list[Any], params: dict[str, Any], results: list[Spec], make: Any) -> Any:
    """An entry whose code only calls back, on all its buffers."""
    text = callback.call_ir() + HEAD
    text += "  %status = call i32 @pb.callback(ptr %context, i64 1, ptr %buffers)\n  ret i32 %status\n}"
    context = (None, callback.make_callback(evaluate, args, params, results))
    inputs = [Input("array", spec.dtype, spec.shape) for spec in args if isinstance(spec, Spec)]
    outputs = [Output("array", spec.dtype, spec.shape) for spec in results]
    return entry_of(text, inputs, outputs, make=make, context=context, release_gil=True)


def test_calling_back_into_numpy(make: Callable[..., Any]) -> None:
    seen = []

    def evaluate(x: Any, number: Any, y: Any, *, scale: float) -> tuple[Any, Any]:
        seen.append((type(x), type(y), x.flags.writeable, number))
        return x * y * scale, np.float32(x.sum())

    f = callback_entry(
        evaluate, [Spec((3,), F8), "literal", Spec((), F8)], {"scale": 10.0}, [Spec((3,), F8), Spec((), F4)], make
    )
    a, b = f(np.arange(3.0), np.array(2.0))
    np.testing.assert_array_equal(a, [0.0, 20.0, 40.0], strict=True)
    np.testing.assert_array_equal(b, np.array(3, np.float32), strict=True)
    assert seen == [(np.ndarray, np.float64, False, "literal")]


def test_a_callback_of_strided_and_empty_results(make: Callable[..., Any]) -> None:
    f = callback_entry(np.transpose, [Spec((2, 3), F8)], {}, [Spec((3, 2), F8)], make)
    np.testing.assert_array_equal(f(X)[0], X.T)
    g = callback_entry(np.negative, [Spec((0, 3), F8)], {}, [Spec((0, 3), F8)], make)
    assert g(np.zeros((0, 3)))[0].shape == (0, 3)


def test_errors_in_callbacks_are_raised(make: Callable[..., Any]) -> None:
    def fails(x: Any) -> Any:
        raise LookupError("nothing here")

    spec = Spec((3,), F8)
    x = np.ones(3)
    with pytest.raises(LookupError, match="nothing here"):
        callback_entry(fails, [spec], {}, [spec], make)(x)
    for results, message in [
        ([Spec((2,), F8)], r"sin gave float64\[3\], not float64\[2\]"),
        ([Spec((3,), F4)], r"sin gave float64\[3\], not float32\[3\]"),
        ([spec, spec], "sin gave 1 results, not 2"),
    ]:
        with pytest.raises(TypeError, match=message):
            callback_entry(np.sin, [spec], {}, results, make)(x)


# -- BLAS -------------------------------------------------------------------------------------------------------------


def test_a_product_through_blas() -> None:
    """C = A B of row-major matrices is the column-major Cᵀ = Bᵀ Aᵀ."""
    m, n, k = 5, 7, 3
    text = "declare void @dgemm(ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr)\n"
    text += '@no = private constant [1 x i8] c"N"\n'
    text += "@one = private constant double 1.0\n@zero = private constant double 0.0\n"
    text += "".join(f"@{name} = private constant i32 {size}\n" for name, size in (("m", m), ("n", n), ("k", k)))
    text += (
        HEAD + pointers(3) + "  call void @dgemm(ptr @no, ptr @no, ptr @n, ptr @m, ptr @k, ptr @one, ptr %b1, ptr @n,"
    )
    text += " ptr %b0, ptr @k, ptr @zero, ptr %b2, ptr @n)\n  ret i32 0\n}"
    f = entry_of(
        text,
        [Input("array", F8, (m, k)), Input("array", F8, (k, n))],
        [Output("array", F8, (m, n))],
        imports={"dgemm": blas.address("dgemm")},
        single=True,
    )
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    np.testing.assert_allclose(f(a, b), a @ b, rtol=1e-14)


def test_routines_by_name() -> None:
    names = ["sgemm", "dgemv", "ddot", "dtrsm", "dpotrf", "sgetrf", "dgesdd", "dsyevd", "zheevd", "dgeqrf"]
    assert len({blas.address(name) for name in names}) == len(names)
    with pytest.raises(KeyError, match="no BLAS or LAPACK routine 'dgemmm'"):
        blas.address("dgemmm")


def test_the_number_of_threads() -> None:
    before = blas.get_num_threads()
    if before is None:
        assert not blas.set_num_threads(1)
        return
    try:
        assert blas.set_num_threads(1)
        assert blas.get_num_threads() == 1
    finally:
        blas.set_num_threads(before)
    assert blas.get_num_threads() == before
    with pytest.raises(ValueError, match="at least 1"):
        blas.set_num_threads(0)


# -- the cache on disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "of" / "objects"
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(path))
    return path


def stored(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_is_written_is_read(folder: Path) -> None:
    key = store.key("text", 1, F8)
    assert store.read(key) is None
    store.write(key, b"\0object\xff", {"arena": 64, "names": ["ü"]})
    assert store.read(key) == (b"\0object\xff", {"arena": 64, "names": ["ü"]})
    assert store.read(store.key("text", 2, F8)) is None
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert stored(folder).stat().st_mode & 0o777 == 0o600


def test_keys_depend_on_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {store.key("a"), store.key("b"), store.key("a", "b"), store.key("ab"), store.key("a", ("b",))}
    assert store.key("a", "b") in keys
    host = engine.fingerprint()
    for k in range(len(host)):
        monkeypatch.setattr(engine, "fingerprint", lambda k=k: (*host[:k], host[k] + "x", *host[k + 1 :]))
        keys.add(store.key("a"))
    monkeypatch.setattr(engine, "fingerprint", lambda: host)
    monkeypatch.setattr(store, "_compiler", lambda: "another")
    keys.add(store.key("a"))
    assert len(keys) == 5 + len(host) + 1


def damage(data: bytes) -> Iterator[bytes]:
    yield b""
    yield data[:20]
    yield data[:-1]
    yield data + b"\0"
    yield b"x" + data[1:]
    for at in (8, 12, 44, 76, 84, len(data) - 1):  # format, key, checksum, lengths, object
        yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_damaged_entries_are_as_if_they_were_not_there(folder: Path) -> None:
    key = store.key("text")
    store.write(key, b"object" * 10, {"arena": 1})
    path = stored(folder)
    data = path.read_bytes()
    for broken in damage(data):
        path.write_bytes(broken)
        assert store.read(key) is None, broken
    store.write(key, b"again")
    assert store.read(key) == (b"again", {})


def test_entries_of_another_key_are_not_read(folder: Path) -> None:
    one, two = store.key("one"), store.key("two")
    store.write(one, b"one")
    path = stored(folder)
    path.rename(path.with_name(path.name.replace(one, two)))
    assert store.read(two) is None


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_others_may_write_is_not_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = store.key("text")
    store.write(key, b"object")
    path = stored(folder)
    for changed, mode in [(path, 0o620), (path, 0o602), (folder, 0o770), (folder, 0o707)]:
        usual = changed.stat().st_mode & 0o777
        changed.chmod(mode)
        assert store.read(key) is None, (changed, mode)
        changed.chmod(usual)
        assert store.read(key) is not None
    folder.chmod(0o777)
    store.write(store.key("other"), b"object")
    folder.chmod(0o700)
    assert stored(folder) == path
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert store.read(key) is None


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    key = store.key("text")
    store.write(key, b"object")
    path = stored(folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert store.read(key) is None
    path.unlink()
    path.mkdir()
    assert store.read(key) is None


def test_where_nothing_can_be_written_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path / "file" / "inside"))
    store.write(store.key("text"), b"object")
    assert store.read(store.key("text")) is None
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path / "good"))

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    store.write(store.key("text"), b"object")
    assert list((tmp_path / "good").iterdir()) == []


@pytest.mark.parametrize("value", ["", "off", "OFF"])
def test_the_cache_can_be_turned_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULLBACK_CACHE_DIR", value)
    assert store.directory() is None
    store.write(store.key("text"), b"object")
    assert store.read(store.key("text")) is None


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folders of Linux")
def test_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULLBACK_CACHE_DIR")
    monkeypatch.setenv("HOME", "/home/somebody")
    for base, expected in [
        ("/caches", "/caches"),
        ("", "/home/somebody/.cache"),
        ("relative", "/home/somebody/.cache"),
    ]:
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert store.directory() == Path(expected) / "pullback"


def test_the_entries_used_longest_ago_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [store.key("text", k) for k in range(6)]
    for k, key in enumerate(keys[:5]):
        store.write(key, bytes(1500))
        os.utime(folder / f"{key}.pbc", (1000 + k, 1000 + k))
    (folder / "interrupted.tmp").touch()
    os.utime(folder / "interrupted.tmp", (1000, 1000))
    assert store.read(keys[1]) is not None  # used now
    monkeypatch.setattr(store, "LIMIT", 5000)
    store.write(keys[5], bytes(1500))
    assert [k for k, key in enumerate(keys) if store.read(key) is not None] == [1, 4, 5]
    assert len(list(folder.iterdir())) == 3


PROCESS = """
import sys
from pullback.compile.llvm import engine, entry, store
from pullback.compile.llvm.entry import Input, Output
import numpy as np

store._compiler = lambda: "these sources"
text = sys.argv[1]
if sys.argv[2] == "second":
    def load(*args, **options):
        raise AssertionError("compiled again")
    engine.load = load
key = store.key(text)
found = store.read(key)
if found is None:
    code = engine.load(text)
    store.write(key, code.object, {"arena": 64})
else:
    code = engine.link(found.object)
    assert found.meta == {"arena": 64}
shape = (np.dtype(float), (4,))
f = entry.make_entry(code.address, [Input("array", *shape)] * 2, [Output("array", *shape)], 64, keep=code, single=True)
print(f(np.arange(4.0), np.ones(4)).tolist())
"""


def process(which: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, add(4), which]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    out, err = process.communicate(timeout=120)
    assert (out, process.returncode) == ("[1.0, 2.0, 3.0, 4.0]\n", 0), err


def test_a_second_process_starts_without_compiling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_compiler", lambda: "these sources")  # which may be edited meanwhile
    firsts = [process("first") for _ in range(3)]  # that write the same entries at once
    for first in firsts:
        finish(first)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2  # the code and the entry
    finish(process("second"))
    path = folder / f"{store.key(add(4))}.pbc"
    path.write_bytes(path.read_bytes()[:-5])
    finish(process("first"))
    finish(process("second"))


def test_writers_and_readers_at_once(folder: Path) -> None:
    key = store.key("shared")
    bodies = [bytes([k]) * 20_000 for k in range(4)]

    def work(k: int) -> None:
        for _ in range(25):
            store.write(key, bodies[k], {"k": k})
            found = store.read(key)
            assert found is not None
            assert found.object == bodies[found.meta["k"]]

    in_threads([lambda k=k: work(k) for k in range(4)])  # type: ignore[misc]
    assert [path.suffix for path in folder.iterdir()] == [".pbc"]


def test_metadata_is_json(folder: Path) -> None:
    with pytest.raises(TypeError, match="JSON"):
        store.write(store.key("text"), b"", {"array": X})
    store.write(store.key("text"), b"object", {"a": [1, None, "x"]})
    assert json.dumps({"a": [1, None, "x"]}, separators=(",", ":")).encode() in stored(folder).read_bytes()


def test_importing_pullback_imports_neither_llvmlite_nor_scipy() -> None:
    text = "import sys, pullback, pullback.compile.llvm.entry, pullback.compile.llvm.blas\n"
    text += "print([name for name in ('llvmlite', 'scipy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout == "[]\n"
