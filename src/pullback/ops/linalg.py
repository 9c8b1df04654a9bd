"""Linear algebra under one name: products, einsum, diagonals and triangles, factorisations, functions of matrices."""

from pullback.ops.diagonal import diag_embed, diagonal, diagonal_update, tril, triu
from pullback.ops.einsum import contract, einsum
from pullback.ops.factor import cofactor, det, inv, slogdet, solve
from pullback.ops.matrix_functions import direction, matrix_exp, matrix_log, matrix_sqrt, pinv, sylvester
from pullback.ops.products import dot, matmul, matrix_transpose, mm, mv, outer
from pullback.ops.spectral import eig, eigh, eigvalsh, svd, svdvals
from pullback.ops.triangular import cholesky, lu_factor, qr, solve_triangular

__all__ = [
    "cholesky",
    "cofactor",
    "contract",
    "det",
    "diag_embed",
    "diagonal",
    "diagonal_update",
    "direction",
    "dot",
    "eig",
    "eigh",
    "eigvalsh",
    "einsum",
    "inv",
    "lu_factor",
    "matmul",
    "matrix_exp",
    "matrix_log",
    "matrix_sqrt",
    "matrix_transpose",
    "mm",
    "mv",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "sylvester",
    "tril",
    "triu",
]
