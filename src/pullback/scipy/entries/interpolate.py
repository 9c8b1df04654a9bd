"""`scipy.interpolate`: interpolants with derivatives in the places they are evaluated at, and in the data y.

The breakpoints x are constants. A cubic interpolant is piecewise Hermite: its slopes at the breakpoints are made of y,
by a linear system for splines (SciPy's, solved by NumPy) and by their formulas for PCHIP and Akima.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.scipy.entries.numeric import is_tracked, plain, vector
from pullback.scipy.table import implements
from pullback.tape.node import Handle
from pullback.values.optional import scipy_module

__all__: list[str] = []


def _data(x: Any, y: Any, axis: int, name: str) -> tuple[Any, Any]:
    """The breakpoints as numbers, and the data with their axis in front.

    Raises `ValueError` if they don't fit, `NotImplementedError` if the breakpoints are tracked.
    """
    if is_tracked(x):
        raise NotImplementedError(f"{name}: derivatives with respect to the breakpoints x; they are constants here")
    x = np.asarray(plain(vector(x), name), float)
    y = vector(y)
    y = np.moveaxis(y if isinstance(y, Handle) or y.dtype.kind in "fc" else y.astype(float), axis, 0)
    if x.ndim != 1:
        raise ValueError("`x` must be 1-dimensional.")
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"The length of `y` along `axis`={axis} doesn't match the length of `x`")
    return x, y


def _increasing(x: Any) -> None:
    if np.any(np.diff(x) <= 0):
        raise ValueError("`x` must be strictly increasing sequence.")


def _columns(values: Any, like: Any) -> Any:
    """Numbers along the first axis, for arithmetic with an array of more axes."""
    return values.reshape((-1, *(1,) * (len(like.shape) - 1)))


class _Piecewise:
    """Polynomials between breakpoints: `coefficients[k]` belongs to the power k of the distance from the left one."""

    def __init__(self, x: Any, coefficients: list[Any], axis: int, extrapolate: Any) -> None:
        self.x = x
        self.axis = axis
        self.extrapolate = extrapolate
        self._coefficients = coefficients

    @property
    def c(self) -> Any:
        """The coefficients, highest power first, as SciPy keeps them."""
        return np.stack(self._coefficients[::-1])

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        places = vector(x)
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        flat = places.reshape(-1)
        numbers = np.asarray(plain(flat, "an interpolant"), float)
        if extrapolate == "periodic":
            turns = np.floor((numbers - self.x[0]) / (self.x[-1] - self.x[0]))
            flat, numbers = (v - turns * (self.x[-1] - self.x[0]) for v in (flat, numbers))
        which = np.clip(np.searchsorted(self.x, numbers, side="right") - 1, 0, len(self.x) - 2)
        distance = flat - self.x[which]
        parts = self._coefficients
        for _ in range(nu):
            parts = [c * float(k) for k, c in enumerate(parts)][1:] or [parts[0] * 0.0]
        distance = _columns(distance, parts[0])
        total = parts[-1][which]
        for c in reversed(parts[:-1]):
            total = total * distance + c[which]
        if not extrapolate:
            outside = _columns((numbers < self.x[0]) | (numbers > self.x[-1]), total)
            total = np.where(outside, np.nan, total)
        total = total.reshape((*places.shape, *total.shape[1:]))
        rank = len(places.shape)
        if self.axis and rank + len(total.shape[rank:]):
            order = list(range(rank, len(total.shape)))
            order[self.axis : self.axis] = range(rank)
            total = np.transpose(total, order)
        return total

    def derivative(self, nu: int = 1) -> _Piecewise:
        """The interpolant's derivative of order `nu`."""
        parts = self._coefficients
        for _ in range(nu):
            parts = [c * float(k) for k, c in enumerate(parts)][1:] or [parts[0] * 0.0]
        return _Piecewise(self.x, parts, self.axis, self.extrapolate)

    def antiderivative(self, nu: int = 1) -> _Piecewise:
        """The interpolant's antiderivative of order `nu`, 0 at the first breakpoint."""
        found = self
        for _ in range(nu):
            parts = [c / (k + 1.0) for k, c in enumerate(found._coefficients)]
            steps = _columns(np.diff(self.x), parts[0])
            gains = sum(c * steps ** (k + 1.0) for k, c in enumerate(parts))
            starts = np.concatenate([gains[:1] * 0.0, np.cumsum(gains, axis=0)[:-1]])
            found = _Piecewise(self.x, [starts, *parts], self.axis, self.extrapolate)
        return found

    def integrate(self, a: Any, b: Any, extrapolate: Any = None) -> Any:
        """The integral from `a` to `b`."""
        whole = self.antiderivative()
        return whole(b, extrapolate=extrapolate) - whole(a, extrapolate=extrapolate)


def _hermite(x: Any, y: Any, slopes: Any) -> list[Any]:
    """The coefficients of the cubics with these values and slopes at the breakpoints."""
    steps = _columns(np.diff(x), y)
    secants = (y[1:] - y[:-1]) / steps
    excess = (slopes[:-1] + slopes[1:] - secants * 2.0) / steps
    return [y[:-1], slopes[:-1], (secants - slopes[:-1]) / steps - excess, excess / steps]


class _CubicHermiteSpline(_Piecewise):
    """SciPy's `CubicHermiteSpline`, over Tensors."""

    def __init__(self, x: Any, y: Any, dydx: Any, axis: int = 0, extrapolate: Any = None) -> None:
        x, y = _data(x, y, axis, "CubicHermiteSpline")
        _increasing(x)
        slopes = np.moveaxis(vector(dydx), axis, 0)
        super().__init__(x, _hermite(x, y, slopes), axis, True if extrapolate is None else extrapolate)


class _CubicSpline(_Piecewise):
    """SciPy's `CubicSpline`, over Tensors: with the boundary conditions it knows by name, or given as derivatives."""

    def __init__(self, x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None) -> None:
        x, y = _data(x, y, axis, "CubicSpline")
        _increasing(x)
        if len(x) < 2:
            raise ValueError("`x` must contain at least 2 elements.")
        if extrapolate is None:
            extrapolate = "periodic" if isinstance(bc_type, str) and bc_type == "periodic" else True
        super().__init__(x, _hermite(x, y, _spline_slopes(x, y, bc_type)), axis, extrapolate)


def _spline_slopes(x: Any, y: Any, bc_type: Any) -> Any:
    """The slopes at the breakpoints of the cubic spline: linear in y and in the values of the boundary conditions.

    Its matrix is SciPy's own answer for unit vectors, so that every convention at the ends is SciPy's.
    """
    module = scipy_module("interpolate")
    kinds, values = _conditions(bc_type)
    units = np.eye(len(x))
    if kinds == "periodic":
        numbers = plain(y, "CubicSpline")
        if not np.allclose(numbers[0], numbers[-1], rtol=1e-15, atol=1e-15):
            raise ValueError("The first and last `y` point along axis 0 must be identical (within machine precision)")
        units = units[:, :-1].copy()
        units[-1] = units[0]
        return _product(module.CubicSpline(x, units, bc_type="periodic")(x, 1), y[:-1])
    zero = [(order, np.zeros(len(x))) for order in kinds] if isinstance(kinds, list) else kinds
    slopes = _product(module.CubicSpline(x, units, bc_type=zero)(x, 1), y)
    for end, value in enumerate(values):
        if value is not None and isinstance(zero, list):
            condition = [(order, float(i == end)) for i, order in enumerate(kinds)]
            effect = module.CubicSpline(x, np.zeros(len(x)), bc_type=tuple(condition))(x, 1)
            slopes = slopes + _columns(effect, y) * vector(value)
    return slopes


def _conditions(bc_type: Any) -> tuple[Any, list[Any]]:
    """The boundary conditions: a name, or the order of the derivative at each end, and the values of these."""
    if isinstance(bc_type, str):
        return bc_type, []
    first, last = bc_type
    kinds, values = [], []
    for condition in (first, last):
        if isinstance(condition, str):
            known = {"clamped": (1, None), "natural": (2, None)}
            if condition not in known:
                return bc_type, []
            order, value = known[condition]
        else:
            order, value = condition
        kinds.append(order)
        values.append(value)
    return kinds, values


def _product(matrix: Any, y: Any) -> Any:
    """`matrix` times y along its first axis."""
    flat = y.reshape((y.shape[0], -1))
    return (matrix @ flat).reshape((matrix.shape[0], *y.shape[1:]))


class _PchipInterpolator(_Piecewise):
    """SciPy's `PchipInterpolator`, over Tensors.

    At breakpoints where the data turn the slope is constantly 0.
    """

    def __init__(self, x: Any, y: Any, axis: int = 0, extrapolate: Any = None) -> None:
        x, y = _data(x, y, axis, "PchipInterpolator")
        _increasing(x)
        super().__init__(x, _hermite(x, y, _pchip_slopes(x, y)), axis, True if extrapolate is None else extrapolate)


def _pchip_slopes(x: Any, y: Any) -> Any:
    """Fritsch and Butland (1984): the harmonic mean of the secants, weighted by the steps."""
    steps = _columns(np.diff(x), y)
    secants = (y[1:] - y[:-1]) / steps
    if len(x) == 2:
        return np.concatenate([secants, secants])
    a, b = secants[:-1], secants[1:]
    turns = np.sign(a) * np.sign(b) <= 0
    v, w = 2.0 * steps[1:] + steps[:-1], steps[1:] + 2.0 * steps[:-1]
    safe_a, safe_b = np.where(turns, 1.0, a), np.where(turns, 1.0, b)
    inner = np.where(turns, 0.0, (v + w) / (v / safe_a + w / safe_b))
    first = _pchip_end(steps[:1], steps[1:2], secants[:1], secants[1:2])
    last = _pchip_end(steps[-1:], steps[-2:-1], secants[-1:], secants[-2:-1])
    return np.concatenate([first, inner, last])


def _pchip_end(h0: Any, h1: Any, m0: Any, m1: Any) -> Any:
    """The slope at an end: by three points, kept to the shape of the data (Moler, 2004)."""
    slope = ((2.0 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    flat = np.sign(slope) != np.sign(m0)
    steep = (np.sign(m0) != np.sign(m1)) & (np.abs(slope) > 3.0 * np.abs(m0))
    return np.where(flat, 0.0, np.where(steep, 3.0 * m0, slope))


class _Akima1DInterpolator(_Piecewise):
    """SciPy's `Akima1DInterpolator`, over Tensors; `method` "akima" or "makima"."""

    def __init__(self, x: Any, y: Any, axis: int = 0, *, method: str = "akima", extrapolate: Any = None) -> None:
        if method not in ("akima", "makima"):
            raise NotImplementedError(f"`method`={method} is unsupported.")
        x, y = _data(x, y, axis, "Akima1DInterpolator")
        _increasing(x)
        super().__init__(x, _hermite(x, y, _akima_slopes(x, y, method)), axis, bool(extrapolate))


def _akima_slopes(x: Any, y: Any, method: str) -> Any:
    """Akima (1970): secants weighted by how much their outer neighbours differ."""
    secants = (y[1:] - y[:-1]) / _columns(np.diff(x), y)
    if len(x) == 2:
        return np.concatenate([secants, secants])
    before = [secants[:1] * 3.0 - secants[1:2] * 2.0, secants[:1] * 2.0 - secants[1:2]]
    after = [secants[-1:] * 2.0 - secants[-2:-1], secants[-1:] * 3.0 - secants[-2:-1] * 2.0]
    m = np.concatenate([*before, secants, *after])
    gaps = np.abs(m[1:] - m[:-1])
    if method == "makima":
        gaps = gaps + 0.5 * np.abs(m[1:] + m[:-1])
    left, right = gaps[2:], gaps[:-2]
    total = left + right
    numbers = plain(total, "Akima1DInterpolator")
    even = numbers <= 1e-9 * numbers.max(initial=-np.inf)
    weighted = (left * m[1:-2] + right * m[2:-1]) / np.where(even, 1.0, total)
    return np.where(even, (0.0 if method == "makima" else 0.5) * (m[3:] + m[:-3]), weighted)


class _Spline:
    """SciPy's `BSpline`, over Tensors: `c` are tensors, the knots `t` are constants."""

    def __init__(self, t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> None:
        self.t, self.k, self.axis, self.extrapolate = np.asarray(plain(t, "BSpline"), float), k, axis, extrapolate
        self.c = vector(c)
        self._pieces: Any = None

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        if self._pieces is None:
            self._pieces = self._polynomials()
        return self._pieces(x, nu, self.extrapolate if extrapolate is None else extrapolate)

    def _polynomials(self) -> _Piecewise:
        """The spline as polynomials between its knots: linear in c, by SciPy's derivatives for unit vectors."""
        module, k = scipy_module("interpolate"), self.k
        count = len(self.t) - k - 1
        inside = slice(k, len(self.t) - k - 1)
        widths = np.diff(self.t)[inside] > 0
        c = np.moveaxis(self.c, self.axis, 0)[:count]
        units = module.BSpline(self.t, np.eye(count), k)
        factorials = np.cumprod([1.0, *range(1, k + 1)])
        matrices = [units(self.t[inside][widths], order) / factorials[order] for order in range(k + 1)]
        places = np.append(self.t[inside][widths], self.t[-k - 1])
        return _Piecewise(places, [_product(matrix, c) for matrix in matrices], self.axis, self.extrapolate)


@implements("interpolate.BSpline")
def _bspline(t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> Any:
    return _Spline(t, c, k, extrapolate, axis)


@implements("interpolate.make_interp_spline")
def make_interp_spline(
    x: Any, y: Any, k: int = 3, t: Any = None, bc_type: Any = None, axis: int = 0, check_finite: bool = True
) -> Any:
    """SciPy's, as an interpolant over Tensors; the values of boundary conditions are constants.

    Raises `NotImplementedError` for boundary conditions with values other than 0.
    """
    x, y = _data(x, y, axis, "make_interp_spline")
    module = scipy_module("interpolate")
    numbers = plain(y, "make_interp_spline")
    found = module.make_interp_spline(x, numbers, k, t, bc_type, 0, check_finite)
    base = module.make_interp_spline(x, numbers * 0.0, k, t, bc_type, 0, check_finite)
    if bc_type is not None and np.any(base.c):
        raise NotImplementedError("make_interp_spline: boundary conditions with values other than 0")
    units = np.eye(len(x))
    if isinstance(bc_type, str) and bc_type == "periodic":
        units = units[:, :-1].copy()
        units[-1] = units[0]
        y = y[:-1]
    named = bc_type if bc_type is None or isinstance(bc_type, str) else _vector_conditions(bc_type, units.shape[1])
    matrix = module.make_interp_spline(x, units, k, t, named).c
    return _Spline(found.t, _at_axis(_product(matrix, y), axis), k, found.extrapolate, axis)


def _at_axis(y: Any, axis: int) -> Any:
    return np.moveaxis(y, 0, axis)


def _vector_conditions(bc_type: Any, count: int) -> Any:
    """Boundary conditions of value 0 for `count` functions at once."""
    return tuple(
        end if end is None or isinstance(end, str) else [(order, np.zeros(count)) for order, _ in end]
        for end in bc_type
    )


_STEPS = ("nearest", "nearest-up", "previous", "next", "zero")
_SPLINES = {"slinear": 1, "quadratic": 2, "cubic": 3}


class _Interp1d:
    """SciPy's `interp1d`, over Tensors."""

    def __init__(
        self,
        x: Any,
        y: Any,
        kind: Any = "linear",
        axis: int = -1,
        copy: bool = True,
        bounds_error: Any = None,
        fill_value: Any = np.nan,
        assume_sorted: bool = False,
    ) -> None:
        x, y = _data(x, y, axis, "interp1d")
        if not assume_sorted:
            order = np.argsort(x, kind="mergesort")
            x, y = x[order], y[order]
        self.x, self.y, self.kind = x, np.moveaxis(y, 0, axis), kind
        self._rows, self._axis = y, axis % len(y.shape)
        extrapolates = isinstance(fill_value, str) and fill_value == "extrapolate"
        if bounds_error and extrapolates:
            raise ValueError("Cannot extrapolate and raise at the same time.")
        undecided = (
            not extrapolates and not isinstance(fill_value, tuple) and np.all(np.isnan(plain(fill_value, "interp1d")))
        )
        self.bounds_error = bool(bounds_error) if bounds_error is not None else undecided
        self.fill_value = fill_value
        self._extrapolates = extrapolates
        order_ = kind if isinstance(kind, int) else _SPLINES.get(kind)
        if kind != "linear" and kind not in _STEPS and order_ is None:
            raise NotImplementedError(f"{kind} is unsupported: Use fitpack routines for other types.")
        self._spline = make_interp_spline(x, y, order_) if order_ is not None and kind != "linear" else None

    def __call__(self, x: Any) -> Any:
        places = vector(x)
        flat = places.reshape(-1)
        numbers = np.asarray(plain(flat, "interp1d"), float)
        below, above = numbers < self.x[0], numbers > self.x[-1]
        if self.bounds_error and (below.any() or above.any()):
            side, value = ("below", numbers[below][0]) if below.any() else ("above", numbers[above][0])
            raise ValueError(f"A value ({value}) in x_new is {side} the interpolation range's bounds.")
        values = self._values(flat, numbers)
        if not self._extrapolates:
            low, high = self.fill_value if isinstance(self.fill_value, tuple) else (self.fill_value,) * 2
            values = np.where(_columns(below, values), low, np.where(_columns(above, values), high, values))
        values = values.reshape((*places.shape, *values.shape[1:]))
        rank = len(places.shape)
        axes = list(range(rank, len(values.shape)))
        axes[self._axis : self._axis] = range(rank)
        return np.transpose(values, axes) if axes != list(range(len(axes))) else values

    def _values(self, flat: Any, numbers: Any) -> Any:
        x, y, last = self.x, self._rows, len(self.x) - 1
        if self._spline is not None:
            return self._spline(flat)
        if self.kind == "linear":
            right = np.clip(np.searchsorted(x, numbers), 1, last)
            share = _columns((flat - x[right - 1]) / (x[right] - x[right - 1]), y)
            return y[right - 1] + (y[right] - y[right - 1]) * share
        middles = (x[1:] + x[:-1]) / 2.0
        if self.kind in ("previous", "zero"):
            which = np.searchsorted(x, numbers, side="right") - 1
        elif self.kind == "next":
            which = np.searchsorted(x, numbers, side="left")
        else:
            which = np.searchsorted(middles, numbers, side="right" if self.kind == "nearest-up" else "left")
        values = y[np.clip(which, 0, last)]
        if self._extrapolates and self.kind in ("previous", "next"):  # SciPy's: there is none
            values = np.where(_columns((which < 0) | (which > last), values), np.nan, values)
        return values


class _RegularGridInterpolator:
    """SciPy's `RegularGridInterpolator`, over Tensors: `method` "linear" or "nearest", on a grid of constants."""

    def __init__(
        self, points: Any, values: Any, method: str = "linear", bounds_error: bool = True, fill_value: Any = np.nan
    ) -> None:
        if method not in ("linear", "nearest"):
            raise NotImplementedError(f"RegularGridInterpolator: method {method!r}; 'linear' and 'nearest' are here")
        self.grid = tuple(np.asarray(plain(vector(p), "RegularGridInterpolator"), float) for p in points)
        self.values = vector(values)
        self.method, self.bounds_error, self.fill_value = method, bounds_error, fill_value
        for i, (p, size) in enumerate(zip(self.grid, self.values.shape, strict=False)):
            _increasing(p)
            if len(p) != size:
                raise ValueError(f"There are {len(p)} points and {size} values on dimension {i}")

    def __call__(self, xi: Any, method: str | None = None) -> Any:
        if isinstance(xi, tuple):
            xi = np.stack(np.broadcast_arrays(*xi), axis=-1) if not is_tracked(xi) else np.stack(xi, axis=-1)
        places = vector(xi)
        count = len(self.grid)
        shape = places.shape[:-1] if len(places.shape) > 1 else (1,) if count > 1 else places.shape
        flat = places.reshape((-1, count))
        numbers = np.asarray(plain(flat, "RegularGridInterpolator"), float)
        inside = np.ones(len(numbers), bool)
        total: list[tuple[Any, tuple[Any, ...]]] = [(1.0, ())]
        for i, p in enumerate(self.grid):
            inside &= (numbers[:, i] >= p[0]) & (numbers[:, i] <= p[-1])
            if self.bounds_error and not inside.all():
                raise ValueError(f"One of the requested xi is out of bounds in dimension {i}")
            left = np.clip(np.searchsorted(p, numbers[:, i]) - 1, 0, len(p) - 2)
            share = (flat[:, i] - p[left]) / (p[left + 1] - p[left])
            if (method or self.method) == "nearest":
                nearest = np.where(plain(share, "RegularGridInterpolator") <= 0.5, left, left + 1)
                total = [(weight, (*index, nearest)) for weight, index in total]
            else:
                total = [
                    (weight * part, (*index, left + step))
                    for weight, index in total
                    for step, part in ((0, 1.0 - share), (1, share))
                ]
        found: Any = 0.0
        for weight, index in total:
            corner = self.values[index]
            found = found + (corner * _columns(weight, corner) if isinstance(weight, Handle | np.ndarray) else corner)
        if not self.bounds_error and self.fill_value is not None:
            found = np.where(_columns(inside, found), found, self.fill_value)
        return found.reshape((*shape, *found.shape[1:]))


for _name, _class in {
    "CubicHermiteSpline": _CubicHermiteSpline,
    "CubicSpline": _CubicSpline,
    "PchipInterpolator": _PchipInterpolator,
    "Akima1DInterpolator": _Akima1DInterpolator,
    "interp1d": _Interp1d,
    "RegularGridInterpolator": _RegularGridInterpolator,
}.items():
    implements(f"interpolate.{_name}")(_class)
