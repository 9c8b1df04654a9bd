"""`pb.special`: special functions under the names of `torch.special`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback.ops import bessel, gammas, integrals
from pullback.ops import polynomials as p
from pullback.ops.table import Op
from pullback.tensor.arithmetic import exp2, expm1, log1p, logit, round, sinc, xlogy
from pullback.tensor.arithmetic import sigmoid as expit
from pullback.tensor.dispatch import apply, binary, unary
from pullback.tensor.scanning import logsumexp
from pullback.tensor.special import (
    digamma,
    erf,
    erfc,
    erfinv,
    i0,
    log_softmax,
    polygamma,
    softmax,
)
from pullback.tensor.special import igamma as gammainc
from pullback.tensor.special import igammac as gammaincc
from pullback.tensor.special import lgamma as gammaln
from pullback.tensor.special import mvlgamma as multigammaln

__all__ = [
    "airy_ai",
    "bessel_j0",
    "bessel_j1",
    "bessel_y0",
    "bessel_y1",
    "chebyshev_polynomial_t",
    "chebyshev_polynomial_u",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammainc",
    "gammaincc",
    "gammaln",
    "hermite_polynomial_h",
    "hermite_polynomial_he",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "laguerre_polynomial_l",
    "legendre_polynomial_p",
    "log1p",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "modified_bessel_i0",
    "modified_bessel_i1",
    "modified_bessel_k0",
    "modified_bessel_k1",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1",
    "sinc",
    "softmax",
    "spherical_bessel_j0",
    "xlog1py",
    "xlogy",
    "zeta",
]

psi = digamma
entr, erfcx = unary(integrals.entr), unary(integrals.erfcx)
ndtr, ndtri, log_ndtr = unary(integrals.ndtr), unary(integrals.ndtri), unary(integrals.log_ndtr)
i0e, i1, i1e = unary(bessel.i0e), unary(bessel.i1), unary(bessel.i1e)
airy_ai = unary(bessel.airy_ai)
bessel_j0, bessel_j1, bessel_y0, bessel_y1 = (unary(op) for op in (bessel.j0, bessel.j1, bessel.y0, bessel.y1))
modified_bessel_i0, modified_bessel_i1 = i0, i1
modified_bessel_k0, modified_bessel_k1 = unary(bessel.k0), unary(bessel.k1)
scaled_modified_bessel_k0, scaled_modified_bessel_k1 = unary(bessel.k0e), unary(bessel.k1e)
xlog1py, zeta = binary(integrals.xlog1py, floating=True), binary(gammas.zeta, floating=True)


def spherical_bessel_j0(input: Any) -> Any:
    """sin(x) / x, 1 at 0."""
    return sinc(input * 0.3183098861837907)


def _polynomial(op: Op) -> Callable[[Any, Any], Any]:
    def function(input: Any, n: Any) -> Any:
        return apply(op, n, input, floating=True)

    function.__name__ = op.name
    function.__doc__ = op.doc
    return function


chebyshev_polynomial_t, chebyshev_polynomial_u = _polynomial(p.eval_chebyt), _polynomial(p.eval_chebyu)
hermite_polynomial_h, hermite_polynomial_he = _polynomial(p.eval_hermite), _polynomial(p.eval_hermitenorm)
laguerre_polynomial_l, legendre_polynomial_p = _polynomial(p.eval_laguerre), _polynomial(p.eval_legendre)
