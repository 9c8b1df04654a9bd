"""Linear algebra under one name: products, einsum, diagonals and triangles, factorisations."""

from pullback.ops.diagonal import diag_embed, diagonal, diagonal_update, tril, triu
from pullback.ops.einsum import contract, einsum
from pullback.ops.factor import cholesky, cofactor, det, inv, slogdet, solve
from pullback.ops.products import dot, matmul, matrix_transpose, mm, mv, outer

__all__ = [
    "cholesky",
    "cofactor",
    "contract",
    "det",
    "diag_embed",
    "diagonal",
    "diagonal_update",
    "dot",
    "einsum",
    "inv",
    "matmul",
    "matrix_transpose",
    "mm",
    "mv",
    "outer",
    "slogdet",
    "solve",
    "tril",
    "triu",
]
