"""Special functions in JAX, those that jax.scipy.special has to full precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.compile.export.jax_rules.entry import Rule

__all__ = ["polynomial_rules", "special_functions"]

_SAME_NAME = """
    digamma loggamma gamma gammasgn zeta betaln beta poch gammainc gammaincc betainc erf erfc erfinv erfcx wofz
    owens_t log_ndtr ndtri entr expi exp1 spence hyp1f1 hyp2f1 i0 i1 i0e i1e
""".split()

# Three-term recurrences, p[k+1] = (a x + b) p[k] - c p[k-1] with p[-1] = 0 and p[0] = 1: DLMF 18.9(i).
_Coefficients = Callable[..., tuple[Any, Any, Any]]


def _jacobi(k: int, a: Any, b: Any) -> tuple[Any, Any, Any]:
    s = 2 * k + a + b
    if k == 0:
        return (a + b + 2) / 2, (a - b) / 2, 0.0
    scale = 2 * (k + 1) * (k + a + b + 1)
    return (
        (s + 1) * (s + 2) / scale,
        (a * a - b * b) * (s + 1) / (scale * s),
        2 * (k + a) * (k + b) * (s + 2) / (scale * s),
    )


_POLYNOMIALS: dict[str, _Coefficients] = {
    "eval_jacobi": _jacobi,
    "eval_gegenbauer": lambda k, a: (2 * (k + a) / (k + 1), 0.0, (k + 2 * a - 1) / (k + 1)),
    "eval_legendre": lambda k: ((2 * k + 1) / (k + 1), 0.0, k / (k + 1)),
    "eval_chebyt": lambda k: (2.0 if k else 1.0, 0.0, 1.0),
    "eval_chebyu": lambda k: (2.0, 0.0, 1.0),
    "eval_hermite": lambda k: (2.0, 0.0, 2.0 * k),
    "eval_hermitenorm": lambda k: (1.0, 0.0, float(k)),
    "eval_genlaguerre": lambda k, a: (-1 / (k + 1), (2 * k + a + 1) / (k + 1), (k + a) / (k + 1)),
    "eval_laguerre": lambda k: (-1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1)),
}


def special_functions() -> dict[str, Rule]:
    """The rules, by the name of the op."""
    import jax.numpy as jnp
    from jax.scipy import special

    def up_to(name: str, **limits: Any) -> Rule:
        """A function whose parameters may only have these values: JAX has no derivatives in the other operands."""
        function = getattr(special, name)

        def rule(*operands: Any, **params: Any) -> Any:
            if any(value != limits[key] for key, value in params.items()):
                raise NotImplementedError(f"JAX has no derivative of {name} in its shape parameters")
            return function(*operands)

        return rule

    def dawsn(x: Any) -> Any:
        if jnp.iscomplexobj(x):
            raise NotImplementedError("JAX has Dawson's integral, and erfi, of real numbers only")
        return special.dawsn(x)

    def elliptic(m: Any) -> tuple[Any, Any]:
        """K(m) and E(m) by the arithmetic-geometric mean: DLMF 19.8.5 and 19.8.6."""
        a, g = jnp.ones_like(m), jnp.sqrt(1 - m)
        total = m / 2
        for n in range(8):
            a, g, c = (a + g) / 2, jnp.sqrt(a * g), (a - g) / 2
            total = total + 2.0**n * c * c
        return math.pi / 2 / a, math.pi / 2 / a * (1 - total)

    def pole(x: Any) -> Any:
        return (x <= 0) & (x == jnp.floor(x))

    def expi_of_order(x: Any, n: int) -> Any:
        return special.expn(n, x) if n else jnp.exp(-x) / x

    return {
        **{name: getattr(special, name) for name in _SAME_NAME},
        "gammainc": up_to("gammainc", order=0),
        "gammaincc": up_to("gammaincc", order=0),
        "betainc": up_to("betainc", orders=(0, 0)),
        "dawsn": dawsn,
        "ellipk": lambda m: elliptic(m)[0],
        "ellipe": lambda m: jnp.where(m == 1, 1, elliptic(m)[1]),
        "ellipkm1": lambda p: elliptic(1 - p)[0],
        "lgamma": special.gammaln,
        "polygamma": lambda x, n=0: special.polygamma(n, x) if n else special.digamma(x),
        "rgamma": lambda x: jnp.where(pole(x), 0, 1 / special.gamma(jnp.where(pole(x), 1, x))),
        "ndtr": lambda x: 0.5 * special.erfc(x * -math.sqrt(0.5)),
        "erfi": lambda x: 2 / math.sqrt(math.pi) * jnp.exp(x * x) * dawsn(x),
        "erfcinv": lambda x: special.ndtri(x / 2) * -math.sqrt(0.5),
        "exprel": lambda x: jnp.where(x == 0, 1, jnp.expm1(x) / jnp.where(x == 0, 1, x)),
        "log1prel": lambda x: jnp.where(x == 0, 1, jnp.log1p(x) / jnp.where(x == 0, 1, x)),
        "expn": expi_of_order,
        "si": lambda x: special.sici(x)[0],
        "ci": lambda x: special.sici(x)[1],
        "fresnels": lambda x: special.fresnel(x)[0],
        "fresnelc": lambda x: special.fresnel(x)[1],
    }


def polynomial_rules() -> dict[str, Rule]:
    """The rules of the orthogonal polynomials. The degree, a constant, says how many steps are taken."""
    import jax
    import jax.numpy as jnp

    def polynomial(coefficients: _Coefficients) -> Rule:
        def rule(n: Any, *rest: Any) -> Any:
            if isinstance(n, jax.Array):
                raise NotImplementedError("the degree of a polynomial must be a constant")
            *parameters, x = rest
            degree = np.asarray(n).astype(int)
            before, last = jnp.zeros_like(x), jnp.ones_like(x)
            y = last + jnp.zeros(degree.shape, x.dtype)
            for k in range(int(degree.max(initial=0))):
                a, b, c = coefficients(k, *parameters)
                before, last = last, (a * x + b) * last - c * before
                y = jnp.where(degree == k + 1, last, y)
            return jnp.where(degree < 0, 0, y)

        return rule

    return {name: polynomial(coefficients) for name, coefficients in _POLYNOMIALS.items()}
