"""Ops that move elements, reduce, order, and transform along axes, in JAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.compile.export.jax_rules.entry import Entry, Rule
from pullback.ops.fourier import cosine, sine
from pullback.ops.resample import KINDS, Taps
from pullback.ops.strided import places

__all__ = ["array_entries"]

_MEET = frozenset("concatenate stack einsum matmul mm mv dot convolve recurrence".split())


def array_entries() -> dict[str, Entry]:
    """The entries, by the name of the op."""
    rules = _moving() | _indexing() | _strided() | _reductions() | _lines() | _transforms() | _products()
    return {name: Entry(rule, meets=name in _MEET) for name, rule in rules.items()}


def _moving() -> dict[str, Rule]:
    import jax.numpy as jnp
    from jax import dtypes, lax

    def cast(x: Any, dtype: np.dtype[Any]) -> Any:
        real = jnp.iscomplexobj(x) and dtype.kind != "c"
        return (x.real if real else x).astype(dtypes.canonicalize_dtype(dtype))

    def pad(x: Any, widths: Any, value: float) -> Any:
        return lax.pad(x, jnp.asarray(value, x.dtype), [(before, after, 0) for before, after in widths])

    def unbind(x: Any, axis: int) -> Any:
        return tuple(lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis]))

    return {
        "reshape": lambda x, shape: jnp.reshape(x, shape),
        "transpose": lambda x, axes: jnp.transpose(x, axes),
        "broadcast_to": lambda x, shape: jnp.broadcast_to(x, shape),
        "flip": lambda x, axis: jnp.flip(x, axis),
        "roll": lambda x, shift, axis: jnp.roll(x, shift, axis),
        "pad": pad,
        "concatenate": lambda *xs, axis: jnp.concatenate(xs, axis),
        "stack": lambda *xs, axis: jnp.stack(xs, axis),
        "split": lambda x, sizes, axis: tuple(jnp.split(x, np.cumsum(sizes)[:-1], axis)),
        "unbind": unbind,
        "cast": cast,
        "real": jnp.real,
        "imag": jnp.imag,
        "conj": jnp.conj,
        "real_update": lambda x, new: lax.complex(new, jnp.imag(x)),
        "imag_update": lambda x, new: lax.complex(jnp.real(x), new),
        "identity": lambda x: x,
        "view_as_complex": lambda x: lax.complex(x[..., 0], x[..., 1]),
        "view_as_real": lambda x: jnp.stack([jnp.real(x), jnp.imag(x)], -1),
        "tril": lambda x, diagonal: jnp.tril(x, diagonal),
        "triu": lambda x, diagonal: jnp.triu(x, diagonal),
    }


def _put(x: Any, v: Any, indices: tuple[Any, ...]) -> Any:
    """x with v at index arrays over its leading axes. Of repeated places the last counts, on every device: the others
    are written outside, where they are dropped."""
    import jax.numpy as jnp

    lead = x.shape[: len(indices)]
    shape = np.broadcast_shapes(*(i.shape for i in indices))
    flat: Any = 0
    for index, n in zip(indices, lead, strict=True):
        flat = flat * n + jnp.broadcast_to(jnp.where(index < 0, index + n, index), shape)
    flat = jnp.reshape(flat, -1)
    size, number = math.prod(lead), jnp.arange(flat.size)
    last = jnp.full(size, -1).at[flat].max(number)
    place = jnp.where(last[flat] == number, flat, size + number)
    rows = jnp.reshape(x, (size, *x.shape[len(indices) :]))
    values = jnp.reshape(jnp.broadcast_to(v, (*shape, *rows.shape[1:])), (flat.size, *rows.shape[1:]))
    return jnp.reshape(rows.at[place].set(values, mode="drop", unique_indices=True), x.shape)


def _indexing() -> dict[str, Rule]:
    import jax.numpy as jnp

    def embed(g: Any, index: Any, shape: Any) -> Any:
        return jnp.zeros(shape, g.dtype).at[index].set(g, unique_indices=True)

    def scatter_add(g: Any, *indices: Any, shape: Any) -> Any:
        return jnp.zeros(shape, g.dtype).at[indices].add(g)

    def put_diagonal(x: Any, v: Any, offset: int, axis1: int, axis2: int) -> Any:
        moved = jnp.moveaxis(x, (axis1, axis2), (-2, -1))
        i = np.arange(v.shape[-1])
        placed = moved.at[..., i - min(offset, 0), i + max(offset, 0)].set(v, unique_indices=True)
        return jnp.moveaxis(placed, (-2, -1), (axis1, axis2))

    return {
        "slice": lambda x, index: x[index],
        "embed": embed,
        "slice_update": lambda x, v, index: x.at[index].set(v, unique_indices=True),
        "gather": lambda x, *indices: x[indices],
        "scatter_add": scatter_add,
        "index_update": lambda x, v, *indices: _put(x, v, indices),
        "diagonal": jnp.diagonal,
        "diagonal_update": put_diagonal,
        "diag_embed": lambda v, shape, **params: put_diagonal(jnp.zeros(shape, v.dtype), v, **params),
    }


def _strided() -> dict[str, Rule]:
    import jax.numpy as jnp

    def as_strided_update(x: Any, v: Any, **params: Any) -> Any:
        return jnp.reshape(_put(jnp.reshape(x, -1), v, (places(**params),)), x.shape)

    def starts(count: int, size: int, step: int) -> Any:
        return np.arange(count)[:, None] * step + np.arange(size)

    def windows(x: Any, axis: int, size: int, step: int) -> Any:
        at = starts((x.shape[axis] - size) // step + 1, size, step)
        return jnp.moveaxis(jnp.take(x, at, axis), axis + 1, -1)

    def overlap_add(g: Any, axis: int, step: int, length: int) -> Any:
        g = jnp.moveaxis(g, axis, -2)
        y = jnp.zeros((*g.shape[:-2], length), g.dtype)
        return jnp.moveaxis(y.at[..., starts(g.shape[-2], g.shape[-1], step)].add(g), -1, axis)

    return {
        "as_strided": lambda x, shape, strides, offset: jnp.reshape(x, -1)[places(shape, strides, offset)],
        "as_strided_update": as_strided_update,
        "windows": windows,
        "overlap_add": overlap_add,
    }


def _reductions() -> dict[str, Rule]:
    import jax.numpy as jnp

    def size(x: Any, axis: Any) -> int:
        return math.prod(x.shape[a] for a in axis)

    def mean(x: Any, axis: Any, keepdims: bool) -> Any:
        half = x.dtype.itemsize == 2
        total = jnp.sum(x, axis, dtype=np.float32 if half else x.dtype, keepdims=keepdims)
        return total / size(x, axis)

    def squared(x: Any) -> Any:
        return jnp.square(jnp.real(x)) + jnp.square(jnp.imag(x)) if jnp.iscomplexobj(x) else x * x

    def var(x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
        d = x - jnp.sum(x, axis, keepdims=True) / size(x, axis)
        return jnp.sum(squared(d), axis, keepdims=keepdims) / max(float(size(x, axis) - correction), 0.0)

    def logsumexp(x: Any, axis: Any, keepdims: bool) -> Any:
        top = jnp.max(x, axis, keepdims=True, initial=-np.inf)
        top = jnp.where(jnp.isfinite(top), top, 0)
        y = jnp.log(jnp.sum(jnp.exp(x - top), axis, keepdims=True)) + top
        return y if keepdims else jnp.squeeze(y, axis)

    return {
        "sum": lambda x, axis, keepdims: jnp.sum(x, axis, dtype=x.dtype, keepdims=keepdims),
        "prod": lambda x, axis, keepdims: jnp.prod(x, axis, dtype=x.dtype, keepdims=keepdims),
        "mean": mean,
        "amax": lambda x, axis, keepdims: jnp.max(x, axis, keepdims=keepdims),
        "amin": lambda x, axis, keepdims: jnp.min(x, axis, keepdims=keepdims),
        "argmax": lambda x, axis, keepdims: jnp.argmax(x, axis, keepdims=keepdims),
        "argmin": lambda x, axis, keepdims: jnp.argmin(x, axis, keepdims=keepdims),
        "any": lambda x, axis, keepdims: jnp.any(x, axis, keepdims=keepdims),
        "all": lambda x, axis, keepdims: jnp.all(x, axis, keepdims=keepdims),
        "count_nonzero": lambda x, axis, keepdims: jnp.sum(x != 0, axis, keepdims=keepdims),
        "logsumexp": logsumexp,
        "var": var,
        "std": lambda x, axis, correction, keepdims: jnp.sqrt(var(x, axis, correction, keepdims)),
        "norm": lambda x, axis, keepdims: jnp.sqrt(jnp.sum(squared(x), axis, keepdims=keepdims)),
    }


def _largest(dtype: Any) -> Any:
    return np.inf if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max


def _lines() -> dict[str, Rule]:
    """Scans, order and differences along one axis."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def recurrence(a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
        def later(first: Any, second: Any) -> Any:
            return first[0] * second[0], second[0] * first[1] + second[1]

        return lax.associative_scan(later, (a, b), reverse=reverse, axis=axis)[1]

    def cumulative(function: Rule) -> Rule:
        def arg(x: Any, axis: int) -> Any:
            wins = (x == function(x, axis)) | jnp.isnan(x)
            place = lax.broadcasted_iota(np.int32, x.shape, axis)
            return lax.cummax(jnp.where(wins, place, 0), axis)

        return arg

    def argsort(x: Any, axis: int, descending: bool = False) -> Any:
        if not descending:
            return jnp.argsort(x, axis, stable=True)
        return x.shape[axis] - 1 - jnp.flip(jnp.argsort(jnp.flip(x, axis), axis, stable=True), axis)

    def searchsorted(line: Any, values: Any, side: Any = "left") -> Any:
        if line.ndim == 1:
            return jnp.searchsorted(line, values, side)
        lines = jnp.reshape(line, (-1, line.shape[-1]))
        rows = jnp.reshape(values, (lines.shape[0], -1))
        found = jax.vmap(lambda a, b: jnp.searchsorted(a, b, side))(lines, rows)
        return jnp.reshape(found, values.shape)

    def argmode(x: Any, axis: int) -> Any:
        line = jnp.moveaxis(x, axis, -1)
        same = line[..., :, None] == line[..., None, :]
        count = jnp.sum(same, -1)
        most = count == jnp.max(count, -1, keepdims=True)
        least = jnp.min(line, -1, keepdims=True, where=most, initial=_largest(x.dtype))
        place = jnp.where(line == least, np.arange(line.shape[-1]), 0)
        return jnp.moveaxis(jnp.max(place, -1, keepdims=True), -1, axis)

    def difference(x: Any, axis: int, full: bool) -> Any:
        if not full:
            return jnp.diff(x, axis=axis)
        before = [(int(i == axis), 0) for i in range(x.ndim)]
        return jnp.pad(x, before) - jnp.pad(x, [pair[::-1] for pair in before])

    return {
        "cumsum": lambda x, axis, reverse=False: lax.cumsum(x, axis, reverse),
        "cumprod": lambda x, axis, reverse=False: lax.cumprod(x, axis, reverse),
        "logcumsumexp": lambda x, axis, reverse=False: lax.cumlogsumexp(x, axis, reverse),
        "recurrence": recurrence,
        "argcummax": cumulative(lax.cummax),
        "argcummin": cumulative(lax.cummin),
        "argsort": argsort,
        "searchsorted": searchsorted,
        "argpartition": lambda x, kth, axis: argsort(x, axis),
        "argmode": argmode,
        "argkth": lambda x, kth, axis: jnp.take(argsort(x, axis), np.array(kth), axis),
        "difference": difference,
    }


def _transforms() -> dict[str, Rule]:
    """Linear maps of axes: Fourier, cosine and sine transforms, resampling."""
    import jax.numpy as jnp

    def fft(x: Any, axes: Any, norm: str, inverse: bool) -> Any:
        for axis in axes:
            x = (jnp.fft.ifft if inverse else jnp.fft.fft)(x, axis=axis, norm=norm)
        return x

    def trigonometric(op: Any) -> Rule:
        """As the product with the transform's orthogonal matrix: JAX has type 2 only."""

        def rule(x: Any, type: int, axis: int) -> Any:
            matrix = op.evaluate(np.eye(x.shape[axis], dtype=x.dtype), type=type, axis=0)
            return jnp.moveaxis(jnp.tensordot(matrix, x, (1, axis)), 0, axis)

        return rule

    def resample(x: Any, axis: int, taps: Taps, adjoint: bool = False) -> Any:
        source, weight = KINDS[taps.kind](taps.size, taps.out, *taps.options)
        x = jnp.moveaxis(x, axis, -1)
        weight = weight.astype(np.finfo(x.dtype).dtype)
        if adjoint:
            terms = jnp.where(weight == 0, 0, x[..., None] * weight)
            y = jnp.zeros((*x.shape[:-1], taps.size), x.dtype).at[..., source].add(terms)
        else:
            y = jnp.sum(jnp.where(weight == 0, 0, x[..., source] * weight), -1)
        return jnp.moveaxis(y, -1, axis)

    return {
        "fft": fft,
        "rfft": lambda x, axis, norm: jnp.fft.rfft(x, axis=axis, norm=norm),
        "irfft": lambda x, n, axis, norm: jnp.fft.irfft(x, n, axis, norm),
        "cosine_transform": trigonometric(cosine),
        "sine_transform": trigonometric(sine),
        "resample": resample,
    }


def _products() -> dict[str, Rule]:
    import jax
    import jax.numpy as jnp

    def convolve(a: Any, v: Any, full: bool) -> Any:
        mode = "full" if full else "valid"
        lines = [jnp.reshape(x, (-1, x.shape[-1])) for x in (a, v)]
        y = jax.vmap(lambda x, w: jnp.convolve(x, w, mode))(*lines)
        return jnp.reshape(y, (*a.shape[:-1], y.shape[-1]))

    return {
        "einsum": lambda *xs, spec: jnp.einsum(spec, *xs),
        "matmul": jnp.matmul,
        "mm": jnp.matmul,
        "mv": jnp.matmul,
        "dot": jnp.matmul,
        "convolve": convolve,
    }
