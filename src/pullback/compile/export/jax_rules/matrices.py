"""Linear algebra in JAX, on matrices in the last two axes.

A matrix that NumPy refuses with `LinAlgError` (singular, not positive definite) gives NaN or infinities in JAX, which
does not look at the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compile.export.jax_rules.entry import Entry, Rule

__all__ = ["matrix_entries"]


def matrix_entries() -> dict[str, Entry]:
    """The entries, by the name of the op."""
    meet = ("solve", "solve_triangular", "sylvester", "cofactor_slope")
    native = ("matrix_exp", "sylvester")
    rules = _systems() | _spectra()
    return {name: Entry(rule, meets=name in meet, native=name in native) for name, rule in rules.items()}


def _systems() -> dict[str, Rule]:
    import jax.numpy as jnp
    from jax import lax
    from jax.scipy import linalg

    def stacked(*operands: Any) -> list[Any]:
        """Stacks of matrices with the same leading axes."""
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in operands))
        return [jnp.broadcast_to(x, (*lead, *x.shape[-2:])) for x in operands]

    def sylvester(a: Any, b: Any, c: Any) -> Any:
        """The solution as JAX finds it, differentiated as that of a linear system."""
        solution = jnp.vectorize(linalg.solve_sylvester, signature="(m,m),(n,n),(m,n)->(m,n)")
        shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2], c.shape[:-2])
        return lax.custom_linear_solve(
            lambda x: a @ x + x @ b,
            jnp.broadcast_to(c, (*shape, *c.shape[-2:])),
            lambda _, c: solution(a, b, c).astype(c.dtype),
            lambda _, c: solution(jnp.swapaxes(a, -1, -2), jnp.swapaxes(b, -1, -2), c).astype(c.dtype),
        )

    def solve_triangular(a: Any, b: Any, lower: bool, unit: bool) -> Any:
        return lax.linalg.triangular_solve(*stacked(a, b), left_side=True, lower=lower, unit_diagonal=unit)

    def cholesky(a: Any) -> Any:
        return jnp.linalg.cholesky(0.5 * (a + adjoint(a)), symmetrize_input=False)

    def adjoint(x: Any) -> Any:
        return jnp.conj(jnp.swapaxes(x, -1, -2))

    def row_order(pivots: Any, length: int) -> Any:
        return lax.linalg.lu_pivots_to_permutation(pivots.astype(np.int32), length)

    def unitary(a: Any) -> tuple[Any, Any, Any, Any]:
        u, s, vh = jnp.linalg.svd(a)
        return u, s, vh, (jnp.linalg.det(u) * jnp.linalg.det(vh))[..., None, None]

    def cofactor(a: Any) -> Any:
        u, s, vh, unit = unitary(a)
        others = jnp.prod(jnp.where(np.eye(a.shape[-1], dtype=bool), 1, s[..., None, :]), -1)
        return unit * ((jnp.conj(u) * others[..., None, :]) @ jnp.conj(vh))

    def cofactor_slope(a: Any, e: Any) -> Any:
        u, s, vh, unit = unitary(a)
        eye = np.eye(a.shape[-1], dtype=bool)
        others = jnp.prod(jnp.where(eye[:, None, :] | eye[None, :, :], 1, s[..., None, None, :]), -1)
        others = jnp.where(eye, 0, others)
        f = adjoint(u) @ e @ adjoint(vh)
        diagonal = (others @ jnp.diagonal(f, 0, -2, -1)[..., None])[..., 0]
        slope = jnp.where(eye, diagonal[..., None, :], -others * jnp.swapaxes(f, -1, -2))
        return unit * (jnp.conj(u) @ slope @ jnp.conj(vh))

    def root(a: Any) -> Any:
        """NaN where a real matrix has a complex root only."""
        y = jnp.vectorize(linalg.sqrtm, signature="(m,m)->(m,m)")(a)
        if jnp.iscomplexobj(a):
            return y
        size = jnp.max(jnp.abs(y), (-2, -1), keepdims=True, initial=0)
        apart = jnp.max(jnp.abs(jnp.imag(y)), (-2, -1), keepdims=True, initial=0)
        return jnp.where(apart > 1e3 * jnp.finfo(a.dtype).eps * size, jnp.nan, jnp.real(y))

    def exponential(a: Any) -> Any:
        return jnp.vectorize(linalg.expm, signature="(m,m)->(m,m)")(a)

    def slogdet(a: Any) -> tuple[Any, Any]:
        return tuple(jnp.linalg.slogdet(a))

    return {
        "inv": jnp.linalg.inv,
        "solve": lambda a, b: jnp.linalg.solve(*stacked(a, b)),
        "det": jnp.linalg.det,
        "slogdet": slogdet,
        "cofactor": cofactor,
        "cofactor_slope": cofactor_slope,
        "solve_triangular": solve_triangular,
        "cholesky": cholesky,
        "qr": lambda a, complete: tuple(jnp.linalg.qr(a, "complete" if complete else "reduced")),
        "row_order": row_order,
        "lu_factor": lambda a: tuple(lax.linalg.lu(a)),
        "matrix_exp": exponential,
        "matrix_sqrt": root,
        "sylvester": sylvester,
    }


def _spectra() -> dict[str, Rule]:
    import jax.numpy as jnp

    def hermitian(a: Any) -> Any:
        return 0.5 * (a + jnp.conj(jnp.swapaxes(a, -1, -2)))

    def pinv(a: Any, atol: Any, rtol: Any) -> Any:
        u, s, vh = jnp.linalg.svd(a, full_matrices=False)
        small = s <= jnp.maximum(atol, rtol * s[..., 0])[..., None]
        inverse = jnp.where(small, 0, 1 / jnp.where(small, 1, s))
        v, uh = (jnp.conj(jnp.swapaxes(x, -1, -2)) for x in (vh, u))
        return (v * inverse[..., None, :]) @ uh

    return {
        "eigh": lambda a: tuple(jnp.linalg.eigh(hermitian(a), symmetrize_input=False)),
        "eigvalsh": lambda a: jnp.linalg.eigvalsh(hermitian(a), symmetrize_input=False),
        "eig": lambda a: tuple(jnp.linalg.eig(a)),
        "svd": lambda a, full: tuple(jnp.linalg.svd(a, full_matrices=full)),
        "svdvals": lambda a: jnp.linalg.svd(a, compute_uv=False),
        "pinv": pinv,
    }
