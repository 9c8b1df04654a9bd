"""A NumPy `Builder`, and an interpreter of each kind of lowering: what native code made from one has to compute.

It is stricter than NumPy: operands have one dtype, booleans aren't added, and what is read lies inside the operand.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from op_checks import as_tuple
from pullback.ops.lowering import Element, Expansion, Fold, Product, Scalar, Scan, Scatter, View
from pullback.ops.table import Op
from pullback.values.shape import Spec, spec_of

ARRAY = (np.ndarray, np.generic)


class Value:
    """An element, for many places at once."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)
        self.dtype = self.array.dtype


def common(*xs: Any) -> list[Any]:
    """The arrays of Values of one dtype, and Python numbers as of that dtype."""
    dtypes = {x.dtype for x in xs if isinstance(x, Value)}
    assert len(dtypes) == 1, f"operands are {sorted(map(str, dtypes))}"
    (dtype,) = dtypes
    assert all(isinstance(x, Value | bool | int | float) for x in xs)
    return [x.array if isinstance(x, Value) else np.asarray(x, dtype) for x in xs]


def _operator(function: Callable[..., Any], kinds: str, reflected: bool = False) -> Any:
    def apply(*xs: Any) -> Value:
        arrays = common(*(reversed(xs) if reflected else xs))
        assert arrays[0].dtype.kind in kinds, f"{function.__name__} of {arrays[0].dtype}"
        return Value(function(*arrays))

    return apply


_OPERATORS = {"add": "iuf", "sub": "iuf", "mul": "iuf", "truediv": "f", "and": "biu", "or": "biu", "xor": "biu"}
for _name, _kinds in _OPERATORS.items():
    _function = getattr(operator, f"__{_name}__")
    setattr(Value, f"__{_name}__", _operator(_function, _kinds))
    setattr(Value, f"__r{_name}__", _operator(_function, _kinds, reflected=True))
for _name, _kinds in {
    "lt": "iuf", "le": "iuf", "gt": "iuf", "ge": "iuf", "neg": "iuf", "invert": "biu", "lshift": "iu", "rshift": "iu"
}.items():  # fmt: skip
    setattr(Value, f"__{_name}__", _operator(getattr(operator, f"__{_name}__"), _kinds))

_LIBRARY = {
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "erf": scipy.special.erf, "erfc": scipy.special.erfc, "pow": np.power,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip
for _name in "exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh cbrt hypot".split():
    _LIBRARY[_name] = getattr(np, _name)


def _quotient(x: Any, y: Any) -> Any:
    """Rounded towards zero, 0 by 0."""
    q = np.floor_divide(x, y)
    return np.where((q * y != x) & ((x < 0) ^ (y < 0)) & (y != 0), q + q.dtype.type(1), q)


class NumpyBuilder:
    def where(self, condition: Value, x: Any, y: Any) -> Value:
        assert condition.dtype == bool
        return Value(np.where(condition.array, *common(x, y)))

    def cast(self, x: Value, dtype: Any) -> Value:
        return Value(x.array.astype(dtype))

    def constant(self, number: Any, dtype: Any) -> Value:
        assert isinstance(number, bool | int | float)
        return Value(np.asarray(number, dtype))

    def equal(self, x: Any, y: Any) -> Value:
        return Value(np.equal(*common(x, y)))

    def call(self, name: str, *xs: Any) -> Value:
        assert all(isinstance(x, Value) and x.dtype.kind == "f" for x in xs)
        return Value(_LIBRARY[name](*common(*xs)))

    def divide(self, x: Any, y: Any) -> Value:
        arrays = common(x, y)
        assert arrays[0].dtype.kind in "iu"
        return Value(_quotient(*arrays))

    def remainder(self, x: Any, y: Any) -> Value:
        return Value(np.fmod(*common(x, y)))

    def index(self, i: Value, n: int) -> Value:
        places = i.array.astype(np.int64)
        if places.size and (places.min() < -n or places.max() >= n):
            raise IndexError(f"an index is out of bounds for an axis of length {n}")
        return Value(np.where(places < 0, places + n, places))


def _method(function: Callable[..., Any], kinds: str) -> Any:
    def apply(_self: NumpyBuilder, *xs: Any) -> Value:
        arrays = common(*xs)
        assert arrays[0].dtype.kind in kinds, f"{function.__name__} of {arrays[0].dtype}"
        return Value(function(*arrays))

    return apply


_KINDS = {
    "biuf": ("isnan", "signbit", "abs"),
    "iuf": ("maximum", "minimum"),
    "f": ("sqrt", "floor", "ceil", "trunc", "rint", "copysign"),
}
for _kinds, _names in _KINDS.items():
    for _name in _names:
        setattr(NumpyBuilder, _name, _method(getattr(np, _name), _kinds))
NumpyBuilder.fma = _method(lambda x, y, z: x * y + z, "f")

BUILDER = NumpyBuilder()


class Read:
    """An operand, to be read at indices inside it."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)
        self.shape = self.array.shape
        self.dtype = self.array.dtype

    def __call__(self, *index: Any) -> Value:
        return Value(self.array[_places(index, self.shape)])


def _places(index: Sequence[Any], shape: Sequence[int]) -> tuple[Any, ...]:
    assert len(index) == len(shape), f"{len(index)} indices into {shape}"
    found = []
    for i, n in zip(index, shape, strict=True):
        assert type(i) is int or i.dtype == np.int64, f"an index is {i!r}"
        place = np.asarray(i if type(i) is int else i.array)
        assert place.size == 0 or (place.min() >= 0 and place.max() < n), f"{place} is outside an axis of length {n}"
        found.append(place)
    return tuple(found)


def _grid(shape: Sequence[int]) -> tuple[Value, ...]:
    return tuple(Value(i) for i in np.indices(tuple(shape), sparse=True))


def _reads(args: Sequence[Any]) -> list[Any]:
    return [Read(x) if isinstance(x, ARRAY) else x for x in args]


def _scalar(lower: Scalar, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    shape = specs[0].shape
    values = [Value(np.broadcast_to(x, shape)) if isinstance(x, ARRAY) else x for x in args]
    return lower.rule(BUILDER, *values, **params)


def _view(lower: View, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    (x,) = args
    axes = lower.rule(x.shape, **params)
    if axes is None:
        return NotImplemented
    results = []
    for spec, shown in zip(specs, [axes] if len(specs) == 1 and not _nested(axes) else axes, strict=True):
        at = np.indices(spec.shape)
        index = [
            np.broadcast_to(start if axis is None else start + step * at[axis], spec.shape)
            for axis, step, start in shown
        ]
        results.append(Value(Read(x)(*map(Value, index)).array if index else np.broadcast_to(x, spec.shape)))
    return tuple(results)


def _nested(axes: Sequence[Any]) -> bool:
    return bool(axes) and isinstance(axes[0], list)


def _element(lower: Element, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    return lower.rule(BUILDER, _grid(specs[0].shape), *_reads(args), **params)


_UFUNCS = {
    "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "and": np.logical_and, "or": np.logical_or
}  # fmt: skip


def _fold(lower: Fold, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    value = Value(args[0])
    if lower.before is not None:
        value = lower.before(BUILDER, value)
    extra = {} if lower.kind in ("max", "min") else {"dtype": value.dtype}
    return Value(_UFUNCS[lower.kind].reduce(value.array, axis=params["axis"], keepdims=params["keepdims"], **extra))


def _scan(lower: Scan, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    axis, turned = params["axis"], params.get("reverse", False)
    x = np.flip(args[0], axis) if turned else args[0]
    y = _UFUNCS[lower.kind].accumulate(x, axis=axis, dtype=x.dtype)
    return Value(np.flip(y, axis) if turned else y)


def _scatter(lower: Scatter, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    updates = np.asarray(args[0 if lower.zeros else 1])
    index = lower.rule(BUILDER, _grid(updates.shape), *_reads(args), **params)
    if index is NotImplemented:
        return index
    (spec,) = specs
    y = np.zeros(spec.shape, spec.dtype) if lower.zeros else np.array(args[0])
    places = tuple(np.broadcast_to(i, updates.shape).reshape(-1) for i in _places(index, spec.shape))
    for n, update in enumerate(updates.reshape(-1)):
        place = tuple(i[n] for i in places)
        y[place] = y[place] + update if lower.add else update
    return Value(y)


def _product(lower: Product, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    found = lower.rule(*map(spec_of, args), **params)
    if found is None:
        return (
            NotImplemented if lower.otherwise is None else _expansion(Expansion(lower.otherwise), specs, args, params)
        )
    left, right, out = found
    assert len(set(left)) == len(left), "a label stands twice"
    assert len(set(right)) == len(right), "a label stands twice"
    number = {label: n for n, label in enumerate(dict.fromkeys((*left, *right)))}
    a, b, c = ([number[label] for label in labels] for labels in (left, right, out))
    return Value(np.einsum(args[0], a, args[1], b, c))


def _expansion(lower: Expansion, specs: list[Spec], args: Sequence[Any], params: dict[str, Any]) -> Any:
    result = lower.rule(*args, **params)
    if result is NotImplemented:
        return result
    return tuple(map(Value, result)) if isinstance(result, tuple) else Value(result)


_KINDS: dict[type, Callable[..., Any]] = {
    Scalar: _scalar, View: _view, Element: _element, Fold: _fold, Scan: _scan, Scatter: _scatter, Product: _product,
    Expansion: _expansion,
}  # fmt: skip


def run(op: Op, args: Sequence[Any], params: dict[str, Any]) -> Any:
    """The results of an op by its lowering, a tuple of arrays; `NotImplemented` where it does not cover them."""
    found = op.shape(*(spec_of(x) if isinstance(x, ARRAY) else x for x in args), **params)
    specs = found if isinstance(found, list) else [found]
    with np.errstate(all="ignore"):
        values = _KINDS[type(op.lower)](op.lower, specs, args, params)
        if values is NotImplemented:
            return values
        values = values if isinstance(values, tuple) else (values,)
        return tuple(np.broadcast_to(v.array.astype(s.dtype), s.shape) for v, s in zip(values, specs, strict=True))


# What tests compare


def is_real(x: Any) -> bool:
    return not isinstance(x, ARRAY) or x.dtype.kind != "c"


def as_dtype(x: Any, dtype: np.dtype[Any]) -> Any:
    """Floats in another dtype, spread over some integers; what is an index or a condition stays."""
    if not isinstance(x, ARRAY) or x.dtype.kind != "f":
        return x
    if dtype.kind == "f":
        return np.asarray(x, dtype)
    return np.nan_to_num(np.rint(np.asarray(x) * 3), posinf=7, neginf=-7).astype(np.int64).astype(dtype)


def evaluated(op: Op, args: Any, params: dict[str, Any]) -> Any:
    """The results of the NumPy evaluation; None where it refuses operands of this dtype."""
    found = op.shape(*(spec_of(x) if isinstance(x, ARRAY) else x for x in args), **params)
    specs = found if isinstance(found, list) else [found]
    try:
        with np.errstate(all="ignore"):
            results = as_tuple(op.evaluate(*args, **params))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    if any(y.dtype != s.dtype for y, s in zip(results, specs, strict=True)):
        return None  # operands of this dtype are cast before they come here
    return results


def assert_same(mine: Any, wanted: Any, what: str, zeros: bool = True) -> None:
    for y, z in zip(mine, wanted, strict=True):
        z = np.asarray(z)
        assert (y.shape, y.dtype) == (z.shape, z.dtype), what
        if z.dtype.kind != "f":
            np.testing.assert_array_equal(y, z, what)
            continue
        tol = 4e-15 if z.dtype.itemsize == 8 else 2e-6
        scale = np.max(np.abs(z[np.isfinite(z)]), initial=0)
        np.testing.assert_allclose(y, z, rtol=tol, atol=tol * min(scale, 10), err_msg=what)
        if zeros:
            null = (z == 0) & (y == 0)
            np.testing.assert_array_equal(np.signbit(y[null]), np.signbit(z[null]), f"{what}: the sign of 0")
