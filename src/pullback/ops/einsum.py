"""Sums of products over named axes.

The op `einsum` takes the explicit form only, a letter at most once in each operand. `contract` brings whatever NumPy's
`einsum` takes into that form.
"""

from __future__ import annotations

import math
import string
from functools import lru_cache
from typing import Any

import numpy as np

from pullback.ops.diagonal import diagonal
from pullback.ops.lowering import Product
from pullback.ops.samples import Sample, complex_normal, normal
from pullback.ops.shape import broadcast_to, reshape, sum_, transpose
from pullback.ops.table import linear
from pullback.values.shape import Shape, Spec

__all__ = ["contract", "einsum"]


def _split(spec: str) -> tuple[list[str], str]:
    inputs, output = spec.split("->")
    return inputs.split(","), output


# Evaluation: two operands as one matrix product where the letters allow it, so that BLAS does the work


@lru_cache(maxsize=1024)
def _plan(spec: str) -> tuple[int, str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, int]] | None:
    """How two operands become a matrix product: letters in order and permutations; None if they don't."""
    (a, b), out = _split(spec)
    shared = [c for c in a if c in b]
    batch = [c for c in out if c in shared]
    summed = [c for c in shared if c not in out]
    rows = [c for c in out if c in a and c not in b]
    columns = [c for c in out if c in b and c not in a]
    if not summed or len(a) != len(shared) + len(rows) or len(b) != len(shared) + len(columns):
        return None
    order = "".join(batch + rows + columns)
    return (
        len(batch),
        order,
        tuple(a.index(c) for c in batch + rows + summed),
        tuple(b.index(c) for c in batch + summed + columns),
        tuple(order.index(c) for c in out),
        (len(rows), len(summed)),
    )


@lru_cache(maxsize=1024)
def _path(spec: str, shapes: tuple[Shape, ...]) -> Any:
    return np.einsum_path(spec, *(np.broadcast_to(0.0, shape) for shape in shapes), optimize="greedy")[0]


def _einsum(*xs: Any, spec: str) -> Any:
    if len(xs) == 2 and (plan := _plan(spec)) is not None:
        lead, _, left, right, back, (rows, summed) = plan
        a, b = xs[0].transpose(left), xs[1].transpose(right)
        front, kept, lost = a.shape[:lead], a.shape[lead : lead + rows], a.shape[lead + rows :]
        new = b.shape[lead + summed :]
        # The lengths are written out: with a length of 0 there is no -1 to infer.
        m, k, n = (math.prod(part) for part in (kept, lost, new))
        y = np.matmul(a.reshape((*front, m, k)), b.reshape((*front, k, n)))
        return y.reshape((*front, *kept, *new)).transpose(back)
    if len(xs) > 2:
        return np.einsum(spec, *xs, optimize=_path(spec, tuple(x.shape for x in xs)))
    y = np.einsum(spec, *xs)
    return y if y.base is None else y.copy()  # of one operand NumPy may give a view


def _einsum_shape(*xs: Spec, spec: str) -> Spec:
    inputs, output = _split(spec)
    lengths: dict[str, int] = {}
    for letters, x in zip(inputs, xs, strict=True):
        if len(letters) != len(x.shape):
            raise ValueError(f"einsum: {letters!r} does not name the axes of {x}")
        for letter, n in zip(letters, x.shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ValueError(f"einsum: {letter!r} is {lengths[letter]} long and {n} in {spec!r}")
    return Spec(tuple(lengths[c] for c in output), np.result_type(*(x.dtype for x in xs)))


def _einsum_transpose(g: Any, _y: Any, *xs: Any, spec: str) -> tuple[Any, ...]:
    return tuple(_one_transpose(g, i, xs, spec) for i in range(len(xs)))


def _one_transpose(g: Any, i: int, xs: tuple[Any, ...], spec: str) -> Any:
    """The cotangent of operand i: an einsum of g and the others, then repeated along letters that only i had.

    None if another operand was not kept: then i is not tracked (see `Op.needs`).
    """
    inputs, output = _split(spec)
    others = [(t, x) for j, (t, x) in enumerate(zip(inputs, xs, strict=True)) if j != i]
    if any(isinstance(x, Spec) or x is None for _, x in others):
        return None
    known = set(output).union(*(t for t, _ in others))
    mine = inputs[i]
    found = "".join(c for c in mine if c in known)
    terms = ",".join([output, *(t for t, _ in others)])
    cotangent = einsum(g, *(x for _, x in others), spec=f"{terms}->{found}")
    if found == mine:
        return cotangent
    shape = xs[i].shape
    ones = tuple(n if c in known else 1 for c, n in zip(mine, shape, strict=True))
    return broadcast_to(reshape(cotangent, shape=ones), shape=tuple(shape))


def _einsum_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], spec: str) -> Any:
    inputs, output = _split(spec)
    new = next(c for c in string.ascii_letters if c not in spec)
    terms = ",".join(new + t if has else t for t, has in zip(inputs, batched, strict=True))
    return einsum(*args, spec=f"{terms}->{new}{output}")


def _labels(*xs: Spec, spec: str) -> tuple[Shape, ...] | None:
    if len(xs) != 2:
        return None
    (a, b), out = _split(spec)
    return tuple(tuple(map(ord, letters)) for letters in (a, b, out))


def _einsum_in_ops(*xs: Any, spec: str) -> Any:
    """Of one operand sums and a transpose; of several, two at a time."""
    terms, out = _split(spec)
    if len(xs) == 1:
        (x,), (letters,) = xs, terms
        lost = tuple(i for i, c in enumerate(letters) if c not in out)
        x = sum_(x, axis=lost, keepdims=False) if lost else x
        left = [c for c in letters if c in out]
        return transpose(x, axes=tuple(left.index(c) for c in out))
    parts = list(zip(terms, xs, strict=True))
    for group in _path(spec, tuple(x.shape for x in xs))[1:]:
        picked = [parts[i] for i in group]
        parts = [part for i, part in enumerate(parts) if i not in group]
        while len(picked) > 1:
            (a, x), (b, y), *picked = picked
            known = {*out, *(c for t, _ in (*picked, *parts) for c in t)}
            found = "".join(c for c in dict.fromkeys(a + b) if c in known)
            found = found if parts or picked else out
            picked = [(found, einsum(x, y, spec=f"{a},{b}->{found}")), *picked]
        parts += picked
    ((found, x),) = parts
    return x if found == out else einsum(x, spec=f"{found}->{out}")


einsum = linear(
    "einsum",
    _einsum,
    transpose=_einsum_transpose,
    shape=_einsum_shape,
    batch=_einsum_batch,
    lower=Product(_labels, otherwise=_einsum_in_ops),
    samples=[
        Sample(normal(2, 3), spec="ij->ji"),
        Sample(normal(2, 3), spec="ij->j"),
        Sample(normal(2, 3), normal(3, 4), spec="ij,jk->ik"),
        Sample(normal(5, 2, 3), normal(3, 5, 4), spec="bij,jbk->kbi"),
        Sample(normal(2, 3), normal(4, 3), spec="ij,kj->i"),
        Sample(normal(3), normal(2), spec="i,j->ij"),
        Sample(normal(3), normal(3), spec="i,i->"),
        Sample(normal(3), normal(3), spec="i,i->i"),
        Sample(normal(), normal(2, 3), spec=",ij->i"),
        Sample(normal(2, 3), normal(3, 4), normal(4, 2), spec="ij,jk,kl->il"),
        Sample(complex_normal(2, 3), complex_normal(3), spec="ij,j->i"),
    ],
    doc="Products of the operands' elements, summed over the letters that `spec`, 'ij,jk->ik', lacks on the right.",
)


# The general form


def contract(subscripts: str, *operands: Any) -> Any:
    """What `np.einsum(subscripts, *operands)` means: implicit output, ellipsis, repeated letters, lengths of 1.

    Raises `ValueError` for subscripts that don't fit the operands.
    """
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} is for {len(terms)} operands, {len(operands)} were given")
    free = [c for c in string.ascii_letters if c not in text]
    ranks = [
        len(x.shape) - len(t.replace("...", "")) if "..." in t else 0 for t, x in zip(terms, operands, strict=True)
    ]
    if min(ranks) < 0:
        raise ValueError(f"einsum: {subscripts!r} names more axes than an operand has")
    dots = "".join(free[: max(ranks)])
    terms = [t.replace("...", dots[len(dots) - rank :]) for t, rank in zip(terms, ranks, strict=True)]
    letters = "".join(terms)
    if arrow:
        output = output.replace("...", dots)
    else:
        output = dots + "".join(sorted(c for c in set(letters) if letters.count(c) == 1 and c not in dots))
    _check(subscripts, terms, output, operands)
    lengths: dict[str, int] = {}
    for t, x in zip(terms, operands, strict=True):
        for c, n in zip(t, x.shape, strict=True):
            if lengths.setdefault(c, n) != n:
                if 1 not in (n, lengths[c]):
                    raise ValueError(f"einsum: {c!r} is {lengths[c]} long and {n} in {subscripts!r}")
                lengths[c] = max(n, lengths[c]) if 0 not in (n, lengths[c]) else 0
    ready, final = [], []
    for t, x in zip(terms, operands, strict=True):
        t, x = _distinct(t, x)
        short = [c for c, n in zip(t, x.shape, strict=True) if n != lengths[c]]
        if short:
            x = reshape(x, shape=tuple(n for c, n in zip(t, x.shape, strict=True) if c not in short))
            t = "".join(c for c in t if c not in short)
        final.append(t)
        ready.append(x)
    return einsum(*ready, spec=f"{','.join(final)}->{output}")


def _distinct(term: str, x: Any) -> tuple[str, Any]:
    """A repeated letter means the diagonal of its axes."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            first = term.index(c)
            second = term.index(c, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ValueError(f"einsum: the axes named {c!r} have lengths {x.shape[first]} and {x.shape[second]}")
            x = diagonal(x, offset=0, axis1=first, axis2=second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + c
    return term, x


def _check(subscripts: str, terms: list[str], output: str, operands: tuple[Any, ...]) -> None:
    for t, x in zip(terms, operands, strict=True):
        if not all(c in string.ascii_letters for c in t):
            raise ValueError(f"einsum: {subscripts!r} has something that is not a letter")
        if len(t) != len(x.shape):
            raise ValueError(f"einsum: {t!r} in {subscripts!r} does not name the {len(x.shape)} axes of its operand")
    unknown = [c for c in output if not any(c in t for t in terms)]
    if unknown or len(set(output)) != len(output):
        raise ValueError(
            f"einsum: the output {output!r} of {subscripts!r} must name letters of the operands, each once"
        )
