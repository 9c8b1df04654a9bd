"""Flattening, and autograd's helper that records a function once."""

import functools

import numpy as np

import pullback as pb
from pullback.transforms.tree import flatten as _flatten


def flatten(value):
    """All numbers of nested containers as one vector, and the way back."""
    leaves, tree = _flatten(value)
    shapes = [np.shape(x) for x in leaves]
    sizes = [int(np.prod(shape, dtype=int)) for shape in shapes]

    def unflatten(vector):
        parts, at = [], 0
        for shape, size in zip(shapes, sizes, strict=True):
            parts.append(np.reshape(vector[at : at + size], shape))
            at += size
        return tree.unflatten(parts)

    if not leaves:
        return np.zeros(0), unflatten
    return np.concatenate([np.ravel(x) for x in leaves]), unflatten


def const_graph(fun, *args, **kwargs):
    """`fun` traced at its first call; later ones run the graph."""
    traced = None

    @functools.wraps(fun)
    def run(*xs):
        nonlocal traced
        if traced is None:
            traced = pb.make_graph(functools.partial(fun, *args, **kwargs))(*xs)
        return traced(*xs)

    return run
