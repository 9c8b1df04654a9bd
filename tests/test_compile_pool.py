"""Memory of large results: it is used again once the result has died, and never before.

The functions here give 2 x + 1 for arrays of ones, and results are marked to see that nobody else writes them.
"""

import ctypes
import functools
import gc
import os
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.compile.llvm import engine, entry
from pullback.compile.llvm.entry import Output, make_entry
from pullback.compile.llvm.pool import LEAST, LIMIT, Pool, pool

pytestmark = pytest.mark.skipif(
    not entry.is_native() or sys.platform == "win32", reason="results are of NumPy's memory"
)

COUNT = LEAST // 8


@pytest.fixture(autouse=True)
def shared(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """The pool, empty; the user's cache is not touched."""
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "pullback-cache"))
    found = pool()
    assert found is not None
    gc.collect()
    found.trim(0)
    assert (found.state.count, found.state.held) == (0, 0)
    limit = found.state.limit
    yield found
    found.state.limit = limit
    found.trim(0)


@functools.cache
def compiled(count: int) -> Callable[..., Any]:
    """A function for arrays of one size: many sizes in one would be warned of."""
    return pb.jit(lambda x: 2 * x + 1)


def result(count: int = COUNT) -> np.ndarray[Any, Any]:
    """A result of so many numbers, each 3."""
    value = compiled(count)(np.ones(count))
    assert type(value) is np.ndarray
    return value


def maker(array: np.ndarray[Any, Any] | None = None) -> str:
    """The name of the handler of an array's memory, or of the present one."""
    multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
    return str(multiarray.get_handler_name(*([] if array is None else [array])))


def api(number: int) -> int:
    """The address of a function of NumPy's."""
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    table = pointer(np._core.multiarray._ARRAY_API, None)  # type: ignore[attr-defined]
    return int(ctypes.c_uint64.from_address(table + 8 * number).value)


set_handler: Callable[[object], object] = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(api(304))
get_handler: Callable[[], object] = ctypes.PYFUNCTYPE(ctypes.py_object)(api(305))


@pytest.mark.parametrize("count", [COUNT, COUNT + 1, 5 * COUNT + 3])
def test_large_results_own_memory_of_the_pool(count: int) -> None:
    y = result(count)
    np.testing.assert_array_equal(y, np.full(count, 3.0), strict=True)
    assert maker(y) == "pullback"
    assert y.flags.owndata
    assert y.flags.writeable
    assert y.base is None
    assert y.ctypes.data % 64 == 0
    assert maker() == maker(np.empty(count)) == "default_allocator"


def test_small_results_are_as_ever() -> None:
    assert maker(result(COUNT - 1)) == "default_allocator"


def test_tensors_and_parts_of_several_results(shared: Pool) -> None:
    g = pb.jit(lambda x: (x + 1, x.sum(), x * 2, x[:3] * 1.0))
    ys = g(pb.tensor(np.ones(COUNT)))
    values = [y.numpy() for y in ys]
    assert [maker(v) for v in (values[0], values[2], values[3])] == ["pullback", "pullback", "default_allocator"]
    np.testing.assert_array_equal(values[0], values[2])
    del ys, values
    gc.collect()
    assert shared.state.count == 2


def test_memory_is_used_again_once_the_result_has_died(shared: Pool) -> None:
    y = result()
    address = y.ctypes.data
    assert shared.state.held == 0
    del y
    assert shared.state.count == 1
    assert LEAST <= shared.state.held < LEAST + (1 << 16)
    y = result()
    assert y.ctypes.data == address
    assert shared.state.held == 0


@pytest.mark.parametrize("hold", [lambda y: y[5:9], memoryview, lambda y: y.T.reshape(2, -1), lambda y: [y]])
def test_memory_that_is_referenced_is_never_used_again(hold: Callable[[Any], object], shared: Pool) -> None:
    y = result()
    y[:] = 7
    address = y.ctypes.data
    held = hold(y)
    del y
    others = [result() for _ in range(4)]
    assert address not in [other.ctypes.data for other in others]
    assert np.all(np.asarray(held) == 7)
    del held
    assert result().ctypes.data == address


def test_a_block_serves_results_up_to_an_eighth_smaller(shared: Pool) -> None:
    y = result(16 * COUNT)
    address = y.ctypes.data
    del y
    assert result(15 * COUNT).ctypes.data == address
    assert result(13 * COUNT).ctypes.data != address
    assert result(20 * COUNT).ctypes.data != address
    assert result(16 * COUNT).ctypes.data == address


def test_idle_memory_is_bounded(shared: Pool) -> None:
    assert 0 < shared.state.limit <= LIMIT
    shared.state.limit = 7 * LEAST // 2
    ys = [result() for _ in range(6)]
    addresses = [y.ctypes.data for y in ys]
    while ys:
        ys.pop(0)
        assert shared.state.held <= shared.state.limit
    assert shared.state.count == 3
    assert result().ctypes.data == addresses[-1]  # those idle the longest went
    large = result(4 * COUNT)
    count = shared.state.count
    del large  # more than may be idle at all
    assert shared.state.count == count


def test_the_number_of_idle_blocks_is_bounded(shared: Pool) -> None:
    shared.state.limit = 1 << 40
    old = set_handler(shared.capsule)
    try:
        arrays = [np.empty(LEAST, np.uint8) for _ in range(600)]  # whose pages are never touched
    finally:
        set_handler(old)
    last = arrays[-1].ctypes.data
    while arrays:
        arrays.pop(0)
    assert shared.state.count == 512
    assert shared.state.held == pytest.approx(512 * LEAST, rel=0.01)
    assert result().ctypes.data == last


def test_what_has_been_idle_for_long_is_freed(shared: Pool) -> None:
    y = result()
    del y
    shared.trim(1000)
    assert shared.state.count == 1
    shared.trim(0)
    assert (shared.state.count, shared.state.held) == (0, 0)


def test_results_can_be_resized(shared: Pool) -> None:
    y = result()
    y[:] = expected = np.arange(1.0, COUNT + 1)
    for count in (4 * COUNT, 4 * COUNT - 5, 10, 0, COUNT):
        y.resize(count, refcheck=False)
        kept = expected[:count]
        expected = np.zeros(count)
        expected[: len(kept)] = kept
        np.testing.assert_array_equal(y, expected)
        assert maker(y) == "pullback"
    del y
    gc.collect()
    assert shared.state.count >= 1


def test_the_handler_serves_arrays_of_any_size(shared: Pool) -> None:
    y = result()
    y[:] = 7
    del y
    old = set_handler(shared.capsule)
    try:
        zeros, none, small = np.zeros(COUNT), np.empty((0, 3)), np.arange(5.0)
    finally:
        set_handler(old)
    assert [maker(array) for array in (zeros, none, small)] == ["pullback"] * 3
    assert not np.any(zeros)
    count = shared.state.count
    del none, small  # which nobody would use again
    assert shared.state.count == count


def test_a_handler_that_the_user_has_set_is_used(shared: Pool) -> None:
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    name = b"mem_handler"
    own = ctypes.create_string_buffer(ctypes.string_at(pointer(get_handler(), name), 168), 168)
    own[:5] = b"mine\0"  # type: ignore[assignment]
    old = set_handler(new(ctypes.addressof(own), name, None))
    try:
        y = result()
        assert maker() == maker(y) == "mine"
        assert np.all(y == 3)
        del y
    finally:
        set_handler(old)
    assert maker(result()) == "pullback"


def test_no_memory_left(shared: Pool) -> None:
    y = result()
    del y
    code = engine.load("define i32 @run(ptr %buffers, ptr %arena, ptr %context) {\n  ret i32 0\n}")
    for count in (1 << 46, 1 << 59):
        g = make_entry(code.address, [], [Output("array", np.dtype(np.float64), (count,))], single=True, keep=code)
        with pytest.raises(MemoryError, match="Unable to allocate"):
            g()
    assert shared.state.count == 0  # freed in search of some
    assert maker() == "default_allocator"
    assert result()[0] == 3


def test_allocations_are_traced() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        y = result()
        during, _ = tracemalloc.get_traced_memory()
        del y
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert during - before >= LEAST
    assert after - before < LEAST // 2


def shuffled(seed: int, steps: int) -> None:
    """Keep some results and drop others, in any order, each marked as this call's."""
    rng = random.Random(seed)
    kept: list[tuple[float, Any]] = []
    for step in range(steps):
        y = result(COUNT * rng.choice([1, 1, 2]))
        assert y[0] == y[-1] == 3
        mark = seed + step / steps
        y[0] = y[-1] = mark
        kept.append((mark, y))
        while len(kept) > rng.randrange(1, 8):
            mark, y = kept.pop(rng.randrange(len(kept)))
            assert y[0] == y[-1] == mark


def test_threads(shared: Pool) -> None:
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            shuffled(seed, 100)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(10 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert 0 < shared.state.held < 70 * LEAST


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory in use is read from /proc")
def test_nothing_is_left_behind(shared: Pool) -> None:
    def resident() -> int:
        gc.collect()
        shared.trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    shuffled(0, 100)
    before = resident()
    for seed in range(5):
        shuffled(seed, 100)
    assert resident() - before < 2 * LEAST
    fresh = pb.jit(lambda x: 3 * x)
    y = fresh(np.ones(COUNT))
    del fresh
    gc.collect()
    assert np.all(y == 3)
    del y
    assert shared.state.count == 1


PROCESS = """
import builtins, ctypes, os, sys, threading, weakref
import numpy as np
import pullback as pb

f = pb.jit(lambda x: 2 * x + 1)
y = f(np.ones(1 << 18))
z = f(np.ones(1 << 18))
del z  # idle
child = os.fork()
if child == 0:
    for _ in range(5):
        assert np.all(f(np.ones(1 << 18)) == 3)
    y[:] = 5
    del y, f
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert np.all(y == 3)


class Cycle:
    def __init__(self):
        self.me, self.held = self, f(np.ones(1 << 18))

    def __del__(self):
        self.held = None


builtins.held, sys.held, np.held, weakref.finalize.held = (f(np.ones(1 << 18)) for _ in range(4))
sys.modules["cycle"] = builtins.cycle = Cycle()
threading.local().held = f(np.ones(1 << 18))
lost = f(np.ones(1 << 18))
ctypes.pythonapi.Py_IncRef(ctypes.py_object(lost))
print("end")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_forks_and_the_end_of_the_interpreter() -> None:
    command = [sys.executable, "-X", "dev", "-c", PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr
