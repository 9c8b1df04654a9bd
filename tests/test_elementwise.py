"""Elementwise functions and operators: values, dtypes, gradients and errors are PyTorch's."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from expressions import agree, close, evaluate, same

torch = pytest.importorskip("torch")


# Elementwise functions

FLOATS = [-2.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0]
SPECIAL = [-math.inf, math.inf, math.nan, -0.0]
UNARY = """abs absolute neg negative positive sign sgn square exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal
sin cos tan asin acos atan arcsin arccos arctan sinh cosh tanh asinh acosh atanh arcsinh arccosh arctanh sigmoid relu
floor ceil trunc fix round frac deg2rad rad2deg sinc angle nan_to_num isnan isinf isfinite isposinf isneginf isreal
signbit logical_not logit bitwise_not real conj""".split()
ROUNDING = {"logit": 8, "sinc": 8, "tan": 8}  # units in the last place, where it is not 4


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions(name: str) -> None:
    """Values and dtypes for every dtype, as a function and as a method; gradients, at kinks and special values too."""
    for dtype in ["bool", "uint8", "int32", "int64", "float32", "float64", "complex64"]:
        for data in ("[[1, 0], [3, 2]]", "1"):
            if name in ("signbit", "fix") and dtype == "bool":
                continue
            for form in (f"t.{name}(x)", f"x.{name}()"):
                if name in ("real", "conj", "angle") and form.startswith("x."):
                    continue
                same(form, x=lambda lib, d=data, k=dtype: lib.tensor(eval(d), dtype=getattr(lib, k)))
    same(
        f"t.{name}(x)", x=lambda lib: lib.tensor(SPECIAL[:3] if name == "angle" else SPECIAL)
    )  # NumPy: angle(-0.0) = π
    if name in ("isreal", "bitwise_not") or name.startswith(("is", "logical", "signbit")):
        return
    gradients = []
    for lib in (pb, torch):
        with np.errstate(all="ignore"):
            domain = [0.1, 0.3, 0.25, 0.0, 0.5, 0.75, 0.9, 1.0] if name == "logit" else FLOATS
            x = lib.tensor(domain, dtype=lib.float64, requires_grad=True)
            y = getattr(lib, name)(x)
            (y * lib.arange(1.0, 9.0, dtype=lib.float64)).sum().backward()
            gradients.append((y, x.grad))
    (y, g), (ty, tg) = gradients
    close(y, ty, ROUNDING.get(name, 4))
    np.testing.assert_allclose(g.numpy(), tg.resolve_neg().numpy(force=True), rtol=1e-12, atol=1e-12)


BINARY = """add sub subtract mul multiply div divide true_divide pow maximum minimum fmod remainder floor_divide atan2
arctan2 hypot copysign logaddexp logaddexp2 xlogy fmax fmin eq ne lt le gt ge logical_and logical_or logical_xor
float_power rsub heaviside bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift""".split()
INTEGERS = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"}
LENIENT = {"hypot", "logaddexp", "logaddexp2"}  # not there for integers in PyTorch


@pytest.mark.parametrize("name", BINARY)
def test_binary_functions(name: str) -> None:
    def operand(data: Any, dtype: str) -> Callable[[Any], Any]:
        return lambda lib: lib.tensor(data, dtype=getattr(lib, dtype))

    for left, right in itertools.product(["bool", "uint8", "int64", "float32", "float64"], repeat=2):
        if name in LENIENT and not (left.startswith("float") or right.startswith("float")):
            continue
        if name in ("fmod", "remainder", "floor_divide") and left == right == "bool":
            continue
        if name.endswith("shift") and "bool" in (left, right):
            continue
        data = ([[1, 3], [2, 5]], [2, 1])
        same(f"t.{name}(x, y)", x=operand(data[0], left), y=operand(data[1], right))
        same(f"x.{name}(y)", x=operand(data[0], left), y=operand(data[1], right))
        same(f"t.{name}(x, y)", x=operand(data[0], left), y=operand(2, right))
    if name in INTEGERS:
        return
    same(
        f"t.{name}(x, y)",
        x=operand([-math.inf, math.inf, math.nan, 0.0, -0.0, 1.0], "float32"),
        y=operand(SPECIAL[:1] * 6, "float32"),
    )
    if name in ("eq", "ne", "lt", "le", "gt", "ge", "heaviside", "floor_divide") or name.startswith("logical"):
        return
    found = []
    for lib in (pb, torch):
        x = lib.tensor([[0.5, 1.5, 2.5], [3.0, -1.25, 2.0]], dtype=lib.float64, requires_grad=True)
        y = lib.tensor([2.0, 1.5, -0.5], dtype=lib.float64, requires_grad=True)
        with np.errstate(all="ignore"):
            if name in ("pow", "float_power", "xlogy"):
                out = getattr(lib, name)(x.abs(), y.abs())
            else:
                out = getattr(lib, name)(x, y)
            (out * lib.arange(1.0, 7.0, dtype=lib.float64).reshape(2, 3)).sum().backward()
        found.append((out, x.grad, y.grad))
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=1e-12, atol=1e-13)


FUNCTIONS = """
t.add(x, y, alpha=2)
t.add(x, 1, alpha=0.5)
t.sub(x, y, alpha=-0.5)
t.rsub(x, 1)
t.rsub(x, 1, alpha=2)
t.add(i, i, alpha=0.5)
t.add(i, i, alpha=3)
t.add(i, 1, alpha=True)
t.add(2, x)
t.mul(2, x)
t.add(x, None)
t.mul(x, 'a')
t.add(x, [1.0, 2.0, 3.0])
t.maximum(x, t.ones(4))
x + t.ones(4)
x < t.ones(4)
t.div(x, y, rounding_mode='floor')
t.div(x, y, rounding_mode='trunc')
t.div(x, y, rounding_mode='x')
t.div(i, 2, rounding_mode='trunc')
t.div(i, -2, rounding_mode='floor')
t.div(i, t.tensor([2, -2, 3]), rounding_mode='trunc')
t.clamp(x, 0.5)
t.clamp(x, max=0.5)
t.clamp(x, 0.5, 1.0)
t.clamp(x, 1.0, 0.5)
t.clamp(x)
t.clamp(x, y)
t.clamp(x, y, y + 1)
t.clamp(x, max=y)
t.clamp(x, x)
t.clamp(x, nan)
t.clamp(i, min=0.5)
t.clamp(i, min=0, max=2)
t.clamp(i, t.tensor(0.5))
t.clip(x, 0, 1)
t.clamp_min(x, 0.5)
t.clamp_max(x, y)
t.where(x > 0.5, x, y)
t.where(x > 0.5, x, 0)
t.where(x > 0.5, 1, 0)
t.where(x > 0.5, 1.0, 0)
t.where(x > 0.5, x, t.zeros((), dtype=t.float64))
t.where(x > 0.5, x, t.zeros(1, dtype=t.float64))
t.where(x > 0.5, x.detach(), 2j)
t.where(x > 0.5)
t.where(x, x, y)
t.where(t.tensor([True, False, True]), x, y)
x.where(x > 0.5, y)
t.isclose(x, x + 1e-9)
t.isclose(x, x.double())
t.isclose(t.tensor([nan, inf, -inf]), t.tensor([nan, inf, inf]), equal_nan=True)
t.isclose(i, i + 1, rtol=0.5)
t.allclose(x, x + 1e-9)
t.allclose(x, x + 1e-3)
t.allclose(x, x + 1e-3, atol=1e-2)
t.allclose(x, x.double())
t.equal(x, x.clone())
t.equal(x, y)
t.equal(x, x[:, :2])
t.equal(x.detach(), x.double())
t.equal(x, 1)
t.lerp(x, y, 0.25)
t.lerp(x, y.expand(2, 3), x)
t.lerp(x, x.double(), 0.5)
t.lerp(i, i, 0.5)
t.addcmul(x, y, x, value=2)
t.addcmul(i, i, i)
t.addcdiv(x, x, y, value=-0.5)
t.addcdiv(i, i, i + 5)
t.round(x, decimals=1)
t.round(t.tensor([15.0, 25.0, -7.5]), decimals=-1)
t.round(i, decimals=1)
t.logit(x, eps=0.3)
t.nan_to_num(t.tensor([nan, inf, -inf]), nan=1.0, posinf=2.0, neginf=3.0)
t.heaviside(x, y)
t.heaviside(i, t.tensor([1.0]))
t.xlogy(0, i.abs())
t.float_power(2, i)
t.exp([1.0])
t.floor(t.tensor([True]))
t.tensor(3) // 0
t.tensor([3.0]) // 0
t.tensor(3) % t.tensor(0)
t.tensor([7]) // t.tensor([-2])
t.tensor([-7]) % 3
t.tensor([2]) ** -1
t.tensor([2.0]) ** -1
2 ** i.abs()
2 ** x
1 / x
1 - x
3 // x
3 % x
750 / x
+x
-i
~i
~t.tensor([True, False])
~x
x & x
i & 1
i | t.tensor([True, False, True])
i ^ 5
1 | i
i << 2
i >> 1
1 << i.abs()
x << 1
-t.tensor([True])
+t.tensor([True])
t.tensor([True]) - t.tensor([True])
1 - t.tensor([True])
x == None
x != None
x == 'a'
x == [1, 2]
None == x
x < None
x < 'a'
x * None
x + 'a'
x + [1, 2]
[1, 2] + x
None + x
x == i
t.tensor([16777217]) == t.tensor([16777216.0])
t.tensor([0.1]) == 0.1
t.tensor([0.1]) == t.tensor(0.1, dtype=t.float64)
t.tensor([0.1]) == t.tensor([0.1], dtype=t.float64)
z == z
z < z
x.detach() + np.float64(1)
np.float64(2) * x
i + np.float32(1)
i.int() + np.int64(1)
x + 1j
sum([x, x])
divmod(i, 2)
pow(i, 2, 5)
abs(x)
abs(z)
abs(t.tensor([True]))
""".strip().splitlines()


def _operands(lib: Any) -> dict[str, Any]:
    return {
        "x": lib.tensor([[0.25, 0.5, 0.75], [1.0, 1.5, 2.0]], requires_grad=True),
        "y": lib.tensor([0.5, 1.5, 0.75], requires_grad=True),
        "i": lib.tensor([3, -7, 4]),
        "z": lib.tensor([1 + 2j, -3j]),
    }


@pytest.mark.parametrize("expression", FUNCTIONS)
def test_functions(expression: str) -> None:
    """Values, dtypes, errors; and the gradients of both operands."""
    found = []
    for lib in (pb, torch):
        names = _operands(lib)
        result = evaluate(lib, expression, **{k: (lambda _, v=v: v) for k, v in names.items()})
        if getattr(result, "requires_grad", False) and str(result.dtype) == "torch.float32" and not result.is_leaf:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    (result * 3).sum().backward()
                except RuntimeError:
                    assert lib is torch  # no derivative there
                    for name in ("x", "y"):
                        names[name].grad = None
        found.append((result, names))
    (ours, mine), (theirs, others) = found
    agree(ours, theirs)
    for name in ("x", "y"):
        g, tg = mine[name].grad, others[name].grad
        if tg is not None:
            np.testing.assert_allclose(g.numpy(), tg.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("x + 1", "AddBackward0"),
        ("1 - x", "RsubBackward1"),
        ("x - 1", "SubBackward0"),
        ("2 * x", "MulBackward0"),
        ("x / 2", "DivBackward0"),
        ("1 / x", "MulBackward0"),
        ("x ** 2", "PowBackward0"),
        ("2 ** x", "PowBackward2"),
        ("-x", "NegBackward0"),
        ("x.square()", "PowBackward0"),
        ("x.exp()", "ExpBackward0"),
        ("x.log()", "LogBackward0"),
        ("x.sigmoid()", "SigmoidBackward0"),
        ("x.tanh()", "TanhBackward0"),
        ("x.relu()", "ReluBackward0"),
        ("x.abs()", "AbsBackward0"),
        ("x.sqrt()", "SqrtBackward0"),
        ("x.clamp(0, 1)", "ClampBackward1"),
        ("t.where(x > 0, x, 0)", "WhereBackward0"),
        ("x.double()", "ToCopyBackward0"),
        ("x.clone()", "CloneBackward0"),
        ("x % 2", "RemainderBackward0"),
        ("x.round()", "RoundBackward0"),
        ("x.expm1()", "Expm1Backward0"),
        ("x.reciprocal()", "ReciprocalBackward0"),
        ("t.maximum(x, x)", "MaximumBackward0"),
        ("t.atan2(x, x)", "Atan2Backward0"),
    ],
)
def test_names_of_nodes(expression: str, name: str) -> None:
    for lib in (torch, pb):
        y = eval(expression, {"t": lib, "x": lib.ones(2, requires_grad=True)})
        assert y.grad_fn.name() == name


def test_unlike_shapes_are_an_error_for_everyone() -> None:
    a, b = pb.ones(2), pb.ones(3)
    for attempt in (
        lambda: a + b,
        lambda: pb.maximum(a, b.double()),
        lambda: a < b,
        lambda: pb.where(a > 0, a, b),
        lambda: pb.vmap(lambda x: x + b)(np.ones((4, 2), np.float32)),
    ):
        with pytest.raises(RuntimeError, match=r"size of tensor a \(\d\) must match the size of tensor b \(\d\)"):
            attempt()
        with pytest.raises(ValueError, match="dimension"):  # NumPy's kind
            attempt()


def test_operators_leave_foreign_operands_their_say() -> None:
    class Other:
        def __radd__(self, x: Any) -> str:
            return "radd"

        def __rmatmul__(self, x: Any) -> str:
            return "rmatmul"

        def __eq__(self, x: object) -> Any:
            return "eq"

        def __gt__(self, x: object) -> Any:
            return "gt"

        __hash__ = None  # type: ignore[assignment]

    x = pb.ones(2)
    assert x + Other() == "radd"
    assert (x == Other()) == "eq"
    assert (x < Other()) == "gt"


def test_comparison_is_never_tracked() -> None:
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    assert not (x > 1).requires_grad
    assert not (x == x).requires_grad
    assert (x == x).dtype == pb.bool
    assert hash(x) != hash(x.clone())


def test_modes_give_the_same_numbers() -> None:
    x = pb.tensor([0.5, 1.5])
    for f in (lambda x: 2 * x, lambda x: x + x, lambda x: 1 - x, lambda x: x**2, lambda x: x / 3, lambda x: x > 1):
        recorded = f(x)
        with pb.no_grad():
            quiet = f(x)
        assert quiet.tolist() == recorded.tolist()
        assert quiet.dtype == recorded.dtype
