"""Initial value problems: `solve_ivp` and `odeint`, differentiated step by step or by the adjoint equation.

Direct: SciPy chooses the steps, on numbers; the same Runge-Kutta steps are then taken on tensors. Its derivatives are
those of the numbers that come out, in every mode and order, in everything that the equation uses. The memory is
proportional to the steps. Adjoint: the cotangent solves an equation of its own, backward in time (Pontryagin 1962;
Chen, Rubanova, Bettencourt and Duvenaud 2018); its derivatives are those of the solution, to the tolerance, in reverse
mode, in y0, the times and `args`. It goes with every method, and holds the results alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pullback.scipy.entries.numeric import (
    attached,
    elementwise_solve,
    is_tracked,
    on_numbers,
    one_by_one,
    plain,
    vector,
)
from pullback.scipy.table import implements
from pullback.tape.node import Handle
from pullback.tensor.dispatch import to_dtype
from pullback.transforms.custom import custom_vjp, stop_gradient
from pullback.transforms.lifting import to_handle
from pullback.transforms.reverse import vjp
from pullback.transforms.tree import flatten
from pullback.values.optional import scipy_module

__all__: list[str] = []

_OF_THE_EQUATION = ("jac", "jac_sparsity", "lband", "uband")  # the adjoint equation has others
_EXPLICIT = ("RK23", "RK45", "DOP853")
Equation = Callable[[Any, Any], Any]


def _integrate(name: str) -> Any:
    return getattr(scipy_module("integrate"), name)


class _Step:
    """One step of an explicit Runge-Kutta method: the state at its end, and between, as SciPy interpolates it."""

    def __init__(self, method: Any, f: Equation, t: Any, y: Any, end: Any, slope: Any) -> None:
        self.method, self.f = method, f
        self.t, self.y, self.h = t, y, end - t
        self.slopes = [slope]
        for row, c in zip(method.A[1:], method.C[1:], strict=True):
            self._stage(row, c)
        self.end = y + self._combined(method.B) * self.h
        self.slopes.append(f(end, self.end))
        self._between: Any = None

    def _combined(self, weights: Any) -> Any:
        used = [(w, k) for w, k in zip(weights, self.slopes, strict=False) if w]
        return np.array([w for w, _ in used]) @ np.stack([k for _, k in used])

    def _stage(self, row: Any, c: float) -> None:
        y = self.y + self._combined(row[: len(self.slopes)]) * self.h
        self.slopes.append(self.f(self.t + self.h * float(c), y))

    def at(self, times: Any) -> Any:
        """The states at some times within the step, in columns."""
        x = ((times - self.t) / self.h)[None]
        if self._between is None:
            self._between = self._coefficients()
        total: Any = 0.0
        if self.method.__name__ == "DOP853":
            for i, part in enumerate(reversed(self._between)):
                total = (total + part[:, None]) * (x if i % 2 == 0 else 1.0 - x)
        else:
            for part in reversed(self._between):
                total = (total + part[:, None]) * x
        return total + self.y[:, None]

    def _coefficients(self) -> list[Any]:
        """What the interpolant is made of: powers of the place, or for DOP853 products of it and what is left."""
        method, count = self.method, len(self.slopes)
        if method.__name__ != "DOP853":
            return [self._combined(column) * self.h for column in method.P.T]
        first, last, change = self.slopes[0] * self.h, self.slopes[-1] * self.h, self.end - self.y
        for row, c in zip(method.A_EXTRA, method.C_EXTRA, strict=True):
            self._stage(row, c)
        parts = [change, first - change, change * 2.0 - (last + first)]
        parts += [self._combined(row) * self.h for row in method.D]
        del self.slopes[count:]
        return parts


class _Path:
    """A solution as steps: `path(t)` has the states at times `t`, as SciPy's `OdeSolution` has."""

    def __init__(self, f: Equation, y0: Any, times: Sequence[Any], ends: Sequence[float], method: Any) -> None:
        self.ts = np.array([plain(times[0], "solve_ivp"), *ends])
        self.steps: list[_Step] = []
        y, slope = y0, f(times[0], y0)
        for t, end in pairwise(times):
            step = _Step(method, f, t, y, end, slope)
            self.steps.append(step)
            y, slope = step.end, step.slopes[-1]

    def numbered(self, times: Any) -> Any:
        """The number of the step that each of some times, plain numbers, is in."""
        forward = len(self.ts) < 2 or self.ts[-1] >= self.ts[0]
        sign = 1.0 if forward else -1.0
        places = np.searchsorted(sign * self.ts, sign * times, side="left")
        return np.clip(places - 1, 0, len(self.steps) - 1)

    def __call__(self, t: Any) -> Any:
        times: Any = t if isinstance(t, Handle) else np.asarray(t, float)
        flat = times.reshape(-1)
        which = self.numbered(np.asarray(plain(flat, "solve_ivp")))
        parts = [self.steps[k].at(flat[which == k]) for k in np.unique(which)]
        if not parts:
            return np.zeros((self.steps[0].y.shape[0], *times.shape))
        columns = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        columns = columns[:, np.argsort(np.argsort(which, kind="stable"), kind="stable")]
        return columns.reshape((-1, *times.shape))


def _equation(fun: Callable[..., Any], args: Any) -> Equation:
    rest = tuple(args) if args is not None else ()
    return lambda t, y: vector(fun(t, y, *rest))


def _state(y0: Any) -> Any:
    """An initial value as SciPy takes it: floating or complex, of one axis."""
    y = vector(y0)
    kind = y._value.dtype.kind if isinstance(y, Handle) else y.dtype.kind
    dtype = np.dtype(complex if kind == "c" else float)
    return (to_dtype(y, dtype) if isinstance(y, Handle) else y.astype(dtype)).reshape(-1)


@implements("integrate.solve_ivp")
def solve_ivp(
    fun: Callable[..., Any],
    t_span: Any,
    y0: Any,
    method: Any = "RK45",
    t_eval: Any = None,
    dense_output: bool = False,
    events: Any = None,
    vectorized: bool = False,
    args: Any = None,
    adjoint: bool | None = None,
    **options: Any,
) -> Any:
    """SciPy's; `y` of the result is a Tensor if it depends on what is differentiated, and so are `t`, the events and
    `sol` where they do.

    The explicit methods (RK23, RK45, DOP853) are differentiated step by step, unless `adjoint` is True: in y0, both
    ends of `t_span`, `t_eval`, `args` and all that `fun` uses, in every mode. The others, and these with `adjoint`, by
    the adjoint equation: reverse mode, in y0, the times and floating-point `args`; `fun` must not use anything else
    that is tracked (raises `TypeError`), and there are no events and no dense output (`NotImplementedError`).

    >>> import numpy as np
    >>> import pullback as pb
    >>> solve = pb.scipy.integrate.solve_ivp
    >>> def end(rate):
    ...     return solve(lambda t, y: -rate * y, (0.0, 1.0), [1.0], rtol=1e-9, atol=1e-12).y[0, -1]
    >>> round(pb.grad(end)(2.0), 8), round(-np.exp(-2.0), 8)
    (np.float64(-0.13533528), np.float64(-0.13533528))
    """
    f = _equation(fun, args)
    span, times = plain(tuple(t_span), "solve_ivp"), None if t_eval is None else vector(t_eval)
    start = _state(y0)
    numbers = {"t_eval": plain(times, "solve_ivp"), "vectorized": vectorized, **options}
    given = _events(events, args)
    on = [_with_attributes(event) for event in given]

    def solve(**more: Any) -> Any:
        integrate, initial = _integrate("solve_ivp"), plain(start, "solve_ivp")
        return integrate(on_numbers(f, "solve_ivp"), span, initial, method, events=on or None, **numbers, **more)

    tracked = is_tracked((f(t_span[0], start), start, tuple(t_span), times))
    if not tracked and not any(is_tracked(event(t_span[0], start)) for event in given):
        return solve(dense_output=dense_output)
    name = method if isinstance(method, str) else method.__name__
    if adjoint or (adjoint is None and name not in _EXPLICIT):
        if given or dense_output:
            raise NotImplementedError(
                "solve_ivp: events and dense_output go with the explicit methods, not the adjoint"
            )
        found = solve()
        at = times if times is not None else _with_ends(found.t, t_span)
        settings = {"method": method, **{key: x for key, x in options.items() if key not in _OF_THE_EQUATION}}
        found.y = _adjoint(fun, start, t_span[0], at, tuple(args or ()), _solver(settings, span[-1]), "solve_ivp").T
        found.t = at
        return found
    if name not in _EXPLICIT:
        raise NotImplementedError(f"solve_ivp: the steps of {name} are not differentiated; take adjoint=True")
    found = solve(dense_output=True)
    interpolants = found.sol.interpolants
    ends = [float(piece.t) for piece in interpolants]
    nodes: list[Any] = [t_span[0], *ends]
    if ends and ends[-1] == span[1]:
        nodes[-1] = t_span[1]
    path = _Path(f, start, nodes, ends, _integrate(name))
    final = nodes[-1]
    if given:
        final = _found_events(found, given, on, path, final)
    if times is not None:
        found.t = times[: found.t.size] if found.t.size < len(times) else times
        found.y = path(found.t)
    else:
        found.t = _joined([*nodes[:-1], final]) if is_tracked((t_span, final)) else found.t
        inner = [start, *(step.end for step in path.steps)]
        if final is not nodes[-1]:
            inner[-1] = path(final)
        found.y = np.stack(inner, axis=1)
    found.sol = path if dense_output else None
    return found


def _joined(parts: Sequence[Any]) -> Any:
    values: list[Any] = [part if isinstance(part, Handle) else np.float64(part) for part in parts]
    return np.stack(values)


def _with_ends(times: Any, t_span: Any) -> Any:
    return _joined([t_span[0], *times[1:-1], t_span[1]]) if is_tracked(tuple(t_span)) else times


def _events(events: Any, args: Any) -> list[Any]:
    """Events as functions of time and state, with what SciPy reads off the functions."""
    given = [] if events is None else [events] if callable(events) else list(events)
    found = []
    for event in given:

        def function(t: Any, y: Any, event: Any = event) -> Any:
            return event(t, y, *(args or ()))

        for key in ("terminal", "direction"):
            if hasattr(event, key):
                setattr(function, key, getattr(event, key))
        found.append(function)
    return found


def _with_attributes(event: Any) -> Any:
    function: Any = on_numbers(event, "solve_ivp")
    vars(function).update(vars(event))
    return function


def _at(event: Any, path: Any, t: Any) -> Any:
    return event(t, path(t))


def _found_events(found: Any, events: Sequence[Any], plain_events: Sequence[Any], path: _Path, final: Any) -> Any:
    """Put the times and states of events with their derivatives into a result; returns the time at its end.

    An event is where its function is 0 along the path, which defines its time.
    """
    ended = found.status == 1
    for i, event in enumerate(events):
        times = found.t_events[i]
        if not times.size:
            continue
        tracked = [attached(functools.partial(_at, event, path), t, elementwise_solve) for t in times]
        if ended and times[-1] == found.sol.ts[-1] and getattr(plain_events[i], "terminal", False):
            final = tracked[-1]
        if any(isinstance(t, Handle) for t in tracked):
            found.t_events[i] = _joined(tracked)
        found.y_events[i] = path(found.t_events[i]).T
    return final


# The adjoint equation

Solver = Callable[[Equation, Any, Any, Any], Any]  # (equation, y0, t0, times) -> states, in rows; on numbers


def _solver(settings: dict[str, Any], last: float) -> Solver:
    def run(f: Equation, y0: Any, t0: Any, times: Any) -> Any:
        stop = times[-1] if len(times) and (len(times) > 1 or times[-1] != t0) else last
        if t0 == stop:  # no time passes
            return np.repeat(y0[None], len(times), axis=0)
        found = _integrate("solve_ivp")(f, (t0, stop), y0, t_eval=times, **settings)
        if not found.success:
            raise RuntimeError(f"the solution of a differential equation failed: {found.message}")
        return found.y.T

    return run


def _adjoint(
    fun: Callable[..., Any], y0: Any, t0: Any, times: Any, args: tuple[Any, ...], run: Solver, name: str
) -> Any:
    """The states at `times`, in rows, with the derivatives that the adjoint equation gives."""
    leaves, tree = flatten(args)
    smooth = [i for i, x in enumerate(leaves) if np.result_type(getattr(x, "_value", x)).kind in "fc"]

    def equation(t: Any, y: Any, *parameters: Any) -> Any:
        values = list(leaves)
        for i, x in zip(smooth, parameters, strict=True):
            values[i] = x
        return vector(fun(t, y, *tree.unflatten(values)))

    parameters = [leaves[i] for i in smooth]
    if is_tracked(equation(*stop_gradient((t0, y0, *parameters)))):
        raise TypeError(
            f"{name}: the equation uses a tracked tensor that is not among its args, and the adjoint equation would "
            "drop that dependence. Pass it in args, or take an explicit method without adjoint."
        )
    return _states(equation, run, y0, t0, times, *parameters)


def _states(f: Callable[..., Any], run: Solver, y0: Any, t0: Any, times: Any, *parameters: Any) -> Any:
    """The states at `times` of `dy/dt = f(t, y, *parameters)`, in rows, as a function with a derivative of its own."""

    def numbers(*values: Any) -> Any:
        y, t, at, *rest = plain(values, "the adjoint equation")
        return to_handle(run(on_numbers(lambda t, y: f(t, y, *rest), "the adjoint equation"), y, t, np.asarray(at)))

    @custom_vjp
    def states(y0: Any, t0: Any, times: Any, *parameters: Any) -> Any:
        return one_by_one(numbers, y0, t0, times, *parameters)

    def backward(residuals: Any, g: Any) -> Any:
        ys, y0, t0, times, parameters = residuals
        size = y0.shape[0]
        shapes = [np.shape(p) if not isinstance(p, Handle) else tuple(p.shape) for p in parameters]
        sizes = [int(np.prod(shape)) for shape in shapes]

        def augmented(t: Any, state: Any, *values: Any) -> Any:
            """The state, its cotangent and those of the parameters."""
            slope, pull = vjp(lambda y, *ps: to_handle(f(t, y, *ps)), to_handle(state[:size]), *map(to_handle, values))
            parts = slope, *pull(-to_handle(state[size : 2 * size]))
            return np.concatenate([to_handle(part).reshape(-1) for part in parts])

        cotangent = y0 * 0.0
        gathered: Any = np.zeros(sum(sizes))
        slopes = []
        for i in range(len(times) - 1, -1, -1):
            cotangent = cotangent + g[i]
            slopes.append((g[i] * f(times[i], ys[i], *parameters)).sum())
            before = times[i - 1] if i else t0
            state = np.concatenate([ys[i], cotangent, to_handle(gathered)])
            state = _states(augmented, run, state, times[i], _joined([before]), *parameters)[0]
            cotangent, gathered = state[size : 2 * size], state[2 * size :]
        bounds = np.cumsum([0, *sizes])
        parts = [
            gathered[start:stop].reshape(shape)
            for start, stop, shape in zip(bounds[:-1], bounds[1:], shapes, strict=True)
        ]
        at_start = -(cotangent * f(t0, y0, *parameters)).sum()
        return (cotangent, at_start, np.stack(slopes[::-1]) if slopes else None, *parts)

    def forward(y0: Any, t0: Any, times: Any, *parameters: Any) -> Any:
        ys = states(y0, t0, times, *parameters)
        return ys, (ys, y0, t0, times, parameters)

    states.defvjp(forward, backward)
    floats = (to_handle(np.asarray(p, float)) if isinstance(p, int | float) else p for p in parameters)
    return states(y0, np.float64(t0) if isinstance(t0, int | float) else t0, times, *floats)


@implements("integrate.odeint")
def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    args: tuple[Any, ...] = (),
    Dfun: Any = None,
    col_deriv: Any = 0,
    full_output: Any = 0,
    ml: Any = None,
    mu: Any = None,
    rtol: Any = None,
    atol: Any = None,
    tcrit: Any = None,
    h0: float = 0.0,
    hmax: float = 0.0,
    hmin: float = 0.0,
    ixpr: Any = 0,
    mxstep: Any = 0,
    mxhnil: Any = 0,
    mxordn: int = 12,
    mxords: int = 5,
    printmessg: Any = 0,
    tfirst: bool = False,
    adjoint: bool = False,
) -> Any:
    """SciPy's; a Tensor if it depends on what is differentiated.

    Then the values are those of DOP853 with the same tolerances, differentiated step by step, as in `solve_ivp`; with
    `adjoint`, those of LSODA, which is meant for stiff equations too, differentiated by the adjoint equation.
    """
    fun: Callable[..., Any] = func if tfirst else lambda t, y, *rest: func(y, t, *rest)
    f, start, times = _equation(fun, args), _state(y0), vector(t)
    if not is_tracked((f(times[0], start), start, times)):
        options = {"ml": ml, "mu": mu, "rtol": rtol, "atol": atol, "tcrit": tcrit, "h0": h0, "hmax": hmax, "hmin": hmin}
        options |= {"ixpr": ixpr, "mxstep": mxstep, "mxhnil": mxhnil, "mxordn": mxordn, "mxords": mxords}
        options |= {"Dfun": Dfun, "col_deriv": col_deriv, "full_output": full_output, "printmessg": printmessg}
        numbers = plain((start, times, args), "odeint")
        return _integrate("odeint")(func, *numbers, tfirst=tfirst, **options)
    if full_output:
        raise NotImplementedError("odeint: full_output of a solution that is differentiated")
    tolerances: dict[str, Any] = {
        "rtol": 1.49012e-8 if rtol is None else rtol,
        "atol": 1.49012e-8 if atol is None else atol,
    }
    ends = plain((times[0], times[-1]), "odeint")
    if adjoint:
        run = _solver({"method": "LSODA", **tolerances}, ends[1])
        return _adjoint(fun, start, times[0], times, tuple(args), run, "odeint")
    found = solve_ivp(fun, (times[0], times[-1]), start, "DOP853", times, args=args, **tolerances)
    if not found.success:
        raise RuntimeError(f"odeint: {found.message}")
    return found.y.T
