"""`scipy.optimize`: SciPy's solvers on numbers, and the derivatives of what they find by the implicit function theorem.

Derivatives are with respect to `args` and whatever else the functions use: reverse and forward mode, of every order,
and exact at the solution however it was found (the starting point has none). Where a method can use a gradient or a
Jacobian and none is given, it is given pullback's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.scipy.entries.numeric import attached, elementwise_solve, is_tracked, on_numbers, plain, vector
from pullback.scipy.table import implements
from pullback.transforms.reverse import grad, jacobian
from pullback.values.optional import scipy_module

__all__: list[str] = []


def _solver(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(scipy_module("optimize"), name)
    return found


def _of_args(f: Callable[..., Any], args: Any) -> Callable[[Any], Any]:
    """`f` as a function of its first argument."""
    return lambda x: f(x, *_tuple(args))


def _tuple(args: Any) -> tuple[Any, ...]:
    return args if isinstance(args, tuple) else (args,)


# Roots

_WITH_JACOBIAN = ("hybr", "lm")


@implements("optimize.root")
def root(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str = "hybr",
    jac: Any = None,
    tol: float | None = None,
    callback: Any = None,
    options: Any = None,
) -> Any:
    """SciPy's; `x` of the result is a Tensor if it depends on what is differentiated.

    >>> import numpy as np
    >>> import pullback as pb
    >>> solve = lambda a: pb.scipy.optimize.root(lambda x: x**3 + x - a, np.ones(1)).x[0]
    >>> round(pb.grad(solve)(2.0), 12)
    np.float64(0.25)
    """
    f = _of_args(fun, args)
    value: Callable[[Any], Any] = (lambda x: vector(f(x)[0])) if jac is True else (lambda x: vector(f(x)))
    given: Any = None
    if jac is True:
        given = on_numbers(lambda x: vector(f(x)[1]), "root")
    elif callable(jac):
        given = on_numbers(lambda x: vector(_of_args(jac, args)(x)), "root")
    elif method in _WITH_JACOBIAN and not jac:
        given = on_numbers(jacobian(value), "root")
    start = np.asarray(plain(vector(x0), "root"), float)
    found = _solver("root")(on_numbers(value, "root"), start, (), method, given, tol, callback, options)
    found.x = attached(value, found.x)
    return found


@implements("optimize.fixed_point")
def fixed_point(
    func: Callable[..., Any], x0: Any, args: Any = (), xtol: float = 1e-8, maxiter: int = 500, method: str = "del2"
) -> Any:
    f = _of_args(func, args)
    start = plain(vector(x0), "fixed_point")
    found = _solver("fixed_point")(on_numbers(lambda x: vector(f(x)), "fixed_point"), start, (), xtol, maxiter, method)
    return attached(lambda x: x - vector(f(x)), found)


def _derivatives(f: Callable[[Any], Any], fprime: Any, fprime2: Any, args: Any, wanted: bool) -> tuple[Any, Any]:
    """What a method of Newton's kind is given: the user's derivatives, or ours of a scalar function if wanted."""
    first = on_numbers(_of_args(fprime, args), "newton") if callable(fprime) else fprime
    second = on_numbers(_of_args(fprime2, args), "newton") if callable(fprime2) else fprime2
    return (on_numbers(grad(lambda x: vector(f(x)).sum()), "newton") if wanted and not fprime else first), second


@implements("optimize.newton")
def newton(
    func: Callable[..., Any],
    x0: Any,
    fprime: Any = None,
    args: Any = (),
    tol: float = 1.48e-8,
    maxiter: int = 50,
    fprime2: Any = None,
    x1: Any = None,
    rtol: float = 0.0,
    full_output: bool = False,
    disp: bool = True,
) -> Any:
    """SciPy's; without `fprime` and `x1` the derivative is pullback's, where SciPy would go by secants."""
    f = _of_args(func, args)
    first, second = _derivatives(f, fprime, fprime2, args, x1 is None)
    start = np.asarray(plain(vector(x0), "newton"), float)[()]
    options = {"tol": tol, "maxiter": maxiter, "x1": x1, "rtol": rtol, "full_output": full_output, "disp": disp}
    found = _solver("newton")(on_numbers(f, "newton"), start, first, (), fprime2=second, **options)
    if not full_output:
        return attached(f, found, elementwise_solve)
    x, *rest = found
    x = attached(f, x, elementwise_solve)
    if hasattr(rest[0], "root"):
        rest[0].root = x
    return (x, *rest)


def _bracketing(name: str) -> None:
    @implements(f"optimize.{name}")
    def bracketing(f: Callable[..., Any], a: Any, b: Any, args: Any = (), **options: Any) -> Any:
        value = _of_args(f, args)
        ends = plain((a, b), name)
        found = _solver(name)(on_numbers(value, name), *map(float, ends), **options)
        if not options.get("full_output"):
            return attached(value, found, elementwise_solve)
        x, result = found
        result.root = x = attached(value, x, elementwise_solve)
        return x, result


for _name in ("bisect", "brentq", "brenth", "ridder", "toms748"):
    _bracketing(_name)


@implements("optimize.root_scalar")
def root_scalar(
    f: Callable[..., Any],
    args: Any = (),
    method: str | None = None,
    bracket: Any = None,
    fprime: Any = None,
    fprime2: Any = None,
    x0: Any = None,
    x1: Any = None,
    xtol: float | None = None,
    rtol: float | None = None,
    maxiter: int | None = None,
    options: Any = None,
) -> Any:
    """SciPy's; `root` of the result is a Tensor if it depends on what is differentiated."""
    value = _of_args(f, args)
    if fprime is True or fprime2 is True:
        value = _of_args(lambda x, *rest: f(x, *rest)[0], args)
        if fprime2 is True:
            fprime2 = lambda x, *rest: f(x, *rest)[2]  # noqa: E731
        fprime = lambda x, *rest: f(x, *rest)[1]  # noqa: E731
    newton_like = method in ("newton", "halley") or (method is None and bracket is None and x1 is None)
    first, second = _derivatives(value, fprime, fprime2, args, newton_like)
    if method == "halley" and not second:
        second = on_numbers(grad(grad(value)), "root_scalar")
    places = plain({"bracket": bracket, "x0": x0, "x1": x1}, "root_scalar")
    rest = {"fprime": first, "fprime2": second, "xtol": xtol, "rtol": rtol, "maxiter": maxiter, "options": options}
    found = _solver("root_scalar")(on_numbers(value, "root_scalar"), method=method, **places, **rest)
    found.root = attached(value, found.root, elementwise_solve)
    return found


# Minima

_WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")
_WITH_HESSIAN = ("newton-cg", "dogleg", "trust-ncg", "trust-krylov", "trust-exact")


def _stationary(f: Callable[[Any], Any], x: Any, free: Any) -> Any:
    """`x` as the place where the gradient of `f` is 0 in the entries that are `free`; the others are held."""
    gradient = grad(lambda x: vector(f(x)).reshape(()))
    return attached(lambda x_: np.where(free, gradient(x_), x_ - x) if not np.all(free) else gradient(x_), x)


def _free(x: Any, lower: Any, upper: Any) -> Any:
    """Which entries of a solution are not at a bound."""
    scale = 1e-8 * np.maximum(1.0, np.abs(x))
    return (x - lower > scale) & (upper - x > scale)


@implements("optimize.minimize")
def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Any = None,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Any = None,
    options: Any = None,
) -> Any:
    """SciPy's; `x` and `fun` of the result are Tensors if they depend on what is differentiated.

    At a minimum the gradient is zero, which defines x; entries at a bound stay there. The Hessian must be regular in
    the others. Raises `NotImplementedError` for derivatives of a minimum under `constraints`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def best(a):
    ...     return pb.scipy.optimize.minimize(lambda x: np.sum((x - a) ** 2) + a * x[0], np.zeros(2), tol=1e-10).x
    >>> np.round(pb.jacobian(best)(2.0), 6)
    array([0.5, 1. ])
    """
    f = _of_args(fun, args)
    value: Callable[[Any], Any] = (
        (lambda x: vector(f(x)[0]).reshape(())) if jac is True else lambda x: vector(f(x)).reshape(())
    )
    kind = method.lower() if isinstance(method, str) else ""
    jacobian_: Any = jac
    if jac is True:
        jacobian_ = on_numbers(lambda x: vector(f(x)[1]), "minimize")
    elif callable(jac):
        jacobian_ = on_numbers(lambda x: vector(_of_args(jac, args)(x)), "minimize")
    elif not jac and kind not in _WITHOUT_GRADIENT:
        jacobian_ = on_numbers(grad(value), "minimize")
    hessian_ = on_numbers(_of_args(hess, args), "minimize") if callable(hess) else hess
    product = on_numbers(lambda x, p: hessp(x, p, *_tuple(args)), "minimize") if callable(hessp) else hessp
    if hess is None and hessp is None and kind in _WITH_HESSIAN:
        hessian_ = on_numbers(jacobian(grad(value)), "minimize")
    start = np.atleast_1d(np.asarray(plain(vector(x0), "minimize"), float))
    given = {"hess": hessian_, "hessp": product, "bounds": plain(bounds, "minimize"), "constraints": constraints}
    found = _solver("minimize")(
        on_numbers(value, "minimize"),
        start,
        (),
        method,
        jacobian_,
        **given,
        tol=tol,
        callback=callback,
        options=options,
    )
    at = value(found.x)
    if not is_tracked(at):
        return found
    if constraints:
        raise NotImplementedError(
            "minimize: the derivative of a minimum under constraints. Put the constraints into the variables, or solve "
            "the conditions of the minimum, with its multipliers, by pb.scipy.optimize.root"
        )
    free = np.ones(found.x.shape, bool)
    if bounds is not None:
        limits = scipy_module("optimize").Bounds
        lower, upper = (bounds.lb, bounds.ub) if isinstance(bounds, limits) else np.array(bounds, float).T
        free = _free(found.x, np.nan_to_num(lower, nan=-np.inf), np.nan_to_num(upper, nan=np.inf))
    found.x = _stationary(value, found.x, free)
    found.fun = value(found.x)
    return found


@implements("optimize.minimize_scalar")
def minimize_scalar(
    fun: Callable[..., Any],
    bracket: Any = None,
    bounds: Any = None,
    args: Any = (),
    method: Any = None,
    tol: float | None = None,
    options: Any = None,
) -> Any:
    """SciPy's; `x` and `fun` of the result are Tensors if they depend on what is differentiated."""
    f = _of_args(fun, args)
    found = _solver("minimize_scalar")(
        on_numbers(f, "minimize_scalar"), bracket, plain(bounds, "minimize_scalar"), (), method, tol, options
    )
    if is_tracked(f(found.x)):
        free = True if bounds is None else bool(_free(found.x, *plain(tuple(bounds), "minimize_scalar")))
        found.x = _stationary(f, np.float64(found.x), free)
        found.fun = f(found.x)
    return found


_LOSSES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda z: z,
    "soft_l1": lambda z: 2.0 * ((1.0 + z) ** 0.5 - 1.0),
    "huber": lambda z: np.where(z <= 1.0, z, 2.0 * np.where(z <= 1.0, 1.0, z) ** 0.5 - 1.0),
    "cauchy": np.log1p,
    "arctan": np.arctan,
}  # of squares z, as SciPy has them


@implements("optimize.least_squares")
def least_squares(
    fun: Callable[..., Any],
    x0: Any,
    jac: Any = None,
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    ftol: float | None = 1e-8,
    xtol: float | None = 1e-8,
    gtol: float | None = 1e-8,
    x_scale: Any = None,
    loss: str = "linear",
    f_scale: float = 1.0,
    diff_step: Any = None,
    tr_solver: Any = None,
    tr_options: Any = None,
    jac_sparsity: Any = None,
    max_nfev: int | None = None,
    verbose: int = 0,
    args: Any = (),
    kwargs: Any = None,
    **others: Any,
) -> Any:
    """SciPy's; `x`, `fun` and `cost` of the result are Tensors if they depend on what is differentiated.

    `jac` None is pullback's Jacobian; SciPy's finite differences are had by name, `"2-point"`. Entries at a bound stay
    there. The derivative takes the second derivatives of the residuals into account.
    """

    def f(x: Any) -> Any:
        return vector(fun(x, *_tuple(args), **(kwargs or {})))

    given = jac
    if jac is None:
        given = on_numbers(lambda x: jacobian(lambda x: f(x).reshape(-1))(x), "least_squares")
    elif callable(jac):
        given = on_numbers(lambda x: vector(jac(x, *_tuple(args), **(kwargs or {}))), "least_squares")
    options = {"ftol": ftol, "xtol": xtol, "gtol": gtol, "f_scale": f_scale, "diff_step": diff_step, **others}
    options |= {"tr_solver": tr_solver, "tr_options": tr_options or {}, "jac_sparsity": jac_sparsity}
    options |= {"max_nfev": max_nfev, "verbose": verbose, "loss": loss}
    if x_scale is not None:
        options["x_scale"] = x_scale
    start = np.atleast_1d(np.asarray(plain(vector(x0), "least_squares"), float))
    bounds = plain(bounds, "least_squares")
    found = _solver("least_squares")(on_numbers(f, "least_squares"), start, given, bounds, method, **options)
    if not is_tracked(f(found.x)):
        return found
    if callable(loss):
        raise NotImplementedError("least_squares: the derivative of a fit with a loss function of one's own")

    def cost(x: Any) -> Any:
        return 0.5 * f_scale**2 * _LOSSES[loss]((f(x) / f_scale) ** 2).sum()

    found.x = _stationary(cost, found.x, found.active_mask == 0)
    found.fun, found.cost = f(found.x), cost(found.x)
    return found


@implements("optimize.curve_fit")
def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: Any,
    p0: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: Any = (-np.inf, np.inf),
    method: str | None = None,
    jac: Any = None,
    *,
    full_output: bool = False,
    nan_policy: str | None = None,
    **kwargs: Any,
) -> Any:
    """SciPy's; the parameters and their covariance are Tensors if they depend on what is differentiated: the data, or
    what `f` uses. `sigma` is constant.
    """
    x_, y_, start, deviation, limits = plain((xdata, ydata, p0, sigma, bounds), "curve_fit")
    derivative = jac
    if jac is None:

        def derivative(x: Any, *parameters: Any) -> Any:
            return plain(jacobian(lambda p: vector(f(x, *p)))(np.array(parameters, float)), "curve_fit")

    popt, pcov, *rest = _solver("curve_fit")(
        _same_parameters(f),
        x_,
        y_,
        start,
        deviation,
        absolute_sigma,
        check_finite,
        limits,
        method,
        derivative,
        full_output=full_output,
        nan_policy=nan_policy,
        **kwargs,
    )
    weights = None if deviation is None else np.asarray(deviation, float)

    def residual(p: Any) -> Any:
        difference = vector(f(xdata, *p)) - ydata
        if weights is None:
            return difference
        return difference / weights if weights.ndim == 1 else np.linalg.inv(np.linalg.cholesky(weights)) @ difference

    if is_tracked(residual(popt)):
        lower, upper = np.broadcast_to(limits[0], popt.shape), np.broadcast_to(limits[1], popt.shape)
        popt = _stationary(lambda p: (residual(p) ** 2).sum(), popt, _free(popt, lower, upper))
        slopes = jacobian(residual)(popt)
        pcov = np.linalg.inv(slopes.T @ slopes)
        if not absolute_sigma:
            count = slopes.shape[0] - slopes.shape[1]
            pcov = pcov * ((residual(popt) ** 2).sum() / count)
    return (popt, pcov, *rest)


def _same_parameters(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` on numbers, with its signature, from which SciPy counts the parameters."""
    return functools.wraps(f)(on_numbers(f, "curve_fit"))
