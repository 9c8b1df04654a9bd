"""`pb.scipy.special`: SciPy's special functions over Tensors.

SciPy's universal functions called with a Tensor, `scipy.special.gammaln(x)` in unchanged code, come here by NumPy's
protocol. Promotion is NumPy's: float32 stays float32, integers become float64. Derivatives exist in every argument
unless the function's docstring says otherwise; asking for one that does not exist raises `NotImplementedError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import bessel as b
from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import gammas as g
from pullback.ops import integrals as i
from pullback.ops import polynomials as p
from pullback.ops import special as erfs
from pullback.ops.activation import logsigmoid
from pullback.ops.control import stop_gradient
from pullback.ops.nn import log_softmax as log_softmax_op
from pullback.ops.nn import softmax as softmax_op
from pullback.ops.reduce import amax
from pullback.ops.reduce import logsumexp as logsumexp_op
from pullback.ops.shape import reduced, reshape, sum_
from pullback.scipy.table import implements
from pullback.tape.node import Handle
from pullback.tensor.dispatch import to_dtype
from pullback.tensor.numpy_api.operands import all_axes, deliver, dtype_of, is_number, lift, raw, shape_of
from pullback.tensor.numpy_api.table import SCIPY_UFUNCS

__all__ = ["universal"]

Compute = Callable[..., Any]


def operands(*given: Any, name: str = "", complex: bool = False) -> tuple[Any, ...]:
    """The operands in the float dtype NumPy promotes them to; Python numbers stay numbers unless all are.

    Raises `TypeError` for complex operands, unless `complex`.
    """
    found = [x if is_number(x) else lift(x) for x in given]
    dtype = np.result_type(*(x if is_number(x) else dtype_of(x) for x in found))
    if dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    elif dtype.char == "e":
        dtype = np.dtype(np.float32)
    elif dtype.kind == "c" and not complex:
        raise TypeError(f"{name} is not supported for complex numbers")
    if not any(isinstance(x, Handle) for x in found):
        found[0] = lift(np.asarray(found[0], dtype)[()])
    return tuple(to_dtype(x, dtype) if isinstance(x, Handle) else float(x) if isinstance(x, int) else x for x in found)


def universal(name: str, compute: Compute, count: int, *, complex: bool = False) -> Compute:
    """Enter a universal function of `count` operands: in the table of SciPy's functions, and where NumPy's protocol
    looks."""

    def function(*given: Any, out: Any = None, where: Any = True, dtype: Any = None) -> Any:
        if where is not True:
            raise TypeError(f"scipy.special.{name} takes no where= in pullback: use numpy.where on its result")
        if len(given) > count and out is None:
            *given, out = given  # type: ignore[assignment]
        if len(given) != count:
            raise TypeError(f"{name}() takes {count} operands, {len(given)} were given")
        if dtype is not None:
            given = tuple(to_dtype(lift(x), np.dtype(dtype)) for x in given)
        y = compute(*operands(*given, name=name, complex=complex))
        return y if isinstance(y, tuple) else deliver(y, out)

    function.__qualname__ = name
    function.__doc__ = compute.__doc__
    implements(f"special.{name}")(function)
    SCIPY_UFUNCS[name] = function
    return function


# Ops, by the number of their operands


def _documented(op: Any) -> Compute:
    def compute(*xs: Any) -> Any:
        return op(*xs)

    compute.__doc__ = op.doc
    return compute


_COMPLEX = set("gamma loggamma rgamma psi erfcx erfi dawsn wofz jv yv iv kv log1p expm1 xlogy xlog1py".split())
_OPS: dict[int, dict[str, Any]] = {
    1: {
        "gamma": g.gamma,
        "gammaln": g.lgamma,
        "loggamma": g.loggamma,
        "rgamma": g.rgamma,
        "gammasgn": g.gammasgn,
        "psi": g.digamma,
        "erf": erfs.erf,
        "erfc": erfs.erfc,
        "erfinv": erfs.erfinv,
        "erfcx": i.erfcx,
        "erfi": i.erfi,
        "erfcinv": i.erfcinv,
        "dawsn": i.dawsn,
        "ndtr": i.ndtr,
        "ndtri": i.ndtri,
        "log_ndtr": i.log_ndtr,
        "expi": i.expi,
        "exp1": i.exp1,
        "spence": i.spence,
        "ellipk": i.ellipk,
        "ellipe": i.ellipe,
        "ellipkm1": i.ellipkm1,
        "entr": i.entr,
        "exprel": i.exprel,
        "cosm1": i.cosm1,
        "wrightomega": i.wrightomega,
        "expit": e.sigmoid,
        "logit": e.logit,
        "log_expit": logsigmoid,
        "expm1": e.expm1,
        "log1p": e.log1p,
        "exp2": e.exp2,
        "cbrt": e.cbrt,
        **{name: getattr(b, name) for name in "i0 i0e i1 i1e j0 j1 y0 y1 k0 k0e k1 k1e".split()},
    },
    2: {
        "beta": g.beta,
        "betaln": g.betaln,
        "gammainc": g.gammainc,
        "gammaincc": g.gammaincc,
        "gammaincinv": g.gammaincinv,
        "gammainccinv": g.gammainccinv,
        "poch": g.poch,
        "binom": g.binom,
        "owens_t": i.owens_t,
        "xlogy": e.xlogy,
        "xlog1py": i.xlog1py,
        **{name: getattr(b, name) for name in "jv yv iv ive kv kve".split()},
        **{
            f"eval_{name}": getattr(p, f"eval_{name}")
            for name in "legendre chebyt chebyu laguerre hermite hermitenorm".split()
        },
        "hyp0f1": i.hyp0f1,
    },
    3: {
        "betainc": g.betainc,
        "betaincinv": g.betaincinv,
        "eval_genlaguerre": p.eval_genlaguerre,
        "eval_gegenbauer": p.eval_gegenbauer,
        "hyp1f1": i.hyp1f1,
    },
    4: {"eval_jacobi": p.eval_jacobi, "hyp2f1": i.hyp2f1},
}
for _count, _named in _OPS.items():
    for _name, _op in _named.items():
        universal(_name, _documented(_op), _count, complex=_name in _COMPLEX)


# Universal functions that are composites


def _complex(z: Any) -> Any:
    dtype = dtype_of(z)
    return z if dtype.kind == "c" else to_dtype(z, np.dtype(np.complex64 if dtype.itemsize == 4 else np.complex128))


def _wofz(z: Any) -> Any:
    """Faddeeva's function exp(-z²) erfc(-iz); complex, of real z too."""
    return i.wofz(_complex(z))


def _airy(z: Any) -> tuple[Any, ...]:
    """The Airy functions and their derivatives: Ai, Ai', Bi, Bi'."""
    return b.airy_ai(z), b.airy_ai(z, order=1), b.airy_bi(z), b.airy_bi(z, order=1)


def _sici(x: Any) -> tuple[Any, Any]:
    """The sine and cosine integrals."""
    return i.si(x), i.ci(x)


def _fresnel(x: Any) -> tuple[Any, Any]:
    """Fresnel's integrals S and C."""
    return i.fresnels(x), i.fresnelc(x)


def _exp10(x: Any) -> Any:
    """10**x."""
    return e.pow_(10.0, x)


def _expn(n: Any, x: Any) -> Any:
    """The exponential integral of whole order n; no derivative in n."""
    order = raw(n, "the order of expn") if isinstance(n, Handle) else np.asarray(n)
    if order.ndim or order != int(order):
        raise TypeError("expn takes one whole number for its order in pullback")
    return i.expn(x, n=int(order))


def _rel_entr(x: Any, y: Any) -> Any:
    """x log(x / y); 0 where x is 0 and y >= 0, inf where either is negative or y alone 0."""
    zero = c.logical_and(c.equal(x, 0), c.greater_equal(y, 0))
    inside = c.logical_and(c.greater(x, 0), c.greater(y, 0))
    a, d = e.where(inside, x, 1.0), e.where(inside, y, 1.0)
    value = e.where(inside, a * (e.log(a) - e.log(d)), math.inf)
    missing = c.logical_or(c.isnan(x), c.isnan(y))
    return e.where(missing, x * y, e.where(zero, x * 0.0, value))


def _kl_div(x: Any, y: Any) -> Any:
    """x log(x / y) - x + y; inf outside x >= 0, y > 0 (or both 0)."""
    inside = c.logical_and(c.greater_equal(x, 0), c.greater_equal(y, 0))
    return _rel_entr(x, y) + e.where(inside, y - x, 0.0)


def _huber(delta: Any, r: Any) -> Any:
    """r²/2 for |r| <= delta, delta (|r| - delta/2) beyond; inf for delta < 0."""
    size = e.abs_(r)
    value = e.where(c.less_equal(size, delta), 0.5 * r * r, delta * (size - 0.5 * delta))
    return e.where(c.less(delta, 0), math.inf, value)


def _pseudo_huber(delta: Any, r: Any) -> Any:
    """delta² (√(1 + (r/delta)²) - 1); 0 for delta = 0 (or r = 0), inf for delta < 0."""
    inside = c.greater(delta, 0)
    scale = e.where(inside, delta, 1.0)
    ratio = e.square(r / scale)
    value = e.square(scale) * (ratio / (e.sqrt(ratio + 1.0) + 1.0))
    return e.where(inside, value, e.where(c.less(delta, 0), math.inf, 0.0 * r))


def _powm1(x: Any, y: Any) -> Any:
    """x**y - 1 for x > 0, accurate near 0."""
    return e.expm1(e.xlogy(y, x))


def _transform(log: Any, lmbda: Any) -> Any:
    """expm1(λ log) / λ, its limit at λ = 0 included; -1/λ where log is -inf and λ > 0."""
    low = c.equal(log, -math.inf)
    finite = e.where(low, 0.0, log)
    edge = e.where(c.greater(lmbda, 0), -1.0 / e.where(c.greater(lmbda, 0), lmbda, 1.0), -math.inf)
    return e.where(low, edge, finite * i.exprel(lmbda * finite))


def _boxcox(x: Any, lmbda: Any) -> Any:
    """(x**λ - 1)/λ, log(x) for λ = 0; smooth in λ there."""
    return _transform(e.log(x), lmbda)


def _boxcox1p(x: Any, lmbda: Any) -> Any:
    """((1 + x)**λ - 1)/λ, log(1 + x) for λ = 0; smooth in λ there."""
    return _transform(e.log1p(x), lmbda)


def _inverse(y: Any, lmbda: Any) -> Any:
    return y * i.log1prel(lmbda * y)


def _inv_boxcox(y: Any, lmbda: Any) -> Any:
    """The x with boxcox(x, λ) = y."""
    return e.exp(_inverse(y, lmbda))


def _inv_boxcox1p(y: Any, lmbda: Any) -> Any:
    """The x with boxcox1p(x, λ) = y."""
    return e.expm1(_inverse(y, lmbda))


def _stdtr(df: Any, t: Any) -> Any:
    """The distribution function of Student's t, exact in df too. At t = 0 its slope is the density's."""
    away = c.greater(e.abs_(t), 1e-100)  # where the rest of the formula has a finite slope
    far = e.where(away, t, 1.0)
    half = 0.5 * df
    squares = far * far
    near = c.less(squares, df)  # the incomplete beta function in the variable that is small
    share = squares / (squares + df)
    middle = 0.5 * g.betainc(0.5, half, e.where(near, share, 0.5))
    tail = 0.5 * g.betainc(half, 0.5, e.where(near, 0.5, df / (squares + df)))
    below = c.less(t, 0)
    value = e.where(near, e.where(below, 0.5 - middle, middle + 0.5), e.where(below, tail, 1.0 - tail))
    slope = e.exp(g.lgamma(half + 0.5) - g.lgamma(half)) / e.sqrt(math.pi * df)
    return e.where(away, value, t * slope + 0.5)


_COMPOSITES: dict[str, tuple[Compute, int]] = {
    "airy": (_airy, 1),
    "sici": (_sici, 1),
    "fresnel": (_fresnel, 1),
    "wofz": (_wofz, 1),
    "exp10": (_exp10, 1),
    "expn": (_expn, 2),
    "rel_entr": (_rel_entr, 2),
    "kl_div": (_kl_div, 2),
    "huber": (_huber, 2),
    "pseudo_huber": (_pseudo_huber, 2),
    "powm1": (_powm1, 2),
    "boxcox": (_boxcox, 2),
    "boxcox1p": (_boxcox1p, 2),
    "inv_boxcox": (_inv_boxcox, 2),
    "inv_boxcox1p": (_inv_boxcox1p, 2),
    "stdtr": (_stdtr, 2),
    # Distribution functions by the incomplete gamma and beta functions
    "chdtr": (lambda v, x: g.gammainc(0.5 * v, 0.5 * x), 2),
    "chdtrc": (lambda v, x: g.gammaincc(0.5 * v, 0.5 * x), 2),
    "pdtr": (lambda k, m: g.gammaincc(e.floor(k) + 1.0, m), 2),
    "pdtrc": (lambda k, m: g.gammainc(e.floor(k) + 1.0, m), 2),
    "gdtr": (lambda a, b, x: g.gammainc(b, a * x), 3),
    "gdtrc": (lambda a, b, x: g.gammaincc(b, a * x), 3),
    "bdtr": (lambda k, n, p: g.betainc(n - e.floor(k), e.floor(k) + 1.0, 1.0 - p), 3),
    "bdtrc": (lambda k, n, p: g.betainc(e.floor(k) + 1.0, n - e.floor(k), p), 3),
    "fdtr": (lambda m, n, x: g.betainc(0.5 * m, 0.5 * n, m * x / (m * x + n)), 3),
    "fdtrc": (lambda m, n, x: g.betainc(0.5 * n, 0.5 * m, n / (m * x + n)), 3),
    "betaincc": (lambda a, b, x: g.betainc(b, a, 1.0 - x), 3),
    "hankel1": (lambda v, z: b.jv(v, _complex(z)) + 1j * b.yv(v, _complex(z)), 2),
    "hankel2": (lambda v, z: b.jv(v, _complex(z)) - 1j * b.yv(v, _complex(z)), 2),
}
for _name, (_compute, _count) in _COMPOSITES.items():
    universal(_name, _compute, _count, complex=_name in ("airy", "wofz"))
SCIPY_UFUNCS["yn"] = SCIPY_UFUNCS["yv"]
implements("special.digamma")(SCIPY_UFUNCS["psi"])
implements("special.jn")(SCIPY_UFUNCS["jv"])
implements("special.yn")(SCIPY_UFUNCS["yv"])


# Functions that are not universal


@implements("special.polygamma")
def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of digamma; n is a whole number, or an array of them, and has no derivative."""
    orders = np.asarray(raw(n, "the order of polygamma"))
    (x,) = operands(x, name="polygamma")
    if orders.ndim == 0:
        return g.polygamma(x, n=int(orders))
    total = None
    for order in np.unique(orders):
        y = g.polygamma(x, n=int(order))
        total = y if total is None else e.where(lift(orders == order), y, total)
    return total


@implements("special.zeta")
def zeta(x: Any, q: Any = None, out: Any = None) -> Any:
    """Riemann's zeta function of x, or Hurwitz's of x and q; it has a derivative in q only."""
    return deliver(g.zeta(*operands(x, 1.0 if q is None else q, name="zeta")), out)


@implements("special.multigammaln")
def multigammaln(a: Any, d: int) -> Any:
    """log of the multivariate gamma function of dimension d."""
    (a,) = operands(a, name="multigammaln")
    total: Any = d * (d - 1) / 4 * math.log(math.pi)
    for j in range(d):
        total = g.lgamma(a - 0.5 * j) + total
    return total


def _inexactly(name: str, exact: bool) -> None:
    if exact:
        raise TypeError(f"{name}(exact=True) counts with integers and has no derivative: call it on numbers")


@implements("special.comb")
def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    """N over k, and 0 unless 0 <= k <= N."""
    _inexactly("comb", exact)
    n, k = operands(N, k, name="comb")
    if repetition:
        n = n + k - 1.0
    inside = c.logical_and(c.greater_equal(k, 0), c.logical_and(c.less_equal(k, n), c.greater_equal(n, 0)))
    return e.where(inside, g.binom(e.where(inside, n, 1.0), e.where(inside, k, 1.0)), 0.0)


@implements("special.perm")
def perm(N: Any, k: Any, exact: bool = False) -> Any:
    """N! / (N - k)!, and 0 unless 0 <= k <= N."""
    _inexactly("perm", exact)
    n, k = operands(N, k, name="perm")
    inside = c.logical_and(c.greater_equal(k, 0), c.logical_and(c.less_equal(k, n), c.greater_equal(n, 0)))
    n, k = e.where(inside, n, 1.0), e.where(inside, k, 1.0)
    return e.where(inside, g.poch(n - k + 1.0, k), 0.0)


@implements("special.factorial")
def factorial(n: Any, exact: bool = False) -> Any:
    """Γ(n + 1), and 0 for negative n."""
    _inexactly("factorial", exact)
    (n,) = operands(n, name="factorial")
    inside = c.greater_equal(n, 0)
    return e.where(inside, g.gamma(e.where(inside, n, 0.0) + 1.0), 0.0)


@implements("special.lambertw")
def lambertw(z: Any, k: int = 0, tol: float = 1e-8) -> Any:
    """Branch k of Lambert's W; complex, of real z too."""
    (z,) = operands(z, name="lambertw", complex=True)
    return i.lambertw(_complex(z), k=int(k))


@implements("special.sinc")
def sinc(x: Any) -> Any:
    """sin(πx)/(πx), 1 at 0."""
    return e.sinc(*operands(x, name="sinc"))


@implements("special.softplus")
def softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return e.logaddexp(*operands(x, name="softplus"), 0.0)


# Along axes


def _summed(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    (a,) = operands(a, name="logsumexp")
    return a, all_axes(axis, len(shape_of(a)))


@implements("special.logsumexp")
def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """log |Σ b exp(a)|, and the sign of the sum if `return_sign`; NaN for a negative sum without."""
    if b is None:
        a, axes = _summed(a, axis)
        y = logsumexp_op(a, axis=axes, keepdims=keepdims)
        return (y, e.where(c.equal(y, -math.inf), 0.0, e.where(c.isnan(y), y, 1.0))) if return_sign else y
    a, weight = (lift(x) for x in operands(a, b, name="logsumexp"))
    shape = np.broadcast_shapes(shape_of(a), shape_of(weight))
    axes = all_axes(axis, len(shape))
    used = c.not_equal(weight, 0)
    top = amax(stop_gradient(e.where(used, a, -math.inf)), axis=axes, keepdims=True)
    top = e.where(c.isfinite(top), top, 0.0)
    limit = 80.0 if dtype_of(a).itemsize == 4 else 700.0
    above = a - top  # of weight 0 it may be anything, and counts for the slope in the weight alone
    total = sum_(weight * e.exp(e.where(used, above, e.minimum(above, limit))), axis=axes, keepdims=True)
    y = e.log(e.abs_(total) if return_sign else total) + top
    if not keepdims:
        y, total = (reshape(x, shape=reduced(shape, axes, False)) for x in (y, total))
    return (y, e.sgn(total)) if return_sign else y


def _normalised(op: Any, x: Any, axis: Any, logarithm: bool) -> Any:
    x, axes = _summed(x, axis)
    if len(axes) == 1:
        return op(x, axis=axes[0])
    shifted = x - logsumexp_op(x, axis=axes, keepdims=True)
    return shifted if logarithm else e.exp(shifted)


@implements("special.softmax")
def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) over its sum along `axis` (None: all)."""
    return _normalised(softmax_op, x, axis, logarithm=False)


@implements("special.log_softmax")
def log_softmax(x: Any, axis: Any = None) -> Any:
    """log(softmax(x)) along `axis` (None: all)."""
    return _normalised(log_softmax_op, x, axis, logarithm=True)
