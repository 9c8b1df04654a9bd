"""A tensor's `repr` equals PyTorch's, character for character."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pullback as pb

torch = pytest.importorskip("torch")

FLOATS = [np.float16, np.float32, np.float64]
OTHERS = [np.int8, np.int32, np.int64, np.uint8, np.bool_, np.complex64, np.complex128]


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    yield
    pb.set_printoptions(profile="default")
    torch.set_printoptions(profile="default")


def same(array: Any) -> None:
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    assert repr(pb.from_numpy(array)) == repr(torch.from_numpy(array))


def arrays(dtype: Any, **elements: Any) -> Any:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    return hnp.arrays(dtype, shapes, elements=hnp.from_dtype(np.dtype(dtype), **elements))


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_arrays(dtype: Any, data: st.DataObject) -> None:
    same(data.draw(arrays(dtype)))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12),
    st.integers(-9, 9),
    st.integers(-2, 5),
    st.booleans(),
)
def test_scales(seed: int, shape: tuple[int, ...], scale: int, decimals: int, with_zeros: bool) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal(shape), decimals) * 10.0**scale
    x = np.where(rng.random(shape) < 0.3, 0.0, x) if with_zeros else x
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            same(np.asarray(x, dtype))
    same(np.asarray(x + 1j * x[::-1] if np.ndim(x) else x + 2j, np.complex64))


@pytest.mark.parametrize(
    "values",
    [
        0.0,
        -0.0,
        1.0,
        8.0,
        -1.5,
        1e9,
        1e-5,
        float("nan"),
        float("inf"),
        [1.0, float("inf")],
        [1.5, float("nan")],
        [0.0, float("nan"), -float("inf")],
        [1.0, 1001.0],
        [1.0, 1000.0],
        [0.5, 500.1],
        [1e-4, 1e-1],
        [9.99e-5, 1.0],
        [1e8, 2e8],
        [1.1e8, 2e8],
        [-1.0, 10.0, 100.0],
        [[], []],
        [1 + 2j, -1.5 - 0.25j],
        [complex(0.0, -0.0), complex(float("nan"), float("inf"))],
        [True, False],
        [[1, -20], [300, 4]],
    ],
)
def test_notation(values: Any) -> None:
    assert repr(pb.tensor(values)) == repr(torch.tensor(values))


@pytest.mark.parametrize(
    "shape", [(1001,), (1000,), (40, 40), (3, 700), (700, 3), (11, 12, 13), (2, 2, 300), (1200, 1)]
)
@pytest.mark.parametrize("kind", ["float", "int", "complex"])
def test_long_tensors_are_summarised(shape: tuple[int, ...], kind: str) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    same({"float": (x / 7).astype(np.float32), "int": x, "complex": (x / 7 - 3j * x).astype(np.complex64)}[kind])


@pytest.mark.parametrize("n", range(1, 60, 4))
def test_line_breaks(n: int) -> None:
    same(np.linspace(0, 1, n, dtype=np.float32))
    same(np.arange(2 * n).reshape(2, n) * 12345)
    same(np.linspace(0, 1, n) + 1j)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 8},
        {"threshold": 5},
        {"threshold": 5, "edgeitems": 1},
        {"threshold": 5, "edgeitems": 0},
        {"linewidth": 30},
        {"sci_mode": True},
        {"sci_mode": False},
        {"profile": "short"},
        {"profile": "full"},
    ],
)
def test_options(options: dict[str, Any]) -> None:
    for array in (
        np.linspace(-1, 1e5, 12).reshape(2, 6),
        np.arange(7.0),
        np.arange(1200.0),
        np.arange(24).reshape(2, 3, 4),
        np.array(3.14159265),
    ):
        pb.set_printoptions(**options)
        torch.set_printoptions(**options)
        same(array)
        pb.set_printoptions(profile="default")
        torch.set_printoptions(profile="default")
        same(array)


def test_options_for_a_block() -> None:
    before = pb.get_printoptions()

    def fail() -> None:
        with pb.printoptions(precision=1):
            assert repr(pb.tensor(0.25)) == "tensor(0.2)"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert pb.get_printoptions() == before


def test_dtype_is_shown_unless_implied() -> None:
    for name in ("float16", "float32", "float64", "int32", "int64", "uint8", "bool", "complex64", "complex128"):
        for shape in ((2,), (0,), (0, 3), ()):
            ours = pb.ones(shape, dtype=getattr(pb, name))
            assert repr(ours) == repr(torch.ones(shape, dtype=getattr(torch, name)))
    pb.set_default_dtype(pb.float64)
    torch.set_default_dtype(torch.float64)
    try:
        for name in ("float32", "float64", "complex64", "complex128"):
            assert repr(pb.ones(2, dtype=getattr(pb, name))) == repr(torch.ones(2, dtype=getattr(torch, name)))
    finally:
        pb.set_default_dtype(pb.float32)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("n", [1, 8, 9, 10, 11, 12, 13, 200])
def test_place_on_the_tape_is_shown(n: int) -> None:
    def show(lib: Any) -> list[str]:
        x = lib.arange(float(n), requires_grad=True)
        y = lib.arange(float(n), dtype=lib.float64, requires_grad=True)
        return [
            repr(t) for t in (x, y, x * x, y * y, -x, x.tanh(), x + 1, x.double(), x.detach(), x.clone(), x[0] * 2.0)
        ]

    assert show(pb) == show(torch)


def test_str_is_repr() -> None:
    x = pb.tensor([8.0, 15.0], requires_grad=True)
    assert str(x) == "tensor([ 8., 15.], requires_grad=True)" == f"{x}"
    assert repr(x * x) == "tensor([ 64., 225.], grad_fn=<MulBackward0>)"


def test_parameters_and_subclasses() -> None:
    class Weight(pb.Tensor):
        _is_parameter = True

    class Other(pb.Tensor):
        pass

    assert repr(Weight([1.0, 2.0]).requires_grad_()) == repr(torch.nn.Parameter(torch.tensor([1.0, 2.0])))
    assert repr(Other([1.0, 2.0])) == "Other([1., 2.])"


def test_inside_transforms() -> None:
    seen: list[str] = []

    def f(x: Any) -> Any:
        seen.append(repr(x))
        return x * 2.0

    pb.vmap(f)(np.ones((2, 3), np.float32))
    pb.jvp(f, (np.ones(2),), (np.zeros(2),))
    pb.grad(f)(1.0)
    assert seen[0].startswith("BatchedTensor(float32[3]")
    assert "[1., 1., 1.]" in seen[0]
    assert seen[1].startswith("DualTensor(float64[2]")
    assert "tangent=tensor([0., 0.])" in seen[1]
    assert seen[2].startswith("tensor(1., dtype=torch.float64, ")
