"""Calls that exercise every entry of the NumPy table: name -> functions of NumPy's namespace and named operands.

An operand is named by what it is: see `OPERANDS`. Each function must give the same on arrays and on Tensors.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numpy_calls_more import MORE

_rng = np.random.default_rng(7)


def _spread(*shape: int) -> Any:
    """Distinct numbers in no pattern, away from multiples of a half."""
    size = int(np.prod(shape))
    return (_rng.permutation(size) - size // 2).reshape(shape) * 0.373 + 0.117 + 0.05 * _rng.random(shape)


_matrix = _rng.standard_normal((3, 3)) + 3 * np.eye(3)

OPERANDS: Mapping[str, Any] = {
    "x": _spread(2, 3),
    "y": _spread(2, 3) + 0.05,
    "row": _spread(3) + 0.07,
    "row2": _spread(3) - 0.04,
    "column": _spread(2, 1),
    "number": np.float64(0.7),
    "cube": _spread(2, 3, 4),
    "cube2": _spread(2, 4, 3),
    "positive": _rng.random((2, 3)) + 0.3,
    "positive2": _rng.random(3) + 0.3,
    "unit": _rng.random((2, 3)) * 1.8 - 0.9,
    "above": _rng.random((2, 3)) + 1.2,
    "square": _matrix,
    "squares": np.stack([_matrix, _matrix.T * 1.3]),
    "definite": _matrix @ _matrix.T,
    "tall": _spread(4, 3),
    "turning": np.array([[0.3, 2.0, 0.1], [-1.1, 0.4, 0.2], [0.5, -0.3, 1.9]]),
    "four": _rng.standard_normal(4),
    "wide": _spread(3, 4),
    "line": np.cumsum(_rng.random(6) + 0.1),
    "heights": _spread(6),
    "gaps": np.array([[0.3, np.nan, 0.7], [np.nan, -0.4, 1.1]]),
    "whole": np.array([[3, -7, 12], [5, 8, -2]]),
    "whole2": np.array([2, 3, 5]),
    "index": np.array([2, 0, 0, 1]),
    "flags": np.array([[True, False, True], [False, True, True]]),
    "flags2": np.array([True, True, False]),
    "holes": np.where(np.arange(24).reshape(2, 3, 4) % 5 == 2, np.nan, _spread(2, 3, 4)),
    "weights": _rng.random(4) + 0.3,
    "whole3": np.array([2, 1, 3, 1]),
    "waves": np.array([[1.0 + 2.0j, -0.5 + 0.3j], [0.2 - 1.1j, 2.0 + 0.0j]]),
}

Call = Callable[..., Any]


def _unary(operand: str, *names: str) -> dict[str, list[Call]]:
    """`np.name(operand)` for each name, also with where= and a float32 result."""

    def calls(name: str) -> list[Call]:
        made = [
            eval(f"lambda np, {operand}: np.{name}({operand})"),
            eval(f"lambda np, {operand}: np.{name}({operand}, where={operand} > 0.5, out=np.ones_like({operand}))"),
            eval(f"lambda np, {operand}: np.{name}({operand}, dtype=np.float32, casting='same_kind')"),
        ]
        return made

    return {name: calls(name) for name in names}


def _binary(a: str, b: str, *names: str) -> dict[str, list[Call]]:
    """`np.name(a, b)` for each name: broadcast, with a number on either side, of every pair."""

    def calls(name: str) -> list[Call]:
        return [
            eval(f"lambda np, {a}, {b}: np.{name}({a}, {b})"),
            eval(f"lambda np, {a}: np.{name}({a}, 2)"),
            eval(f"lambda np, {b}: np.{name}(2.5, {b})"),
            eval(f"lambda np, {a}, {b}: np.{name}.outer({a}, {b})"),
            eval(f"lambda np, {a}, {b}: np.{name}({a}, {b}, where={a} > 0.5, out=np.ones_like({a}))"),
        ]

    return {name: calls(name) for name in names}


def _plain(arguments: str, *names: str) -> dict[str, list[Call]]:
    """`np.name(*arguments)` for each name."""
    return {name: [eval(f"lambda np, {arguments}: np.{name}({arguments})")] for name in names}


def _reduction(operand: str, *names: str, **also: list[Call]) -> dict[str, list[Call]]:
    """`np.name(operand)` for each name over all axes, one, several, and with keepdims."""

    def calls(name: str) -> list[Call]:
        return [
            eval(f"lambda np, {operand}: np.{name}({operand})"),
            eval(f"lambda np, {operand}: np.{name}({operand}, axis=1)"),
            eval(f"lambda np, {operand}: np.{name}({operand}, axis=-1, keepdims=True)"),
            eval(f"lambda np, {operand}: np.{name}({operand}, axis=(0, 1))"),
            eval(f"lambda np, {operand}: np.{name}({operand}, 0)"),
        ]

    return {name: calls(name) + also.get(name, []) for name in names}


def _merged(*parts: dict[str, list[Call]]) -> dict[str, list[Call]]:
    merged: dict[str, list[Call]] = {}
    for part in parts:
        for name, calls in part.items():
            merged.setdefault(name, []).extend(calls)
    return merged


_UFUNCS = _merged(
    _unary("x", *"negative positive absolute fabs sign floor ceil trunc rint square cbrt reciprocal".split()),
    _unary("x", *"exp exp2 expm1 sin cos tan arctan sinh cosh tanh arcsinh".split()),
    _unary("x", *"conjugate deg2rad radians rad2deg degrees".split()),
    _unary("positive", *"sqrt log log2 log10 log1p".split()),
    _unary("unit", *"arcsin arccos arctanh".split()),
    _unary("above", "arccosh"),
    _binary("x", "row", *"add subtract multiply divide fmod remainder maximum minimum fmax fmin".split()),
    _binary("x", "row", *"arctan2 hypot logaddexp logaddexp2 copysign floor_divide".split()),
    _binary("positive", "positive2", *"power float_power".split()),
    _plain("x, row", *"heaviside equal not_equal less less_equal greater greater_equal".split()),
    _plain("flags, flags2", *"logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor".split()),
    _plain(
        "whole, whole2", *"bitwise_and bitwise_or bitwise_xor left_shift right_shift floor_divide remainder".split()
    ),
    _plain("whole", *"invert sqrt square negative absolute floor reciprocal sin".split()),
    _plain("x", *"isnan isinf isfinite signbit logical_not".split()),
    _plain("gaps", *"isnan isfinite".split()),
    _plain("waves", *"absolute conjugate exp square sign".split()),
    {
        "divmod": [lambda np, x, row: np.divmod(x, row), lambda np, whole: np.divmod(whole, 4)],
        "modf": [lambda np, x: np.modf(x)],
    },
    {"ldexp": [lambda np, x, whole2: np.ldexp(x, whole2), lambda np, x: np.ldexp(x, 3)]},
    {"power": [lambda np, x: np.power(x, 3), lambda np, x: x**2, lambda np, positive: 2.0**positive]},
    {"heaviside": [lambda np, x: np.heaviside(x, 0.5)]},
    {
        "add": [
            lambda np, x: np.add.reduce(x),
            lambda np, x: np.add.reduce(x, axis=None),
            lambda np, x: np.add.accumulate(x, axis=1),
            lambda np, x, row: x + row,
            lambda np, flags: flags + True,
            lambda np, flags: flags + 0.1,
            lambda np, whole: whole + 0.1,
        ],
        "multiply": [lambda np, x: np.multiply.reduce(x, axis=1), lambda np, x: np.multiply.accumulate(x)],
        "maximum": [lambda np, x: np.maximum.reduce(x, axis=1), lambda np, x: np.maximum.accumulate(x, axis=1)],
        "minimum": [lambda np, x: np.minimum.reduce(x, axis=1, keepdims=True), lambda np, x: np.minimum.accumulate(x)],
        "subtract": [lambda np, x: np.subtract.reduce(x, axis=1), lambda np, x: np.subtract.accumulate(x, axis=1)],
        "logaddexp": [
            lambda np, x: np.logaddexp.reduce(x, axis=1, keepdims=True),
            lambda np, x: np.logaddexp.accumulate(x, 1),
        ],
        "logical_and": [lambda np, flags: np.logical_and.reduce(flags, axis=1)],
        "logical_or": [lambda np, flags: np.logical_or.reduce(flags, axis=None)],
    },
)

_REDUCTIONS = _merged(
    _reduction("cube", *"sum prod mean max amax min amin ptp std var average median".split()),
    _reduction("flags", *"all any count_nonzero sum mean".split()),
    _reduction("gaps", *"nansum nanprod nanmean nanvar nanstd nanmax nanmin".split()),
    {
        "sum": [
            lambda np, x: np.sum(x, where=x > 0.2),
            lambda np, x, number: np.sum(x, axis=0, initial=number),
            lambda np, x: np.sum(x, dtype=np.float32),
            lambda np, whole: np.sum(whole, axis=0),
            lambda np, x: np.sum(x, axis=()),
            lambda np, row, row2: np.sum(np.stack([row, row2])),
        ],
        "prod": [lambda np, x: np.prod(x, axis=1, where=x > 0.2, initial=2.0)],
        "max": [lambda np, x: np.max(x, axis=1, initial=0.3), lambda np, x: np.max(x, where=x < 0.2, initial=-9.0)],
        "min": [lambda np, x: np.min(x, axis=1, initial=0.3)],
        "mean": [lambda np, x: np.mean(x, axis=0, where=x > -0.5), lambda np, whole: np.mean(whole)],
        "var": [
            lambda np, x: np.var(x, axis=1, ddof=1),
            lambda np, x: np.var(x, where=x > -0.5),
            lambda np, x: np.var(x, axis=1, mean=np.mean(x, axis=1, keepdims=True)),
            lambda np, x: np.var(x, correction=0.5),
            lambda np, waves: np.var(waves),
        ],
        "std": [lambda np, x: np.std(x, 1, ddof=1), lambda np, x: np.std(x, 1, keepdims=True, where=x > -0.8)],
        "average": [
            lambda np, x, positive: np.average(x, weights=positive),
            lambda np, x, positive2: np.average(x, axis=1, weights=positive2, returned=True),
            lambda np, x: np.average(x, axis=0, returned=True),
        ],
        "median": [lambda np, row: np.median(row)],
        "quantile": [lambda np, cube: np.quantile(cube, [0.2, 0.75], axis=1), lambda np, x: np.quantile(x, 0.3)],
        "percentile": [lambda np, cube: np.percentile(cube, 40, axis=(0, 2), keepdims=True)],
        "argmax": [
            lambda np, x: np.argmax(x),
            lambda np, x: np.argmax(x, axis=1),
            lambda np, x: np.argmax(x, 0, keepdims=True),
        ],
        "argmin": [lambda np, x: np.argmin(x), lambda np, x: np.argmin(x, keepdims=True)],
        "all": [lambda np, flags: np.all(flags, axis=1, where=[True, False, True])],
        "cumsum": [
            lambda np, x: np.cumsum(x),
            lambda np, x: np.cumsum(x, axis=0),
            lambda np, whole: np.cumsum(whole, 1),
        ],
        "cumprod": [lambda np, x: np.cumprod(x), lambda np, x: np.cumprod(x, axis=1)],
    },
)

_SHAPES: dict[str, list[Call]] = {
    "lib.stride_tricks.sliding_window_view": [
        lambda np, heights: np.lib.stride_tricks.sliding_window_view(heights, 3),
        lambda np, cube: np.lib.stride_tricks.sliding_window_view(cube, (2, 3), (2, 1)),
        lambda np, cube: np.lib.stride_tricks.sliding_window_view(cube, (2, 2), axis=(-1, -1)),
        lambda np, x: np.lib.stride_tricks.sliding_window_view(x, (1, 2)),
    ],
    "reshape": [
        lambda np, x: np.reshape(x, (3, -1)),
        lambda np, x: np.reshape(x, 6),
        lambda np, cube: np.reshape(cube, (4, 6), order="F"),
        lambda np, x: np.reshape(x, (3, 2), copy=True),
    ],
    "ravel": [lambda np, x: np.ravel(x), lambda np, x: np.ravel(x, order="F")],
    "transpose": [
        lambda np, cube: np.transpose(cube),
        lambda np, cube: np.transpose(cube, (1, 2, 0)),
        lambda np, x: x.T,
    ],
    "permute_dims": [lambda np, cube: np.permute_dims(cube, (1, 2, 0))],
    "matrix_transpose": [lambda np, cube: np.matrix_transpose(cube)],
    "linalg.matrix_transpose": [lambda np, cube: np.linalg.matrix_transpose(cube)],
    "swapaxes": [lambda np, cube: np.swapaxes(cube, 0, -1)],
    "moveaxis": [lambda np, cube: np.moveaxis(cube, 0, -1), lambda np, cube: np.moveaxis(cube, (0, 1), (2, 0))],
    "rollaxis": [lambda np, cube: np.rollaxis(cube, 2), lambda np, cube: np.rollaxis(cube, 0, 3)],
    "squeeze": [lambda np, column: np.squeeze(column), lambda np, column: np.squeeze(column, axis=1)],
    "expand_dims": [lambda np, x: np.expand_dims(x, 1), lambda np, x: np.expand_dims(x, (0, -1))],
    "atleast_1d": [lambda np, number: np.atleast_1d(number), lambda np, x, row: np.atleast_1d(x, row)],
    "atleast_2d": [lambda np, row: np.atleast_2d(row)],
    "atleast_3d": [
        lambda np, row: np.atleast_3d(row),
        lambda np, x: np.atleast_3d(x),
        lambda np, number: np.atleast_3d(number),
    ],
    "broadcast_to": [lambda np, row: np.broadcast_to(row, (2, 3)), lambda np, number: np.broadcast_to(number, 4)],
    "broadcast_arrays": [lambda np, column, row: np.broadcast_arrays(column, row)],
    "concatenate": [
        lambda np, x, y: np.concatenate([x, y]),
        lambda np, x, y: np.concatenate((x, y), axis=1),
        lambda np, x, row: np.concatenate((x, row), axis=None),
        lambda np, x, y: np.concatenate([x, y], dtype=np.float32),
    ],
    "concat": [lambda np, x, y: np.concat([x, y])],
    "stack": [lambda np, x, y: np.stack([x, y], axis=-1), lambda np, x: np.stack(x)],
    "hstack": [lambda np, x, column: np.hstack([x, column]), lambda np, row, row2: np.hstack((row, row2))],
    "vstack": [lambda np, x, row: np.vstack([x, row])],
    "dstack": [lambda np, x, y: np.dstack([x, y]), lambda np, row, row2: np.dstack([row, row2])],
    "column_stack": [lambda np, row, row2, wide: np.column_stack([row, row2, wide])],
    "append": [lambda np, x, row: np.append(x, row), lambda np, x, y: np.append(x, y, axis=0)],
    "split": [lambda np, cube: np.split(cube, 2, axis=2), lambda np, heights: np.split(heights, [1, 4])],
    "array_split": [lambda np, heights: np.array_split(heights, 4)],
    "hsplit": [lambda np, wide: np.hsplit(wide, 2), lambda np, heights: np.hsplit(heights, 3)],
    "vsplit": [lambda np, tall: np.vsplit(tall, [1])],
    "dsplit": [lambda np, cube: np.dsplit(cube, 2)],
    "unstack": [lambda np, cube: np.unstack(cube, axis=1)],
    "tile": [lambda np, x: np.tile(x, 2), lambda np, row: np.tile(row, (2, 2)), lambda np, cube: np.tile(cube, (2, 1))],
    "repeat": [
        lambda np, x: np.repeat(x, 2),
        lambda np, x: np.repeat(x, [1, 0, 2], axis=1),
    ],
    "flip": [lambda np, x: np.flip(x), lambda np, cube: np.flip(cube, (0, 2))],
    "fliplr": [lambda np, x: np.fliplr(x)],
    "flipud": [lambda np, x: np.flipud(x)],
    "rot90": [
        lambda np, x: np.rot90(x),
        lambda np, x: np.rot90(x, 2),
        lambda np, x: np.rot90(x, -1),
        lambda np, cube: np.rot90(cube, 1, (0, 2)),
        lambda np, x: np.rot90(x, 4),
    ],
    "roll": [
        lambda np, x: np.roll(x, 1),
        lambda np, x: np.roll(x, -1, axis=1),
        lambda np, x: np.roll(x, (1, 2), axis=(0, 1)),
        lambda np, x: np.roll(x, (1, 1), axis=(1, 1)),
    ],
    "pad": [
        lambda np, x: np.pad(x, 1),
        lambda np, x: np.pad(x, ((1, 0), (0, 2)), constant_values=1.5),
        lambda np, x: np.pad(x, ((1, 0), (2, 1)), mode="edge"),
        lambda np, x: np.pad(x, 1, "reflect"),
        lambda np, x: np.pad(x, (1, 2), "wrap"),
        lambda np, x: np.pad(x, 2, "symmetric"),
        lambda np, x: np.pad(x, {-1: (1, 2)}),
    ],
}

_SELECTING: dict[str, list[Call]] = {
    "where": [
        lambda np, x, y: np.where(x > 0, x, y),
        lambda np, x: np.where(x > 0, x, 0.0),
        lambda np, x: np.where(x > 0, 1, x),
        lambda np, flags, row: np.where(flags, row, 2 * row),
        lambda np, flags: np.where(flags),
    ],
    "select": [lambda np, x, y: np.select([x > 0.5, x < -0.5], [x, y], 7.0)],
    "clip": [
        lambda np, x: np.clip(x, -0.5, 0.6),
        lambda np, x: np.clip(x, None, 0.6),
        lambda np, x: np.clip(x, min=-0.2),
        lambda np, x, row: np.clip(x, row, row + 0.4),
        lambda np, whole: np.clip(whole, 0, 4),
        lambda np, x: x.clip(-0.5, 0.6),
    ],
    "nan_to_num": [lambda np, gaps: np.nan_to_num(gaps), lambda np, gaps: np.nan_to_num(gaps, nan=2.0)],
    "round": [lambda np, x: np.round(x), lambda np, x: np.round(x, 1), lambda np, whole: np.round(whole, 1)],
    "around": [lambda np, x: np.around(x, 2), lambda np, x: np.around(10 * x, -1)],
    "fix": [lambda np, x: np.fix(x)],
    "real": [lambda np, waves: np.real(waves), lambda np, x: np.real(x)],
    "imag": [lambda np, waves: np.imag(waves), lambda np, x: np.imag(x)],
    "angle": [lambda np, waves: np.angle(waves), lambda np, x: np.angle(x, deg=True)],
    "real_if_close": [lambda np, x: np.real_if_close(x), lambda np, waves: np.real_if_close(waves)],
    "sinc": [lambda np, x: np.sinc(x)],
    "unwrap": [lambda np, heights: np.unwrap(5 * heights)],
    "take": [
        lambda np, x: np.take(x, [4, 0, 0]),
        lambda np, x, index: np.take(x, index, axis=1),
        lambda np, x: np.take(x, [-4, 5], axis=1, mode="wrap"),
        lambda np, x: np.take(x, [-4, 5], axis=1, mode="clip"),
        lambda np, x: np.take(x, 1, axis=0),
    ],
    "take_along_axis": [
        lambda np, x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1),
        lambda np, x, index: np.take_along_axis(x, index, axis=None),
    ],
    "compress": [lambda np, x: np.compress([True, False, True], x, axis=1)],
    "extract": [lambda np, x, flags: np.extract(flags, x)],
    "delete": [lambda np, x: np.delete(x, 1, axis=1), lambda np, x: np.delete(x, [0, 3])],
    "choose": [lambda np, row, row2, whole2: np.choose(whole2 % 2, [row, row2])],
    "nonzero": [lambda np, flags: np.nonzero(flags)],
    "flatnonzero": [lambda np, flags: np.flatnonzero(flags)],
    "argwhere": [lambda np, flags: np.argwhere(flags)],
    "diagonal": [
        lambda np, wide: np.diagonal(wide),
        lambda np, wide: np.diagonal(wide, -1),
        lambda np, cube: np.diagonal(cube, 1, 0, 2),
    ],
    "linalg.diagonal": [lambda np, cube: np.linalg.diagonal(cube, offset=1)],
    "diag": [lambda np, row: np.diag(row), lambda np, row: np.diag(row, -2), lambda np, wide: np.diag(wide, 1)],
    "diagflat": [lambda np, x: np.diagflat(x, 1)],
    "tril": [lambda np, wide: np.tril(wide), lambda np, row: np.tril(row, -1)],
    "triu": [lambda np, cube: np.triu(cube, 1)],
    "sort": [
        lambda np, x: np.sort(x),
        lambda np, x: np.sort(x, axis=0),
        lambda np, x: np.sort(x, axis=None),
    ],
    "argsort": [
        lambda np, x: np.argsort(x),
        lambda np, x: np.argsort(x, axis=0),
        lambda np, x: np.argsort(x, axis=None),
    ],
    "searchsorted": [
        lambda np, line, row: np.searchsorted(line, row),
        lambda np, line, row: np.searchsorted(line, row, side="right"),
    ],
    "diff": [
        lambda np, x: np.diff(x),
        lambda np, x: np.diff(x, axis=0),
        lambda np, heights: np.diff(heights, 2),
        lambda np, x, number: np.diff(x, prepend=number, append=1.0),
        lambda np, flags: np.diff(flags),
    ],
    "ediff1d": [lambda np, x, row: np.ediff1d(x, to_end=row, to_begin=0.5)],
    "interp": [
        lambda np, row, line, heights: np.interp(row + 1.5, line, heights),
        lambda np, row, line, heights: np.interp(5 * row, line, heights, left=-1.0, right=9.0),
    ],
    "trapezoid": [
        lambda np, heights, line: np.trapezoid(heights, line),
        lambda np, cube: np.trapezoid(cube, dx=0.5, axis=1),
        lambda np, wide, row: np.trapezoid(wide, row, axis=0),
    ],
    "isclose": [lambda np, x, y: np.isclose(x, y, atol=0.06)],
    "allclose": [lambda np, x, y: np.allclose(x, y), lambda np, x: np.allclose(x, x + 1e-12)],
    "array_equal": [
        lambda np, x, y: np.array_equal(x, y),
        lambda np, x: np.array_equal(x, x),
        lambda np, x, row: np.array_equal(x, row),
        lambda np, gaps: np.array_equal(gaps, gaps, equal_nan=True),
    ],
    "array_equiv": [lambda np, x: np.array_equiv(x, np.stack([x, x])), lambda np, x, tall: np.array_equiv(x, tall)],
    "iscomplexobj": [lambda np, x: np.iscomplexobj(x), lambda np, waves: np.iscomplexobj(waves)],
    "isrealobj": [lambda np, x: np.isrealobj(x)],
}

_PRODUCTS: dict[str, list[Call]] = {
    "matmul": [
        lambda np, wide, tall: np.matmul(wide, tall),
        lambda np, wide, tall: wide @ tall,
        lambda np, row, wide: row @ wide,
        lambda np, tall, row: tall @ row,
        lambda np, row, row2: row @ row2,
        lambda np, cube, cube2: cube @ cube2,
        lambda np, cube, row: row @ cube,
        lambda np, square, cube: square @ cube,
    ],
    "linalg.matmul": [lambda np, wide, tall: np.linalg.matmul(wide, tall)],
    "dot": [
        lambda np, wide, tall: np.dot(wide, tall),
        lambda np, row, row2: np.dot(row, row2),
        lambda np, tall, row: np.dot(tall, row),
        lambda np, row, wide: np.dot(row, wide),
        lambda np, number, x: np.dot(number, x),
        lambda np, cube, cube2: np.dot(cube, cube2),
        lambda np, x: np.dot(x, 2.0),
        lambda np, cube, tall: np.dot(cube, tall),
        lambda np, row, cube: np.dot(row, cube),
        lambda np, tall, row: tall.dot(row),
    ],
    "inner": [lambda np, x, row: np.inner(x, row), lambda np, x, y: np.inner(x, y), lambda np, x: np.inner(x, 3.0)],
    "vdot": [lambda np, x, y: np.vdot(x, y), lambda np, waves: np.vdot(waves, 2 * waves)],
    "vecdot": [lambda np, x, y: np.vecdot(x, y), lambda np, x, y: np.vecdot(x, y, axis=0)],
    "linalg.vecdot": [lambda np, x, y: np.linalg.vecdot(x, y)],
    "matvec": [lambda np, cube2, row: np.matvec(cube2, row)],
    "vecmat": [lambda np, row, cube: np.vecmat(row, cube)],
    "outer": [lambda np, row, row2: np.outer(row, row2), lambda np, x, row: np.outer(x, row)],
    "linalg.outer": [lambda np, row, row2: np.linalg.outer(row, row2)],
    "tensordot": [
        lambda np, wide, tall: np.tensordot(wide, tall, 1),
        lambda np, cube, cube2: np.tensordot(cube, cube2, ((1, 2), (2, 1))),
        lambda np, row, row2: np.tensordot(row, row2, 0),
    ],
    "linalg.tensordot": [lambda np, x, y: np.linalg.tensordot(x, y, axes=2)],
    "kron": [lambda np, x, wide: np.kron(x, wide), lambda np, row, x: np.kron(row, x)],
    "cross": [lambda np, x, row: np.cross(x, row), lambda np, tall, wide: np.cross(tall, wide, axisb=0, axisc=0)],
    "linalg.cross": [lambda np, x, y: np.linalg.cross(x, y)],
    "trace": [lambda np, square: np.trace(square), lambda np, cube: np.trace(cube, 1, 2, 0)],
    "linalg.trace": [lambda np, cube: np.linalg.trace(cube, offset=-1)],
    "einsum": [
        lambda np, wide, tall: np.einsum("ij,jk", wide, tall),
        lambda np, cube, row: np.einsum("...jk,j->...k", cube, row),
        lambda np, square: np.einsum("ii->i", square),
        lambda np, x, y: np.einsum(x, [0, 1], y, [0, 1], [0]),
        lambda np, x, row, wide: np.einsum("ij,j,jk->ik", x, row, wide, optimize=True),
    ],
}

_LINALG: dict[str, list[Call]] = {
    "linalg.inv": [lambda np, square: np.linalg.inv(square), lambda np, squares: np.linalg.inv(squares)],
    "linalg.solve": [
        lambda np, square, row: np.linalg.solve(square, row),
        lambda np, squares, wide: np.linalg.solve(squares, wide),
    ],
    "linalg.det": [lambda np, square: np.linalg.det(square), lambda np, squares: np.linalg.det(squares)],
    "linalg.slogdet": [
        lambda np, squares: np.linalg.slogdet(squares),
        lambda np, square: np.linalg.slogdet(square).logabsdet,
    ],
    "linalg.cholesky": [
        lambda np, definite: np.linalg.cholesky(definite + definite.T),
        lambda np, square: np.linalg.cholesky(square @ square.T, upper=True),
    ],
    "linalg.matrix_power": [
        lambda np, square: np.linalg.matrix_power(square, 5),
        lambda np, square: np.linalg.matrix_power(square, -2),
        lambda np, square: np.linalg.matrix_power(square, 0),
    ],
    "linalg.multi_dot": [
        lambda np, x, wide, tall: np.linalg.multi_dot([x, wide, tall]),
        lambda np, row, wide, tall, row2: np.linalg.multi_dot([row, wide, tall, row2]),
    ],
    "linalg.norm": [
        *(
            eval(f"lambda np, row: np.linalg.norm(row, {ord})")
            for ord in ("None", "1", "2", "np.inf", "-np.inf", "3", "0.5", "0")
        ),
        *(
            eval(f"lambda np, x: np.linalg.norm(x, {ord})")
            for ord in ("None", "'fro'", "1", "-1", "np.inf", "-np.inf", "2", "-2", "'nuc'")
        ),
        lambda np, cube: np.linalg.norm(cube, 2, axis=(2, 0), keepdims=True),
        lambda np, cube: np.linalg.norm(cube, axis=1),
        lambda np, cube: np.linalg.norm(cube, axis=(0, 2), keepdims=True),
        lambda np, cube: np.linalg.norm(cube, 1, axis=(2, 0)),
        lambda np, cube: np.linalg.norm(cube),
        lambda np, waves: np.linalg.norm(waves),
    ],
    "linalg.vector_norm": [lambda np, cube: np.linalg.vector_norm(cube, axis=(0, 2), ord=3, keepdims=True)],
    "linalg.matrix_norm": [
        lambda np, cube: np.linalg.matrix_norm(cube),
        lambda np, x: np.linalg.matrix_norm(x, ord=1),
        lambda np, cube: np.linalg.matrix_norm(cube, ord="nuc", keepdims=True),
    ],
    "linalg.qr": [
        lambda np, squares: np.linalg.qr(squares),
        lambda np, tall: np.linalg.qr(tall).R,
        lambda np, wide: np.linalg.qr(wide, "complete"),
        lambda np, tall: np.linalg.qr(tall, "complete"),
        lambda np, tall: np.linalg.qr(tall, mode="r"),
    ],
    "linalg.svd": [
        lambda np, wide: np.linalg.svd(wide, full_matrices=False),
        lambda np, tall: np.linalg.svd(tall, False).S,
        lambda np, cube: np.linalg.svd(cube, compute_uv=False),
        lambda np, square: np.linalg.svd(square + square.T, compute_uv=False, hermitian=True),
    ],
    "linalg.svdvals": [lambda np, cube: np.linalg.svdvals(cube)],
    "linalg.eigh": [
        lambda np, square: np.linalg.eigh(square + square.T),
        lambda np, squares: np.linalg.eigh(squares @ np.linalg.matrix_transpose(squares), "U").eigenvalues,
    ],
    "linalg.eigvalsh": [lambda np, square: np.linalg.eigvalsh(square + square.T)],
    "linalg.eig": [
        lambda np, square: np.linalg.eig(square @ square.T),
        lambda np, turning: np.abs(np.linalg.eig(turning).eigenvectors),
        lambda np, turning: np.linalg.eig(turning).eigenvalues.imag,
    ],
    "linalg.eigvals": [
        lambda np, turning: np.abs(np.linalg.eigvals(turning)),
        lambda np, square: np.linalg.eigvals(square @ square.T),
    ],
    "linalg.pinv": [
        lambda np, wide: np.linalg.pinv(wide),
        lambda np, cube: np.linalg.pinv(cube, rtol=1e-9),
        lambda np, square: np.linalg.pinv(square + square.T, hermitian=True),
    ],
    "linalg.matrix_rank": [
        lambda np, cube: np.linalg.matrix_rank(cube),
        lambda np, row: np.linalg.matrix_rank(np.outer(row, row), tol=1e-9),
        lambda np, row: np.linalg.matrix_rank(row),
    ],
    "linalg.lstsq": [
        lambda np, tall, four: np.linalg.lstsq(tall, four),
        lambda np, wide, row: np.linalg.lstsq(wide, row, rcond=1e-9)[0],
        lambda np, tall: np.linalg.lstsq(tall, tall[:, :2] ** 2)[:2],
    ],
    "linalg.cond": [
        lambda np, square: np.linalg.cond(square),
        lambda np, cube: np.linalg.cond(cube, -2),
        *(eval(f"lambda np, squares: np.linalg.cond(squares, {p})") for p in ("'fro'", "1", "-np.inf")),
    ],
    "linalg.tensorinv": [lambda np, square: np.linalg.tensorinv(square.reshape(3, 3, 1), ind=1)],
    "linalg.tensorsolve": [
        lambda np, square, row: np.linalg.tensorsolve(square.reshape(3, 1, 3), row.reshape(3, 1)),
        lambda np, square, row: np.linalg.tensorsolve(square.reshape(1, 3, 3), row, axes=(0, 1)),
    ],
}

_CREATION: dict[str, list[Call]] = {
    "zeros": [lambda np, x: np.zeros(3, like=x) if np.__name__ == "numpy" else np.zeros(3)],
    "ones": [lambda np: np.ones((2, 3), np.float32)],
    "empty": [lambda np: np.empty((0, 3))],
    "full": [lambda np: np.full(3, 2.5), lambda np: np.full((2, 2), 3)],
    "arange": [lambda np: np.arange(5), lambda np: np.arange(0.0, 1.0, 0.25)],
    "linspace": [
        lambda np: np.linspace(0, 1, 5),
        lambda np, number, row: np.linspace(number, row, 5),
        lambda np, number: np.linspace(0, number, 4, endpoint=False, retstep=True),
        lambda np, row, row2: np.linspace(row, row2, 3, axis=1),
        lambda np, number: np.linspace(number, 2, 1),
    ],
    "logspace": [lambda np: np.logspace(0, 1, 5), lambda np, number: np.logspace(0, number, 5, base=2.0)],
    "geomspace": [lambda np: np.geomspace(1, 8, 4), lambda np, number: np.geomspace(1, number, 4)],
    "eye": [lambda np: np.eye(3, k=1)],
    "identity": [lambda np: np.identity(2)],
    "tri": [lambda np: np.tri(3)],
    "vander": [lambda np: np.vander([1.0, 2.0, 3.0]), lambda np, row: np.vander(row, 2, increasing=True)],
    "fromfunction": [lambda np: np.fromfunction(lambda i, j: i + j, (2, 3))],
    "hanning": [lambda np: np.hanning(5)],
    "hamming": [lambda np: np.hamming(5)],
    "bartlett": [lambda np: np.bartlett(5)],
    "blackman": [lambda np: np.blackman(5)],
    "array": [lambda np: np.array([[1, 2], [3, 4]]), lambda np: np.array([1.0, 2.0], np.float32, ndmin=2)],
    "asarray": [lambda np: np.asarray([1.0, 2.0])],
    "asanyarray": [lambda np: np.asanyarray((1, 2))],
    "ascontiguousarray": [lambda np: np.ascontiguousarray([1.0])],
    "asarray_chkfinite": [lambda np: np.asarray_chkfinite([1.0])],
    "copy": [lambda np, x: np.copy(x)],
    "astype": [
        lambda np, x: np.astype(x, np.float32),
        lambda np, x: np.astype(x, np.float64),
        lambda np, x: x.astype(np.int64),
    ],
    "zeros_like": [lambda np, x: np.zeros_like(x), lambda np, x: np.zeros_like(x, int, shape=(2,))],
    "ones_like": [lambda np, x: np.ones_like(x, dtype=np.float32)],
    "empty_like": [lambda np, x: np.empty_like(x).shape],
    "full_like": [lambda np, x: np.full_like(x, 2.5), lambda np, x, number: np.full_like(x, number)],
    "shape": [lambda np, x: np.shape(x)],
    "ndim": [lambda np, cube: np.ndim(cube)],
    "size": [lambda np, x: np.size(x), lambda np, x: np.size(x, 1)],
    "result_type": [lambda np, x: np.result_type(x, np.float32)],
    "can_cast": [lambda np: np.can_cast(np.float32, np.float64)],
    "meshgrid": [
        lambda np, row, heights: np.meshgrid(row, heights),
        lambda np, row, heights: np.meshgrid(row, heights, indexing="ij", sparse=True),
    ],
}

CALLS = _merged(_UFUNCS, _REDUCTIONS, _SHAPES, _SELECTING, _PRODUCTS, _LINALG, _CREATION, *MORE)
