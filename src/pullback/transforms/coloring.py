"""Colourings of sparse patterns: which columns of a matrix can share one product with a vector."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["column_colors", "star_colors"]


def _lowest_free(taken: int) -> int:
    """The number of the lowest bit that is 0."""
    return (~taken & (taken + 1)).bit_length() - 1


def column_colors(pattern: Any) -> Any:
    """A colour for each column of a boolean `csc_array`, such that columns of one colour have no row in common.

    Greedy, columns with the most entries first; no column without entries needs a colour, and gets 0.
    """
    rows, columns = pattern.shape
    taken = [0] * rows  # by row, the colours of its columns, as bits
    colors = np.zeros(columns, np.int64)
    indices = pattern.indices.tolist()
    bounds = pattern.indptr.tolist()
    for j in np.argsort(-np.diff(pattern.indptr), kind="stable").tolist():
        own = indices[bounds[j] : bounds[j + 1]]
        mask = 0
        for i in own:
            mask |= taken[i]
        colors[j] = color = _lowest_free(mask)
        for i in own:
            taken[i] |= 1 << color
    return colors


def star_colors(pattern: Any) -> Any:
    """A colour for each column of a symmetric boolean `csr_array`: neighbours differ, and no path of four has two
    colours. Then of every entry i, j, either j is i's only neighbour of its colour or i is j's.

    Greedy, columns with the most entries first (Gebremedhin, Tarafdar, Manne and Pothen, 2007, by sets of colours).
    """
    size = pattern.shape[0]
    indices, bounds = pattern.indices.tolist(), pattern.indptr.tolist()
    neighbours = [[j for j in indices[bounds[i] : bounds[i + 1]] if j != i] for i in range(size)]
    colors = [-1] * size
    around = [0] * size  # colours of the neighbours
    firsts: list[dict[int, int]] = [{} for _ in range(size)]  # by colour, the first neighbour that has it
    # Colours of those neighbours x that have another neighbour of this one's colour: a path of three to be kept open.
    crossed = [0] * size
    for v in np.argsort(-np.diff(pattern.indptr), kind="stable").tolist():
        own = neighbours[v]
        seen: dict[int, int] = {}
        repeated = 0
        for w in own:
            if colors[w] >= 0:
                seen[colors[w]] = seen.get(colors[w], 0) + 1
                if seen[colors[w]] == 2:
                    repeated |= 1 << colors[w]
        mask = around[v]
        for w in own:
            mask |= around[w] if colors[w] < 0 or repeated >> colors[w] & 1 else crossed[w]
        colors[v] = color = _lowest_free(mask)
        for w in own:
            around[w] |= 1 << color
            other = firsts[w].setdefault(color, v)
            if colors[w] >= 0:
                if repeated >> colors[w] & 1:
                    crossed[w] |= 1 << color
                if other != v:  # w has two neighbours of this colour
                    crossed[v] |= 1 << colors[w]
                    crossed[other] |= 1 << colors[w]
    return np.array(colors, np.int64)
