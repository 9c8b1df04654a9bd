"""Classical orthogonal polynomials, evaluated by SciPy: derivatives in the argument are those of DLMF 18.9(iii).

The degree and the parameters are operands too, so that they broadcast, but have no derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.compare import greater
from pullback.ops.elementwise import maximum, where
from pullback.ops.gammas import in_dtype_of, no_slope
from pullback.ops.samples import Sample, normal, unit
from pullback.ops.table import Op, elementwise, elementwise_shape
from pullback.values.optional import from_scipy
from pullback.values.shape import Spec

__all__ = [
    "eval_chebyt",
    "eval_chebyu",
    "eval_gegenbauer",
    "eval_genlaguerre",
    "eval_hermite",
    "eval_hermitenorm",
    "eval_jacobi",
    "eval_laguerre",
    "eval_legendre",
]

_DEGREES = np.arange(4)[:, None]


def _shape(*operands: Any) -> Spec:
    """The degree leaves the dtype to the others."""
    spec = elementwise_shape(*operands)
    return Spec(spec.shape, elementwise_shape(*operands[1:]).dtype)


def _polynomial(name: str, slope: Callable[..., Any], doc: str, *parameters: float, maker: Any = unit) -> Op:
    """`slope(n, *parameters, x)` is the derivative for a degree n of at least 1."""
    evaluation = from_scipy("special", name)

    def evaluate(n: Any, *rest: Any) -> Any:
        return in_dtype_of(rest, evaluation(np.asarray(n).astype(np.int64), *rest))

    def partial(g: Any, _y: Any, n: Any, *rest: Any) -> Any:
        if isinstance(n, int | float):
            return g * slope(float(n), *rest) if n else g * 0.0
        n = cast(n, dtype=rest[-1].dtype)
        return g * where(greater(n, 0), slope(maximum(n, 1.0), *rest), 0.0)

    fixed = [no_slope(name, "its degree n"), *(no_slope(name, "its parameters") for _ in parameters)]
    return elementwise(
        name,
        evaluate,
        *fixed,
        partial,
        shape=_shape,
        samples=[Sample(n, *parameters, maker(3)) for n in (4, 0, 1, _DEGREES)],
        doc=f"{doc} of whole degree n in x; no derivative in n{' and the parameters' if parameters else ''}.",
    )


eval_jacobi: Op = _polynomial(
    "eval_jacobi",
    lambda n, a, b, x: eval_jacobi(n - 1.0, a + 1.0, b + 1.0, x) * (0.5 * (n + a + b + 1.0)),
    "Jacobi's polynomial",
    0.5,
    1.5,
)
eval_gegenbauer: Op = _polynomial(
    "eval_gegenbauer",
    lambda n, a, x: eval_gegenbauer(n - 1.0, a + 1.0, x) * (2.0 * a),
    "Gegenbauer's polynomial",
    1.5,
)
eval_legendre = _polynomial(
    "eval_legendre",
    lambda n, x: eval_jacobi(n - 1.0, 1.0, 1.0, x) * (0.5 * (n + 1.0)),
    "Legendre's polynomial",
)
eval_chebyt = _polynomial(
    "eval_chebyt", lambda n, x: eval_chebyu(n - 1.0, x) * n, "Chebyshev's polynomial of the first kind"
)
eval_chebyu: Op = _polynomial(
    "eval_chebyu", lambda n, x: eval_gegenbauer(n - 1.0, 2.0, x) * 2.0, "Chebyshev's polynomial of the second kind"
)
eval_hermite: Op = _polynomial(
    "eval_hermite",
    lambda n, x: eval_hermite(n - 1.0, x) * (2.0 * n),
    "The physicists' Hermite polynomial",
    maker=normal,
)
eval_hermitenorm: Op = _polynomial(
    "eval_hermitenorm",
    lambda n, x: eval_hermitenorm(n - 1.0, x) * n,
    "The probabilists' Hermite polynomial",
    maker=normal,
)
eval_genlaguerre: Op = _polynomial(
    "eval_genlaguerre",
    lambda n, a, x: -eval_genlaguerre(n - 1.0, a + 1.0, x),
    "The generalised Laguerre polynomial",
    0.5,
    maker=normal,
)
eval_laguerre = _polynomial(
    "eval_laguerre", lambda n, x: -eval_genlaguerre(n - 1.0, 1.0, x), "Laguerre's polynomial", maker=normal
)
