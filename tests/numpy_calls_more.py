"""More calls that exercise the NumPy table: statistics, polynomials, signals, transforms, sets, writing, folds."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy

import pullback as pb

Call = Callable[..., Any]


def _space(np: Any, *operands: Any) -> Any:
    """The namespace that serves these operands."""
    return np if all(isinstance(x, numpy.ndarray | numpy.generic) for x in operands) else pb.numpy


_METHODS = """
    inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen weibull linear
    median_unbiased normal_unbiased lower higher midpoint nearest
""".split()


def _quantiles(name: str, operand: str, scale: int) -> list[Call]:
    """`np.name` by every method, along some axes, and with weights."""
    levels = [0.0, 0.13 * scale, 0.5 * scale, 0.77 * scale, 1.0 * scale]
    made = [
        eval(f"lambda np, {operand}: np.{name}({operand}, {levels}, axis=-1, method={method!r})") for method in _METHODS
    ]
    level = 0.31 * scale
    return [
        *made,
        eval(f"lambda np, {operand}: np.{name}({operand}, {level})"),
        eval(f"lambda np, {operand}: np.{name}({operand}, {level}, axis=(0, -1), keepdims=True)"),
        eval(f"lambda np, {operand}: np.{name}({operand}, {level}, 0, method='inverted_cdf', weights=abs({operand}))"),
    ]


_STATISTICS: dict[str, list[Call]] = {
    "quantile": [*_quantiles("quantile", "cube", 1), lambda np, x, number: np.quantile(x, number, axis=1)],
    "nanquantile": _quantiles("nanquantile", "holes", 1),
    "percentile": [
        *_quantiles("percentile", "cube", 100),
        lambda np, x, number: np.percentile(x, 100 * number, method="weibull"),
    ],
    "nanpercentile": _quantiles("nanpercentile", "holes", 100),
    "median": [lambda np, whole: np.median(whole), lambda np, gaps: np.median(np.nan_to_num(gaps), axis=0)],
    "nanmedian": [
        lambda np, gaps: np.nanmedian(gaps),
        lambda np, holes: np.nanmedian(holes, axis=-1, keepdims=True),
        lambda np, holes: np.nanmedian(holes, axis=(0, 2)),
        lambda np, x: np.nanmedian(x, axis=0),
    ],
    "cov": [
        lambda np, wide: np.cov(wide),
        lambda np, tall: np.cov(tall, rowvar=False, bias=True),
        lambda np, row, row2: np.cov(row, row2, ddof=0),
        lambda np, wide, whole3, weights: np.cov(wide, fweights=whole3, aweights=weights),
        lambda np, waves: np.cov(waves),
    ],
    "corrcoef": [
        lambda np, wide: np.corrcoef(wide),
        lambda np, row, row2: np.corrcoef(row, row2),
        lambda np, row: np.corrcoef(row),
    ],
    "bincount": [
        lambda np, index: np.bincount(index, minlength=5),
        lambda np, index, weights: np.bincount(index, weights),
    ],
    "digitize": [
        lambda np, x: np.digitize(x, [-0.5, 0.0, 0.7]),
        lambda np, whole: np.digitize(whole, [8, 5, 3, -2], right=True),
        lambda np, whole: np.digitize(whole, [8, 5, 5, -2]),
    ],
    "histogram": [
        lambda np, x: np.histogram(x, 4),
        lambda np, x: np.histogram(x, bins=[-2.0, -0.6, 0.1, 1.0], density=True),
        lambda np, x, positive: np.histogram(x, 3, range=(-1.0, 1.0), weights=positive),
        lambda np, cube: np.histogram(cube, 5, density=True),
        lambda np, whole: np.histogram(whole, 3),
    ],
    "histogram_bin_edges": [lambda np, x: np.histogram_bin_edges(x, 3), lambda np, x: np.histogram_bin_edges(x, "fd")],
    "histogram2d": [
        lambda np, x, y: np.histogram2d(x.ravel(), y.ravel(), 3),
        lambda np, x, y, positive: np.histogram2d(
            x.ravel(), y.ravel(), [2, [-2.0, 0.0, 2.0]], density=True, weights=positive.ravel()
        ),
    ],
    "histogramdd": [
        lambda np, tall: np.histogramdd(tall, bins=2, density=True)[0],
        lambda np, tall, weights: np.histogramdd(tall, (2, 3, 2), [(-3, 3)] * 3, weights=weights)[0],
    ],
}

_POLYNOMIALS: dict[str, list[Call]] = {
    "poly": [
        lambda np, row: np.poly(row),
        lambda np, square: np.poly(square),
        lambda np, number: np.poly([number, 2.0]),
        lambda np, waves: np.poly(waves[0]),
    ],
    "polyval": [lambda np, row, x: np.polyval(row, x), lambda np, row: np.polyval(row, 2.0)],
    "polyder": [lambda np, heights: np.polyder(heights), lambda np, heights: np.polyder(heights, 2)],
    "polyint": [
        lambda np, row: np.polyint(row),
        lambda np, row, row2: np.polyint(row, 2, k=row2[:2]),
        lambda np, row: np.polyint(row, 2, k=1.5),
    ],
    "polyadd": [lambda np, row, heights: np.polyadd(row, heights)],
    "polysub": [lambda np, row, heights: np.polysub(row, heights)],
    "polymul": [lambda np, row, heights: np.polymul(row, heights)],
    "polydiv": [
        lambda np, row, heights: np.polydiv(heights, row)[0],
        lambda np, row, heights: np.polydiv(row, heights),
    ],
    "roots": [lambda np, row: np.roots(row).real, lambda np, row: np.roots(np.append(row, 0.0)).imag],
    "polyfit": [
        lambda np, line, heights: np.polyfit(line, heights, 2),
        lambda np, line, heights: np.polyfit(line, heights, 1, w=line, cov=True),
        lambda np, line, heights: np.polyfit(line, np.stack([heights, line**2], 1), 2, cov="unscaled"),
    ],
}

_SIGNALS: dict[str, list[Call]] = {
    "convolve": [
        *(eval(f"lambda np, row, heights: np.convolve(row, heights, {m!r})") for m in ("full", "same", "valid")),
        lambda np, whole2: np.convolve(whole2, whole2),
        lambda np, waves: np.convolve(waves[0], waves[1]),
    ],
    "correlate": [
        *(eval(f"lambda np, row, heights: np.correlate(row, heights, {m!r})") for m in ("full", "same", "valid")),
        *(eval(f"lambda np, line, weights: np.correlate(line, weights, {m!r})") for m in ("full", "same", "valid")),
        lambda np, waves: np.correlate(waves[0], waves[1]),
    ],
    "gradient": [
        lambda np, heights: np.gradient(heights),
        lambda np, heights, line: np.gradient(heights, line),
        lambda np, heights, line: np.gradient(heights, line, edge_order=2),
        lambda np, cube, row: np.gradient(cube, 0.5, row, axis=(2, 1)),
        lambda np, tall, number: np.gradient(tall, number, edge_order=2),
        lambda np, x: np.gradient(x, axis=0),
    ],
    "interp": [
        lambda np, row, line, heights: np.interp(row, line, heights, period=1.3),
        lambda np, row, line, heights, number: np.interp(3 * row, line, heights, left=number, right=2 * number),
    ],
    "unwrap": [
        lambda np, cube: np.unwrap(9 * cube, axis=1),
        lambda np, heights: np.unwrap(5 * heights, discont=4.0),
        lambda np, heights: np.unwrap(9 * heights, period=3.0),
        lambda np, whole: np.unwrap(whole, period=8),
    ],
    "i0": [lambda np, x: np.i0(x), lambda np, whole2: np.i0(whole2)],
    "kaiser": [lambda np: np.kaiser(5, 8.0), lambda np, number: _space(np, number).kaiser(6, 5 * number)],
}

_SETS: dict[str, list[Call]] = {
    "unique": [
        lambda np, whole: np.unique(whole),
        lambda np, x: np.unique(np.round(x), True, True, True),
        lambda np, x: np.unique(x, axis=1),
    ],
    "unique_values": [lambda np, x: np.sort(np.unique_values(np.append(x, x[0])))],
    "unique_counts": [lambda np, whole: np.unique_counts(whole % 3)],
    "unique_inverse": [lambda np, whole: np.unique_inverse(whole % 3)],
    "unique_all": [lambda np, x: np.unique_all(x)],
    "intersect1d": [
        lambda np, x: np.intersect1d(x[0], x),
        lambda np, whole, whole2: np.intersect1d(whole, whole2, return_indices=True),
    ],
    "union1d": [lambda np, x, row: np.union1d(x, row)],
    "setdiff1d": [lambda np, x: np.setdiff1d(x, x[1]), lambda np, whole, whole2: np.setdiff1d(whole, whole2)],
    "setxor1d": [lambda np, x, row: np.setxor1d(x[0], np.append(row, x[0, 1]))],
    "isin": [lambda np, whole: np.isin(whole, [5, 8]), lambda np, x: np.isin(x, x[1], invert=True)],
    "trim_zeros": [
        lambda np, row: np.trim_zeros(np.concatenate([[0.0], row, [0.0, 0.0]])),
        lambda np, row: np.trim_zeros(np.append(row, 0.0), "f"),
    ],
}


def _written(write: Callable[..., None]) -> Call:
    """A call that writes into a copy of its first operand and gives it back."""
    names = list(inspect.signature(write).parameters)[1:]

    def call(np: Any, *operands: Any) -> Any:
        copy = operands[0].copy()
        assert write(np, copy, *operands[1:]) is None
        return copy

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("np", *names)]
    )
    return call


def _fill_frame(line: Any, widths: Any, axis: Any, options: Any) -> None:
    line[: widths[0]] = 2 * line[widths[0]]
    line[len(line) - widths[1] :] = options["value"]


_WRITING: dict[str, list[Call]] = {
    "put": [
        _written(lambda np, x, row: np.put(x, [0, 4, -1, 1], row)),
        _written(lambda np, x: np.put(x, [2, 90], 7.0, mode="clip")),
    ],
    "place": [_written(lambda np, x, row2, flags: np.place(x, flags, row2))],
    "putmask": [_written(lambda np, x, row: np.putmask(x, x > 0, row))],
    "copyto": [
        _written(lambda np, x, row: np.copyto(x, row, where=x > 0)),
        _written(lambda np, x, y: np.copyto(x, y)),
    ],
    "put_along_axis": [
        _written(lambda np, x, y: np.put_along_axis(x, np.argsort(y, axis=1)[:, :2], y[:, :2], axis=1)),
        _written(lambda np, x, number: np.put_along_axis(x, np.argmax(x, 1, keepdims=True), number, 1)),
        _written(lambda np, x, number, index: np.put_along_axis(x, index, number, axis=None)),
    ],
    "fill_diagonal": [
        _written(lambda np, square, row: np.fill_diagonal(square, row)),
        _written(lambda np, tall, number: np.fill_diagonal(tall, number, wrap=True)),
        _written(lambda np, wide: np.fill_diagonal(wide, 0.5)),
    ],
    "insert": [
        lambda np, x, column: np.insert(x, 1, column[:, 0], axis=1),
        lambda np, x, column: np.insert(x, [1, 3], column, axis=1),
        lambda np, x, row: np.insert(x, [0, 2, 2], row),
        lambda np, row: np.insert(row, 1, [7.0, 8.0]),
        lambda np, x: np.insert(x, slice(0, 2), 9.0, axis=1),
    ],
    "delete": [lambda np, x: np.delete(x, slice(0, 2), axis=1)],
    "resize": [lambda np, x: np.resize(x, (3, 5)), lambda np, x: np.resize(x, 4)],
    "block": [
        lambda np, x, column, row, number: np.block([[x, column], [row, number]]),
        lambda np, row, number: np.block([row, number]),
    ],
    "pad": [
        *(eval(f"lambda np, x: np.pad(x, ((1, 0), (2, 5)), {mode!r})") for mode in ("mean", "maximum", "minimum")),
        lambda np, wide: np.pad(wide, 2, "median", stat_length=3),
        lambda np, wide: np.pad(wide, 1, "mean", stat_length=2),
        lambda np, x, column: np.pad(x, 2, "linear_ramp", end_values=column),
        lambda np, x, number: np.pad(x, ((1, 2), (0, 1)), constant_values=number),
        lambda np, x, row: np.pad(x, 1, constant_values=((row[0], 2.0), (row[1], row[2]))),
        lambda np, x: np.pad(x, 4, "reflect", reflect_type="odd"),
        lambda np, x: np.pad(x, (2, 3), "symmetric", reflect_type="odd"),
        lambda np, x: np.pad(x, ((1, 2), (2, 1)), _fill_frame, value=3.0),
        lambda np, whole: np.pad(whole, 2, "linear_ramp", end_values=5),
        lambda np, whole: np.pad(whole, 1, "mean"),
        lambda np, x: np.pad(x, 1, "empty")[1:-1, 1:-1],
    ],
}

_CALLING: dict[str, list[Call]] = {
    "apply_along_axis": [
        lambda np, cube: np.apply_along_axis(np.cumsum, 1, cube),
        lambda np, cube: np.apply_along_axis(lambda line: (line * line).sum(), 2, cube),
        lambda np, x: np.apply_along_axis(np.diag, 1, x),
    ],
    "apply_over_axes": [
        lambda np, cube: np.apply_over_axes(np.sum, cube, [0, 2]),
        lambda np, cube: np.apply_over_axes(np.max, cube, 1),
    ],
    "piecewise": [
        lambda np, x: np.piecewise(x, [x < 0, x >= 0], [lambda v: -v, np.sqrt]),
        lambda np, x: np.piecewise(x, [x < -0.5, x > 0.5], [-1.0, np.exp, np.sin]),
        lambda np, x: np.piecewise(x, [x < 0, x > 0.5], [lambda v, k: k * v**2, lambda v, k: k - v], 3.0),
        lambda np, row: np.piecewise(row, row > 0, [np.cos, 2.0]),
    ],
    "vectorize": [
        lambda np, x, row: _space(np, x).vectorize(lambda a, b: a * b if a > 0 else b - a)(x, row),
        lambda np, x, row: _space(np, x).vectorize(lambda a, b: (a @ b, a + b), signature="(n),(n)->(),(n)")(x, row),
    ],
    "ndenumerate": [
        lambda np, x: sum(v * v * sum(place) for place, v in _space(np, x).ndenumerate(x)),
    ],
    "nditer": [
        lambda np, x: sum(v * v for v in _space(np, x).nditer(x)),
    ],
    "fromiter": [lambda np, row: _space(np, row).fromiter([v * v for v in row], np.float64)],
    "array2string": [lambda np, x: np.array2string(x, precision=2)],
    "array_repr": [lambda np, row: np.array_repr(row)],
    "array_str": [lambda np, row: np.array_str(row)],
    "common_type": [lambda np, x: np.common_type(x)],
    "einsum_path": [lambda np, wide, tall: np.einsum_path("ij,jk", wide, tall)],
    "may_share_memory": [lambda np, x: np.may_share_memory(x, x[0])],
    "min_scalar_type": [lambda np, x: np.min_scalar_type(x)],
    "shares_memory": [lambda np, x, y: np.shares_memory(x, y)],
    "asfortranarray": [lambda np, x: _space(np, x).asfortranarray(x)],
    "require": [lambda np, x: _space(np, x).require(x, np.float32)],
    "ix_": [lambda np, index, whole2: np.ix_(index, whole2), lambda np, flags2: np.ix_(flags2)],
    "unravel_index": [lambda np, index: np.unravel_index(index, (3, 2))],
    "ravel_multi_index": [lambda np, index: np.ravel_multi_index((index, index), (3, 4))],
    "lexsort": [lambda np, row, row2: np.lexsort((row, row2))],
    "diag_indices_from": [lambda np, square: np.diag_indices_from(square)],
    "tril_indices_from": [lambda np, wide: np.tril_indices_from(wide, 1)],
    "triu_indices_from": [lambda np, wide: np.triu_indices_from(wide)],
}

_ORDER: dict[str, list[Call]] = {
    "partition": [
        lambda np, cube: np.partition(cube, 2)[..., 2],
        lambda np, cube: np.sort(np.partition(cube, (1, -1), axis=0), axis=0),
        lambda np, x: np.partition(x, 3, axis=None)[3],
    ],
    "argpartition": [lambda np, cube: np.argpartition(cube, 1, axis=1)[:, 1]],
    "sort_complex": [lambda np, waves: np.sort_complex(waves), lambda np, whole2: np.sort_complex(whole2)],
    "isreal": [lambda np, waves: np.isreal(waves), lambda np, x: np.isreal(x)],
    "iscomplex": [lambda np, waves: np.iscomplex(waves)],
    "isposinf": [lambda np, x: np.isposinf(x / 0.0)],
    "isneginf": [lambda np, x: np.isneginf(x / 0.0)],
    "nanargmax": [lambda np, gaps: np.nanargmax(gaps), lambda np, gaps: np.nanargmax(gaps, axis=1)],
    "nanargmin": [lambda np, gaps: np.nanargmin(gaps, axis=1, keepdims=True)],
    "cumulative_sum": [
        lambda np, x: np.cumulative_sum(x, axis=1),
        lambda np, row: np.cumulative_sum(row, include_initial=True),
    ],
    "cumulative_prod": [lambda np, x: np.cumulative_prod(x, axis=0, include_initial=True)],
    "nancumsum": [lambda np, gaps: np.nancumsum(gaps), lambda np, gaps: np.nancumsum(gaps, axis=1)],
    "nancumprod": [lambda np, gaps: np.nancumprod(gaps, axis=0)],
    "nansum": [lambda np, gaps: np.nansum(gaps, axis=1, initial=2.0, where=gaps > 0)],
    "average": [lambda np, cube, row: np.average(cube, axis=1, weights=row, keepdims=True)],
}


_KINDS: dict[str, list[Call]] = {
    "angle": [lambda np, x, y: np.angle(x + 1j * y)],
    "imag": [lambda np, x, y: np.imag(x * (1 + 2j) + 1j * y)],
    "sort_complex": [lambda np, heights, line: np.sort_complex(heights + 1j * line).imag],
    "unique_counts": [lambda np, x: np.unique_counts(x).values],
    "unique_inverse": [lambda np, x: np.unique_inverse(x).values],
    "heaviside": [lambda np, row: np.heaviside(np.array([-1.0, 0.0, 2.0]), row)],
    "full": [lambda np, number: _space(np, number).full((2, 2), number)],
    "array": [lambda np, row, number: _space(np, row).array([row, [number, 1.0, 2 * number]])],
    **{
        name: [eval(f"lambda np, row, row2: _space(np, row).{name}([row, row2])")]
        for name in ("asarray", "asanyarray", "ascontiguousarray", "asarray_chkfinite", "asfortranarray")
    },
    "real_if_close": [lambda np, x: np.real_if_close(x + 0j)],
    "broadcast_arrays": [lambda np, number, row: np.broadcast_arrays(number, row)],
}


def _folds(operand: str, *names: str) -> dict[str, list[Call]]:
    """The methods of universal functions of two operands that run along an axis."""

    def calls(name: str) -> list[Call]:
        return [
            eval(f"lambda np, {operand}: np.{name}.reduce({operand}, axis=1)"),
            eval(f"lambda np, {operand}: np.{name}.reduce({operand}, keepdims=True, initial=0.5)"),
            eval(f"lambda np, {operand}: np.{name}.reduce({operand}, 1, where={operand} > 0.6, initial=0.5)"),
            eval(f"lambda np, {operand}: np.{name}.accumulate({operand}, axis=1)"),
            eval(f"lambda np, {operand}: np.{name}.reduceat({operand}, [0, 2, 1], axis=1)"),
        ]

    return {name: calls(name) for name in names}


_FOLDS = (
    _folds("positive", *"add subtract multiply divide maximum minimum fmax fmin hypot logaddexp logaddexp2".split()),
    _folds("positive", *"fmod remainder copysign float_power".split()),
    {
        "copysign": [lambda np, row: np.copysign.reduce(row, initial=2.0)],
        "hypot": [
            lambda np, cube: np.hypot.reduce(cube, axis=(0, 2), where=cube > 0, initial=0.5, keepdims=True),
            lambda np, x: np.hypot.reduce(x[:0]),
            lambda np, cube: np.hypot.reduce(cube, axis=(0, 2)),
            lambda np, x: np.hypot.reduce(1e200 * x, None),
        ],
        "logaddexp": [lambda np, cube: np.logaddexp.reduce(cube, axis=None)],
        "fmax": [lambda np, gaps: np.fmax.reduce(gaps, axis=1), lambda np, gaps: np.fmax.accumulate(gaps[:1], axis=1)],
        # NumPy folds the elements of a row in another order than it says (2.4): whole rows it folds right.
        "arctan2": [lambda np, x: np.arctan2.reduce(x), lambda np, x: np.arctan2.reduce(x, initial=0.5)],
        "fmin": [
            lambda np, gaps: np.fmin.reduce(gaps, axis=None),
            lambda np, cube: np.fmin.reduce(cube, axis=(0, 2), where=cube > 0, initial=0.5),
        ],
        "bitwise_and": [lambda np, whole: np.bitwise_and.reduce(whole, axis=(0, 1))],
        "bitwise_xor": [lambda np, whole: np.bitwise_xor.accumulate(whole, axis=1)],
        "logical_xor": [lambda np, flags: np.logical_xor.reduce(flags, axis=None)],
        "add": [_written(lambda np, heights, index, weights: np.add.at(heights, index, weights))],
        "multiply": [_written(lambda np, heights, index, weights: np.multiply.at(heights, index, weights))],
        "divide": [_written(lambda np, tall, index: np.divide.at(tall, (index, 1), 3.0))],
        "maximum": [_written(lambda np, heights, index, weights: np.maximum.at(heights, index, weights))],
        "square": [_written(lambda np, heights, index: np.square.at(heights, index))],
        "nextafter": [lambda np, x, row: np.nextafter(x, row), lambda np, x: np.nextafter(x, 9.0)],
        "spacing": [lambda np, x: np.spacing(x)],
        "frexp": [lambda np, x: np.frexp(x), lambda np, whole: np.frexp(whole)],
        "gcd": [
            lambda np, whole, whole2: np.gcd(whole, whole2),
            lambda np, whole: np.gcd.reduce(whole, None, where=whole > 0),
        ],
        "lcm": [lambda np, whole, whole2: np.lcm(whole, whole2)],
        "bitwise_count": [lambda np, whole: np.bitwise_count(whole)],
    },
)

_FOURIER: dict[str, list[Call]] = {
    "fft.fft": [
        lambda np, x: np.fft.fft(x),
        lambda np, waves: np.fft.fft(waves, axis=0, norm="ortho"),
        lambda np, cube: np.fft.fft(cube, 5, 1, "forward"),
        lambda np, cube: np.fft.fft(cube, 3),
        lambda np, whole: np.fft.fft(whole),
        lambda np, number, heights: np.fft.fft(heights * number).imag,
    ],
    "fft.ifft": [lambda np, x: np.fft.ifft(x), lambda np, waves: np.fft.ifft(waves, 4, norm="forward")],
    "fft.fft2": [
        lambda np, cube: np.fft.fft2(cube),
        lambda np, cube: np.fft.fft2(cube, (2, 5), (0, 2)),
        lambda np, x: np.fft.fft2(x, axes=(1, 1)),
    ],
    "fft.ifft2": [lambda np, waves: np.fft.ifft2(waves, norm="ortho"), lambda np, cube: np.fft.ifft2(cube, (4, 4))],
    "fft.fftn": [
        lambda np, cube: np.fft.fftn(cube),
        lambda np, cube: np.fft.fftn(cube, (-1, 3), (2, 0)),
        lambda np, x: np.fft.fftn(x, axes=()),
    ],
    "fft.ifftn": [lambda np, cube: np.fft.ifftn(cube, axes=(0, 2), norm="forward")],
    "fft.rfft": [
        lambda np, x: np.fft.rfft(x),
        lambda np, cube: np.fft.rfft(cube, 5, axis=1, norm="ortho"),
        lambda np, heights: np.fft.rfft(heights, norm="forward"),
        lambda np, heights: np.fft.rfft(heights, 1),
    ],
    "fft.irfft": [
        lambda np, waves: np.fft.irfft(waves, axis=0),
        lambda np, waves: np.fft.irfft(waves, 5, 1, "forward"),
        lambda np, waves: np.fft.irfft(waves, 3, norm="ortho"),
        lambda np, heights: np.fft.irfft(heights),
        lambda np, waves: np.fft.irfft(waves, 1),
    ],
    "fft.rfft2": [lambda np, cube: np.fft.rfft2(cube), lambda np, cube: np.fft.rfft2(cube, (3, 5), (2, 0))],
    "fft.irfft2": [lambda np, cube: np.fft.irfft2(cube), lambda np, waves: np.fft.irfft2(waves, (3, 3))],
    "fft.rfftn": [
        lambda np, cube: np.fft.rfftn(cube, norm="ortho"),
        lambda np, cube: np.fft.rfftn(cube, (3, 2), (0, 1)),
        lambda np, x: np.fft.rfftn(x, axes=(0, 0)),
    ],
    "fft.irfftn": [
        lambda np, cube: np.fft.irfftn(cube),
        lambda np, cube: np.fft.irfftn(cube, (3, 5), (1, 2), "forward"),
        lambda np, cube: np.fft.irfftn(cube, axes=(2, 2)),
    ],
    "fft.hfft": [lambda np, waves: np.fft.hfft(waves, 5), lambda np, waves: np.fft.hfft(waves, axis=0, norm="ortho")],
    "fft.ihfft": [lambda np, x: np.fft.ihfft(x), lambda np, heights: np.fft.ihfft(heights, 5, norm="forward")],
    "fft.fftshift": [lambda np, cube: np.fft.fftshift(cube), lambda np, cube: np.fft.fftshift(cube, (0, 2))],
    "fft.ifftshift": [lambda np, cube: np.fft.ifftshift(cube), lambda np, cube: np.fft.ifftshift(cube, 1)],
    "fft.fftfreq": [lambda np: np.fft.fftfreq(5, 0.1), lambda np: np.fft.fftfreq(4)],
    "fft.rfftfreq": [lambda np: np.fft.rfftfreq(5, 0.1)],
}

MORE = (_FOURIER, _STATISTICS, _POLYNOMIALS, _SIGNALS, _SETS, _WRITING, _CALLING, _ORDER, _KINDS, *_FOLDS)
