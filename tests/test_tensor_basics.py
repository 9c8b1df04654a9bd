"""Dtypes, promotion, and conversions between tensors, Python and NumPy, as PyTorch's."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pullback as pb
from expressions import agree, evaluate, same

torch = pytest.importorskip("torch")


# Dtypes

ABOUT_DTYPES = """
t.finfo()
t.finfo(t.float32)
t.finfo(t.float64)
t.finfo(t.float16)
t.finfo(t.complex64)
t.finfo(t.float64).tiny
t.finfo(t.float32).eps
t.finfo(t.float32).max
t.finfo(t.float32).bits
t.finfo(t.int32)
t.iinfo(t.int32)
t.iinfo(t.uint8).max
t.iinfo(t.int64).min
t.iinfo(t.float32)
t.iinfo(t.bool)
t.result_type(t.ones(2), 1.0)
t.result_type(t.ones(2, dtype=t.int32), 1.0)
t.result_type(1, 1.0)
t.result_type(1, t.ones((), dtype=t.uint8))
t.is_tensor(3)
t.is_tensor(t.ones(2))
t.is_floating_point(t.ones(2))
t.is_floating_point(3)
t.is_complex(t.ones(2))
t.is_nonzero(t.tensor(3))
t.is_nonzero(t.ones(2))
t.numel(t.ones(2, 3))
t.typename(t.ones(2))
t.typename(3)
t.get_default_dtype()
t.set_default_dtype(t.int32)
t.float is t.float32 and t.double is t.float64 and t.half is t.float16 and t.long is t.int64
t.float32.is_floating_point
t.int64.is_complex
t.float64.itemsize
t.device('cpu')
t.device('cpu', 0)
t.device('cpu:0')
t.device('nowhere')
str(t.device('cpu'))
t.device('cpu') == t.device('cpu')
t.device('cpu') == 'cpu'
""".strip().splitlines()


@pytest.mark.parametrize("expression", ABOUT_DTYPES)
def test_about_dtypes(expression: str) -> None:
    same(expression)


NAMES = "bool uint8 int8 int16 int32 int64 float16 float32 float64 complex64 complex128".split()


@pytest.mark.parametrize("left", NAMES)
def test_promotion_table(left: str) -> None:
    for right in NAMES:
        ours, theirs = (lib.promote_types(getattr(lib, left), getattr(lib, right)) for lib in (pb, torch))
        assert repr(ours) == repr(theirs)
        ours, theirs = (lib.can_cast(getattr(lib, left), getattr(lib, right)) for lib in (pb, torch))
        assert ours == theirs


OPERATORS = "+ - * / // % ** == != < <= > >=".split()
SHAPES = [(2,), ()]
SCALARS = ["True", "2", "1.5", "(1+2j)"]


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize("left", NAMES)
def test_operator_dtypes(symbol: str, left: str) -> None:
    """Values and dtypes, or errors, of an operator for every pair of dtypes, with and without dimensions."""
    for right, a, b in itertools.product(NAMES, SHAPES, SHAPES):
        if _unsupported_by_pytorch(symbol, left, right):
            continue
        same(f"t.full({a}, 3, dtype=t.{left}) {symbol} t.full({b}, 2, dtype=t.{right})")
    for scalar, a in itertools.product(SCALARS, SHAPES):
        if _unsupported_by_pytorch(symbol, left, {"(1+2j)": "complex64"}.get(scalar, "bool")):
            continue
        same(f"t.full({a}, 3, dtype=t.{left}) {symbol} {scalar}")
        same(f"{scalar} {symbol} t.full({a}, 3, dtype=t.{left})")


def _unsupported_by_pytorch(symbol: str, *dtypes: str) -> bool:
    """complex32, which pullback has not, comes of float16 and complex numbers; and boolean powers make little sense."""
    if symbol == "**" and dtypes == ("bool", "bool"):
        return True
    return "float16" in dtypes and any(dtype.startswith("complex") for dtype in dtypes)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["uint8", "int8", "int16", "int32", "int64"]),
    st.sampled_from(["+", "-", "*", "//", "%", "==", "<", ">="]),
    st.lists(st.integers(-128, 255), min_size=1, max_size=4),
    st.integers(-1000, 1000),
)
def test_integers_wrap_around(dtype: str, symbol: str, values: list[int], number: int) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = [min(max(v, low), high) for v in values]
    if symbol in ("//", "%") and not low <= number <= high:
        return
    same(f"t.tensor({values}, dtype=t.{dtype}) {symbol} {number}")


# Conversion


def _tensors(lib: Any) -> dict[str, Any]:
    return {
        "x": lib.tensor([[1.0, -2.5, 3.0], [0.0, 4.25, 5.0]], requires_grad=True),
        "w": lib.tensor(2.5, requires_grad=True),
        "d": lib.tensor([1.0, 2.0]),
        "i": lib.tensor([3, 0, -1]),
        "s": lib.tensor(7),
        "z": lib.tensor([1 + 2j, -3j]),
        "b": lib.tensor([True, False]),
        "e": lib.zeros(0, 3),
    }


CONVERSION = """
x.to(t.float64)
x.to(t.float32) is x
x.to(t.float32, copy=True) is x
x.to('cpu') is x
x.to('cpu', t.float64)
x.to(device='cpu', dtype=t.int64)
x.to(i)
x.to()
x.to('nowhere')
x.type()
i.type()
z.type()
x.type(t.float64)
x.type('torch.DoubleTensor')
x.type('foo')
x.type_as(i)
x.float() is x
x.double()
x.half()
x.int()
x.long()
x.short()
x.char()
d.byte()
x.bool()
x.cfloat()
x.cdouble()
z.real
z.imag
z.conj()
x.real is x
x.imag
x.cpu() is x
x.device
x.is_cuda
x.clone()
i.clone()
x.item()
w.item()
e.item()
s.item()
t.ones(1, 1).item()
t.tensor(True).item()
z[0].item()
x.tolist()
i.tolist()
e.tolist()
s.tolist()
t.zeros(3, 0).tolist()
b.tolist()
t.tensor(0.1).tolist()
x.numpy()
d.numpy()
x.numpy(force=True)
np.asarray(x)
np.asarray(d)
np.array(d, dtype='i4')
np.asarray(i)
float(w)
int(w)
bool(w)
complex(w)
float(x)
int(t.tensor(2.7))
int(t.tensor(nan))
int(z[0])
float(z[0])
bool(x)
bool(e)
bool(s)
bool(t.tensor([0.0]))
[1, 2, 3][t.tensor(1)]
[1, 2, 3][t.tensor(1.0)]
[1, 2, 3][t.tensor([1])]
[1, 2, 3][d]
list(range(t.tensor(3)))
math.sqrt(t.tensor(4.0))
math.floor(t.tensor(2.5))
f'{w:.3f}'
f'{w}'
f'{w.detach():>10}'
f'{s:d}'
f'{d:.3f}'
f'{d}'
'%.2f' % t.tensor(2.5)
2.0 in d
5.0 in d
'a' in d
None in d
t.tensor(2.0) in d
x.size()
x.size(-1)
x.size(2)
x.dim()
x.ndim
x.ndimension()
x.numel()
x.nelement()
x.element_size()
x.nbytes
x.itemsize
x.stride()
x.stride(0)
x.t().stride()
x.is_contiguous()
x.t().is_contiguous()
x.t().contiguous().stride()
x.contiguous() is x
x[:, 1:].storage_offset()
x[1].storage_offset()
x.data_ptr() == x.detach().data_ptr()
x[1].data_ptr() - x.data_ptr()
x.is_floating_point()
z.is_complex()
len(x)
len(w)
[int(n) for n in x.__dlpack_device__()]
np.from_dlpack(d)
np.from_dlpack(x)
copy.deepcopy(x)
copy.deepcopy(x * 2)
copy.copy(x)
copy.copy(x * 2)
pickle.loads(pickle.dumps(x))
pickle.loads(pickle.dumps(x * 2))
pickle.loads(pickle.dumps(i))
x.is_leaf
(x * 2).is_leaf
x.requires_grad_(False)
i.requires_grad_()
""".strip().splitlines()


@pytest.mark.parametrize("expression", CONVERSION)
def test_conversion(expression: str) -> None:
    def scope(lib: Any) -> dict[str, Any]:
        return {"copy": copy, "pickle": pickle, **_tensors(lib)}

    ours, theirs = (
        evaluate(lib, expression, **{k: (lambda _, v=v: v) for k, v in scope(lib).items()}) for lib in (pb, torch)
    )
    agree(ours, theirs)


@pytest.mark.parametrize(
    "expression",
    [
        "x.numpy()",
        "np.asarray(x)",
        "x.item()",
        "bool(x)",
        "i.requires_grad_()",
        "copy.deepcopy(x * 2)",
        "'a' in d",
        "x.size(2)",
    ],
)
def test_error_texts(expression: str) -> None:
    texts = []
    for lib in (torch, pb):
        with pytest.raises(Exception) as caught:  # noqa: PT011 (the text is what is compared)
            eval(expression, {"t": lib, "np": np, "copy": copy, **_tensors(lib)})
        texts.append(str(caught.value))
    theirs, ours = texts
    assert ours.startswith(theirs.partition(".")[0].partition(",")[0])


def test_float_of_a_tracked_number_warns_as_pytorch() -> None:
    x = pb.tensor(2.0, requires_grad=True)
    for convert in (float, int, complex):
        with pytest.warns(UserWarning, match="Converting a tensor with requires_grad=True to a scalar"):
            assert convert(x) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert x.item() == float(x.detach()) == 2.0
        assert bool(x)


def test_numbers_inside_transforms_are_refused_with_advice() -> None:
    def branch(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    with pytest.raises(TypeError, match=r"batch under vmap.*pb\.where"):
        pb.vmap(branch)(np.ones((2, 3)))
    for convert in (float, int, lambda x: x.numpy(), lambda x: np.asarray(x.detach()).sum()):
        with pytest.raises((TypeError, RuntimeError)):
            pb.vmap(lambda x, convert=convert: x * convert(x))(np.ones(3))
    with pytest.raises(TypeError, match=r"would lose its gradient|tangent would be lost"):
        pb.jvp(lambda x: x * float(x), (2.0,), (1.0,))
    assert pb.jvp(lambda x: x * x.item(), (2.0,), (1.0,))[1] == 4.0  # in a NumPy program an element, with its tangent
    assert pb.jvp(branch, (np.array(2.0),), (np.array(1.0),))[1] == 1.0  # a comparison has numbers, and no tangent


def test_no_other_devices() -> None:
    x = pb.ones(2)
    for attempt in (
        x.cuda,
        lambda: x.to("cuda"),
        lambda: pb.zeros(2, device="cuda"),
        lambda: pb.ones_like(x, device="mps"),
    ):
        with pytest.raises(RuntimeError, match="pullback computes on the CPU"):
            attempt()


def test_copies() -> None:
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    x.grad = pb.tensor([3.0, 4.0])
    x.note = ["kept"]
    twin = copy.deepcopy(x)
    assert twin.grad.tolist() == [3.0, 4.0]
    assert twin.note == ["kept"]
    assert twin.note is not x.note
    shared = copy.copy(x)
    x.detach()[0] = 9.0
    assert shared.tolist() == [9.0, 2.0]
    assert twin.tolist() == [1.0, 2.0]
    a, b = copy.deepcopy([x, x])
    assert a is b

    class Special(pb.Tensor):
        pass

    assert type(copy.deepcopy(Special([1.0]))) is Special
    y = x * 2
    y.clone().sum().backward()
    assert x.grad.tolist() == [5.0, 6.0]
