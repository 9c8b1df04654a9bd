"""Weights kept normalised, of spectral norm 1, or orthogonal, whatever is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.nn import functional as F
from pullback.nn.module import Module
from pullback.nn.utils.parametrize import register_parametrization
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import no_grad
from pullback.tensor.dispatch import is_raw
from pullback.tensor.joining import cat
from pullback.tensor.linalg_namespace import householder_product, matrix_exp, solve
from pullback.tensor.linear import matmul
from pullback.tensor.random import source

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _tensor(module: Module, name: str) -> Any:
    weight = getattr(module, name, None)
    if not isinstance(weight, Handle):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


# Weight normalisation


def norm_except_dim(v: Any, dim: int) -> Any:
    """The norm of each slice of v along `dim`, of v's rank; of the whole of v for `dim` -1."""
    if dim == -1:
        return v.norm()
    return v.norm(2, [i for i in range(len(v.shape)) if i != dim % len(v.shape)], keepdim=True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn length and direction of a weight apart: `original0` times `original1` over the norm of its slices along
    `dim`, or over its whole norm for None [Salimans & Kingma, 2016].
    """
    _tensor(module, name)
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


# Spectral normalisation


class _SpectralNorm(Module):
    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        rank = len(weight.shape)
        if not -rank <= dim < rank:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{rank}, {rank - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % rank
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if rank > 1:
            with no_grad():
                matrix = self._matrix(weight)
                for buffer, size in zip(("_u", "_v"), matrix.shape, strict=True):
                    drawn = source().standard_normal(size).astype(weight._value.dtype)
                    self.register_buffer(buffer, F.normalize(new_handle(drawn), dim=0, eps=eps))
                self._iterate(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        return weight.movedim(self.dim, 0).flatten(1)

    def _iterate(self, matrix: Any, count: int) -> None:
        """Turn u and v towards the singular vectors of the largest singular value, by the power method."""
        if not is_raw(matrix):
            raise RuntimeError(
                "spectral_norm can't update its singular vectors inside a transform; call .eval() on the module first"
            )
        with no_grad():
            for _ in range(count):
                self._u.data = F.normalize(matmul(matrix, self._v), dim=0, eps=self.eps).detach()
                self._v.data = F.normalize(matmul(matrix.mH, self._u), dim=0, eps=self.eps).detach()

    def forward(self, weight: Any) -> Any:
        if len(weight.shape) == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / (u.conj() * matmul(matrix, v)).sum()

    def right_inverse(self, value: Any) -> Any:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight, as a matrix with `dim` in front, by its largest singular value [Miyato et al., 2018].

    That is found by the power method, which goes on by `n_power_iterations` at every use in training. `dim` is 0 unless
    given, 1 for transposed convolutions.
    """
    weight = _tensor(module, name)
    if dim is None:
        dim = int(any(cls.__name__.startswith("ConvTranspose") for cls in type(module).__mro__))
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


# Orthogonal matrices


def _signed_q(a: Any) -> Any:
    """The orthogonal factor of a matrix whose other factor has a positive diagonal."""
    q, r = np.linalg.qr(a)
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def _is_orthogonal(q: Any) -> bool:
    n = q.shape[-1]
    eps = 10 * n * float(np.finfo(q.dtype).eps)
    return bool(np.allclose(q.conj().swapaxes(-1, -2) @ q, np.eye(n), atol=eps))


class _Orthogonal(Module):
    """A matrix with orthonormal columns (or rows, if it is wide) from the lower triangle of any matrix.

    With `use_trivialization` the result is that of 0 times a fixed `base` [Lezcano-Casado, 2019].
    """

    def __init__(self, weight: Any, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight._value.dtype.kind == "c" and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        if wide:
            x = x.mT
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            reflectors = x.tril(-1)
            scales = 2.0 / (1.0 + (reflectors * reflectors).sum(-2))
            q = householder_product(reflectors, scales) * x.diagonal(0, -2, -1).detach().trunc().unsqueeze(-2)
        else:
            x = x.tril()
            if n != k:
                x = cat([x, new_handle(np.zeros((*x.shape[:-1], n - k), x._value.dtype))], -1)
            a = x - x.mH  # skew
            if self.orthogonal_map == "matrix_exp":
                q = matrix_exp(a)
            else:  # Cayley's map
                eye = new_handle(np.eye(n, dtype=a._value.dtype))
                q = solve(eye - 0.5 * a, eye + 0.5 * a)
            q = q[..., :k]
        if "base" in self._buffers:
            q = matmul(self.base, q)
        return q.mT if wide else q

    def right_inverse(self, value: Any) -> Any:
        if tuple(value.shape) != tuple(self.shape):
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {value.shape}."
            )
        wide = value.shape[-2] < value.shape[-1]
        q = value._value.swapaxes(-1, -2) if wide else value._value
        n, k = q.shape[-2:]
        if "base" in self._buffers:
            if n != k:
                noise = source().standard_normal((*q.shape[:-1], n - k)).astype(q.dtype)
                q = np.concatenate([q, noise], -1)
            self.base = new_handle(q.copy() if n == k and _is_orthogonal(q) else _signed_q(q))
            start = np.zeros(tuple(self.shape), value._value.dtype)
            place = np.arange(min(self.shape[-2:]))
            start[..., place, place] = -1  # for which every map, Householder's too, gives the identity
            return new_handle(start)
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                "use_trivialization=False."
            )
        packed, scales = np.linalg.qr(q, mode="raw")
        packed = packed.swapaxes(-1, -2).copy()
        place = np.arange(k)
        signs = np.sign(packed[..., place, place])
        packed[..., place, place] = np.where(scales == 0, -signs, signs)
        return new_handle(packed.swapaxes(-1, -2) if wide else packed)


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a matrix, or a batch of them, orthogonal: its columns orthonormal, or its rows if it is wide.

    `orthogonal_map` is "matrix_exp", "cayley" or "householder": the first for square and complex matrices and the last
    for others, unless given. Raises `ValueError` for what is no matrix.
    """
    weight = _tensor(module, name)
    if len(weight.shape) < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {len(weight.shape)} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1] or weight._value.dtype.kind == "c"
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    how = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return register_parametrization(module, name, how, unsafe=True)
