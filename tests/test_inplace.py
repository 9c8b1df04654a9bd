"""Writing in place: values, gradients, versions and errors, compared with PyTorch."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from expressions import same_program

torch = pytest.importorskip("torch")

Program = Callable[[Any], Any]


def error_of(lib: Any, program: Program) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (any: the type is compared by the callers)
        program(lib)
    return caught.value


# Methods and operators, on tensors that are not tracked

METHODS: list[tuple[str, Callable[[Any], tuple[Any, ...]]]] = [
    ("add_", lambda t: (t.tensor([1.0, -2.0, 0.5]),)),
    ("add_", lambda t: (2,)),
    ("add_", lambda t: (2.5,)),
    ("sub_", lambda t: (t.tensor([1.0, -2.0, 0.5]),)),
    ("sub_", lambda t: (t.tensor(2.0),)),
    ("mul_", lambda t: (t.tensor([1.0, -2.0, 0.5], dtype=t.float64),)),
    ("mul_", lambda t: (t.tensor([1, -2, 3]),)),
    ("mul_", lambda t: (True,)),
    ("div_", lambda t: (t.tensor([1.0, -2.0, 0.5]),)),
    ("div_", lambda t: (2,)),
    ("pow_", lambda t: (2,)),
    ("pow_", lambda t: (t.tensor([1.0, 2.0, 3.0]),)),
    ("floor_divide_", lambda t: (0.5,)),
    ("remainder_", lambda t: (0.4,)),
    ("fmod_", lambda t: (0.4,)),
    *[
        (name + "_", lambda t: ())
        for name in (
            "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh tanh "
            "sigmoid relu neg negative abs absolute floor ceil trunc round frac sign sgn square nan_to_num zero"
        ).split()
    ],
    ("clamp_", lambda t: (0.2, 0.6)),
    ("clamp_", lambda t: (None, 0.6)),
    ("clip_", lambda t: (0.5,)),
    ("clamp_min_", lambda t: (0.5,)),
    ("clamp_max_", lambda t: (0.5,)),
    ("fill_", lambda t: (3,)),
    ("fill_", lambda t: (t.tensor(2.5, dtype=t.float64),)),
    ("copy_", lambda t: (t.tensor([3, 4, 5]),)),
    ("copy_", lambda t: (t.tensor(7.0),)),
    ("masked_fill_", lambda t: (t.tensor([True, False, True]), -1.0)),
    ("masked_fill_", lambda t: (t.tensor([True, False, True]), t.tensor(2.0))),
    ("lerp_", lambda t: (t.tensor([1.0, -2.0, 0.5]), 0.25)),
    ("addcmul_", lambda t: (t.tensor([1.0, -2.0, 0.5]), t.tensor([2.0, 3.0, 4.0]))),
    ("addcdiv_", lambda t: (t.tensor([1.0, -2.0, 0.5]), t.tensor([2.0, 3.0, 4.0]))),
    ("eq_", lambda t: (0.25,)),
    ("lt_", lambda t: (0.5,)),
    ("ge_", lambda t: (0.5,)),
    ("logical_not_", lambda t: ()),
]


@pytest.mark.parametrize(("name", "arguments"), METHODS, ids=lambda x: x if isinstance(x, str) else "")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_methods(name: str, arguments: Any, dtype: str) -> None:
    def program(t: Any) -> Any:
        x = t.tensor([0.25, 0.5, 0.75]).to(getattr(t, dtype))
        alias = x[1:]
        before = x._version
        result = getattr(x, name)(*arguments(t))
        return x, alias, result is x, x._version > before

    with np.errstate(all="ignore"):
        same_program(program)


@pytest.mark.parametrize(("name", "arguments"), METHODS, ids=lambda x: x if isinstance(x, str) else "")
def test_methods_on_a_number(name: str, arguments: Any) -> None:
    def program(t: Any) -> Any:
        x = t.tensor(0.25)
        return getattr(x, name)(*arguments(t)), x

    with np.errstate(all="ignore"):
        same_program(program)


@pytest.mark.parametrize("symbol", ["+=", "-=", "*=", "/=", "**=", "//=", "%="])
@pytest.mark.parametrize("other", ["2", "1.5", "t.tensor(2.0)", "t.tensor([2.0, 3.0])", "x", "t.tensor([2, 3])"])
@pytest.mark.parametrize("own", ["[4.0, 6.0]", "[4, 6]", "5.0", "3"])
def test_operators(symbol: str, other: str, own: str) -> None:
    def program(t: Any) -> Any:
        names = {"t": t, "x": t.tensor(eval(own))}
        alias = names["x"]
        exec(f"x {symbol} {other}", names)
        return names["x"], names["x"] is alias

    same_program(program)


@pytest.mark.parametrize("symbol", ["&=", "|=", "^=", "<<=", ">>="])
@pytest.mark.parametrize("other", ["1", "True", "t.tensor([1, 3])", "1.0"])
@pytest.mark.parametrize("own", ["[4, 6]", "[True, False]", "[1.0, 2.0]"])
def test_bit_operators(symbol: str, other: str, own: str) -> None:
    def program(t: Any) -> Any:
        names = {"t": t, "x": t.tensor(eval(own))}
        exec(f"x {symbol} {other}", names)
        return names["x"]

    same_program(program)


DTYPES = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64", "complex64"]


@pytest.mark.parametrize("left", DTYPES)
@pytest.mark.parametrize("right", DTYPES)
def test_what_can_be_written_into_what(left: str, right: str) -> None:
    def program(t: Any) -> Any:
        x = t.ones(2, dtype=getattr(t, left))
        x += t.ones(2, dtype=getattr(t, right))
        y = t.ones(2, dtype=getattr(t, left))
        y.copy_(t.ones(2, dtype=getattr(t, right)))
        return x, y

    same_program(program)


def test_shared_memory_is_written() -> None:
    array = np.ones(3, np.float32)
    x = pb.from_numpy(array)
    x += 1
    x[0] = 5.0
    x.detach().mul_(2)
    x.data.sub_(1)
    assert array.tolist() == [9.0, 3.0, 3.0]
    number = pb.tensor(1.0)
    alias = number.detach()
    number.add_(2.0)
    assert alias.item() == 3.0


# Errors: of the same type, beginning with the same words

ERRORS: dict[str, tuple[str, Program]] = {
    "leaf": ("a leaf Variable that requires grad", lambda t: t.ones(2, requires_grad=True).add_(1)),
    "leaf_index": ("a view of a leaf Variable", lambda t: t.ones(2, requires_grad=True)[0].mul_(2)),
    "leaf_view": ("a view of a leaf Variable", lambda t: t.ones(2, requires_grad=True).view(2).zero_()),
    "float_into_int": (
        "result type Float can't be cast to the desired output type Long",
        lambda t: t.ones(2, dtype=t.int64).add_(1.5),
    ),
    "quotient_into_int": (
        "result type Float can't be cast to the desired output type Long",
        lambda t: t.ones(2, dtype=t.int64).div_(2),
    ),
    "int_into_bool": (
        "result type Long can't be cast to the desired output type Bool",
        lambda t: t.ones(2, dtype=t.bool).add_(1),
    ),
    "complex_into_float": (
        "result type ComplexFloat can't be cast to the desired output type Float",
        lambda t: t.ones(2).mul_(1j),
    ),
    "exp_of_int": (
        "result type Float can't be cast to the desired output type Long",
        lambda t: t.ones(2, dtype=t.int64).exp_(),
    ),
    "wider": ("output with shape [2] doesn't match the broadcast shape [2, 2]", lambda t: t.ones(2).add_(t.ones(2, 2))),
    "wider_number": (
        "output with shape [] doesn't match the broadcast shape [2]",
        lambda t: t.tensor(1.0).add_(t.ones(2)),
    ),
    "longer": (
        "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0",
        lambda t: t.ones(2).add_(t.ones(3)),
    ),
    "copy_longer": (
        "The size of tensor a (2) must match the size of tensor b (3)",
        lambda t: t.ones(2).copy_(t.ones(3)),
    ),
    "fill_vector": (
        "fill_ only supports 0-dimension value tensor but got tensor with 1 dimensions.",
        lambda t: t.ones(2).fill_(t.ones(2)),
    ),
    "fill_complex": ("value cannot be converted to type", lambda t: t.ones(2).fill_(1j)),
    "mask_of_ints": (
        "masked_fill_ only supports boolean masks",
        lambda t: t.ones(2).masked_fill_(t.tensor([1, 0]), 0.0),
    ),
    "int_alpha": (
        "For integral input tensors, argument alpha must not be a floating point number.",
        lambda t: t.ones(2, dtype=t.int64).add_(1, alpha=0.5),
    ),
    "expanded": (
        "unsupported operation: more than one element of the written-to tensor",
        lambda t: t.ones(2).expand(3, 2).mul_(2),
    ),
    "method_of_str": ("add_(): argument 'other' (position 1) must be Tensor, not str", lambda t: t.ones(2).add_("a")),
    "complex_abs": (
        "In-place abs is not supported for complex tensors.",
        lambda t: t.ones(2, dtype=t.complex64).abs_(),
    ),
    "uniform": ("uniform_ expects to return a [from, to) range", lambda t: t.ones(2).uniform_(2, 1)),
    "uniform_of_ints": (
        "\"check_uniform_bounds\" not implemented for 'Long'",
        lambda t: t.ones(2, dtype=t.int64).uniform_(),
    ),
    "normal": ("normal expects std >= 0.0, but found std -1", lambda t: t.ones(2).normal_(0, -1)),
    "random": ("random_ expects 'from' to be less than 'to'", lambda t: t.ones(2).random_(5, 3)),
    "bernoulli": ("bernoulli_ expects p to be in [0, 1]", lambda t: t.ones(2).bernoulli_(2)),
    "grad_shape": ("", lambda t: setattr(t.ones(2, requires_grad=True), "grad", t.ones(3))),
    "grad_type": ("assigned grad expected to be a Tensor or None but got", lambda t: setattr(t.ones(2), "grad", 3)),
    "data_type": ("", lambda t: setattr(t.ones(2), "data", 3)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    words, program = ERRORS[name]
    ours, theirs = error_of(pb, program), error_of(torch, program)
    assert isinstance(ours, type(theirs))
    assert str(theirs).startswith(words)
    assert str(ours).startswith(words)


@pytest.mark.parametrize("other", [None, "a", [1.0, 2.0], object()])
@pytest.mark.parametrize("symbol", ["+=", "-=", "*=", "/=", "**=", "//=", "%=", "&=", "|=", "^=", "<<=", ">>="])
def test_foreign_operands_of_operators(symbol: str, other: Any) -> None:
    with pytest.raises(TypeError, match=r"unsupported operand type|can only concatenate|can't multiply"):
        exec(f"x {symbol} other", {"x": pb.tensor([1.0, 2.0]), "other": other})


def test_a_failed_write_changes_nothing() -> None:
    x = pb.tensor([1.0, 2.0])
    for bad in (pb.ones(3), pb.ones(2, 2), 1j):
        with pytest.raises(RuntimeError):
            x += bad
    assert x.tolist() == [1.0, 2.0]
    assert x._version == 0


# Versions

STALE: dict[str, Program] = {
    "operand": lambda t: _stale(t, lambda x: x * x, lambda x, y: x.add_(1)),
    "result": lambda t: _stale(t, lambda x: x.exp(), lambda x, y: y.add_(1)),
    "result_sigmoid": lambda t: _stale(t, lambda x: x.sigmoid(), lambda x, y: y.sub_(1)),
    "through_view": lambda t: _stale(t, lambda x: x * x, lambda x, y: x[0].mul_(2)),
    "through_detached": lambda t: _stale(t, lambda x: x * x, lambda x, y: x.detach().zero_()),
    "view_saved_base_written": lambda t: _stale(t, lambda x: x[:1] * x[1:2], lambda x, y: x.zero_()),
    "by_setitem": lambda t: _stale(t, lambda x: x * x, lambda x, y: x.__setitem__(0, 1.0)),
    "written_in_place_then_again": lambda t: _stale(t, lambda x: (x * 1).exp_(), lambda x, y: y.add_(1)),
}
FRESH: dict[str, Program] = {
    "not_saved": lambda t: _stale(t, lambda x: x + x, lambda x, y: x.add_(1)),
    "constant_factor": lambda t: _stale(t, lambda x: x * 3, lambda x, y: x.add_(1)),
    "result_not_saved": lambda t: _stale(t, lambda x: x * x, lambda x, y: y.add_(1)),
    "by_data": lambda t: _stale(t, lambda x: x * 2, lambda x, y: x.data.zero_()),
}


def _stale(t: Any, compute: Any, write: Any) -> Any:
    x = t.tensor([1.0, 2.0, 3.0], requires_grad=True)
    middle = x * 1
    result = compute(middle)
    write(middle, result)
    result.sum().backward()
    return x.grad


@pytest.mark.parametrize("name", STALE)
def test_what_was_saved_and_then_written_is_an_error(name: str) -> None:
    words = "one of the variables needed for gradient computation has been modified by an inplace operation"
    for lib in (torch, pb):
        assert str(error_of(lib, STALE[name])).startswith(words)


@pytest.mark.parametrize("name", FRESH)
def test_what_was_not_saved_may_be_written(name: str) -> None:
    same_program(FRESH[name])


def test_the_error_names_the_op_and_the_line() -> None:
    x = pb.tensor([1.0], requires_grad=True)
    y = x * 1
    z = y * y  # the guilty line
    y += 1
    with pytest.raises(RuntimeError, match=r"MulBackward0.*version 0.*version 1.*z = y \* y"):
        z.sum().backward()


def test_data_shares_but_does_not_count() -> None:
    for t in (pb, torch):
        x = t.ones(2, requires_grad=True)
        x.data.add_(1)
        assert (x._version, x.tolist()) == (0, [2.0, 2.0])
        x.detach().add_(1)
        assert (x._version, x.tolist()) == (1, [3.0, 3.0])


def test_training_in_place_leaves_no_garbage() -> None:
    w = pb.tensor([1.0, 2.0], requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            y = w * 2
            v = y[1:]
            v.mul_(3)
            y.sum().backward()
            with pb.no_grad():
                w -= 0.1 * w.grad
            w.grad.zero_()
        del y, v
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_copies_are_apart() -> None:
    x = pb.tensor([1.0, 2.0], requires_grad=True)
    twin = copy.deepcopy(x)
    with pb.no_grad():
        twin += 1
    assert x.tolist() == [1.0, 2.0]
    assert twin.requires_grad


def test_triangles_and_diagonals_in_place_agree_with_torch() -> None:
    results = []
    for lib in (pb, torch):
        w = lib.arange(12.0).reshape(4, 3).requires_grad_()
        y = w * 1
        assert y.fill_diagonal_(9.0) is y
        y.tril_(1)
        kept = y.clone().triu_()
        (kept * kept).sum().backward()
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            w.tril_()
        results.append((y.tolist(), kept.tolist(), w.grad.tolist()))
    assert results[0] == results[1]
